"""The OPA client without what would surprise: its HTTP session, and what is read of the server's replies.

No redirects, proxies, cookies or retries; replies are bounded, and read strictly. A reply that says nothing of what was
sent is `EngineUnavailable` here, so that the client's own methods meet only what they can read.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from opa_client.opa_async import AsyncOpaClient

from policies.errors import EngineUnavailable
from policies.rego_answers import BYTES_MAX
from proofs import canonical

_CONNECTIONS_MAX = 64


class EvaluationFailed(Exception):
    """The rules were evaluated and contradict each other: a decision, and no fault of the server."""


class Client(AsyncOpaClient):  # type: ignore[misc]  # the library has no types
    """The library's client without what would surprise: redirects, proxies, cookies, retries, unbounded answers."""

    connections = 0
    """How many were made: a server can be replaced by another only where a connection ends."""

    async def _init_session(self) -> None:
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(self._connected)
        context = ssl.create_default_context() if self.ssl else True
        self._session = aiohttp.ClientSession(
            headers={**(self.headers or {}), "Accept-Encoding": "identity"},
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self.timeout),
            trust_env=False,
            auto_decompress=False,
            trace_configs=[trace],
        )

    @asynccontextmanager
    async def _request(self, method: str, url: str, **more: Any) -> AsyncIterator[_Reply]:
        async with self._session.request(method, url, allow_redirects=False, **more) as response:
            reply = _Reply(response.status, await _bounded(response.content))
        if not _is_told(method, reply):
            raise EngineUnavailable(f"opa: status {reply.status}")
        yield reply

    async def _connected(self, session: Any, context: Any, params: Any) -> None:
        self.connections += 1


@dataclass(frozen=True, slots=True)
class _Reply:
    """A whole answer of the server, in the place of the client library's own: read once, bounded and strictly."""

    status: int
    body: bytes

    async def json(self) -> Any:
        """The body. Raises `OutsideProfile` for JSON that no answer of ours is, another `ValueError` for no JSON."""
        try:
            return canonical.parse(self.body)
        except canonical.Malformed as error:
            orjson.loads(self.body)
            raise canonical.OutsideProfile("not_strict") from error

    def raise_for_status(self) -> None:
        """Raise unless the question was answered."""
        if self.status == 500:
            raise EvaluationFailed
        if self.status != 200:
            raise EngineUnavailable(f"opa: status {self.status}")


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    body = b""
    while part := await content.read(BYTES_MAX):
        body += part
        if len(body) > BYTES_MAX:
            raise EngineUnavailable("opa: an answer that is too large")
    return body


def _is_told(method: str, reply: _Reply) -> bool:
    """Whether the reply says something of what was sent; every other one says something of the server."""
    if method == "POST":
        return reply.status == 200 or (reply.status == 500 and _is_conflict(reply.body))
    if reply.status == 204:
        return True
    try:
        return reply.status in (200, 400, 404) and isinstance(canonical.parse(reply.body), dict)
    except (canonical.Malformed, canonical.OutsideProfile):
        return False


def _is_conflict(body: bytes) -> bool:
    try:
        document = canonical.parse(body)
    except (canonical.Malformed, canonical.OutsideProfile):
        return False
    match document:
        case {"code": "internal_error", "errors": [{"code": "eval_conflict_error"}]}:
            return True
        case _:
            return False
