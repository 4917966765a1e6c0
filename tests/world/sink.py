"""A counting sink: a tool on loopback that does nothing but remember every request that it received."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: Any


@dataclass(slots=True)
class Sink:
    """Where it listens, what it answers, and what it got."""

    origin: str
    answer: dict[str, Any] = field(default_factory=dict)
    pages: dict[str, dict[str, Any] | int] = field(default_factory=dict)
    """By path with query: another answer, or a status without one."""
    status: int = 200
    """Of every other answer."""
    received: list[Received] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Sink]:
    """A sink on a free port, until the block ends."""
    sink = Sink("")

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            sink.received.append(Received(self.path, headers, json.loads(raw or b"null")))
            page = sink.pages.get(self.path, sink.answer)
            content = b"{}" if isinstance(page, int) else json.dumps(page).encode()
            self.send_response(page if isinstance(page, int) else sink.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    sink.origin = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
