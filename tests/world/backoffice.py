"""A back office to test with: started on a database of its own, and asked as a gateway would ask."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from deploy.demo.backoffice import launch, seeds
from deploy.demo.backoffice.launch import Backoffice
from gateway.storage.cluster import Cluster

DEADLINE_MS = 5_000
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Client:
    """A tenant's way in."""

    shop: Backoffice
    tenant: str = "acme"
    http: httpx2.Client = field(default_factory=lambda: httpx2.Client(timeout=20))

    def run(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        effect: str = "",
        fence: int = 1,
        deadline_ms: int = DEADLINE_MS,
        reason_code: str = "test",
    ) -> httpx2.Response:
        headers = {
            "Lockgate-Tenant": self.tenant,
            "Idempotency-Key": effect or new_effect(),
            "Lockgate-Fence": str(fence),
            "Lockgate-Deadline": str(int(time.time() * 1000) + deadline_ms),
        }
        body = {"arguments": arguments, "reason_code": reason_code}
        return self.http.post(f"{self.shop.url}/operations/{tool}", json=body, headers=headers)

    def refund(self, order_id: str, amount_cents: int, **options: Any) -> httpx2.Response:
        return self.run("issue_refund", {"order_id": order_id, "amount_cents": amount_cents}, **options)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.get(self.shop.url + path, headers={"Lockgate-Tenant": self.tenant, **named})

    def post(self, path: str, body: object) -> httpx2.Response:
        return self.http.post(self.shop.url + path, json=body, headers={"Lockgate-Tenant": self.tenant})

    def rows(self, table: str, **wanted: str) -> list[dict[str, Any]]:
        answer = self.http.get(
            f"{self.shop.url}/state/{table}",
            params={**wanted, "limit": "1000"},
            headers={"Lockgate-Tenant": self.tenant},
        )
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows

    def order(self, number: int) -> dict[str, Any]:
        """A seeded order, counted from the tenant's first."""
        (row,) = self.rows("orders", id=f"ord_{seeds.TENANTS[self.tenant] + number}")
        return row


@dataclass(frozen=True, slots=True)
class Grounds:
    """A database and a place for the journal, on which back offices are started one after another."""

    url: str
    directory: Path

    @property
    def journal(self) -> Path:
        return self.directory / "journal.jsonl"

    def start(self, **options: Any) -> Backoffice:
        return launch.start(self.url, journal=self.journal, ready_file=self.directory / "ready.json", **options)


def new_effect() -> str:
    return f"call_{next(_numbers):032x}"


def journal_ids(journal: Path) -> Counter[str]:
    return Counter(json.loads(line)["effect_id"] for line in journal.read_bytes().splitlines())


def applied_ids(client: Client) -> set[str]:
    return {row["effect_id"] for row in client.rows("effects", state="applied")}


def new_grounds(cluster: Cluster, directory: Path) -> Grounds:
    name = f"backoffice_{next(_numbers)}"
    cluster.create_database(name, role="backoffice")
    return Grounds(url=cluster.url(name, "backoffice"), directory=directory)
