"""One state machine of generated acts, carried out by the reference model and by PostgreSQL: both must agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from dataclasses import replace as with_fields
from itertools import count
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import orjson
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from msgspec.structs import asdict, replace

from gateway.ledger import (
    Act,
    Answer,
    Append,
    Budget,
    CallRow,
    Close,
    Draft,
    FullRow,
    InFlight,
    Look,
    Placed,
    State,
)
from gateway.storage import sweeping
from gateway.storage.connections import Urls, connect, transaction
from tests.simulation.agreement import Both, compare
from tests.simulation.clockwork import START_MS
from tests.simulation.model import Model
from tests.world import acts

EXAMPLES = 60

NAMES = st.sampled_from(["a", "b", "c", "d"])
TENANTS = st.sampled_from(["x", "y"])
AMOUNTS = st.sampled_from([0, 1, 3, 5])
CEILINGS = st.sampled_from([None, 0, 4, 6, 9])
PERSONS = st.sampled_from(["ada", "bob"])
SINCE = st.sampled_from([0, acts.FAR_MS])
"""Before everything that settles, or after it: how long a round trip takes must not matter."""
LEASES = st.sampled_from([-1000, 600_000])
_examples = count()


class Machine(Both):
    """The same acts on both, in tenants of this example's own."""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"m{next(_examples)}"
        self.model = Model(lambda: START_MS)
        self.rows: dict[tuple[str, str], CallRow] = {}
        self.fences: dict[tuple[str, str], int] = {}
        self.approvals: list[tuple[str, UUID]] = []
        self._ids = count(1)

    @initialize()
    def people(self) -> None:
        """Two persons with keys and roles, in each tenant."""
        for tenant in ("x", "y"):
            for person in ("ada", "bob"):
                self._know(self._tenant(tenant), person, ("finance", "operator"))

    @rule(
        name=NAMES,
        tenant=TENANTS,
        is_new=st.booleans(),
        lease_ms=LEASES,
        budgets=st.lists(st.tuples(st.sampled_from("pq"), AMOUNTS, CEILINGS, st.booleans()), max_size=2),
        flights=st.lists(
            st.tuples(st.sampled_from("rs"), AMOUNTS, st.sampled_from([0, 4, 9]), SINCE, AMOUNTS | st.none()),
            max_size=1,
        ),
        approvals=st.lists(st.integers(0, 5), max_size=2, unique=True),
        ends=NAMES | st.none(),
        revision=st.sampled_from([0, 1]),
    )
    def intend(self, name, tenant, is_new, lease_ms, budgets, flights, approvals, ends, revision):
        """An intent, perhaps of a call that is known, with reservations and approvals."""
        row = self._row(name, tenant, is_new=is_new)
        act = acts.intend(
            row,
            lease_ms=lease_ms,
            budgets=[self._budget(tenant, *each) for each in budgets],
            in_flight=[self._flight(tenant, *each) for each in flights],
            approvals=self._approvals(tenant, approvals),
            kills=[(row.tenant, "tool", "issue_refund"), (row.tenant, "agent", "triage-7")],
        )
        self._same(replace(act, ends=self._close(ends, tenant), revision=revision))

    @rule(
        name=NAMES,
        tenant=TENANTS,
        is_new=st.booleans(),
        is_over=st.booleans(),
        ends=NAMES | st.none(),
        waiting_max=st.sampled_from([None, 0, 1, 2]),
    )
    def park(self, name, tenant, is_new, is_over, ends, waiting_max):
        """A call waits for approval, perhaps for no time at all, where so many may."""
        act = acts.park(self._row(name, tenant, is_new=is_new), expires_at_ms=1 if is_over else acts.FAR_MS)
        self._same(replace(act, ends=self._close(ends, tenant), waiting_max=waiting_max))

    @rule(
        name=NAMES,
        tenant=TENANTS,
        fence=st.integers(0, 3),
        state=st.sampled_from([State.EXECUTED, State.FAILED, State.NOT_DONE, State.IN_DOUBT]),
        was=st.sampled_from([State.EXECUTING, State.IN_DOUBT]),
        tells=st.booleans(),
    )
    def settle(self, name, tenant, fence, state, was, tells):
        """A settlement by whoever believes that it is his."""
        row = self._row(name, tenant)
        self._same(acts.settle(row, state, fence=fence, expected=(was,), is_late_recorded=tells))

    @rule(name=NAMES, tenant=TENANTS)
    def close(self, name, tenant):
        """The requester takes a call back."""
        self._same(acts.close(self._row(name, tenant)))

    @rule(name=NAMES, tenant=TENANTS, person=PERSONS, is_over=st.booleans())
    def approve(self, name, tenant, person, is_over):
        """A person's yes, perhaps one that is over already."""
        row, approval_id = self._row(name, tenant), self._uuid()
        act = acts.approve(row, person, approval_id=approval_id)
        approval = with_fields(
            act.approval, key_id=_key(row.tenant, person), not_after_ms=1000 if is_over else acts.FAR_MS
        )
        if isinstance(self._same(with_fields(act, approval=approval)), Placed):
            self.approvals.append((tenant, approval_id))

    @rule(tenant=TENANTS)
    def append(self, tenant):
        """An entry of its own."""
        self._same(Append(entry=Draft(tenant=self._tenant(tenant), kind="NOTE", members={})))

    @rule(tenant=TENANTS, person=PERSONS, roles=st.sampled_from([(), ("finance",), ("finance", "operator")]))
    def change_roles(self, tenant, person, roles):
        """A newer token says other roles."""
        self.model.roles[self._tenant(tenant), person] = roles
        self._sql(
            tenant,
            "update lockgate.people set roles = %s where tenant = %s and person = %s",
            (list(roles), self._tenant(tenant), person),
        )

    @rule(tenant=TENANTS, person=PERSONS)
    def revoke(self, tenant, person):
        """A key is revoked, for good."""
        key_id = _key(self._tenant(tenant), person)
        self.model.keys.pop((self._tenant(tenant), person, key_id), None)
        self._sql(tenant, "update lockgate.person_keys set revoked_seq = 1 where key_id = %s", (key_id,))

    @rule(tenant=TENANTS, is_engaged=st.booleans(), scope=st.sampled_from(["issue_refund", "ban_user"]))
    def switch(self, tenant, is_engaged, scope):
        """A kill switch, by another gateway."""
        place = (self._tenant(tenant), "tool", scope)
        (self.model.kills.add if is_engaged else self.model.kills.discard)(place)
        self._sql(
            tenant,
            "insert into lockgate.kills values (%s, %s, %s, %s, 'drill', 1) on conflict (tenant, scope, target)"
            " do update set engaged = excluded.engaged",
            (*place, is_engaged),
        )

    @rule(tenant=TENANTS)
    @precondition(lambda self: not self.model.revisions)
    def activate(self, tenant):
        """Other rules come into force."""
        self.model.revisions[self._tenant(tenant)] = 1
        self._sql(
            tenant,
            "insert into lockgate.activations (tenant, revision, digest, certificate_digest, schema_digest, seq, at_ms)"
            " values (%s, 1, 'sha256:0', 'sha256:0', 'sha256:0', 1, 1)",
            (self._tenant(tenant),),
        )

    @rule(limit=st.sampled_from([1, 10]))
    def take_over(self, limit):
        """A sweeper's round; of several due at once either may take any."""
        due = [stored for stored in self.model.calls.values() if stored.state is State.EXECUTING]
        if limit < sum((stored.lease_until_ms or 0) < START_MS for stored in due):
            return
        tenants = [self._tenant("x"), self._tenant("y")]
        with connect(self.url) as connection:
            found = sweeping.take_over(connection, tenants, lease_ms=600_000, limit=limit)
            doubtful = sweeping.in_doubt(connection, tenants, limit=10)
            overdue = sweeping.overdue(connection, tenants, limit=10)
        expected = self.model.take_over(tenants, lease_ms=600_000, limit=limit)
        assert _rows(found) == _rows(expected)
        assert _rows(doubtful) == _rows(self.model.in_doubt(tenants, limit=10))
        assert _rows(overdue) == _rows(self.model.overdue(tenants, limit=10))

    @rule(name=NAMES, tenant=TENANTS, since=SINCE)
    def look(self, name, tenant, since):
        """What a gateway would decide on."""
        asked = Look(
            tenant=self._tenant(tenant),
            claim=self._row(name, tenant).claim,
            budgets=tuple(self._key(tenant, each) for each in "pq"),
            in_flight=tuple((self._key(tenant, each), since) for each in "rs"),
            approvals=tuple(approval for _, approval in self.approvals[:8]),
        )
        seen, expected = self.loop.run_until_complete(self.books.look(asked)), self.model.look(asked)
        for name_of in ("budgets", "in_flight"):
            assert getattr(seen, name_of) == getattr(expected, name_of)
        assert [_plain(each) for each in seen.approvals] == [_plain(each) for each in expected.approvals]
        assert _rows([seen.held]) == _rows([expected.held])

    def teardown(self) -> None:
        """Both chains hold the same entries, about the same calls, in the same order."""
        for tenant in ("x", "y"):
            name = self._tenant(tenant)
            found = acts.query(self.url, "select seq, kind, call_id from lockgate.entries order by seq", name)
            expected = [(each.seq, each.draft.kind, each.draft.call_id) for each in self.model.chains.get(name, ())]
            assert found == expected
            counted = acts.query(self.url, "select key, reserved, spent from lockgate.budgets", name)
            own = {budget.key for stored in self.model.calls.values() for budget in stored.budgets}
            for key, reserved, spent in counted:
                assert (reserved, spent) == (self.model.budgets[key].reserved, self.model.budgets[key].spent)
            assert own & {key for key, *_ in counted} <= self.model.budgets.keys()

    # -- both at once -------------------------------------------------------------------------------------------------

    def _same(self, act: Act) -> Answer:
        found = self.loop.run_until_complete(self.books.commit(act))
        expected = self.model.commit(act)
        assert _plain(found) == _plain(expected)
        return found

    def _sql(self, tenant: str, statement: str, values: tuple[Any, ...]) -> None:
        with connect(self.url) as connection, transaction(connection, [self._tenant(tenant)]) as cursor:
            cursor.execute(statement.encode(), values)

    def _know(self, tenant: str, person: str, roles: tuple[str, ...]) -> None:
        self.model.keys[tenant, person, _key(tenant, person)] = "public"
        self.model.roles[tenant, person] = roles
        with connect(self.url) as connection, transaction(connection, [tenant]) as cursor:
            cursor.execute(
                b"insert into lockgate.person_keys values (%s, %s, %s, 'public', 1, null)",
                (_key(tenant, person), tenant, person),
            )
            cursor.execute(b"insert into lockgate.people values (%s, %s, %s, 0)", (tenant, person, list(roles)))

    # -- names --------------------------------------------------------------------------------------------------------

    def _tenant(self, tenant: str) -> str:
        return f"{self.prefix}{tenant}"

    def _key(self, tenant: str, name: str) -> bytes:
        return acts.key(f"{self._tenant(tenant)}/{name}")

    def _uuid(self) -> UUID:
        return uuid5(NAMESPACE_OID, f"{self.prefix}/{next(self._ids)}")

    def _row(self, name: str, tenant: str, *, is_new: bool = False) -> CallRow:
        """The call that this key was last used for, or another one under the same key."""
        known = self.rows.get((tenant, name))
        if known is None or is_new:
            own = acts.call(name, tenant=self._tenant(tenant), call_id=self._uuid())
            if known is None:
                self.rows[tenant, name] = own
            return own
        return known

    def _approvals(self, tenant: str, places: list[int]) -> list[UUID]:
        """Of the tenant's own: those of another are nowhere to be seen, so no call comes to its intent with them."""
        own = [approval for whose, approval in self.approvals if whose == tenant]
        return list(dict.fromkeys(own[at % len(own)] for at in places)) if own else []

    def _close(self, name: str | None, tenant: str) -> Close | None:
        return None if name is None else acts.close(self._row(name, tenant))

    def _budget(self, tenant: str, name: str, amount: int, ceiling: int | None, is_soft: bool) -> Budget:
        return Budget(key=self._key(tenant, name), name=name, amount=amount, ceiling=ceiling, soft=is_soft)

    def _flight(self, tenant: str, name: str, amount: int, ceiling: int, since_ms: int, known: int | None) -> InFlight:
        return InFlight(
            key=self._key(tenant, name), name=name, amount=amount, ceiling=ceiling, since_ms=since_ms, known=known
        )


def _key(tenant: str, person: str) -> str:
    return f"key_{tenant}_{person}"


def _rows(found: Any) -> list[Any]:
    """Stored calls without what depends on the time of day."""
    return sorted((_row(each) for each in found if each is not None), key=orjson.dumps)


def _row(full: FullRow) -> list[Any]:
    call = full.row
    return [
        *(call.claim.hex(), call.call_id.hex, call.request.decode(), call.correlation or ""),
        *(full.state.value, full.fence, full.status or 0, (full.answer or b"").decode()),
        *(full.intent_seq or 0, full.outcome_seq or 0, full.parked_seq or 0),
        *(full.lease_until_ms is None, full.expires_at_ms or 0),
        [[each.key.hex(), each.amount] for each in (*full.budgets, *full.in_flight)],
    ]


def _plain(answer: Any) -> Any:
    """An answer without what a model has not: bodies, paths, checkpoints, salts and times."""
    match answer:
        case Placed(seq=seq):
            return seq
        case None | str() | int() | bytes() | UUID() | tuple():
            return answer
        case _ if is_dataclass(answer):
            members: Mapping[str, Any] = {each.name: getattr(answer, each.name) for each in fields(answer)}
        case _:
            members = asdict(answer)
    return type(answer).__name__, {name: _plain(value) for name, value in members.items()}


def test_model_and_database_agree(database: Urls) -> None:
    """
    E02, E03, E06, E07, E09, E13, F12, F20, I01, I04, I06: claims, fences, reservations, approvals, switches and
    states mean the same in the model that simulations run on and in the statements that PostgreSQL runs.
    """
    compare(Machine, database.app, examples=EXAMPLES)


@pytest.mark.parametrize(
    ("what", "mistaken"),
    [
        ("flying", lambda self, key, since_ms: 0),
        ("_void", lambda self, approval, revision: None),
        ("take_over", lambda self, tenants, *, lease_ms, limit: ()),
        ("_is_crowded", lambda self, act: False),
    ],
)
def test_a_mistake_of_the_model_is_found(
    what: str, mistaken: Any, database: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The comparison can fail: a model that sees nothing in flight, no lost role, no lease that is over, or no crowd,
    is told apart.
    """
    monkeypatch.setattr(Model, what, mistaken)

    with pytest.raises(AssertionError):
        compare(Machine, database.app, examples=EXAMPLES)
