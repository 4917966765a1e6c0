"""Raw bytes to a gateway: what no well-behaved HTTP library would send."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 15


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """Status, headers by lower-case name, and body. Status 0: the connection was closed without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        """The stable reason of a problem document; empty for anything else."""
        try:
            document: Any = json.loads(self.body)
        except ValueError:
            return ""
        return str(document.get("reason", "")) if isinstance(document, dict) else ""


def send(url: str, request: bytes, *, more: bytes = b"") -> RawAnswer:
    """Send the bytes on a connection of their own and read one answer."""
    return (talk(url, request, more, answers_max=1) or [RawAnswer(0, {}, b"")])[0]


def talk(
    url: str, *pieces: bytes, answers_max: int = 100, seconds: float = TIMEOUT_SECONDS, pause_seconds: float = 0
) -> list[RawAnswer]:
    """
    Send the pieces on one connection, and read answers until it ends, there are enough of them, or time is over.

    Interim answers (1xx) are left out. Never an answer for bytes that are not one.
    """
    parts = urlsplit(url)
    found: list[RawAnswer] = []
    with socket.create_connection((str(parts.hostname), int(parts.port or 80)), seconds) as connection:
        try:
            for piece in filter(None, pieces):
                connection.sendall(piece)
                time.sleep(pause_seconds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It answered before it had read everything; the answer is what we want.
        received = b""
        try:
            while len(found) < answers_max and (chunk := connection.recv(65536)):
                received = _take(received + chunk, found)
        except (ConnectionResetError, TimeoutError):
            pass
        if received and len(found) < answers_max:
            found.append(_read(received))  # Without an end of its own: what came until the connection ended.
    return found


def drip(url: str, head: bytes, piece: bytes, *, pieces_max: int, pause_seconds: float = 0.1) -> tuple[RawAnswer, int]:
    """Send a head, and then a piece after each pause until it is answered: the answer, and how many pieces it took."""
    parts = urlsplit(url)
    sent, received, found = 0, b"", list[RawAnswer]()
    with socket.create_connection((str(parts.hostname), int(parts.port or 80)), TIMEOUT_SECONDS) as connection:
        connection.sendall(head)
        while sent < pieces_max and not select.select([connection], [], [], pause_seconds)[0]:
            connection.sendall(piece)
            sent += 1
        while not found and (chunk := connection.recv(65536)):
            received = _take(received + chunk, found)
    return (found or [_read(received)])[0], sent


def request(
    method: str,
    path: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    host: str | None = "localhost",
) -> bytes:
    """A request as given, headers in order and repeated where they are; `Content-Length` only if there is a body."""
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"Host: {host}"] if host is not None else []
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _take(received: bytes, found: list[RawAnswer]) -> bytes:
    """Move whole answers from the bytes to the list; the bytes that are left."""
    while True:
        head, separator, rest = received.partition(b"\r\n\r\n")
        if not separator or not head.startswith(b"HTTP/1.1 "):
            return received
        status, headers = int(head[9:12]), _headers(head)
        if status < 200:
            received = rest
            continue
        if "chunked" in headers.get("transfer-encoding", ""):
            size = _end_of_chunks(rest)
        else:
            size = int(headers["content-length"]) if "content-length" in headers else None
        if size is None or len(rest) < size:
            return received
        found.append(RawAnswer(status, headers, rest[:size]))
        received = rest[size:]


def _end_of_chunks(rest: bytes) -> int | None:
    """How long a chunked body is, with its framing; None while it goes on."""
    place = 0
    while (end := rest.find(b"\r\n", place)) >= 0:
        size = int(rest[place:end], 16)
        place = end + 2 + size + 2
        if size == 0:
            return place if len(rest) >= place else None
    return None


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _read(received: bytes) -> RawAnswer:
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        return RawAnswer(0, {}, received)
    return RawAnswer(int(head[9:12]), _headers(head), body)
