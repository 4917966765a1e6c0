"""What a sweeper finds: open intents whose lease is over, outcomes in doubt, parked calls and answers past their time.

Each function is one transaction of its own, by the database's clock. Rows that another sweeper has in hand are skipped,
so any number of them may run.

A call's lease lasts until nothing that was sent for it can act any more: the tool's deadline, and grace. While the call
is executing it is also how long the call belongs to its worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.ledger import FullRow
from gateway.storage import rows
from gateway.storage.connections import Connection, Cursor, transaction
from gateway.storage.desk import Desk
from tool_registry.declarations import DEADLINE_MS_MAX

_TAKE_OVER = f"""
update lockgate.calls set fence = fence + 1, lease_until = clock_timestamp() + %(lease_ms)s * interval '1 millisecond'
where claim in (
  select claim from lockgate.calls where state = 'executing' and lease_until < clock_timestamp()
  order by lease_until limit %(limit)s for update skip locked)
returning {rows.CALL_COLUMNS}
"""  # noqa: S608 - fixed columns

_HOLD = f"""
update lockgate.calls set fence = fence + 1, lease_until = clock_timestamp() + %(lease_ms)s * interval '1 millisecond'
where claim = %(claim)s and fence = %(fence)s
and (state = 'executing' or state = 'in_doubt' and lease_until <= clock_timestamp())
returning {rows.CALL_COLUMNS}
"""  # noqa: S608 - fixed columns

# The release before this one forgot the lease when it left a call in doubt: what it sent last is not known.
_LEASE_DOUBTS = """
update lockgate.calls set lease_until = clock_timestamp() + %(lease_ms)s * interval '1 millisecond'
where state = 'in_doubt' and lease_until is null
"""

_FORGET = """
update lockgate.calls set answer = null where claim in (
  select claim from lockgate.calls
  where answer is not null and keep_until <= clock_timestamp()
  and state in ('executed', 'failed', 'rejected', 'cancelled', 'expired')
  order by keep_until limit %(limit)s for update skip locked)
"""

_NOW = "select floor(extract(epoch from clock_timestamp()) * 1000)::bigint"

# Every tenant's first, then every tenant's second: nobody's doubts, however many, put off those of others. A tenant's
# come oldest first, from behind the one that it was asked about last; of tenants alike the one asked longest ago first.
_IN_DOUBT = f"""
with asked as (
  select c.tenant, c.created_at, c.claim, u.at
  from unnest(%(after)s::bytea[]) with ordinality as u(claim, at) join lockgate.calls c on c.claim = u.claim),
turns as (
  select d.claim as turn_of, asked.at, row_number() over (
    partition by d.tenant
    order by (d.created_at, d.claim) <= (asked.created_at, asked.claim), d.created_at, d.claim) as turn
  from lockgate.calls d left join asked on asked.tenant = d.tenant
  where d.state = 'in_doubt' order by turn, asked.at nulls first limit %(limit)s)
select {rows.CALL_COLUMNS} from turns join lockgate.calls on claim = turn_of
order by turn, at nulls first, created_at, claim
"""  # noqa: S608 - fixed columns

_OVERDUE = f"""
select {rows.CALL_COLUMNS} from lockgate.calls where state = 'parked' and expires_at <= clock_timestamp()
order by expires_at limit %(limit)s
"""  # noqa: S608 - fixed columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """What one round of a sweeper has to see to."""

    taken: tuple[FullRow, ...]
    """Open intents that are the sweeper's own now."""
    doubtful: tuple[FullRow, ...]
    overdue: tuple[FullRow, ...]
    now_ms: int
    """The database's clock, before anything was looked at."""


class Rota:
    """How far the rounds of one sweeper have come through the doubts of each tenant."""

    def __init__(self) -> None:
        self._asked: dict[str, bytes] = {}

    def after(self) -> tuple[bytes, ...]:
        """The claim in doubt that each tenant was asked about last, of the tenant asked longest ago first."""
        return tuple(self._asked.values())

    def note(self, asked: Sequence[FullRow]) -> None:
        """These were asked about, in this order."""
        for row in asked:
            self._asked.pop(row.row.tenant, None)
            self._asked[row.row.tenant] = row.row.claim


class Sweeping:
    """Finds what is unsettled, over a desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def find(
        self, tenants: Sequence[str], *, lease_ms: int, limit: int, after: Sequence[bytes] = ()
    ) -> Unsettled:
        """
        At most `limit` of each kind; of those in doubt the ones whose turn it is (`Rota.after`).

        Raises `LedgerUnavailable`. What was taken over before that comes back when its new lease is over.
        """

        def work(connection: Connection) -> Unsettled:
            with transaction(connection, tenants) as cursor:
                (now_ms,) = cursor.execute(_NOW).fetchall()[0]
                cursor.execute(_LEASE_DOUBTS, {"lease_ms": DEADLINE_MS_MAX + lease_ms})
            return Unsettled(
                now_ms=now_ms,
                taken=take_over(connection, tenants, lease_ms=lease_ms, limit=limit),
                doubtful=in_doubt(connection, tenants, limit=limit, after=after),
                overdue=overdue(connection, tenants, limit=limit),
            )

        return await self._desk.lend(work)

    async def is_stopped(self, tenants: Sequence[str], switches: Sequence[tuple[str, str, str]]) -> bool:
        """Whether one of the switches of these tenants is engaged. Raises `LedgerUnavailable`."""
        return await self._desk.ask(tenants, lambda cursor: is_engaged(cursor, switches))

    async def hold(self, row: FullRow, *, lease_ms: int) -> FullRow | None:
        """
        The call under the next fence and another lease, when nothing that another sent can act: now only one's own can.

        None where something still can, or the call has moved on. Whoever held it before settles it no more. Raises
        `LedgerUnavailable`.
        """
        values = {"claim": row.row.claim, "fence": row.fence, "lease_ms": lease_ms}
        held = await self._desk.ask([row.row.tenant], lambda cursor: cursor.execute(_HOLD, values).fetchall())
        return rows.call(held[0]) if held else None

    async def forget(self, tenants: Sequence[str], *, limit: int) -> int:
        """
        Drop the answers of at most so many closed calls whose time has passed, and say how many there were.

        The row stays: its key still belongs to its call, which the log remembers.
        """
        return await self._desk.ask(tenants, lambda cursor: cursor.execute(_FORGET, {"limit": limit}).rowcount)


def take_over(connection: Connection, tenants: Sequence[str], *, lease_ms: int, limit: int) -> tuple[FullRow, ...]:
    """
    Make open intents whose lease is over one's own, under the next fence and a new lease.

    On return the old worker can no longer settle them: its outcome would be recorded as late.
    """
    return _rows(connection, tenants, _TAKE_OVER, {"lease_ms": lease_ms, "limit": limit})


def in_doubt(
    connection: Connection, tenants: Sequence[str], *, limit: int, after: Sequence[bytes] = ()
) -> tuple[FullRow, ...]:
    """
    Calls whose outcome is unknown, in turns: one of each tenant, oldest first, then another of each.

    `after` is what `Rota` says: who was asked before goes on from there. They are not taken: the first reconciliation
    to commit wins.
    """
    return _rows(connection, tenants, _IN_DOUBT, {"limit": limit, "after": list(after)})


def overdue(connection: Connection, tenants: Sequence[str], *, limit: int) -> tuple[FullRow, ...]:
    """Parked calls that have expired. They are closed by `Close`, which finds out whether they are still parked."""
    return _rows(connection, tenants, _OVERDUE, {"limit": limit})


def is_engaged(cursor: Cursor, switches: Sequence[tuple[str, str, str]]) -> bool:
    """Whether one of the switches, each (tenant, scope, target), stands against a dispatch now."""
    columns = [list(column) for column in zip(*switches, strict=True)] or [[], [], []]
    cursor.execute(
        """select exists (
        select from unnest(%s::text[], %s::text[], %s::text[]) as s(tenant, scope, target)
        join lockgate.kills k on k.tenant = s.tenant and k.scope = s.scope and k.target = s.target and k.engaged)""",
        columns,
    )
    return cursor.fetchall()[0][0] is True


def _rows(
    connection: Connection, tenants: Sequence[str], statement: str, parameters: Mapping[str, Any]
) -> tuple[FullRow, ...]:
    with transaction(connection, tenants) as cursor:
        return tuple(rows.call(values) for values in cursor.execute(statement, parameters))
