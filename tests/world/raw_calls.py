"""Calls as bytes over connections kept alive: a client that costs so little that it does not limit what it measures."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from tests.world.crowd import Ask

ANSWER_BYTES_MAX = 2**20
SECONDS_MAX = 40.0
BROKEN = 0
"""In place of a status: the connection ended before the answer."""

_BROKEN = (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError)


@dataclass(frozen=True, slots=True)
class Told:
    """One answer."""

    status: int
    document: dict[str, Any]
    seconds: float
    retry_after: str = ""
    began: float = 0.0
    """When it was asked, by the clock of `time.perf_counter`."""

    @property
    def reason(self) -> str:
        """Of a fault."""
        return str(self.document.get("reason", ""))


class Line:
    """One client, one connection at a time."""

    def __init__(self) -> None:
        self._at = ""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, url: str, request: bytes) -> Told:
        """
        Send a request and read its whole answer. A connection that breaks is status 0.

        One that was kept, and had ended before it was used again, is no answer: the request goes out on a new one.
        """
        began = time.perf_counter()
        is_kept = self._at == url and self._writer is not None
        try:
            status, fields, body = await self._once(url, request)
        except _BROKEN:
            self.close()
            if not is_kept:
                return Told(BROKEN, {}, time.perf_counter() - began, began=began)
            return await self.ask(url, request)
        if fields.get("connection") == "close":
            self.close()
        is_json = "json" in fields.get("content-type", "")
        return Told(
            status,
            json.loads(body) if is_json else {},
            time.perf_counter() - began,
            fields.get("retry-after", ""),
            began,
        )

    async def _once(self, url: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(SECONDS_MAX):
            reader, writer = await self._open(url)
            writer.write(request)
            return await _answer(reader)

    def close(self) -> None:
        """End the connection."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
        self._reader = self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _open(self, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._at != url:
            self.close()
        if self._reader is None or self._writer is None:
            parts = urlsplit(url)
            self._reader, self._writer = await asyncio.open_connection(
                parts.hostname, parts.port, limit=ANSWER_BYTES_MAX
            )
            self._at = url
        return self._reader, self._writer


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return int(head[0].split(" ", 2)[1]), fields, body


def encoded(ask: Ask) -> bytes:
    """A call as the bytes of its request."""
    body: dict[str, Any] = {"tool": ask.tool, "arguments": dict(ask.arguments), "reason_code": ask.reason}
    if ask.approvals:
        body["approvals"] = list(ask.approvals)
    return post("/v1/calls", ask.token, json.dumps(body).encode(), f"Idempotency-Key: {ask.key}\r\n")


def post(path: str, token: str, body: bytes, more: str = "") -> bytes:
    """A request with a JSON body; `more` is whole header lines."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    )
    return head.encode() + body


def get(path: str) -> bytes:
    """A request without anything."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
