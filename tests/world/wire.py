"""Raw bytes to a gateway: what no well-behaved HTTP library would send."""

from __future__ import annotations

import json
import socket
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
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), int(parts.port or 80)), TIMEOUT_SECONDS) as connection:
        received = b""
        try:
            connection.sendall(request)
            if more:
                connection.sendall(more)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It answered before it had read everything; the answer is what we want.
        try:
            while not _is_whole(received) and (chunk := connection.recv(65536)):
                received += chunk
        except ConnectionResetError:
            pass
    return _read(received)


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


def _is_whole(received: bytes) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    length = _headers(head).get("content-length")
    return length is not None and len(body) >= int(length)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _read(received: bytes) -> RawAnswer:
    head, _, body = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        return RawAnswer(0, {}, received)
    return RawAnswer(int(head[9:12]), _headers(head), body)
