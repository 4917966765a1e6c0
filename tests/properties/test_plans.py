"""Plans against their meaning: every value of every interval and every failing call, tried one by one in Python."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from invariants.expressions import compile_long
from invariants.reports import Verdict
from invariants.state import plan_files, plans
from invariants.state.counters import COUNTERS, Quantity
from invariants.state.plan_files import Plan, PlannedCall
from policies.schema import generate
from tool_registry.contracts import Limit
from tool_registry.registry import CATALOGUE, load_catalogue

AMOUNT = "context.arguments.amount_cents"
SHOWN = "context.facts.agent.counted"
LIMITS = (
    Limit(
        name="rest",
        key="order:{order_id}",
        amount=AMOUNT,
        ceiling="context.facts.order.paid_cents - context.facts.order.refunded_cents",
        since="order",
    ),
    # What failed leaves the reading low, and a low reading makes the next amount larger.
    Limit(
        name="counted",
        key="tenant",
        amount=f"if {SHOWN} > 2 then 1 else {AMOUNT} * 2",
        ceiling=f"6 + {AMOUNT}",
        window="day",
        shows="agent.counted",
    ),
    Limit(name="own", key="principal", amount=AMOUNT, ceiling="4", window="hour", agents_only=True),
    Limit(name="lower", key="tenant", amount=f"{AMOUNT} - 2", ceiling="3", window="hour"),
)
CONTRACT = replace(load_catalogue(CATALOGUE).contracts["issue_refund"], limits=LIMITS, risk="0")
SCHEMA = generate([CONTRACT])
FACTS = ("paid_cents", "refunded_cents")
EXPRESSIONS = {
    limit.name: tuple(compile_long(text, CONTRACT.name, SCHEMA.typed) for text in (limit.amount, limit.ceiling))
    for limit in LIMITS
}


def _numbers(low: int, high: int) -> st.SearchStrategy[Any]:
    """A number, or an interval that can be tried out."""
    intervals = st.tuples(st.integers(low, high), st.integers(0, 2)).map(lambda each: [each[0], each[0] + each[1]])
    return st.integers(low, high) | intervals


_calls = st.builds(
    lambda who, order, amount, paid, refunded: {
        "tool": "issue_refund",
        "principal": who,
        "arguments": {"order_id": order, "amount_cents": amount},
        "facts": {"order": {"paid_cents": paid, "refunded_cents": refunded}},
    },
    st.sampled_from(["agent/a", "agent/b", "person/c"]),
    st.sampled_from(["ord_1", "ord_2"]),
    _numbers(1, 4),
    st.integers(4, 12),
    _numbers(0, 2),
)
_standing = st.lists(
    st.builds(lambda amount: {"counter": "issue_refund.counted tenant", "amount": amount}, _numbers(0, 3)), max_size=1
)


def _tried(value: Any) -> range:
    low, high = value if isinstance(value, tuple) else (value, value)
    return range(low, high + 1)


def meant(plan: Plan) -> tuple[int, set[str]] | None:
    """The first call that some limit refuses in some way of the plan, and every limit that can refuse it."""
    for place in range(1, len(plan.calls) + 1):
        refusing = {limit for way in _ways(plan, place) for limit in _refusals(plan, place, *way)}
        if refusing:
            return place, refusing
    return None


def _ways(plan: Plan, place: int) -> Iterator[tuple[int, tuple[int, ...], tuple[int, ...]]]:
    """Who fails before the call at `place`, 0 for nobody, and a value for everything."""
    given = [
        value
        for call in plan.calls[:place]
        for value in (call.arguments["amount_cents"], *(call.facts["order"][name] for name in FACTS))
    ]
    standing = tuple(plan.standing.values())
    yield from product(range(place), product(*map(_tried, given)), product(*map(_tried, standing)))


def _refusals(plan: Plan, last: int, failing: int, given: tuple[int, ...], standing: tuple[int, ...]) -> Iterator[str]:
    counters: dict[str, dict[Quantity, int]] = {
        name: {Quantity.RESERVED: 0, Quantity.SPENT: value} for name, value in zip(plan.standing, standing, strict=True)
    }
    for place, call in enumerate(plan.calls[:last], 1):
        amount, paid, refunded = given[3 * (place - 1) : 3 * place]
        shown = counters.get(call.counter(LIMITS[1]), {})
        context = {
            "arguments": {"amount_cents": amount},
            "facts": {
                "order": {"paid_cents": paid, "refunded_cents": refunded},
                "agent": {"counted": sum(shown.values())},
            },
        }
        for limit in call.limits:
            is_let_in = _step(call, limit, context, counters, has_failed=place == failing)
            if place == last and not is_let_in:
                yield limit.name


def _step(
    call: PlannedCall,
    limit: Limit,
    context: Mapping[str, Any],
    counters: dict[str, dict[Quantity, int]],
    *,
    has_failed: bool,
) -> bool:
    """Reserve and settle one amount, as the declaration says. False where the ceiling refuses it."""
    amount, ceiling = (expression(context) for expression in EXPRESSIONS[limit.name])
    if amount <= 0:
        return True
    columns = counters.setdefault(call.counter(limit), {Quantity.RESERVED: 0, Quantity.SPENT: 0})
    bounds = {Quantity.AMOUNT: amount, Quantity.CEILING: ceiling, Quantity.HELD: 0, Quantity.SHOWN: 0}
    reserved = COUNTERS.reserve.after({**columns, **bounds})
    if reserved is None:
        return False
    settled = (COUNTERS.release if has_failed else COUNTERS.commit).after(reserved)
    assert settled is not None
    columns.update({column: settled[column] for column in columns})
    return True


@settings(deadline=None, max_examples=150)
@given(calls=st.lists(_calls, min_size=1, max_size=3), standing=_standing)
def test_a_plan_is_proved_exactly_if_every_way_of_it_is_let_in(
    calls: list[dict[str, Any]], standing: list[dict[str, Any]]
) -> None:
    """
    Both solvers find the first call that can be refused, and the limits that can refuse it, or that there is none.
    """
    plan = plan_files.read(json.dumps({"calls": calls, "standing": standing}).encode(), [CONTRACT])

    report = plans.prove(plan)

    refuted = {each.limit for each in report.findings if each.verdict is Verdict.REFUTED}
    expected = meant(plan)
    if expected is None:
        assert report.verdict is Verdict.PROVED
        assert refuted == set()
    else:
        assert report.verdict is Verdict.REFUTED
        assert (report.findings[-1].call, refuted) == expected
        for finding in report.findings:
            if finding.example is not None:
                assert finding.example.standing + finding.example.amount > finding.example.ceiling
