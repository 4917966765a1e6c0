"""What counts against an agent and what that lowers: a small model and PostgreSQL agree on every order of events."""

from __future__ import annotations

import asyncio
from itertools import count

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace

from gateway.ledger import Act, Append, Approve, Draft, Intended, Look, Lower, Lowered, Moved, Placed, Strike
from gateway.storage import lowering
from gateway.storage.batch import Batch
from gateway.storage.connections import Urls, connect, transaction
from gateway.storage.snapshot import Snapshot
from policies.levels import EVERY, Change, Standing
from tests.simulation.agreement import Both, compare
from tests.simulation.clockwork import START_MS
from tests.simulation.model import Model
from tests.world import acts

EXAMPLES = 40
AGENTS = st.sampled_from(["triage-7", "other"])
ACTIONS = st.sampled_from(["issue_refund", "ban_user"])
PLACES = st.sampled_from(["issue_refund", "issue_refund", "ban_user", EVERY])
RULES = (("twice", 2, 1), ("thrice", 3, 0), ("at-once", 1, 2))
"""Id, times, and the level lowered to."""
_examples = count()


def strike(tenant: str, agent: str, action: str, name: str, times: int, to: int) -> Strike:
    """One event, as a rule counts it."""

    def entry(lowered: Lowered) -> Draft:
        told = {"former": lowered.former, "level": lowered.level, "events": list(lowered.events), "rule": name}
        return Draft(tenant=tenant, kind="LOWERED", members=told)

    return Strike(agent=agent, action=action, rule=name, to=to, times=times, window_ms=3_600_000, entry=entry)


class Machine(Both):
    """The same events on both, in tenants of this example's own."""

    def __init__(self) -> None:
        super().__init__()
        self.tenants = [f"s{next(_examples)}{each}" for each in "xy"]
        self.model = Model(lambda: START_MS)

    @rule(
        tenant=st.integers(0, 1),
        agent=AGENTS,
        action=PLACES,
        by=st.lists(st.sampled_from(RULES), min_size=1, max_size=3, unique=True),
    )
    def goes_wrong(self, tenant, agent, action, by):
        """An entry counts for some rules."""
        whose = self.tenants[tenant]
        strikes = tuple(strike(whose, agent, action, *each) for each in by)
        self._same(Append(entry=Draft(tenant=whose, kind="REFUSED", members={}, strikes=strikes)))

    @rule(tenant=st.integers(0, 1), agent=AGENTS, action=ACTIONS, is_stale=st.booleans())
    def surges(self, tenant, agent, action, is_stale):
        """An agent goes far beyond its usual, as counted since its level was set, or since before that."""
        whose = self.tenants[tenant]
        since = self.model._since(whose, agent, action) - (1 if is_stale else 0)
        self._same(Lower(tenant=whose, strikes=(replace(strike(whose, agent, action, "surge", 0, 1), since=since),)))

    @rule(tenant=st.integers(0, 1), agent=AGENTS, action=PLACES, level=st.integers(0, 3))
    def is_set(self, tenant, agent, action, level):
        """Two persons set a level."""
        whose = self.tenants[tenant]
        placed = self._commit(Append(entry=Draft(tenant=whose, kind="OUTCOME", members={})))
        assert isinstance(placed, Placed)
        with connect(self.url) as connection, transaction(connection, [whose]) as cursor:
            cursor.execute(
                """insert into lockgate.autonomy values (%s, %s, %s, %s, %s)
                on conflict (tenant, agent, action) do update set level = excluded.level, seq = excluded.seq""",
                (whose, agent, action, level, placed.seq),
            )
        self.model.set_autonomy(whose, agent, action, level)

    @rule(tenant=st.integers(0, 1), agent=AGENTS, action=ACTIONS)
    def is_looked_up(self, tenant, agent, action):
        """What the next decision rests on."""
        asked = Look(tenant=self.tenants[tenant], autonomy=(agent, action))
        assert self.loop.run_until_complete(self.books.look(asked)).autonomy == self.model.look(asked).autonomy

    @rule(tenant=st.integers(0, 1), agent=AGENTS, action=ACTIONS, decided=st.integers(0, 3), name=st.uuids())
    def intends(self, tenant, agent, action, decided, name):
        """A call that was decided on some level goes through on that level alone."""
        act = acts.intend(acts.call(str(name), tenant=self.tenants[tenant]))
        act = replace(act, autonomy=(agent, action, decided))
        assert type(self._commit(act)) is type(self.model.commit(act))

    def teardown(self) -> None:
        """Both logs tell of the same lowerings, by the same entries, at the same places."""
        for tenant in self.tenants:
            found = acts.query(
                self.url, "select seq, body from lockgate.entries where kind = 'LOWERED' order by seq", tenant
            )
            names = ("former", "level", "events", "rule")
            bodies = [(seq, orjson.loads(body)) for seq, body in found]
            assert [(seq, {name: body[name] for name in names}) for seq, body in bodies] == [
                (entry.seq, entry.draft.members)
                for entry in self.model.chains.get(tenant, ())
                if entry.draft.kind == "LOWERED"
            ]

    def _commit(self, act: Act) -> object:
        return self.loop.run_until_complete(self.books.commit(act))

    def _same(self, act: Act) -> None:
        found, expected = self._commit(act), self.model.commit(act)
        assert type(found) is type(expected)
        if isinstance(found, Placed) and isinstance(expected, Placed):
            assert found.seq == expected.seq


def test_strikes_lower_in_the_database_as_in_the_model(database: Urls) -> None:
    """
    C12: denials, surges, levels that persons set, looks and intents in any order: level, place and counted entries of
    every lowering are those of a model in plain Python, and no intent goes through on another level.
    """
    compare(Machine, database.app, examples=EXAMPLES)


@pytest.mark.parametrize(
    ("what", "mistaken"),
    [
        ("_since", lambda self, tenant, agent, action: 0),
        ("_highest", lambda self, tenant, agent: 1),
        ("_level", lambda self, tenant, agent, action: None),
    ],
)
def test_a_mistake_of_the_model_is_found(
    what: str, mistaken: object, database: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The comparison can fail: a model that counts on after a level was set, or that forgets levels, is told apart.
    """
    monkeypatch.setattr(Model, what, mistaken)

    with pytest.raises(AssertionError):
        compare(Machine, database.app, examples=EXAMPLES)


@pytest.mark.parametrize(("ages_ms", "lowers"), [((0, 1, 999), True), ((0, 1, 1000), False), ((0, 999, 999), True)])
def test_what_is_older_than_the_window_counts_no_more(database: Urls, ages_ms: tuple[int, ...], lowers: bool) -> None:
    """
    Three within a second lower; an event that is as old as the window is outside of it.
    """
    tenant, now_ms = "window", START_MS
    batch = Batch(Snapshot(now_ms=now_ms, sizes={tenant: 9}), lambda act, seq: None)  # type: ignore[arg-type, return-value]
    third = replace(strike(tenant, "a", "issue_refund", "thrice", 3, 1), window_ms=1000)
    batch.append(Append(entry=Draft(tenant=tenant, kind="REFUSED", members={}, strikes=(third,))))
    place = (tenant, "a", "thrice", "issue_refund")
    standing = Standing(sets={EVERY: Change(action=EVERY, level=3, seq=0)})

    # As the statement reads them: younger than the window.
    before = {place: [seq for seq, age in enumerate(ages_ms[1:], start=1) if now_ms - age > now_ms - third.window_ms]}
    lowering.lower(batch, {(tenant, "a"): standing}, before)

    assert [draft.kind for draft in batch.drafts[tenant]] == ["REFUSED", *(["LOWERED"] if lowers else [])]


def test_acts_of_one_batch_are_counted_together(database: Urls) -> None:
    """
    Fifty denials that arrive at once, through two gateways, lower at the twentieth, once, and name twenty entries.
    """

    async def story() -> list[object]:
        strikes = (strike("crowd", "a", "issue_refund", "twenty", 20, 0),)
        entry = Append(entry=Draft(tenant="crowd", kind="REFUSED", members={}, strikes=strikes))
        async with acts.books(database.app) as one, acts.books(database.app) as other:
            return list(await asyncio.gather(*(books.commit(entry) for books in [one, other] * 25)))

    placed = asyncio.run(story())

    lowered = acts.query(database.app, "select body from lockgate.entries where kind = 'LOWERED'", "crowd")
    kept = acts.query(database.app, "select count(*) from lockgate.strikes", "crowd")
    assert len(placed) == 50
    assert [orjson.loads(body)["former"] for (body,) in lowered] == [1]
    assert len(orjson.loads(lowered[0][0])["events"]) == 20
    assert kept == [(20,)]


def test_an_intent_decided_before_a_lowering_is_decided_anew(database: Urls) -> None:
    """
    C12: the level that was decided on is compared inside the transaction of the intent: lowered by then, nothing is
    intended.
    """

    async def story() -> tuple[object, object]:
        strikes = (strike("race", "triage-7", "issue_refund", "at-once", 1, 0),)
        act = replace(acts.intend(acts.call("k", tenant="race")), autonomy=("triage-7", "issue_refund", 1))
        async with acts.books(database.app) as books:
            await books.commit(Append(entry=Draft(tenant="race", kind="REFUSED", members={}, strikes=strikes)))
            late = await books.commit(act)
            anew = await books.commit(replace(act, autonomy=("triage-7", "issue_refund", 0)))
        return late, anew

    late, anew = asyncio.run(story())

    assert late == Moved(name="autonomy")
    assert isinstance(anew, Intended)


def test_nothing_is_approved_under_a_switch(database: Urls) -> None:
    """
    An approval that is written after a switch was engaged is refused, and not kept.
    """

    async def story() -> object:
        row = acts.call("parked", tenant="stopped")
        async with acts.books(database.app) as books:
            await books.commit(acts.park(row))
            with connect(database.app) as connection, transaction(connection, ["stopped"]) as cursor:
                cursor.execute(
                    "insert into lockgate.kills values ('stopped', 'tool', 'issue_refund', true, 'drill', 1)"
                )
            approve = acts.approve(row)
            return await books.commit(
                Approve(approval=approve.approval, entry=approve.entry, kills=(("stopped", "tool", "issue_refund"),))
            )

    answer = asyncio.run(story())

    assert type(answer).__name__ == "Killed"
    assert acts.query(database.app, "select count(*) from lockgate.approvals", "stopped") == [(0,)]
