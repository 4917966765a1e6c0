"""A proxy before PostgreSQL's socket that cuts connections around COMMIT."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg.conninfo import conninfo_to_dict, make_conninfo

COMMIT = b"\x00lockgate_commit\x00"
"""The writer's COMMIT being bound, behind what it commits."""


class Proxy:
    """Forwards bytes; each time `cut_next` was called, the next COMMIT breaks its connection."""

    def __init__(self, url: str, directory: Path) -> None:
        parameters = conninfo_to_dict(url)
        self._target = str(Path(str(parameters["host"])) / f".s.PGSQL.{parameters.get('port', 5432)}")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / ".s.PGSQL.5432"))
        self._listener.listen()
        self._cuts: list[bool] = []
        self.is_refusing = False
        self.url = make_conninfo("", **{**parameters, "host": str(directory), "port": "5432"})
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_next(self, *, landed: bool) -> None:
        """Break the connection at the next COMMIT: after it took effect, or before it reached the server."""
        self._cuts.append(landed)

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
                if is_commit and self._cuts:
                    if self._cuts.pop(0):
                        # The client is gone first: whatever the server answers, nobody hears it.
                        client.shutdown(socket.SHUT_RDWR)
                        server.sendall(data)
                        continue
                    break
                server.sendall(data)
        _close(client, server)

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
