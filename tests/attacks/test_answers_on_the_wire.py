"""What a hostile tool can put on the wire: only a whole answer is believed, in the tool's time, in little memory."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.connectors import Dispatch, HttpConnector
from gateway.errors import Unavailable
from gateway.ledger import State
from tests.world.foreign import TOOL
from tool_registry import declarations
from tool_registry.shapes import compile_shape

MEGABYTES = 1024 * 1024
DEADLINE_MS = 700
SLACK_SECONDS = 3.0
GOOD = b'{"parcel_id":"par_1"}'
JSON = b"Content-Type: application/json\r\n"

Answer = Callable[[], Iterable[bytes]]
"""The pieces that a tool sends once it has read a request."""


@contextmanager
def speaking(answer: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """An origin that answers every request with these pieces, whatever they are, and what it was sent."""
    server = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            received.append(connection.recv(65536))
            for piece in answer():
                connection.sendall(piece)
                if ended.is_set():
                    return

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", received
    finally:
        ended.set()
        server.close()


def whole(body: bytes, *, head: bytes = JSON, status: bytes = b"200 OK") -> Answer:
    """One answer with its length."""
    return lambda: [b"HTTP/1.1 " + status + b"\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(body) + body]


def raw(*pieces: bytes) -> Answer:
    """These bytes, and the end of the connection."""
    return lambda: pieces


def endless(start: bytes, piece: bytes, *, pause_seconds: float = 0) -> Answer:
    """Without an end."""

    def pieces() -> Iterator[bytes]:
        yield start
        while True:
            yield piece
            time.sleep(pause_seconds)

    return pieces


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
HOSTILE: dict[str, Answer] = {
    "nothing": raw(),
    "silence": endless(b"", b"", pause_seconds=0.05),
    "half a status line": raw(b"HTTP/1.1 2"),
    "half a head": raw(OK + b"Content-Ty"),
    "half a body": raw(OK + JSON + b"Content-Length: 100\r\n\r\n" + GOOD),
    "one byte at a time": endless(OK + JSON + b"Content-Length: 100000\r\n\r\n", b" ", pause_seconds=0.05),
    "a head of one byte at a time": endless(OK, b"X", pause_seconds=0.05),
    "a body without end": endless(OK + JSON + b"Content-Length: 10737418240\r\n\r\n", b" " * MEGABYTES),
    "a body without length or end": endless(OK + JSON + b"\r\n", b" " * MEGABYTES),
    "chunks without end": endless(CHUNKED, b"100000\r\n" + b" " * MEGABYTES + b"\r\n"),
    "empty chunks of extensions": endless(CHUNKED, b"1;" + b"x" * 60_000 + b"\r\n \r\n"),
    "a head without end": endless(OK, b"X-A: " + b"a" * 8_000 + b"\r\n"),
    "a header without end": endless(OK + b"X-A: ", b"a" * MEGABYTES),
    "interim answers without end": endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 500),
    "trailers without end": endless(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: " + b"a" * 8_000 + b"\r\n"),
    "HTTP/0.9": raw(GOOD),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "TLS": raw(b"\x15\x03\x03\x00\x02\x02\x28"),
    "a status of no class": whole(GOOD, status=b"999 What"),
    "a switch of protocols": whole(
        b"", status=b"101 Switching Protocols", head=b"Upgrade: h2c\r\nConnection: upgrade\r\n"
    ),
    "two lengths": raw(OK + JSON + b"Content-Length: 21\r\nContent-Length: 2\r\n\r\n" + GOOD),
    "length and chunks": raw(OK + JSON + b"Content-Length: 21\r\nTransfer-Encoding: chunked\r\n\r\n" + GOOD),
    "a negative length": raw(OK + JSON + b"Content-Length: -1\r\n\r\n" + GOOD),
    "a chunk of no size": raw(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk cut short": raw(CHUNKED + b"15\r\n" + GOOD[:10]),
    "no last chunk": raw(CHUNKED + b"%x\r\n" % len(GOOD) + GOOD + b"\r\n"),
    "NUL in a header": raw(OK + b"X-A: a\0b\r\nContent-Length: 21\r\n\r\n" + GOOD),
    "broken gzip": whole(b"\x1f\x8b\x08\x00 no gzip", head=JSON + b"Content-Encoding: gzip\r\n"),
    "an unknown coding": whole(b"\x00\x01", head=JSON + b"Content-Encoding: zstd\r\n"),
    "no content": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "an empty body": whole(b""),
    "a page": whole(b"<html>done</html>", head=b"Content-Type: text/html\r\n"),
    "a member twice": whole(b'{"parcel_id":"par_2","parcel_id":"par_1"}'),
    "a float": whole(b'{"parcel_id":"par_1","n":1.0}'),
    "two documents": whole(GOOD + GOOD),
    "depth": whole(b"[" * 100_000),
    "another shape": whole(b'{"parcel_id":"par_1","more":1}'),
    "another name": whole(b'{"parcel_id":1}'),
    "UTF-16": whole(GOOD.decode().encode("utf-16")),
    "a redirect": whole(GOOD, status=b"302 Found", head=b"Location: http://127.0.0.1:1/\r\n"),
    "a refusal in an odd form": whole(b'{"refused":"yes"}', status=b"409 Conflict"),
    "a failure": whole(b'{"refused":true}', status=b"500 Oh"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_answer_that_is_not_whole_proves_nothing(name: str) -> None:
    """
    F09, J04: whatever comes in the place of an answer, the outcome is unknown, told within the tool's deadline, and
    little is held of it; as a fact it is no fact. The tool is asked once.
    """
    with speaking(HOSTILE[name]) as (origin, received):
        tracemalloc.start()
        started = time.monotonic()
        try:
            state, reason = asyncio.run(_execute(origin))
            took, peak = time.monotonic() - started, tracemalloc.get_traced_memory()[1]
            asked = len(received)
            fact = asyncio.run(_fact(origin))
        finally:
            tracemalloc.stop()

    assert state is State.IN_DOUBT, reason
    assert fact == "source_unreachable"
    assert took < DEADLINE_MS / 1000 + SLACK_SECONDS
    assert peak < 16 * MEGABYTES
    assert asked == 1


def test_a_whole_answer_is_believed() -> None:
    """
    Without the fault the same tool is believed, also after a few interim answers, in chunks and with its own headers.
    """
    chunks = b"%x;a=b\r\n%s\r\n0\r\nX-Trailer: a\r\n\r\n" % (len(GOOD), GOOD)
    answers = [whole(GOOD), raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + CHUNKED + chunks)]
    states = []

    for answer in answers:
        with speaking(answer) as (origin, _):
            states.append(asyncio.run(_execute(origin))[0])

    assert states == [State.EXECUTED] * 2


async def _execute(origin: str) -> tuple[State, str]:
    text = TOOL.replace("NAME", "send_parcel").replace("ORIGIN", origin) + f"deadline_ms: {DEADLINE_MS}\n"
    contract = declarations.parse(text.encode())
    # As much of a prepared tool as a connector looks at.
    tool = cast(Any, SimpleNamespace(contract=contract, result=compile_shape(contract.result)))
    call = {"arguments": {"parcel_id": "par_1", "weight_grams": 10}, "reason_code": "goodwill"}
    connector = HttpConnector({}, (origin,))
    try:
        outcome = await connector.execute(
            Dispatch(
                tenant="acme",
                tool=tool,
                canonical=json.dumps(call).encode(),
                effect_id="call_" + "0" * 32,
                fence=1,
                deadline_at_ms=2**50,
                correlation="",
            )
        )
    finally:
        await connector.close()
    return outcome.state, outcome.reason


async def _fact(origin: str) -> str:
    contract = declarations.parse(TOOL.replace("NAME", "send_parcel").replace("ORIGIN", origin).encode())
    connector = HttpConnector({}, (origin,))
    try:
        document = await connector.fact("acme", contract.connector, "GET", "/facts/any", {})
    except Unavailable as fault:
        return fault.reason
    finally:
        await connector.close()
    # A document is judged by the fact's own shape, which wants a time stamp and facts.
    return "source_unreachable" if document is None or "at_ms" not in document else "believed"
