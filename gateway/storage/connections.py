"""Connections to PostgreSQL, with every bound that a forgotten one would make a hang.

No connection ever waits without an end, resolves an unqualified name outside `pg_catalog` (a temporary table would
shadow it), or acknowledges a commit before it is flushed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from proofs import shapes

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

CONNECT_SECONDS = 5

_EVERYONE: Mapping[str, str] = {
    "search_path": "pg_catalog,pg_temp",
    "timezone": "UTC",
    # Durable before acknowledged, also where a role's own default says otherwise.
    "synchronous_commit": "on",
}

_READER: Mapping[str, str] = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
}

_WRITER: Mapping[str, str] = {
    # A fresh database has no statistics: left to itself, the planner scans tables that will grow.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # Both would read all calls of a tenant, through the index of its list, to find those with a given claim.
    "enable_bitmapscan": "off",
    "enable_material": "off",
    # Looking at a row and throwing it away is what costs; pages are in memory. Keeps the planner from joining a small
    # table whole, a plan that it would go on using as the table grows.
    "cpu_tuple_cost": "1",
    "random_page_cost": "0.1",
    "seq_page_cost": "0.1",
    "jit": "off",
    # A paused writer holds the heads of its tenants; the server takes them back after this long.
    "transaction_timeout": "1s",
    "statement_timeout": "1s",
    # Shorter: who waits for a head hears of it as an error, not as the end of the session.
    "lock_timeout": "900ms",
}


class DatabaseUnavailable(Exception):
    """No connection could be made. Nothing was read or written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """One database, three ways in. URLs of a server of your own may carry passwords, so they are not shown."""

    migrator: str = field(repr=False)
    app: str = field(repr=False)
    auditor: str = field(repr=False)


def connect(conninfo: str, *, writer: bool = False) -> Connection:
    """
    Connect in autocommit mode: a transaction begins where the code says so.

    `writer` is for the sequencer's one connection: plans that do not depend on statistics, statements prepared at
    once, and a transaction that cannot outlive a second.

    Raises `DatabaseUnavailable`, whose message carries no password.
    """
    settings = {**_EVERYONE, **(_WRITER if writer else _READER)}
    name = "lockgate-writer" if writer else "lockgate"
    return _open(conninfo, settings, name=name, prepare_threshold=0 if writer else 5)


def inspect(conninfo: str) -> Connection:
    """Connect for the start-up check: names and time are bounded, all other defaults of server and role show."""
    settings = {**_READER, "search_path": _EVERYONE["search_path"]}
    return _open(conninfo, settings, name="lockgate-startup", prepare_threshold=None)


@contextmanager
def transaction(connection: Connection, tenants: Sequence[str]) -> Iterator[Cursor]:
    """One transaction that sees and writes exactly the rows of `tenants`; without it a tenant table is an error."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("select set_config('app.tenants', %s, true)", (tenant_array(tenants),))
        yield cursor


def tenant_array(tenants: Sequence[str]) -> str:
    """`tenants` as the text of an array for the setting `app.tenants`; names need no quoting, others are refused."""
    for tenant in tenants:
        if not shapes.NAME.fullmatch(tenant):
            raise ValueError("tenant: expected a name such as `acme`, of lower case letters, digits, `_` and `-`")
    return "{" + ",".join(tenants) + "}"


def reason(error: psycopg.Error) -> str:
    """What went wrong, in the server's words, without values: detail lines may quote rows."""
    told = error.diag.message_primary or (str(error).splitlines() or [type(error).__name__])[0]
    return told.strip()


def _open(conninfo: str, settings: Mapping[str, str], *, name: str, prepare_threshold: int | None) -> Connection:
    try:
        parameters = conninfo_to_dict(conninfo)
    except psycopg.Error:
        # The parser's own message quotes the text, and with it the password; so would the chained error.
        raise DatabaseUnavailable("database: malformed URL: expected `postgresql://user@host/database`") from None
    told = " ".join(f"-c {setting}={value}" for setting, value in settings.items())
    parameters["options"] = f"{parameters.get('options') or ''} {told}".strip()
    parameters.setdefault("connect_timeout", str(CONNECT_SECONDS))
    parameters.setdefault("application_name", name)
    # Over a network, a peer that vanished is noticed as fast as one that refuses.
    parameters.setdefault("tcp_user_timeout", str(CONNECT_SECONDS * 1000))
    try:
        return psycopg.connect(make_conninfo("", **parameters), autocommit=True, prepare_threshold=prepare_threshold)
    except psycopg.Error as error:
        raise DatabaseUnavailable(f"database: {reason(error)}") from error
