"""Counters: the declaration, the solver's model of it and the SQL made of it mean the same, and proofs can fail."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.ledger import Act, Intended, Settled, State
from gateway.storage import packed, statements
from gateway.storage.connections import Cursor, Urls, connect, transaction
from gateway.storage.link import Link
from gateway.storage.statements import Part
from gateway.storage.writer import OpenGate, Writer
from invariants.reports import Verdict
from invariants.state import induction, traces
from invariants.state.counters import COUNTERS, Comparison, Declaration, Quantity, Transition
from invariants.state.induction import CounterFinding
from invariants.state.machine import STEPS, Counting, Step
from invariants.state.traces import Line
from tests.world import acts
from tests.world.acts import ACME
from tool_registry.registry import CATALOGUE, load_catalogue

CONTRACTS = load_catalogue(CATALOGUE).contracts
AMOUNT, CEILING, SHOWN = (Quantity.AMOUNT,), (Quantity.CEILING,), (Quantity.SHOWN,)
LIMITED = [contract for contract in CONTRACTS.values() if contract.limits]
BY_COUNTING = {
    counting: next(
        replace(contract, limits=(limit,))
        for contract in LIMITED
        for limit in contract.limits
        if induction.counting_of(limit) is counting
    )
    for counting in Counting
}
"""A contract of the catalogue with one limit of each kind."""


def edited(name: str, **changes: Any) -> Declaration:
    """The declaration with one transition changed."""
    return replace(COUNTERS, **{name: replace(getattr(COUNTERS, name), **changes)})


def compared(*left: Quantity, of: tuple[Quantity, ...] = CEILING) -> tuple[Comparison, ...]:
    return (Comparison(left=(), right=AMOUNT), Comparison(left=left, right=of))


RESERVED, SPENT = Quantity.RESERVED, Quantity.SPENT
MUTANTS = {
    "a guard that reads what the question showed": (edited("reserve", guard=compared(*SHOWN, *AMOUNT)), Counting),
    "no guard": (edited("reserve", guard=()), Counting),
    "a guard without what is reserved": (edited("reserve", guard=compared(SPENT, *AMOUNT)), Counting),
    "a guard without what is spent": (edited("reserve", guard=compared(RESERVED, *AMOUNT)), Counting),
    "a guard without the amount": (edited("reserve", guard=compared(RESERVED, SPENT)), Counting),
    "a ceiling passed by what it allows": (edited("reserve", guard=compared(RESERVED, SPENT, *SHOWN)), Counting),
    "a reservation that reserves nothing": (edited("reserve", reserved=0), Counting),
    "a commit that releases nothing": (edited("commit", reserved=0), Counting),
    "a commit that spends twice": (edited("commit", spent=2), Counting),
    "a commit that spends nothing": (edited("commit", spent=0), Counting),
    "a commit of what is not held": (edited("commit", guard=()), [Counting.WINDOWED, Counting.SOFT]),
    "a release of what is not held": (edited("release", guard=()), Counting),
    "a release that reserves": (edited("release", reserved=1), Counting),
    "a release that spends less": (edited("release", spent=-1), Counting),
    "an overrun that nobody was shown": (edited("overrun", guard=()), [Counting.SOFT]),
}
CASES = [
    pytest.param(mutant, counting, id=f"{name} ({counting})")
    for name, (mutant, countings) in MUTANTS.items()
    for counting in countings
]


def failures(findings: Sequence[CounterFinding]) -> list[CounterFinding]:
    return [finding for finding in findings if finding.verdict is not Verdict.PROVED]


def test_every_limit_of_the_catalogue_is_proved() -> None:
    """
    Both solvers prove that no step of any call leads a counter of the catalogue past its ceiling.
    """
    findings = induction.prove(CONTRACTS.values())

    assert failures(findings) == []
    assert {tuple(finding.answers.items()) for finding in findings} == {(("z3", "unsat"), ("cvc5", "unsat"))}
    proved = {(finding.tool, finding.limit, finding.step) for finding in findings}
    assert proved == {
        (contract.name, limit.name, step)
        for contract in LIMITED
        for limit in contract.limits
        for step in (induction.START, *STEPS[induction.counting_of(limit)])
    }


def test_digests_follow_the_contract() -> None:
    """
    An obligation has the same text whenever it is written, and another where amount or ceiling are others.
    """
    contract = BY_COUNTING[Counting.IN_FLIGHT]
    (limit,) = contract.limits
    other = replace(contract, limits=(replace(limit, ceiling=f"{limit.ceiling} - 1"),))

    one, again, moved = ([each.digest for each in induction.prove([each])] for each in (contract, contract, other))

    assert one == again
    assert all(left != right for left, right in zip(one, moved, strict=True) if left.startswith("sha256:"))


@pytest.mark.parametrize(("mutant", "counting"), CASES)
def test_a_wrong_declaration_is_refuted_by_a_story(mutant: Declaration, counting: Counting) -> None:
    """
    Each mistake in the declaration is refuted, with steps that lead there when they are taken one by one.
    """
    refuted = failures(induction.prove([BY_COUNTING[counting]], mutant))

    assert refuted
    assert {finding.verdict for finding in refuted} == {Verdict.REFUTED}
    goes_wrong(refuted[0].trace, counting, mutant)


def test_the_race_of_stale_readings_is_told_step_by_step() -> None:
    """
    With a guard over what the question showed, two calls that both saw room are both let in.
    """
    stale, _ = MUTANTS["a guard that reads what the question showed"]

    story = traces.search(Counting.WINDOWED, stale)

    assert story is not None
    assert [(line.step, line.shown) for line in story] == [(Step.RESERVE, 0), (Step.RESERVE, 0)]
    assert {line.call for line in story} == {"a", "b"}
    last = story[-1]
    assert last.reserved == sum(line.amount for line in story) > last.ceiling >= max(line.amount for line in story)
    assert f"reserved {last.reserved}, spent 0, ceiling {last.ceiling}" in str(last)


def test_no_story_leads_the_declared_counters_astray() -> None:
    """
    The search that finds each mistake finds none in the declaration in force, as deep as two calls need.
    """
    assert [traces.search(counting) for counting in Counting] == [None, None, None]


def test_counters_that_tools_measure_differently_are_refused() -> None:
    """
    Two tools on one counter in flight must take the ceiling from the same fact; else nothing is proved of either.
    """
    shared = [CONTRACTS[name] for name in ("pay_supplier", "reorder_stock")]
    cash = next(limit for limit in shared[1].limits if limit.name == "cash_in_flight")
    torn = replace(shared[1], limits=(replace(cash, ceiling="context.facts.cash.balance_cents"),))

    findings = induction.prove([shared[0], torn])

    refused = {(each.tool, each.limit, each.verdict, each.reason) for each in failures(findings)}
    assert refused == {
        (tool, "cash_in_flight", Verdict.UNKNOWN, "ceilings_differ") for tool in ("pay_supplier", "reorder_stock")
    }


def test_a_solver_that_gives_up_proves_nothing() -> None:
    """
    Without resources every obligation is unknown.
    """
    findings = induction.prove([BY_COUNTING[Counting.IN_FLIGHT]], resources=1)

    assert {finding.verdict for finding in findings} <= {Verdict.UNKNOWN, Verdict.PROVED}
    assert Verdict.UNKNOWN in {finding.verdict for finding in findings}


# --- the model in plain integers -------------------------------------------------------------------------------------


@dataclass
class Plain:
    """One call of a story in plain integers."""

    amount: int = 0
    ceiling: int = 0
    shown: int = 0
    held: int = 0
    spent: int = 0
    has_landed: bool = False


def transition(declaration: Declaration, step: Step) -> Transition:
    return {
        Step.RESERVE: declaration.reserve,
        Step.OVERRUN: declaration.overrun,
        Step.COMMIT: declaration.commit,
        Step.RELEASE: declaration.release,
    }[step]


def goes_wrong(story: Sequence[Line], counting: Counting, declaration: Declaration) -> None:
    """Take the steps of a story by the declaration's own arithmetic: each is allowed, and only the last is unsound."""
    ceiling = story[0].ceiling
    amounts = {line.call: line.amount for line in story}
    calls = {name: Plain(amount=amounts.get(name, 0), ceiling=ceiling) for name in "ab"}
    rest, granted = ceiling, ceiling
    for place, line in enumerate(story, 1):
        call = calls[line.call]
        reserved = sum(each.held for each in calls.values())
        before, held = reserved + call.spent, call.held
        match line.step:
            case Step.LOOK:
                call.shown = before
            case Step.READ:
                call.ceiling, call.spent = rest, 0
            case Step.LAND:
                assert call.held > 0
                rest, call.has_landed = rest - call.held, True
            case step:
                values = {
                    Quantity.RESERVED: reserved,
                    Quantity.SPENT: call.spent,
                    Quantity.HELD: call.held,
                    Quantity.AMOUNT: call.amount,
                    Quantity.CEILING: call.ceiling,
                    Quantity.SHOWN: call.shown,
                }
                after = transition(declaration, step).after(values)
                assert after is not None
                call.held = after[Quantity.HELD]
                moved = after[Quantity.SPENT] - values[Quantity.SPENT]
                for each in calls.values():
                    each.spent += moved
                if step is Step.RESERVE:
                    granted = call.ceiling
                if step is Step.OVERRUN:
                    granted = sum(each.held for each in calls.values()) + call.spent
        stands = sum(each.held for each in calls.values())
        assert (line.reserved, line.spent, line.shown) == (stands, call.spent, call.shown)
        assert line.rest in (None, rest)
        counted = {Step.RESERVE: (1, 1), Step.OVERRUN: (1, 1), Step.COMMIT: (-1, 0), Step.RELEASE: (-1, -1)}
        holds, adds = (each * call.amount for each in counted.get(line.step, (0, 0)))
        is_wrong = (
            min(each.held for each in calls.values()) < 0
            or min(each.spent for each in calls.values()) < 0
            or (line.step in counted and (call.held, stands + call.spent) != (held + holds, before + adds))
            or (line.step is Step.RESERVE and stands + call.spent > call.ceiling)
            or (line.step is Step.OVERRUN and call.shown + call.amount <= call.ceiling)
            or (line.step is Step.LAND and rest < 0)
            or (counting is not Counting.IN_FLIGHT and stands + call.spent > granted)
            or (counting is Counting.IN_FLIGHT and is_overdrawn(calls, rest))
        )
        assert is_wrong is (place == len(story)), f"step {place}"


def is_overdrawn(calls: Mapping[str, Plain], rest: int) -> bool:
    """Whether more is on its way to the fact than is left, or a reading promises what is gone."""
    ahead = sum(each.held for each in calls.values() if not each.has_landed)
    landed = sum(each.held for each in calls.values() if each.has_landed)
    return (ahead > 0 and ahead > rest) or any(each.ceiling > rest + each.spent + landed for each in calls.values())


# --- the SQL against the model ---------------------------------------------------------------------------------------

CALLS = range(8)
COUNTED = ("window", "other")


@dataclass(frozen=True)
class Reserve:
    """A call's intent: (counter, amount, ceiling or None to overrun) and (counter, amount, ceiling, which mark)."""

    call: int
    budgets: tuple[tuple[str, int, int | None], ...]
    flights: tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class End:
    """A settlement, or a reconciliation, as the call's state admits."""

    call: int
    state: State


@dataclass
class Stored:
    """A call's reservations, as the model keeps them."""

    state: State | None = None
    fence: int = 0
    budgets: tuple[tuple[str, int], ...] = ()
    flights: tuple[tuple[str, int], ...] = ()


@dataclass
class Books:
    """The counters as the declaration says they move, evaluated in Python; `marks` are moments that facts are read."""

    budgets: dict[str, dict[Quantity, int]] = field(default_factory=dict)
    holds: dict[tuple[int, str], tuple[int, str, int]] = field(default_factory=dict)
    """Amount, state, and the mark after which it was settled."""
    calls: dict[int, Stored] = field(default_factory=lambda: {call: Stored() for call in CALLS})
    marks: int = 0

    def take(self, one: Reserve | End) -> bool:
        """Whether the act moves anything."""
        stored = self.calls[one.call]
        if isinstance(one, Reserve):
            return stored.state in (None, State.NOT_DONE) and self._reserve(one, stored)
        return stored.state in (State.EXECUTING, State.IN_DOUBT) and self._end(one, stored)

    def in_flight(self, counter: str, mark: int) -> dict[Quantity, int]:
        """Reserved, and spent since a mark."""
        rows = [row for (_, name), row in self.holds.items() if name == counter]
        return {
            Quantity.RESERVED: sum(amount for amount, state, _ in rows if state == "reserved"),
            Quantity.SPENT: sum(amount for amount, state, at in rows if state == "settled" and at >= mark),
        }

    def _reserve(self, one: Reserve, stored: Stored) -> bool:
        moved = {}
        for name, amount, ceiling in one.budgets:
            columns = self.budgets.get(name, {Quantity.RESERVED: 0, Quantity.SPENT: 0})
            # What the call was shown is the gateway's to know: here it was shown enough to overrun.
            bounds = {Quantity.CEILING: ceiling or 0, Quantity.SHOWN: 10**6, Quantity.HELD: 0, Quantity.AMOUNT: amount}
            step = COUNTERS.overrun if ceiling is None else COUNTERS.reserve
            moved[name] = step.after({**columns, **bounds})
        for name, amount, ceiling, mark in one.flights:
            values = {Quantity.CEILING: ceiling, Quantity.SHOWN: 0, Quantity.HELD: 0, Quantity.AMOUNT: amount}
            moved[name, mark] = COUNTERS.reserve.after({**self.in_flight(name, mark), **values})
        if None in moved.values():
            return False
        for name, _, _ in one.budgets:
            self.budgets[name] = {column: moved[name][column] for column in (Quantity.RESERVED, Quantity.SPENT)}
        for name, amount, _, _ in one.flights:
            self.holds[one.call, name] = (amount, "reserved", 0)
        stored.state, stored.fence = State.EXECUTING, stored.fence + 1
        stored.budgets = tuple((name, amount) for name, amount, _ in one.budgets)
        stored.flights = tuple((name, amount) for name, amount, _, _ in one.flights)
        return True

    def _end(self, one: End, stored: Stored) -> bool:
        stored.state = one.state
        if one.state is State.IN_DOUBT:
            return True
        step = COUNTERS.commit if one.state is State.EXECUTED else COUNTERS.release
        for name, amount in stored.budgets:
            after = step.after({**self.budgets[name], Quantity.HELD: amount, Quantity.AMOUNT: amount})
            assert after is not None
            self.budgets[name] = {column: after[column] for column in (Quantity.RESERVED, Quantity.SPENT)}
        for name, amount in stored.flights:
            self.holds[one.call, name] = (amount, "settled" if one.state is State.EXECUTED else "released", self.marks)
        return True


@st.composite
def _histories(draw: st.DrawFn) -> list[list[Reserve | End] | None]:
    """
    Batches, each one transaction; None is a moment at which facts are read.

    Drawn beside the model: ceilings lie where one more or less decides, and what is settled is mostly open.
    """
    model = Books()
    history: list[list[Reserve | End] | None] = []
    for size in draw(st.lists(st.sampled_from([3, 0, 2, 5, 0]), min_size=5, max_size=10)):
        if not size:
            model.marks += 1
            history.append(None)
            continue
        batch: list[Reserve | End] = []
        for _ in range(size):
            one = draw(_ends(model)) if draw(st.booleans()) else draw(_reserves(model))
            model.take(one)
            batch.append(one)
        history.append(batch)
    return history


def _among(model: Books, *states: State | None) -> st.SearchStrategy[int]:
    fitting = [call for call in CALLS if model.calls[call].state in states]
    likely = st.sampled_from(fitting or list(CALLS))
    return likely | likely | likely | st.sampled_from(CALLS)


def _ends(model: Books) -> st.SearchStrategy[End]:
    states = [State.EXECUTED, State.NOT_DONE, State.EXECUTED, State.FAILED, State.IN_DOUBT, State.EXECUTED]
    return st.builds(End, _among(model, State.EXECUTING, State.IN_DOUBT), st.sampled_from(states))


@st.composite
def _reserves(draw: st.DrawFn, model: Books) -> Reserve:
    call = draw(_among(model, None, State.NOT_DONE))
    near, amounts = st.sampled_from([0, -1, 1, 3]), st.sampled_from([3, 2, 1, 0])
    budgets: list[tuple[str, int, int | None]] = []
    for name in draw(st.lists(st.sampled_from(COUNTED), max_size=2, unique=True)):
        amount, columns = draw(amounts), model.budgets.get(name, {})
        ceiling = sum(columns.values()) + amount + draw(near)
        budgets.append((name, amount, draw(st.sampled_from([ceiling, ceiling, None]))))
    flights = []
    newest = st.just(model.marks)  # As facts mostly are; what was settled before it no longer counts.
    for mark in draw(st.lists(newest | newest | st.integers(0, model.marks), min_size=not budgets, max_size=1)):
        amount = draw(amounts)
        flights.append(("fact", amount, sum(model.in_flight("fact", mark).values()) + amount + draw(near), mark))
    return Reserve(call, tuple(budgets), tuple(flights))


def flight(call: int, amount: int, mark: int) -> Reserve:
    """An intent against a fact that allows 5."""
    return Reserve(call, (), (("fact", amount, 5, mark),))


class Real:
    """The same history in PostgreSQL, through the writer that the gateway uses."""

    def __init__(self, writer: Writer, cursor: Cursor) -> None:
        self._writer = writer
        self._cursor = cursor
        self._name = uuid4().hex
        self._rows = {call: acts.call(f"{self._name}/{call}") for call in CALLS}
        self._since = [0]

    def mark(self) -> None:
        """Read facts: everything before and after is at least a millisecond away."""
        time.sleep(0.002)
        ((now_ms,),) = self._query(b"select floor(extract(epoch from clock_timestamp()) * 1000)::bigint")
        self._since.append(now_ms)
        time.sleep(0.002)

    def take(self, batch: Sequence[tuple[Reserve | End, Stored]]) -> list[Any]:
        """What each act is answered; a settlement is sent under the state and fence that the model has then."""
        sent = [self._act(one, stored) for one, stored in batch]
        return self._writer.write(sent, OpenGate()).answers

    def columns(self, counter: str) -> dict[Quantity, int]:
        key = acts.key(f"budget/{self._name}/{counter}")
        rows = self._query(b"select reserved, spent from lockgate.budgets where key = %s", key)
        reserved, spent = rows[0] if rows else (0, 0)
        return {Quantity.RESERVED: reserved, Quantity.SPENT: spent}

    def in_flight(self, counter: str, mark: int) -> dict[Quantity, int]:
        ((reserved, spent),) = self._query(
            b"select coalesce(sum(amount) filter (where state = 'reserved'), 0)::bigint, coalesce(sum(amount) filter"
            b" (where state = 'settled' and extract(epoch from settled_at) * 1000 >= %s), 0)::bigint"
            b" from lockgate.holds where key = %s",
            self._since[mark],
            acts.key(f"flight/{self._name}/{counter}"),
        )
        return {Quantity.RESERVED: reserved, Quantity.SPENT: spent}

    def _query(self, text: bytes, *values: Any) -> list[tuple[Any, ...]]:
        return self._cursor.execute(text, values).fetchall()

    def _act(self, one: Reserve | End, stored: Stored) -> Act:
        row = self._rows[one.call]
        if isinstance(one, End):
            states = (stored.state,) if stored.state in (State.EXECUTING, State.IN_DOUBT) else (State.EXECUTING,)
            return acts.settle(row, one.state, fence=stored.fence, expected=states)
        return acts.intend(
            row,
            budgets=[acts.budget(amount, most, name=f"{self._name}/{name}") for name, amount, most in one.budgets],
            in_flight=[
                acts.flight(amount, most, since_ms=self._since[mark], name=f"{self._name}/{name}")
                for name, amount, most, mark in one.flights
            ],
        )


@pytest.fixture
def reading(database: Urls) -> Iterator[Cursor]:
    """A session that sees what is committed, statement by statement."""
    with connect(database.app) as connection, transaction(connection, (ACME,)) as cursor:
        yield cursor


@pytest.fixture
def writer(database: Urls) -> Iterator[Writer]:
    """The gateway's writer."""
    opened = Writer(acts.writing(database.app), acts.pen())
    yield opened
    opened.close()


@example([[flight(0, 3, 0)], [End(0, State.EXECUTED)], None, [flight(1, 5, 1)], [flight(2, 1, 0)]])
@example([[flight(0, 3, 0), flight(1, 3, 0), End(0, State.NOT_DONE), flight(1, 3, 0), flight(0, 3, 0)]])
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=_histories())
def test_the_sql_moves_counters_as_declared(
    writer: Writer, reading: Cursor, history: list[list[Reserve | End] | None]
) -> None:
    """
    Over every history, PostgreSQL lets the same calls in and stores the same columns as the declaration in Python.
    """
    model, real = Books(), Real(writer, reading)
    for batch in history:
        if batch is None:
            model.marks += 1
            real.mark()
            continue
        sent: list[tuple[Reserve | End, Stored]] = []
        expected = []
        for one in batch:
            sent.append((one, replace(model.calls[one.call])))
            expected.append(model.take(one))
        answers = real.take(sent)
        let_in = [
            isinstance(answer, Intended) if isinstance(one, Reserve) else isinstance(answer, Settled)
            for (one, _), answer in zip(sent, answers, strict=True)
        ]
        assert let_in == expected, answers
        assert {counter: real.columns(counter) for counter in model.budgets} == model.budgets
        for mark in range(model.marks + 1):
            assert real.in_flight("fact", mark) == model.in_flight("fact", mark)


@pytest.mark.parametrize(("room", "passes"), [(8, True), (7, False)])
def test_an_update_decided_on_a_stale_reading_changes_nothing(database: Urls, room: int, passes: bool) -> None:
    """
    Where more stands on a counter than the batch was decided on, the statement itself refuses, lock or no lock.
    """
    writer = Writer(acts.writing(database.app), acts.pen())
    writer.write([acts.intend(acts.call("first"), budgets=[acts.budget(8, 10)])], OpenGate())
    writer.close()
    link = Link(acts.writing(database.app)())
    key = acts.budget(0, None).key
    update = statements.write((Part.BUDGETS_MOVED,))
    columns = [packed.blobs([key]), packed.longs([2]), packed.longs([0]), packed.longs([room]), packed.long_bytes(1)]

    try:
        link.run((statements.BEGIN, ()), (update, columns), (statements.COMMIT, ()), admitting=[ACME])
    except psycopg.errors.DivisionByZero:
        link.rollback()
    finally:
        link.close()

    assert acts.counter(database.app) == ((10, 0) if passes else (8, 0))
