"""One connection for the hot statements: prepared once, bound and read in binary, no adaptation in between.

The driver's cursors cost more than the statements they run here. Whoever needs a cursor (a governance act) takes it
from `connection`, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import pq

from gateway.storage import packed, statements
from gateway.storage.connections import Connection

Connect = Callable[[], Connection]
"""Opens a connection as the application role with the writer's settings. Raises `DatabaseUnavailable`."""

_FINE = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class ConnectionLost(psycopg.OperationalError):
    """The server is gone, or ended this session."""


class Link:
    """A connection in autocommit whose transactions are begun and ended by hand."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._libpq = connection.pgconn
        self._names: dict[bytes, bytes] = {}
        self._tenants: tuple[str, ...] = ()

    @property
    def is_lost(self) -> bool:
        return self._libpq.status != pq.ConnStatus.OK

    def command(self, text: bytes) -> bytes:
        """Run text without parameters and return the command tag."""
        return self._checked(self._libpq.exec_(text)).command_status or b""

    def run(self, text: bytes, *parameters: bytes) -> pq.abc.PGresult:
        """Run a statement, preparing it on first use. Parameters and result are in binary."""
        name = self._names.get(text)
        if name is None:
            name = b"lockgate_%d" % len(self._names)
            self._checked(self._libpq.prepare(name, text))
            self._names[text] = name
        return self._checked(self._libpq.exec_prepared(name, parameters, [1] * len(parameters), 1))

    def rows(self, text: bytes, *parameters: bytes) -> list[list[Any]]:
        """Run a statement and return its rows as undecoded values: bytes, or None where the column may be null."""
        result = self.run(text, *parameters)
        width = range(result.nfields)
        return [[result.get_value(row, column) for column in width] for row in range(result.ntuples)]

    def admit(self, tenants: Sequence[str]) -> None:
        """See and write the rows of exactly these tenants from now on. Called outside transactions."""
        if self._tenants != tuple(tenants):
            self.run(statements.TENANTS, packed.texts(tenants))
            self._tenants = tuple(tenants)

    def rollback(self) -> None:
        """Leave the transaction, if the server still knows us; a lost session has rolled back by itself."""
        if not self.is_lost and self._libpq.transaction_status != pq.TransactionStatus.IDLE:
            self.command(b"rollback")

    def close(self) -> None:
        self.connection.close()

    def _checked(self, result: pq.abc.PGresult) -> pq.abc.PGresult:
        if result.status in _FINE:
            return result
        error = psycopg.errors.error_from_result(result)
        if self.is_lost:
            raise ConnectionLost("the database ended the session") from error
        raise error
