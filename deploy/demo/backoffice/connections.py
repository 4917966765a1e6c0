"""Connections to the back office's database: a bounded pool, and transactions whose commit may have to be read back.

One process at a time owns a database. Without that, a predecessor's transaction could still commit while its successor
completes the journal, and that effect would be missing from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

T = TypeVar("T")
Row = dict[str, Any]
Cursor = psycopg.AsyncCursor[Row]

APPLICATION = "lockgate-backoffice"
OWNER_LOCK = 0x10C6_6A7E  # Any fixed number: advisory locks are counted per database.
OWNER_WAIT_SECONDS = 5.0  # A dead predecessor's connection is noticed by the server well within this.

READS_MAX = 3  # A dead connection takes the other idle ones with it, so the second try has a fresh one.

# A row locked by a hung transaction must not hold its neighbours for ever; one business operation takes milliseconds.
SESSION_OPTIONS = (
    "-c search_path=business -c timezone=UTC -c client_min_messages=warning -c lock_timeout=3000"
    " -c statement_timeout=10000 -c idle_in_transaction_session_timeout=10000"
)


class CommitUnknown(Exception):
    """The answer to COMMIT was lost: the transaction may be durable, or gone."""


class DatabaseOwned(Exception):
    """Another back office runs on this database."""


class Pool:
    """At most `size` connections, opened on demand, each used by one transaction at a time."""

    def __init__(self, url: str, *, size: int = 12) -> None:
        self._url = url
        self._room = asyncio.Semaphore(size)
        self._idle: list[psycopg.AsyncConnection[Row]] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Cursor]:
        """
        A cursor in a transaction that commits when the block ends and rolls back when it raises.

        Raises `CommitUnknown` when the commit was sent and its answer lost. Every other `psycopg.Error` means
        that nothing was committed.
        """
        async with self._room:
            connection = self._idle.pop() if self._idle else await _connect(self._url)
            try:
                async with connection.cursor() as cursor:
                    yield cursor
                await _commit(connection)
            except BaseException:
                await self._abandon(connection)
                raise
            self._idle.append(connection)

    async def close(self) -> None:
        """Close what is idle. Transactions under way close their own connection when they end."""
        while self._idle:
            await self._idle.pop().close()

    async def _abandon(self, connection: psycopg.AsyncConnection[Row]) -> None:
        """Roll back and keep the connection, or drop it when it is in no state to be used again."""
        if connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            with suppress(psycopg.Error):
                await connection.rollback()
        if connection.info.transaction_status == TransactionStatus.IDLE:
            self._idle.append(connection)
            return
        if connection.broken:  # The server went away, so the idle ones are dead as well.
            await self.close()
        await connection.close()


async def read_again(read: Callable[[], Awaitable[T]]) -> T:
    """Run something that changes nothing, again when its connection turns out to have died while it was idle."""
    for _ in range(READS_MAX - 1):
        with suppress(psycopg.OperationalError):
            return await read()
    return await read()


async def own(url: str) -> psycopg.AsyncConnection[Row]:
    """
    Become the only back office on this database, for as long as the returned connection lives.

    When this returns, no transaction of a predecessor can commit any more.

    Raises `DatabaseOwned` when a living process holds it.
    """
    connection = await _connect(url)
    await connection.set_autocommit(True)
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + OWNER_WAIT_SECONDS
    while not await _is_true(connection, "select pg_try_advisory_lock(%s) as answer", OWNER_LOCK):
        if loop.time() > give_up_at:
            await connection.close()
            raise DatabaseOwned("another back office runs on this database")
        await asyncio.sleep(0.05)

    # The lock was free, so whatever else carries our name is left over from a process that died.
    others = (
        "from pg_stat_activity where application_name = %s and datname = current_database() and pid <> pg_backend_pid()"
    )
    await connection.execute(f"select pg_terminate_backend(pid) {others}", (APPLICATION,))
    while await _is_true(connection, f"select count(*) > 0 as answer {others}", APPLICATION):  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.01)
    return connection


async def _connect(url: str) -> psycopg.AsyncConnection[Row]:
    return await psycopg.AsyncConnection.connect(
        url, row_factory=dict_row, application_name=APPLICATION, options=SESSION_OPTIONS, connect_timeout=5
    )


async def _commit(connection: psycopg.AsyncConnection[Row]) -> None:
    try:
        await connection.commit()
    except psycopg.OperationalError as error:
        raise CommitUnknown("the answer to commit was lost") from error


async def _is_true(connection: psycopg.AsyncConnection[Row], statement: str, *values: object) -> bool:
    row = await (await connection.execute(statement.encode(), values)).fetchone()
    return bool(row and row["answer"])
