"""What the strikes of a batch lower: counted behind the lock of the heads, after every act, and written with them.

A strike counts as long as its rule could still lower the agent; it lowers with the one that makes the rule's number
within its window. So a level is lowered once by the same events, whatever process they came through, and a person who
sets it begins the count anew. Only the order of the entries decides what came before what.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from gateway.ledger import Lowered
from gateway.storage import packed, statements
from gateway.storage.batch import Batch
from gateway.storage.link import Link, rows
from policies.levels import Change, Standing

Agent = tuple[str, str]
"""Tenant and agent."""
Count = tuple[str, str, str, str]
"""Tenant, agent, rule, action."""


def read(link: Link, batch: Batch) -> tuple[Mapping[Agent, Standing], Mapping[Count, list[int]]]:
    """
    Where the agents stand that the batch struck, and what counted against them within the rules' windows before it.

    In the batch's transaction: what its own governance acts set is seen.
    """
    agents = sorted({(tenant, strike.agent) for tenant, strike, _ in batch.struck})
    counts: dict[Count, tuple[int, int]] = {
        (tenant, strike.agent, strike.rule, strike.action): (batch.snapshot.now_ms - strike.window_ms, strike.times)
        for tenant, strike, _ in batch.struck
    }
    whose = [packed.texts([tenant for tenant, _ in agents]), packed.texts([agent for _, agent in agents])]
    places = list(counts)
    were_set, lowered, counted = link.run(
        (statements.READ_LEVELS_SET, whose),
        (statements.READ_LOWERINGS, whose),
        (
            statements.READ_STRIKES,
            [
                *(packed.texts(column) for column in zip(*places, strict=True)),
                *(packed.longs(column) for column in zip(*counts.values(), strict=True)),
            ],
        ),
    )
    sets: dict[Agent, dict[str, Change]] = defaultdict(dict)
    for tenant, agent, action, level, seq in rows(were_set):
        change = Change(action=action.decode(), level=packed.integer(level), seq=packed.long(seq))
        sets[tenant.decode(), agent.decode()][change.action] = change
    lowerings: dict[Agent, list[Change]] = defaultdict(list)
    for tenant, agent, action, level, seq in rows(lowered):
        change = Change(action=action.decode(), level=packed.integer(level), seq=packed.long(seq))
        lowerings[tenant.decode(), agent.decode()].append(change)
    before: dict[Count, list[int]] = {place: [] for place in places}
    for place, seq in rows(counted):
        before[places[packed.long(place) - 1]].append(packed.long(seq))
    return {each: Standing(sets=sets[each], lowerings=lowerings[each]) for each in agents}, before


def lower(batch: Batch, standings: Mapping[Agent, Standing], before: Mapping[Count, list[int]]) -> None:
    """Count each strike, and add the entries of what is lowered by it to the batch."""
    now = {agent: (standing.sets, list(standing.lowerings)) for agent, standing in standings.items()}
    for tenant, strike, seq in tuple(batch.struck):
        sets, lowerings = now[tenant, strike.agent]
        standing = Standing(sets=sets, lowerings=lowerings)
        former, since = standing.current(strike.action).level, standing.since(strike.action)
        if former <= strike.to:
            continue
        events: tuple[int, ...] = ()
        if strike.times == 0:
            if strike.since != since:
                continue
        else:
            if seq <= since:
                continue  # This batch sets the level after it.
            counted = before[tenant, strike.agent, strike.rule, strike.action]
            counted.append(seq)
            batch.strikes.append((tenant, strike, seq))
            events = tuple(sorted(each for each in counted if each > since))[-strike.times :]
            if len(events) < strike.times:
                continue
        entered = batch.enter(strike.entry(Lowered(former=former, level=strike.to, events=events)))
        batch.lowerings.append((tenant, strike, entered))
        lowerings.append(Change(action=strike.action, level=strike.to, seq=entered, rule=strike.rule))
