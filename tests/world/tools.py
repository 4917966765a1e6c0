"""A tool that is nobody's demo: it keeps its own list of effects, misbehaves as told, and can say what it did."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Tool:
    """What it was asked, and how it answers."""

    origin: str = ""
    effects: Counter[str] = field(default_factory=Counter)
    """Each effect id, and how often it took place. This tool knows no idempotency."""
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What each effect gave."""
    fences: dict[str, int] = field(default_factory=dict)
    """The highest fence that each effect id was ever named with, by a status query too."""
    read: Counter[str] = field(default_factory=Counter)
    """Each effect id, and how often a request that names it has arrived."""
    is_silent: bool = False
    """Acts and then says nothing, until told otherwise."""
    holds_back_seconds: float = 0
    """Reads the request, waits, and only then looks at the fence and acts. Its clock is wrong: no deadline passes."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tool: Tool

    def do_POST(self) -> None:
        """Act, unless the fence says no."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        effect, fence = self.headers["Idempotency-Key"], int(self.headers["Lockgate-Fence"])
        self.tool.read[effect] += 1
        time.sleep(self.tool.holds_back_seconds)
        if fence < self.tool.fences.get(effect, 0):
            self._answer({"refused": True, "reason": "fence_stale"}, 409)
            return
        self.tool.fences[effect] = fence
        self.tool.effects[effect] += 1
        self.tool.results[effect] = {"note_id": body["arguments"]["note_id"]}
        while self.tool.is_silent:
            time.sleep(0.05)
        self._answer(self.tool.results[effect])

    def do_GET(self) -> None:
        """The status query: remembers the fence, as a fenced tool must."""
        effect = self.path.rsplit("/", 1)[1]
        self.tool.fences[effect] = max(self.tool.fences.get(effect, 0), int(self.headers["Lockgate-Fence"]))
        result = self.tool.results.get(effect)
        self._answer({"state": "applied", "result": result} if result else {"state": "not_applied"})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing to the terminal."""

    def _answer(self, document: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(document).encode()
        with suppress(OSError):  # Whoever asked stopped listening.
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # A crowd is let in: who is not has sent nothing, and its outcome is no doubt.


@contextmanager
def running() -> Iterator[Tool]:
    """The tool on a loopback port of its own, in this process."""
    tool = Tool()
    handler = type("Handler", (_Handler,), {"tool": tool})
    server = _Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    tool.origin = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield tool
    finally:
        tool.is_silent = False
        server.shutdown()
        server.server_close()


def declaration(name: str, origin: str, *, can_say: bool) -> bytes:
    """The YAML document of a tool at that origin; `can_say` whether it is fenced and has a status query."""
    lines = [
        f"name: {name}",
        "version: 1",
        "title: Leave a note with a tool of the tests.",
        "family: business",
        "effect: reversible",
        "resource_type: Note",
        "resource_argument: note_id",
        "arguments:",
        "  note_id: {kind: identifier, prefix: note}",
        "result:",
        "  note_id: {kind: identifier, prefix: note}",
        "reason_codes: [for_the_test]",
        'risk: "1"',
        "approver: operator",
        "visible_to:",
        "  internal: [agents, operator, security, auditor]",
        "deadline_ms: 700",
        f"is_idempotent: {str(can_say).lower()}",
        f"is_fenced: {str(can_say).lower()}",
        f"connector: {{kind: http, origin: '{origin}', method: POST, path: /notes}}",
    ]
    if can_say:
        lines.append("status_path: /notes/{effect_id}")
    return "\n".join(lines).encode()
