"""A few read connections for everything that is not hot: look-ups by id, lists, export, start-up.

Blocking work runs in threads; a connection that broke is thrown away, and the asker hears `LedgerUnavailable`.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg

from gateway.ledger import LedgerUnavailable
from gateway.storage import connections
from gateway.storage.connections import Connection, Cursor, DatabaseUnavailable

CONNECTIONS_MAX = 4  # Lists and exports of a few auditors; calls do not come this way.

Found = TypeVar("Found")


class Desk:
    """Runs one function in one transaction over the rows of some tenants."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)

    async def ask(self, tenants: Sequence[str], work: Callable[[Cursor], Found]) -> Found:
        """What `work` returns. Raises `LedgerUnavailable` when the database cannot answer."""
        async with self._room:
            return await asyncio.to_thread(self.ask_now, tenants, work)

    def ask_now(self, tenants: Sequence[str], work: Callable[[Cursor], Found]) -> Found:
        """The same, blocking: for start-up and for threads."""

        def within(connection: Connection) -> Found:
            with connections.transaction(connection, tenants) as cursor:
                return work(cursor)

        return self.borrow(within)

    def borrow(self, work: Callable[[Connection], Found]) -> Found:
        """Lend a connection to `work`, which makes its own transactions. Blocking."""
        try:
            connection = self._take()
            try:
                found = work(connection)
            except BaseException:
                if connection.closed or connection.broken:
                    connection.close()
                else:
                    self._idle.put(connection)
                raise
            self._idle.put(connection)
            return found
        except (psycopg.OperationalError, DatabaseUnavailable) as error:
            raise LedgerUnavailable("the database cannot be read", is_known=True) from error

    def close(self) -> None:
        """Close every idle connection."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def _take(self) -> Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return connections.connect(self._conninfo)
