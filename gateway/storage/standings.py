"""Where agents stand, for people who ask: every level that was set or lowered, and what counts against an agent now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from gateway.storage.connections import Cursor
from policies.autonomy import AutonomyRule
from policies.levels import Change, Standing

AGENTS_MAX = 200  # A page of a list.

# Strikes are as many as there were refusals: each of these goes from agent to agent, or reads the newest, by the key.
_KNOWN = """
with recursive struck as (
  (select agent from lockgate.strikes where tenant = %(tenant)s and agent > %(after)s order by agent limit 1)
  union all
  select next.agent from struck cross join lateral (
    select s.agent from lockgate.strikes s where s.tenant = %(tenant)s and s.agent > struck.agent
    order by s.agent limit 1) next)
select agent from (
  select agent from lockgate.autonomy where tenant = %(tenant)s and agent > %(after)s
  union select agent from lockgate.lowerings where tenant = %(tenant)s and agent > %(after)s
  union (select agent from struck limit %(limit)s)) known
order by agent limit %(limit)s
"""
_STRIKES = """
select u.at, count(*), max(s.seq)
from unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[])
  with ordinality as u(rule, action, since, after_ms, times, at)
cross join lateral (
  select c.seq, c.at_ms from lockgate.strikes c
  where c.tenant = %s and c.agent = %s and c.rule = u.rule and c.action = u.action and c.seq > u.since
  order by c.seq desc limit u.times) s
where s.at_ms > u.after_ms
group by u.at order by u.at
"""


def known(cursor: Cursor, tenant: str, after: str) -> list[str]:
    """A page of the agents of which anything was ever recorded, in the order of their names."""
    values = {"tenant": tenant, "after": after, "limit": AGENTS_MAX}
    return [str(agent) for (agent,) in cursor.execute(_KNOWN, values).fetchall()]


def read(cursor: Cursor, tenant: str, agents: list[str]) -> Mapping[str, Standing]:
    """Where these agents stand, with the times at which they came there."""
    sets: dict[str, dict[str, Change]] = defaultdict(dict)
    cursor.execute(
        """select a.agent, a.action, a.level, a.seq, e.body from lockgate.autonomy a
        left join lockgate.entries e on e.tenant = a.tenant and e.seq = a.seq
        where a.tenant = %s and a.agent = any(%s)""",
        (tenant, agents),
    )
    for agent, action, level, seq, body in cursor.fetchall():
        at_ms = 0 if body is None else int(orjson.loads(body)["at_ms"])
        sets[agent][action] = Change(action=action, level=level, seq=seq, at_ms=at_ms)
    lowerings: dict[str, list[Change]] = defaultdict(list)
    cursor.execute(
        """select agent, action, level, seq, rule, at_ms from lockgate.lowerings
        where tenant = %s and agent = any(%s) order by seq""",
        (tenant, agents),
    )
    for agent, action, level, seq, rule, at_ms in cursor.fetchall():
        lowerings[agent].append(Change(action=action, level=level, seq=seq, rule=rule, at_ms=at_ms))
    return {agent: Standing(sets=sets[agent], lowerings=lowerings[agent]) for agent in agents}


def is_struck(cursor: Cursor, tenant: str, agent: str) -> bool:
    """Whether anything ever counted against an agent."""
    cursor.execute(
        "select exists (select from lockgate.strikes where tenant = %s and agent = %s)",
        (tenant, agent),
    )
    return cursor.fetchall()[0][0] is True


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What one rule counts together, and how far back."""

    rule: AutonomyRule
    action: str
    since: int
    """The entry after which strikes count."""
    after_ms: int


def strikes(cursor: Cursor, tenant: str, agent: str, counts: Sequence[Count]) -> list[tuple[Count, int, int]]:
    """How many strikes each has, at most its rule's `times`, and the newest's entry; without those that have none."""
    columns = [
        [each.rule.id for each in counts],
        [each.action for each in counts],
        [each.since for each in counts],
        [each.after_ms for each in counts],
        [each.rule.times for each in counts],
    ]
    cursor.execute(_STRIKES, [*columns, tenant, agent])
    return [(counts[at - 1], count, newest) for at, count, newest in cursor.fetchall()]
