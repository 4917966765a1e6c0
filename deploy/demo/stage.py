"""What the scenes of the demonstration stand on: the world, the gateway of the moment, and a note of every answer.

An answer that is not what the story says ends it: `Unexpected` names the scene's expectation and what came instead.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from deploy.demo.cast import TENANTS, Agent, Person
from deploy.demo.client import Answer, Client
from deploy.demo.telling import Telling
from deploy.demo.world import ROOT, Gateway, World

TENANT = "acme"
LOGS = (*TENANTS, "system")
"""Whoever has a log of its own."""
Principal = Agent | Person


class Unexpected(Exception):
    """The story did not go as it is told; the message says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the stand-alone verifier said."""

    status: int
    document: Mapping[str, Any]


@dataclass(slots=True)
class Stage:
    """World, gateway and audience."""

    world: World
    telling: Telling
    folder: Path
    """Where receipts, keys and exports of this run are left for the reader."""
    gateway: Gateway = field(init=False)
    client: Client = field(init=False)
    answers: list[Answer] = field(default_factory=list)
    """Every answer to a call, in order: the callers' own record, compared at the end with everybody else's."""

    def open(self, *, crash: str = "") -> None:
        """Start a gateway; the one before must have ended."""
        self.gateway = self.world.gateway(crash=crash)
        self.client = Client(self.gateway.url)

    def agent(self, level: int) -> Agent:
        """The tenant's agent of that autonomy."""
        return self.world.cast.agent(TENANT, level)

    def person(self, role: str, number: int = 1) -> Person:
        """A person of the tenant."""
        return self.world.cast.person(TENANT, role, number)

    def call(self, who: Principal, tool: str, arguments: Mapping[str, Any], reason: str = "", **more: Any) -> Answer:
        """Ask for a call, aloud."""
        self.telling.asked(who.id, tool, arguments)
        return self.noted(self.client.call(who.token, tool, arguments, reason=reason, **more))

    def noted(self, answer: Answer) -> Answer:
        """Keep an answer for the reckoning."""
        self.answers.append(answer)
        return answer

    def row(self, table: str, **wanted: str) -> Mapping[str, Any]:
        """The one row of the business's own table."""
        rows = self.rows(table, **wanted)
        require(f"one row of {table} with {wanted}", len(rows), 1)
        return rows[0]

    def rows(self, table: str, **wanted: str) -> list[dict[str, Any]]:
        """Rows of the business, read from its database and not through the gateway."""
        url = f"{self.world.business.url}/state/{table}"
        headers = {"Lockgate-Tenant": TENANT}
        answer = httpx2.get(url, params={**wanted, "limit": "1000"}, headers=headers, trust_env=False)
        require(f"GET /state/{table} of the business", answer.status_code, 200)
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows

    def journal(self) -> list[dict[str, Any]]:
        """What the business says that it did, line by line."""
        return [json.loads(line) for line in self.world.business.journal.read_bytes().splitlines()]

    def effects_of(self, call: str) -> int:
        """How often the business took effect for that call."""
        return sum(line["effect_id"] == call for line in self.journal())

    def write(self, name: str, content: Any) -> Path:
        """A file of this run: bytes, or a document as JSON."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    def verify(self, command: str, file: Path) -> Checked:
        """Run the stand-alone verifier on a file: a process of its own that knows nothing but public keys."""
        keys = self.folder / "keys.json"
        shown = f"python -m proofs {command} {short(file)} --keys {short(keys)}"
        self.telling.say(f"$ {shown}", style="dim")
        arguments = [sys.executable, "-P", "-m", "proofs", command, str(file), "--keys", str(keys), "--json"]
        done = subprocess.run(  # noqa: S603 - our own interpreter, a fixed module and files of this run
            arguments, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False, timeout=60
        )
        if done.returncode not in (0, 1):
            raise Unexpected(f"`{shown}`: expected a verdict, got exit {done.returncode} {done.stderr.decode()}")
        return Checked(done.returncode, json.loads(done.stdout))


def require(what: str, got: object, wanted: object) -> None:
    """Raises `Unexpected` unless it is so."""
    if got != wanted:
        raise Unexpected(f"{what}: expected {wanted!r}, got {got!r}")


def require_answer(answer: Answer, status: int, reason: str = "") -> Answer:
    """The answer, if it is the expected one."""
    got = (answer.status, answer.reason)
    require(f"answer {json.dumps(answer.document)[:400]}", got, (status, reason))
    return answer


def short(path: Path) -> str:
    """A path as a reader of the clone would type it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
