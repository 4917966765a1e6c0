"""One connection for the hot statements: prepared once, bound and read in binary, no adaptation in between.

The driver's cursors cost more than the statements they run here. Statements that need no answer in between go out
together and cost one round trip. Every wait leaves the interpreter to others and has an end, also when the server is
paused. Whoever needs a cursor (a governance act) takes it from `connection`, in the same transaction.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import pq

from gateway.storage import packed, statements
from gateway.storage.connections import Connection

Connect = Callable[[], Connection]
"""Opens a connection as the application role with the writer's settings. Raises `DatabaseUnavailable`."""

Statement = tuple[bytes, Sequence[bytes]]
"""Text and its parameters in binary."""

_Done = TypeVar("_Done")

_SILENCE_MS = 3_000
"""The server ends every transaction of ours within a second; one that says nothing for so long is not running."""

_FINE = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.PIPELINE_SYNC)


class ConnectionLost(psycopg.OperationalError):
    """The server is gone, or ended this session."""


class Link:
    """A connection in autocommit whose transactions are begun and ended by hand."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._libpq = connection.pgconn
        self._readable = select.poll()
        self._readable.register(self._libpq.socket, select.POLLIN)
        self._either = select.poll()
        self._either.register(self._libpq.socket, select.POLLIN | select.POLLOUT)
        self._names: dict[bytes, bytes] = {}
        self._tenants: tuple[str, ...] = ()

    @property
    def is_lost(self) -> bool:
        return self._libpq.status != pq.ConnStatus.OK

    def command(self, text: bytes) -> None:
        """Run text without parameters."""
        self._libpq.send_query(text)
        self._checked(self._results(1))

    def run(self, *together: Statement, admitting: Sequence[str] = ()) -> list[pq.abc.PGresult]:
        """
        Run statements in one round trip, preparing each on first use; each sees what those before it did.

        With `admitting`, see and write the rows of exactly these tenants from here on; not inside a transaction. The
        first statement that fails is raised; those after it did not run.
        """
        if admitting and tuple(admitting) != self._tenants:
            results = self._run((statements.TENANTS, [packed.texts(admitting)]), *together)[1:]
            self._tenants = tuple(admitting)
            return results
        return self._run(*together)

    def _run(self, *together: Statement) -> list[pq.abc.PGresult]:
        named = [(self._prepared(text), parameters) for text, parameters in together]
        self._libpq.enter_pipeline_mode()
        for name, parameters in named:
            self._libpq.send_query_prepared(name, parameters, [1] * len(parameters), 1)
        self._libpq.pipeline_sync()
        results = self._results(len(named) + 1)
        self._libpq.exit_pipeline_mode()
        return self._checked(results)[:-1]

    def rollback(self) -> None:
        """Leave the transaction, if the server still knows us; a lost session has rolled back by itself."""
        self._tenants = ()  # Who is admitted in one round trip with BEGIN is so until that transaction is undone.
        if not self.is_lost and self._libpq.transaction_status != pq.TransactionStatus.IDLE:
            self.command(b"rollback")

    def close(self) -> None:
        self.connection.close()

    def _prepared(self, text: bytes) -> bytes:
        name = self._names.get(text)
        if name is None:
            name = b"lockgate_commit" if text == statements.COMMIT else b"lockgate_%d" % len(self._names)
            self._libpq.send_prepare(name, text)
            self._checked(self._results(1))
            self._names[text] = name
        return name

    def _results(self, count: int) -> list[pq.abc.PGresult]:
        results: list[pq.abc.PGresult] = []
        while self._alive(self._libpq.flush):
            # A large batch does not fit the socket; the server may have to be heard before it reads on.
            self._wait(self._either)
        while len(results) < count:
            result = self._next()
            if result is not None:  # None ends the results of one statement.
                results.append(result)
        if self._libpq.pipeline_status == pq.PipelineStatus.OFF:
            while self._next() is not None:
                pass
        return results

    def _next(self) -> pq.abc.PGresult | None:
        while self._libpq.is_busy():
            self._wait(self._readable)
        result = self._libpq.get_result()
        if self.is_lost:
            raise ConnectionLost("the database ended the session")
        return result

    def _wait(self, poll: select.poll) -> None:
        events = poll.poll(_SILENCE_MS)
        if not events:
            self.close()
            raise ConnectionLost("the database says nothing")
        if events[0][1] != select.POLLOUT:
            self._alive(self._libpq.consume_input)

    def _alive(self, act: Callable[[], _Done]) -> _Done:
        try:
            return act()
        except psycopg.OperationalError as error:
            self.close()
            raise ConnectionLost("the database ended the session") from error

    def _checked(self, results: list[pq.abc.PGresult]) -> list[pq.abc.PGresult]:
        for result in results:
            if result.status not in _FINE:
                self._tenants = ()  # As in `rollback`.
                raise psycopg.errors.error_from_result(result)
        return results


def rows(result: pq.abc.PGresult) -> list[list[Any]]:
    """The rows of a result as undecoded values: bytes, or None where the column may be null."""
    width = range(result.nfields)
    return [[result.get_value(row, column) for column in width] for row in range(result.ntuples)]
