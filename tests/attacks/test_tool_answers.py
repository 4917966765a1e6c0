"""Answers of tools that are bombs: what a tool sends is bounded, unpacked or not, and proves nothing."""

from __future__ import annotations

import asyncio
import gzip
import threading
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway.connectors import ANSWER_BYTES_MAX, HttpConnector
from gateway.errors import Unavailable
from tests.world import sink as sinks
from tool_registry.contracts import Connector

MEGABYTES = 1024 * 1024


@contextmanager
def answering(body: bytes, headers: Mapping[str, str], status: int = 200) -> Iterator[str]:
    """An origin whose every answer is this one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # Whoever asked had seen enough.
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def peak_of_asking(origin: str) -> int:
    """Ask for a fact, which must not be believed, and return the most bytes that were held meanwhile."""

    async def ask() -> None:
        connector = HttpConnector({"tool": origin}, ())
        described = Connector(kind="http", origin="tool", method="POST", path="/operations/any")
        try:
            await connector.fact("acme", described, "GET", "/facts/any", {})
        finally:
            await connector.close()

    tracemalloc.start()
    try:
        with pytest.raises(Unavailable, match="source_unreachable"):
            asyncio.run(ask())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("layers", [1, 2])
def test_an_answer_that_would_unpack_to_a_hundred_megabytes_is_not_held(layers: int) -> None:
    """
    J04: an encoded answer is unpacked piece by piece, and left where it passes the limit.
    """
    bomb = bytes(100 * MEGABYTES)
    for _ in range(layers):
        bomb = gzip.compress(bomb)

    with answering(bomb, {"Content-Encoding": ", ".join(["gzip"] * layers)}) as origin:
        peak = peak_of_asking(origin)

    assert peak < 16 * MEGABYTES


def test_an_answer_without_end_is_left_at_the_limit() -> None:
    """
    An answer above the limit is not read to its end.
    """
    with answering(bytes(40 * MEGABYTES), {}) as origin:
        peak = peak_of_asking(origin)

    assert peak < ANSWER_BYTES_MAX + 50 * MEGABYTES


def asked(connector: HttpConnector, origin: str) -> str:
    """The reason for which a fact from there is not had."""

    async def ask() -> None:
        described = Connector(kind="http", origin=origin, method="GET", path="/operations/any")
        try:
            await connector.fact("acme", described, "GET", "/facts/any", {})
        finally:
            await connector.close()

    with pytest.raises(Unavailable) as failed:
        asyncio.run(ask())
    return failed.value.reason


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_tool_cannot_send_the_gateway_elsewhere(status: int) -> None:
    """
    J09: a redirect to another loopback port is no answer, and nobody is asked there.
    """
    with (
        sinks.listening() as elsewhere,
        answering(b"{}", {"Location": elsewhere.origin + "/facts/any"}, status) as origin,
    ):
        reason = asked(HttpConnector({"tool": origin}, ()), "tool")

    assert reason == "source_unreachable"
    assert elsewhere.received == []


def test_an_origin_that_settings_do_not_name_is_not_connected_to() -> None:
    """
    J09: whatever a declaration in the database says, an origin that the settings do not admit hears nothing.
    """
    with sinks.listening() as elsewhere, sinks.listening() as admitted:
        connectors = [HttpConnector({"tool": admitted.origin}, ()) for _ in range(3)]
        port = elsewhere.origin.rpartition(":")[2]
        origins = [elsewhere.origin, f"{admitted.origin}@127.0.0.1:{port}", f"http://localhost:{port}"]
        reasons = [asked(*each) for each in zip(connectors, origins, strict=True)]

    assert reasons == ["source_unreachable"] * 3
    assert elsewhere.received == admitted.received == []
