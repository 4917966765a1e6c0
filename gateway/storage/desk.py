"""A few read connections for everything that is not hot: look-ups by id, lists, export, start-up.

Blocking work runs in threads; a connection that broke is thrown away, and the asker hears `LedgerUnavailable`. So does
whoever would wait longer than the desk's patience: that connection is cut, so that no thread waits for ever (a commit
does, for a standby that never comes), and what the database made of it is not known.
"""

from __future__ import annotations

import asyncio
import os
import queue
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from typing import TypeVar

import psycopg

from gateway.ledger import PATIENCE_SECONDS, LedgerUnavailable
from gateway.storage import connections
from gateway.storage.connections import Connection, Cursor, DatabaseUnavailable

CONNECTIONS_MAX = 4  # Lists and exports of a few auditors; calls do not come this way.
OF_A_TENANT_MAX = 3  # One tenant's readers never have all of them.
LONG_SECONDS = 30.0  # For what has no bound of its own: exports, and what start-up reads.

_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError, psycopg.ProgrammingError)
"""The server is gone, may only be read, or is not the one that was found in order at the start."""

Found = TypeVar("Found")


class Desk:
    """Runs one function in one transaction over the rows of some tenants."""

    def __init__(self, conninfo: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._conninfo = conninfo
        self._patience = patience_seconds
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue()
        self._room = asyncio.Semaphore(CONNECTIONS_MAX)
        self._of_tenants: dict[tuple[str, ...], asyncio.Semaphore] = {}
        """As many as there are tenants that issuers may speak for, and the groups that this process asks about."""
        self._loans: set[_Loan] = set()

    def patiently(self) -> Desk:
        """The same connections, asked by whoever would rather wait than fail: start-up, and changes of policy."""
        desk = copy(self)
        desk._patience = LONG_SECONDS
        return desk

    async def ask(
        self, tenants: Sequence[str], work: Callable[[Cursor], Found], *, patience_seconds: float | None = None
    ) -> Found:
        """What `work` returns. Raises `LedgerUnavailable` when the database cannot answer, or not in time."""
        own = self._of_tenants.setdefault(tuple(tenants), asyncio.Semaphore(OF_A_TENANT_MAX))
        return await self._lend(_within(tenants, work), own, patience_seconds)

    async def lend(self, work: Callable[[Connection], Found], *, patience_seconds: float | None = None) -> Found:
        """As `ask`, for work that makes its own transactions."""
        return await self._lend(work, asyncio.Semaphore(), patience_seconds)

    async def _lend(
        self, work: Callable[[Connection], Found], own: asyncio.Semaphore, patience_seconds: float | None
    ) -> Found:
        loan = _Loan()
        try:
            async with asyncio.timeout(self._patience if patience_seconds is None else patience_seconds), own:
                await self._room.acquire()
                self._loans.add(loan)
                thread = asyncio.ensure_future(asyncio.to_thread(self._borrow, work, loan))
                # Its place is free when the connection is, not when the asker has left.
                thread.add_done_callback(lambda done: self._leave(done, loan))
                return await asyncio.shield(thread)
        except TimeoutError as error:
            loan.cut()
            raise LedgerUnavailable("the database does not answer in time", is_known=False) from error

    def _borrow(self, work: Callable[[Connection], Found], loan: _Loan) -> Found:
        try:
            connection = self._take()
            loan.of(connection)
            try:
                found = work(connection)
            except BaseException:
                loan.over()
                if connection.closed or connection.broken:
                    connection.close()
                    self._close_idle()  # Whatever broke it has broken them too, most likely: one asker hears of it.
                else:
                    self._idle.put(connection)
                raise
            loan.over()
            self._idle.put(connection)
            return found
        except (*_AWAY, DatabaseUnavailable) as error:
            raise LedgerUnavailable("the database cannot be read", is_known=True) from error

    def close(self) -> None:
        """Close every idle connection, and cut the others."""
        for loan in tuple(self._loans):
            loan.cut()
        self._close_idle()

    def _close_idle(self) -> None:
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def _leave(self, thread: asyncio.Future[Found], loan: _Loan) -> None:
        self._loans.discard(loan)
        self._room.release()
        if not thread.cancelled():
            thread.exception()  # Retrieved, also where nobody waits for it any more.

    def _take(self) -> Connection:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return connections.connect(self._conninfo)


class _Loan:
    """One connection in use, that another thread may cut."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._is_cut = False

    def of(self, connection: Connection) -> None:
        """Note what is lent. Raises where it was cut before."""
        self._connection = connection
        if self._is_cut:
            connection.close()
            raise DatabaseUnavailable("nobody waits for the answer any more")

    def over(self) -> None:
        """The connection is given back: it is somebody else's from now on."""
        self._connection = None

    def cut(self) -> None:
        """End the connection under whoever waits for its answer; libpq, which is not told, sees an end of file."""
        self._is_cut = True
        connection = self._connection
        if connection is not None:
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as peer:
                peer.shutdown(socket.SHUT_RDWR)


def _within(tenants: Sequence[str], work: Callable[[Cursor], Found]) -> Callable[[Connection], Found]:
    def within(connection: Connection) -> Found:
        with connections.transaction(connection, tenants) as cursor:
            return work(cursor)

    return within
