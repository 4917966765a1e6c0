"""Many requests at the same moment, over connections of their own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from deploy.demo.client import Answer

SECONDS_MAX = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call to be made."""

    token: str
    tool: str
    arguments: Mapping[str, Any]
    reason: str
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    approvals: Sequence[str] = ()
    url: str = ""
    """Of another gateway than the crowd's."""

    def request(self, url: str) -> httpx2.Request:
        """The call as an HTTP request."""
        body: dict[str, Any] = {"tool": self.tool, "arguments": dict(self.arguments), "reason_code": self.reason}
        if self.approvals:
            body["approvals"] = list(self.approvals)
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": self.key}
        return httpx2.Request("POST", f"{self.url or url}/v1/calls", json=body, headers=headers)


def rush(url: str, asks: Sequence[Ask]) -> list[Answer]:
    """All of them at once; answers in their order. A connection that broke is status 0."""

    async def run() -> list[Answer]:
        limits = httpx2.Limits(max_connections=len(asks))
        async with httpx2.AsyncClient(trust_env=False, verify=False, limits=limits, timeout=SECONDS_MAX) as client:
            return list(await asyncio.gather(*(_ask(client, ask.request(url)) for ask in asks)))

    return asyncio.run(run())


async def _ask(client: httpx2.AsyncClient, request: httpx2.Request) -> Answer:
    try:
        response = await client.send(request)
    except httpx2.TransportError:
        return Answer(0, {}, {})
    return Answer(response.status_code, response.json(), response.headers)
