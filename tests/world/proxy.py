"""A proxy before PostgreSQL's socket that cuts connections around COMMIT, or keeps one back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg.conninfo import conninfo_to_dict, make_conninfo

COMMIT = b"\x00lockgate_commit\x00"
"""The writer's COMMIT being bound, behind what it commits."""


@dataclass(slots=True)
class _Cut:
    landed: bool
    passing: int
    then: Callable[[], object]
    is_late: bool = False
    """Nothing is cut: the COMMIT goes on after `then`."""


class Proxy:
    """Forwards bytes; each time `cut_next` was called, one of the next COMMITs breaks its connection."""

    def __init__(self, url: str, directory: Path) -> None:
        parameters = conninfo_to_dict(url)
        self._target = str(Path(str(parameters["host"])) / f".s.PGSQL.{parameters.get('port', 5432)}")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / ".s.PGSQL.5432"))
        self._listener.listen()
        self._cuts: list[_Cut] = []
        self.is_refusing = False
        self.url = make_conninfo("", **{**parameters, "host": str(directory), "port": "5432"})
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_next(self, *, landed: bool, passing: int = 0, then: Callable[[], None] = lambda: None) -> None:
        """
        Break the connection at the next COMMIT, or after some more have passed: so that it takes effect, or before it
        reaches the server. `then` runs when it was sent and nobody has heard an answer.
        """
        self._cuts.append(_Cut(landed, passing, then))

    def hold_next(self, until: Callable[[], object]) -> None:
        """Keep the next COMMIT back until this returns; the connection stands."""
        self._cuts.append(_Cut(landed=False, passing=0, then=until, is_late=True))

    @property
    def is_armed(self) -> bool:
        """Whether a cut that was asked for has not happened yet."""
        return bool(self._cuts)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.is_refusing:
                    client.close()
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
                threading.Thread(target=self._back, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        end = b""
        with suppress(OSError):
            while data := client.recv(65536):
                is_commit = COMMIT in end + data  # libpq sends by the page, wherever a name happens to end.
                end = b"" if is_commit else data[-len(COMMIT) :]
                cut = self._due() if is_commit else None
                if cut is not None and cut.is_late:
                    cut.then()
                    server.sendall(data)
                    continue
                if cut is not None and cut.landed:
                    # The client is gone first: whatever the server answers, nobody hears it.
                    client.shutdown(socket.SHUT_RDWR)
                    server.sendall(data)
                    cut.then()
                    continue
                if cut is not None:
                    cut.then()
                    break
                server.sendall(data)
        _close(client, server)

    def _due(self) -> _Cut | None:
        """The cut that is to happen at this COMMIT."""
        if not self._cuts:
            return None
        if self._cuts[0].passing:
            self._cuts[0].passing -= 1
            return None
        return self._cuts.pop(0)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                with suppress(OSError):
                    client.sendall(data)
        _close(client, server)


@contextmanager
def before(url: str) -> Iterator[Proxy]:
    """A proxy to this database; its own `url` leads through it."""
    with TemporaryDirectory(prefix="lg-proxy-", dir="/tmp") as directory:
        proxy = Proxy(url, Path(directory))
        yield proxy
        proxy.close()


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
