"""Where agents stand, for people who ask: every level that was set or lowered, and what counts against an agent now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import orjson

from gateway.storage.connections import Cursor
from policies.levels import Change, Standing

AGENTS_MAX = 200  # A page of a list.

_KNOWN = """
select agent from (
  select agent from lockgate.autonomy where tenant = %(tenant)s and agent > %(after)s
  union select agent from lockgate.lowerings where tenant = %(tenant)s and agent > %(after)s
  union select agent from lockgate.strikes where tenant = %(tenant)s and agent > %(after)s) known
order by agent limit %(limit)s
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


def strikes(cursor: Cursor, tenant: str, agent: str) -> list[tuple[str, str, int, int]]:
    """(rule, action, entry, time) of everything that ever counted against an agent, oldest first."""
    cursor.execute(
        "select rule, action, seq, at_ms from lockgate.strikes where tenant = %s and agent = %s order by seq",
        (tenant, agent),
    )
    return [(rule, action, seq, at_ms) for rule, action, seq, at_ms in cursor.fetchall()]
