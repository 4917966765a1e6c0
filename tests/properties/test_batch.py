"""The decisions of a batch, and the bytes that they are written with, for every input that can be found."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from dataclasses import replace as moved
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway import encoding
from gateway.ledger import (
    Act,
    ActRefused,
    Answer,
    Append,
    Close,
    Draft,
    Intended,
    LedgerUnavailable,
    Placed,
    Settle,
    State,
)
from gateway.storage import packed, reservations
from gateway.storage.batch import Batch, Due, Finished, decide
from gateway.storage.snapshot import Row, Snapshot
from proofs import canonical
from tests.world import acts
from tests.world.acts import ACME, GLOBEX

CEILING = 10
_IDS = {name: UUID(int=number) for number, name in enumerate("abc", start=1)}
_APPROVALS = [UUID(int=number) for number in range(10, 13)]
_PLACED = Placed(seq=0, at_ms=0, body=b"", path=(), checkpoint={})


@dataclass
class Store:
    """The tables of the ledger as dictionaries: reads snapshots, takes batches."""

    sizes: dict[str, int] = field(default_factory=lambda: {ACME: 0, GLOBEX: 0})
    calls: dict[bytes, Row] = field(default_factory=dict)
    budgets: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    holds: dict[tuple[UUID, bytes], tuple[int, str]] = field(default_factory=dict)
    uses: dict[UUID, UUID] = field(default_factory=dict)
    approvals: list[UUID] = field(default_factory=list)

    def snapshot(self) -> Snapshot:
        rows = [copy(row) for row in self.calls.values()]
        in_flight: dict[tuple[bytes, int], int] = {}
        for (_, key), (amount, state) in self.holds.items():
            if state != "released":
                in_flight[key, 0] = in_flight.get((key, 0), 0) + amount
        return Snapshot(
            now_ms=1_000,
            sizes=dict(self.sizes),
            calls={row.claim: row for row in rows},
            by_id={row.call_id: row for row in rows},
            budgets={key: reserved + spent for key, (reserved, spent) in self.budgets.items()},
            in_flight=in_flight,
            uses=dict(self.uses),
        )

    def take(self, sent: Sequence[Act]) -> list[Any]:
        batch = decide(self.snapshot(), sent, _run)
        for claim, row in batch.changed.items():
            self.calls[claim] = moved(row, made_from=None, sent_again=None)
        for key, delta in batch.budgets.items():
            assert delta.is_new == (key not in self.budgets)
            reserved, spent = self.budgets.get(key, (0, 0))
            assert reserved + spent <= delta.room  # Else the update of the row would refuse what was decided.
            self.budgets[key] = (reserved + delta.reserved, spent + delta.spent)
            assert min(self.budgets[key]) >= 0
        for place, hold in batch.holds.items():
            assert hold.is_new or self.holds[place] == (hold.amount, "reserved")
            self.holds[place] = (hold.amount, hold.state)
        for approval, (_, call, _) in batch.uses.items():
            assert approval not in self.uses
            self.uses[approval] = call
        self.approvals += [approval.approval_id for approval, _ in batch.approvals]
        for tenant, drafts in batch.drafts.items():
            self.sizes[tenant] += len(drafts)
        return [_answer(batch, verdict) for verdict in batch.verdicts]


def _run(act: Settle, seq: int) -> Finished:
    assert act.act is not None
    assert act.finish is not None
    try:
        return act.finish(act.act(None, seq))
    except ActRefused as refused:
        return act.finish(refused)


def _answer(batch: Batch, verdict: Any) -> Answer | type[Exception]:
    if isinstance(verdict, LedgerUnavailable):
        return LedgerUnavailable
    return verdict.complete(_PLACED) if isinstance(verdict, Due) else verdict


def _raises(*_: Any) -> Any:
    raise RuntimeError("defect")


_refused = replace(acts.intend(acts.call("x")), refusal=None).refusal


@st.composite
def _acts(draw: st.DrawFn) -> Act:
    name = draw(st.sampled_from("abc"))
    tenant = draw(st.sampled_from([ACME, ACME, GLOBEX]))
    row = acts.call(name, tenant=tenant, digest=draw(st.sampled_from(["r", "r", "r", "other"])), call_id=_IDS[name])
    row = replace(row, claim=acts.key(name)) if tenant == ACME else replace(row, call_id=UUID(int=90 + _IDS[name].int))
    kind = draw(
        st.sampled_from(["intend", "intend", "intend", "settle", "settle", "park", "close", "approve", "append"])
    )
    match kind:
        case "intend":
            counted = [
                acts.budget(amount, CEILING, name=f"{tenant}{number}", soft=draw(st.booleans()))
                for number, amount in enumerate(draw(st.lists(st.integers(-1, 6), max_size=2)))
            ]
            flights = [
                acts.flight(amount, CEILING, name=f"{tenant}{number}")
                for number, amount in enumerate(draw(st.lists(st.integers(0, 6), max_size=2)))
            ]
            approvals = draw(st.lists(st.sampled_from(_APPROVALS), max_size=2, unique=True)) if tenant == ACME else []
            intend = acts.intend(row, budgets=counted, in_flight=flights, approvals=approvals)
            refusal: Callable[..., Any] | None = draw(st.sampled_from([intend.refusal, _refused, _raises]))
            return replace(intend, refusal=refusal)
        case "settle":
            expected = draw(st.sampled_from([(State.EXECUTING,), (State.IN_DOUBT,)]))
            state = draw(st.sampled_from([State.EXECUTED, State.FAILED, State.NOT_DONE, State.IN_DOUBT, State.PARKED]))
            settle = acts.settle(row, state, fence=draw(st.integers(1, 2)), expected=expected)
            return settle if draw(st.booleans()) else replace(settle, act=_raises, finish=_raises)
        case "park":
            return acts.park(row)
        case "close":
            cancelled = acts.entry("CANCELLED", row)
            return Close(tenant=row.tenant, call_id=row.call_id, state=State.CANCELLED, answer=b"{}", entry=cancelled)
        case "approve":
            return acts.approve(row, approval_id=UUID(int=draw(st.integers(100, 10**9))))
        case _:
            return Append(entry=Draft(tenant=tenant, kind="NOTE", members={}))


def _governance_last(sent: Sequence[Act]) -> list[int]:
    return sorted(range(len(sent)), key=lambda index: isinstance(sent[index], Settle) and bool(sent[index].act))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(_acts(), max_size=12), max_size=4))
def test_a_batch_is_its_acts_one_after_another(batches: list[list[Act]]) -> None:
    """
    Deciding acts together gives the answers and the tables that deciding each in a transaction of its own gives.
    """
    together, alone = Store(), Store()

    for sent in batches:
        answers = together.take(sent)
        single = {index: alone.take([sent[index]])[0] for index in _governance_last(sent)}

        assert answers == [single[index] for index in range(len(sent))]
        assert together == alone


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(_acts(), max_size=12), max_size=4))
def test_no_batch_breaks_a_ceiling_or_reserves_what_no_open_call_holds(batches: list[list[Act]]) -> None:
    """
    Reserved and spent stay within the ceiling, and what is reserved is what open and doubtful calls hold.
    """
    store = Store()

    for sent in batches:
        store.take(sent)

    held: dict[bytes, int] = {}
    for row in store.calls.values():
        if row.state in (State.EXECUTING, State.IN_DOUBT):
            for budget in reservations.unpack(row.reservations)[0]:
                held[budget.key] = held.get(budget.key, 0) + budget.amount
    assert {key: reserved for key, (reserved, _) in store.budgets.items() if reserved} == {
        key: amount for key, amount in held.items() if amount
    }
    assert all(reserved + spent <= CEILING for reserved, spent in store.budgets.values())
    flying: dict[bytes, int] = {}
    for (_, key), (amount, state) in store.holds.items():
        flying[key] = flying.get(key, 0) + (amount if state != "released" else 0)
    assert all(amount <= CEILING for amount in flying.values())


def test_governance_acts_stand_behind_the_intents_of_their_batch() -> None:
    """
    An intent decided before a switch was engaged has the smaller sequence number.
    """
    seen: list[int] = []
    row = acts.call("switch")
    opened = Store()
    opened.take([acts.intend(row)])
    finished = (State.EXECUTED, 200, b"{}", acts.entry("OUTCOME", row))
    governance = replace(acts.settle(row), act=lambda _, seq: seen.append(seq) or {}, finish=lambda _: finished)

    answers = opened.take([governance, acts.intend(acts.call("other"))])

    assert isinstance(answers[1], Intended)
    assert seen == [3]


_keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True) | st.text(max_size=4)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-9, 9)
    | st.floats()
    | st.text()
    | st.text('"\\:{},null1.e ')
)
_values = st.recursive(_scalars, lambda inner: st.lists(inner) | st.dictionaries(_keys, inner), max_leaves=8)


def _encoded(encode: Callable[[Any], bytes], value: Any) -> bytes | str:
    try:
        return encode(value)
    except canonical.OutsideProfile as outside:
        return outside.reason


@settings(deadline=None, max_examples=400)
@given(st.dictionaries(_keys, _values))
def test_fast_bytes_are_the_canonical_bytes(value: dict[str, Any]) -> None:
    """
    The gateway's encoder gives the bytes of the plain one, and refuses what it refuses, for the same reason.
    """
    assert _encoded(encoding.encode, value) == _encoded(canonical.encode, value)


def test_fast_bytes_of_awkward_values() -> None:
    """
    What orjson would write although the profile has no such value is refused, or written as the profile says.
    """
    awkward: list[Any] = [
        *({"a": value} for value in (1.5, -0.0, 1e300, float("nan"), float("inf"), 2**53, -(2**53), 2**64, True, None)),
        *({"a": value} for value in ((1, 2), b"x", {1}, State.EXECUTED, "\ud800", "e\u0301", "\u202e", "\x7f")),
        *({"a": value} for value in ("\x00\b\t\n\f\r\x1f", "/", "</", "\u2028", "é", "null", "1.5", ',"a b":')),
        *({key: 1} for key in ("", "a b", "1a", "a" * 64, "a" * 65, "é", 1, None, "a\\", 'a"')),
    ]
    for depth in (30, 63, 64, 65, 300):
        nested: Any = 1
        for _ in range(depth):
            nested = [nested]
        awkward.append({"a": nested})

    for value in awkward:
        assert _encoded(encoding.encode, value) == _encoded(canonical.encode, value), re.sub(r"\s+", " ", repr(value))[
            :80
        ]


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_packed_texts_are_read_back(items: list[str]) -> None:
    """
    An array made by hand holds exactly the values that it was made from.
    """
    assert packed.text_items(packed.texts(items)) == tuple(items)
