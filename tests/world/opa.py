"""OPA servers for tests: the real one in a process, and what stands before it and misbehaves as told."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.opa import __main__ as installation

TOKEN = "opa-token-of-these-tests"
START_SECONDS = 30


def program() -> str:
    """The installed OPA. Without one: a named skip, and a failure in continuous integration."""
    found = installation.program()
    if found is None:
        if os.environ.get("CI") or os.environ.get("LOCKGATE_REQUIRE_OPA"):
            pytest.fail("no OPA server here: run `make opa`")
        pytest.skip("no OPA server here: `make opa` installs it")
    return found


@dataclass(slots=True)
class Server:
    """An OPA server on a port of its own, which it keeps over restarts."""

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *more: str, token: str = TOKEN) -> None:
        """Start it, empty, and wait until it answers; `more` goes to its command line."""
        access = installation.write_access(self.home, token)
        command = [*installation.command(program(), f"127.0.0.1:{self.port}", access), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, "the OPA server ended"
            assert time.monotonic() < until, "the OPA server did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: everything that it was given is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def status(self, method: str, path: str, headers: Mapping[str, str]) -> int:
        """How it answers somebody who is no gateway."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request(method, path, body=b"{}", headers=dict(headers))
        return connection.getresponse().status

    def _answers(self) -> bool:
        try:
            return self.status("GET", "/health", {}) == 200
        except (OSError, HTTPException):
            return False


@contextmanager
def running(*more: str) -> Iterator[Server]:
    """A server that ends with the block."""
    program()
    with tempfile.TemporaryDirectory(prefix="lockgate-opa-") as home:
        server = Server(Path(home), _free_port())
        server.start(*more)
        try:
            yield server
        finally:
            server.kill()


@dataclass(frozen=True, slots=True)
class Said:
    """An answer in the place of OPA's."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Misbehaviour = Callable[[Said], Said | None]
"""What is said in the place of the server's answer, which is given; None: nothing, the connection is cut."""
DOWN = Said(b"", 502)
"""What stands before a server that does not answer."""


@dataclass(slots=True)
class Between:
    """Stands before a server. Passes everything on until told otherwise."""

    server: Server
    origin: str = ""
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often it was asked by each method about each path."""
    _misbehaviours: dict[str, Misbehaviour] = field(default_factory=dict)

    @contextmanager
    def misbehaving(self, how: Misbehaviour, method: str = "POST") -> Iterator[None]:
        """Answer like this meanwhile: questions, or what the method says."""
        self._misbehaviours[method] = how
        try:
            yield
        finally:
            del self._misbehaviours[method]

    def given(self) -> int:
        """How often it was given a module."""
        return sum(
            count for (method, path), count in self.seen.items() if (method, path[:13]) == ("PUT", "/v1/policies/")
        )

    def answer(self, method: str, path: str, said: Said | None) -> Said | None:
        """What is really said."""
        self.seen[method, path] += 1
        how = self._misbehaviours.get(method)
        return said if how is None else how(said or DOWN)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    between: Between

    def do_GET(self) -> None:
        self._pass()

    def do_PUT(self) -> None:
        self._pass()

    def do_DELETE(self) -> None:
        self._pass()

    def do_POST(self) -> None:
        self._pass()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing to the terminal."""

    def _pass(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            said: Said | None = self._forwarded(sent)
        except (OSError, HTTPException):
            said = None
        said = self.between.answer(self.command, self.path, said)
        if said is None:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # A reset, no end.
            self.connection.close()
            return
        with suppress(OSError):  # Whoever asked stopped listening.
            self.send_response(said.status)
            for name, value in {"Content-Length": str(len(said.body)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)

    def _forwarded(self, sent: bytes) -> Said:
        connection = HTTPConnection("127.0.0.1", self.between.server.port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Content-Length")}
        connection.request(self.command, self.path, body=sent, headers=headers)
        answer = connection.getresponse()
        said = Said(answer.read(), answer.status, {"Content-Type": answer.headers.get("Content-Type", "text/plain")})
        connection.close()
        return said


@contextmanager
def between(server: Server) -> Iterator[Between]:
    """Something before a server that can lie in its name."""
    stands = Between(server)
    bound = type("Bound", (Handler,), {"between": stands})
    listener = _Listener(("127.0.0.1", 0), bound)
    stands.origin = f"http://127.0.0.1:{listener.server_address[1]}"
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield stands
    finally:
        listener.shutdown()
        listener.server_close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # As many as ask at once: none waits for its connection.


def says(document: object, status: int = 200) -> Misbehaviour:
    """A document in the place of every answer."""
    return lambda _: Said(json.dumps(document).encode(), status)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
