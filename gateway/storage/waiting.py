"""Parked calls added up by who asks and for which tool, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.ledger import FullRow
from gateway.storage import rows
from gateway.storage.connections import Cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The parked calls of one principal to one tool."""

    principal: str
    tool: str
    calls: int
    oldest_ms: int
    newest_ms: int
    expires_ms: int
    """When the first of them expires."""
    totals: Mapping[str, int]
    """Sums of the arguments that were asked for, over all calls of the group."""
    shown: tuple[FullRow, ...]
    """The oldest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many calls and groups wait, and the groups that wait longest."""

    calls: int
    groups: int
    first: tuple[Group, ...]


def waiting(
    cursor: Cursor,
    tenant: str,
    *,
    principal: str | None,
    amounts: Sequence[tuple[str, str]],
    groups_max: int,
    shown_max: int,
) -> Waiting:
    """What has not expired, of one principal or of all. `amounts`: (tool, argument) to be added up."""
    cursor.execute(_GROUPS, (shown_max, tenant, principal, principal, groups_max))
    groups = cursor.fetchall()
    tools, names = [tool for tool, _ in amounts], [name for _, name in amounts]
    cursor.execute(_TOTALS, (tenant, principal, principal, tools, names))
    totals: dict[tuple[str, str], dict[str, int]] = {}
    for asker, tool, name, total in cursor.fetchall():
        totals.setdefault((asker, tool), {})[name] = int(total)
    cursor.execute(_CALLS, ([call for group in groups for call in group[-1]],))
    calls = {call.row.call_id: call for call in map(rows.call, cursor.fetchall())}
    return Waiting(
        calls=groups[0][0] if groups else 0,
        groups=groups[0][1] if groups else 0,
        first=tuple(
            Group(
                principal=asker,
                tool=tool,
                calls=count,
                oldest_ms=oldest_ms,
                newest_ms=newest_ms,
                expires_ms=expires_ms,
                totals=totals.get((asker, tool), {}),
                shown=tuple(calls[call] for call in shown),
            )
            for _, _, asker, tool, count, oldest_ms, newest_ms, expires_ms, shown in groups
        ),
    )


_PARKED = """
  from lockgate.calls where tenant = %s and state = 'parked' and expires_at > clock_timestamp()
    and (%s::text is null or principal = %s)
"""
_GROUPS = f"""
with grouped as (
  select principal, tool, count(*) as calls, min(created_at) as oldest, max(created_at) as newest,
    min(expires_at) as expires, (array_agg(call_id order by created_at, call_id))[1:%s] as shown
  {_PARKED} group by principal, tool)
select (sum(calls) over ())::bigint, count(*) over (), principal, tool, calls,
  (extract(epoch from oldest) * 1000)::bigint, (extract(epoch from newest) * 1000)::bigint,
  (extract(epoch from expires) * 1000)::bigint, shown
from grouped order by oldest, principal, tool limit %s
"""  # noqa: S608 - fixed text
_TOTALS = f"""
with parked as (select principal, tool, convert_from(request, 'UTF8')::jsonb -> 'arguments' as arguments {_PARKED})
select principal, tool, name, sum((arguments ->> name)::numeric)
from parked join unnest(%s::text[], %s::text[]) as wanted(tool, name) using (tool)
where arguments ? name group by principal, tool, name
"""  # noqa: S608 - fixed text
_CALLS = f"select {rows.CALL_COLUMNS} from lockgate.calls where call_id = any(%s)"  # noqa: S608 - fixed columns
