"""A few read connections for everything that is not hot: look-ups by id, lists, export, start-up.

Blocking work runs in threads; a connection that broke is thrown away, and the asker hears `LedgerUnavailable`. So does
whoever would wait longer than the desk's patience: what the database does then goes on without its asker.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Sequence
from copy import copy
from typing import TypeVar

import psycopg

from gateway.ledger import LedgerUnavailable
from gateway.storage import connections
from gateway.storage.connections import Connection, Cursor, DatabaseUnavailable

CONNECTIONS_MAX = 4  # Lists and exports of a few auditors; calls do not come this way.
PATIENCE_SECONDS = 1.7  # Every refusal for want of a database arrives within two seconds.
LONG_SECONDS = 30.0  # For what has no bound of its own: exports, and what start-up reads.

Found = TypeVar("Found")


class Desk:
    """Runs one function in one transaction over the rows of some tenants."""

    def __init__(self, conninfo: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._conninfo = conninfo
        self._patience = patience_seconds
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)

    def patiently(self) -> Desk:
        """The same connections, asked by whoever would rather wait than fail: start-up, and changes of policy."""
        desk = copy(self)
        desk._patience = LONG_SECONDS
        return desk

    async def ask(
        self, tenants: Sequence[str], work: Callable[[Cursor], Found], *, patience_seconds: float | None = None
    ) -> Found:
        """What `work` returns. Raises `LedgerUnavailable` when the database cannot answer, or not in time."""
        try:
            async with asyncio.timeout(self._patience if patience_seconds is None else patience_seconds):
                await self._room.acquire()
                thread = asyncio.ensure_future(asyncio.to_thread(self.ask_now, tenants, work))
                # Its place is free when the connection is, not when the asker has left.
                thread.add_done_callback(self._leave)
                return await asyncio.shield(thread)
        except TimeoutError as error:
            raise LedgerUnavailable("the database does not answer in time", is_known=False) from error

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

    def _leave(self, thread: asyncio.Future[Found]) -> None:
        self._room.release()
        if not thread.cancelled():
            thread.exception()  # Retrieved, also where nobody waits for it any more.

    def _take(self) -> Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return connections.connect(self._conninfo)
