"""Ground and robust obligations: what is shown of one call, and of all calls near it, is so in the engine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invariants import jobs, margins, ranges
from invariants.errors import Unreadable, Unsupported
from invariants.jobs import Job
from invariants.ranges import Kind, Recorded, Sheet
from invariants.reports import Verdict as Found
from invariants.solving import cvc5_backend, z3_backend
from invariants.solving.answers import Verdict
from policies import bundles
from policies.case_form import Case, question, read_cases
from policies.cedar import Engine, EngineAnswer
from policies.questions import Question
from policies.schema import generate
from tests.properties import small_cedar
from tests.world.bundles import bundle, cedar_schema, contracts, refund

RESOURCES = 2_000_000
CASES = read_cases(bundles.base()["cases"])
HOLDS = '@id("kept") @sentence("The amount is at most 50.") forbid (principal, action, resource) when { %s };'
UNKEPT = {
    "a tool of R2 whose row names no role needs an operator",
    "what is irreversible at R2 needs a person, whatever the counts of roles say",
}
"""Cases whose counts of approvals no call can have: roles were counted, and no person."""


@cache
def base() -> Job:
    """The base bundle over the catalogue."""
    return jobs.job(bundle().files, cedar_schema(), contracts().values())


@cache
def engine() -> Engine:
    """The real one, with the base bundle."""
    return Engine(base().policies, base().schema)


def small(policies: str, invariants: str = HOLDS % "context.arguments.amount > 50") -> Job:
    """Policies over the small schema."""
    return Job(policies=policies, invariants=invariants, schema=small_cedar.SCHEMA, resource_arguments={"refund": None})


def asked(case: Case) -> Question:
    """The whole question of a case of the base bundle."""
    return question(case, cedar_schema().typed.actions[case.action], contracts()[case.action])


def recorded(answer: EngineAnswer) -> Recorded:
    """What an entry would say of the engine's answer."""
    names = {
        effect: frozenset(hit.id for hit in answer.rules if hit.effect == effect) for effect in ("permit", "forbid")
    }
    return Recorded(permits=None if names["forbid"] else names["permit"], forbids=names["forbid"])


def failing(sheet: Sheet) -> set[tuple[str, str]]:
    """The claims that do not hold, by both solvers."""
    second = cvc5_backend.settle_goals(sheet.script, RESOURCES)
    solver = z3_backend.Solver(sheet.given, RESOURCES, [claim.goal for claim in sheet.claims])
    first = tuple(solver.settle(place) for place in range(len(sheet.claims)))
    assert first == second
    assert Verdict.UNKNOWN not in first
    return {
        (claim.kind.value, claim.subject)
        for claim, answer in zip(sheet.claims, first, strict=True)
        if answer is not claim.wanted
    }


@pytest.mark.parametrize("case", CASES[::9], ids=lambda case: case.name)
def test_ground_obligation_of_a_case_is_settled(case: Case) -> None:
    """
    Of one call, both solvers confirm from its text alone what the engine answered, and that no invariant is violated.
    """
    wanted = {("covered", "")} if case.name in UNKEPT else set()

    sheet = ranges.ground(base(), asked(case), recorded(engine().decide(asked(case))))

    assert failing(sheet) == wanted


def test_ground_obligation_is_small() -> None:
    """
    One call's obligation is a page of text: the tool's own rules and facts, not the bundle's.
    """
    sizes = [len(ranges.ground(base(), asked(case)).text) for case in CASES]

    assert max(sizes) < 20_000


def test_tool_alone_gives_the_same_text() -> None:
    """
    An auditor needs the contract of the call's tool and no other one.
    """
    contract = contracts()["issue_refund"]
    alone = jobs.job(bundle().files, generate([contract]), [contract])

    whole, part = (ranges.ground(job, refund(100)) for job in (base(), alone))

    assert (whole.digest, whole.text) == (part.digest, part.text)


@pytest.mark.parametrize(
    "said",
    [
        Recorded(permits=frozenset(), forbids=frozenset()),
        Recorded(permits=frozenset({"agent-registered", "people-read"}), forbids=frozenset()),
        Recorded(permits=None, forbids=frozenset({"refund-within-paid"})),
        Recorded(permits=frozenset({"no-such-rule"}), forbids=frozenset()),
    ],
)
def test_decision_that_is_recorded_wrongly_is_found(said: Recorded) -> None:
    """
    A record that names other rules than those that decided does not hold.
    """
    assert failing(ranges.ground(base(), refund(100), said)) == {("decided", "")}


def test_ground_obligation_names_the_violated_invariant() -> None:
    """
    A call that weak rules let through, and that an invariant forbids, is named with that invariant.
    """
    weak = replace(base(), policies='@id("all") permit (principal, action, resource);')

    found = failing(ranges.ground(weak, refund(10_001)))

    assert ("invariant", "refund-cap") in found


@pytest.mark.parametrize(
    "member", [("risk", 4), ("autonomy", -1), ("now", 2**60), ("environment", 1), ("arguments", {}), ("facts", {})]
)
def test_question_that_does_not_fit_has_no_obligation(member: tuple[str, Any]) -> None:
    """
    Outside of the schema nothing is claimed: no text is better than one about another question.
    """
    asked_ = refund(100)
    other = replace(asked_, context={**asked_.context, member[0]: member[1]})

    with pytest.raises(Unreadable, match=member[0]):
        ranges.ground(base(), other)


@pytest.mark.parametrize("text", ["\U0001f600 \U00030000 \ud7ff", 'a"b\\u{41}\n(check-sat)', "x" * 60_000])
def test_any_text_of_a_call_is_a_literal(text: str) -> None:
    """
    Quotes, escapes, line feeds, characters that solvers lack: the claims about the call hold all the same.
    """
    asked_ = refund(100)
    arguments = {**asked_.context["arguments"], "order_id": text}
    other = replace(
        asked_, resource=replace(asked_.resource, id=text), context={**asked_.context, "arguments": arguments}
    )

    assert failing(ranges.ground(base(), other, recorded(engine().decide(other)))) == set()


def test_more_characters_than_solvers_know_are_refused_by_name() -> None:
    """
    There is no exact obligation, and so none; the reason is one of the documented ones.
    """
    text = "".join(map(chr, range(0x30000, 0x30000 + 3_000)))
    asked_ = refund(100)
    arguments = {**asked_.context["arguments"], "order_id": text}

    with pytest.raises(Unsupported, match="string_beyond_solvers"):
        ranges.ground(base(), replace(asked_, context={**asked_.context, "arguments": arguments}))


@settings(max_examples=60, deadline=None)
@given(small_cedar.policy_sets(), small_cedar.questions())
def test_ground_decides_as_the_engine(policies: str, asked_: Question) -> None:
    """
    For any rules and any question, what the engine answered is confirmed, and any other answer is refuted.
    """
    allowed = Engine(policies, small_cedar.SCHEMA).raw_allow(asked_)
    violates = asked_.context["arguments"]["amount"] > 50

    found = failing(ranges.ground(small(policies), asked_))

    assert (("invariant", "kept") in found) is (allowed and violates)
    assert ("possible", "") not in found


@settings(max_examples=60, deadline=None)
@given(
    small_cedar.policy_sets(),
    small_cedar.questions(),
    st.lists(st.integers(0, small_cedar.GREATEST), min_size=2, max_size=2).map(sorted),
    st.data(),
)
def test_robust_holds_of_every_value_between(policies: str, asked_: Question, bounds: list[int], data: Any) -> None:
    """
    Proved: the engine permits every value between that is tried. Refuted: it does not permit the one that is shown.
    """
    low, high = bounds
    job = small(policies, HOLDS % "context.facts.order.paid == 7")
    real = Engine(policies, small_cedar.SCHEMA)
    risk = 2 if asked_.context["arguments"]["amount"] > 50 else 1
    asked_ = replace(asked_, context={**asked_.context, "risk": risk, "approvals": small_cedar_approvals(asked_)})

    found = {each.kind: each for each in margins.settle(job, asked_, {"order.paid": (low, high)})}

    if found[Kind.POSSIBLE].verdict is not Found.PROVED:
        return  # A question that no call can be.
    permitted = found[Kind.PERMITTED]
    tried = {low, high, data.draw(st.integers(low, high))}
    if permitted.verdict is Found.PROVED:
        assert all(real.raw_allow(moved(asked_, value)) for value in tried)
    else:
        assert permitted.verdict is Found.REFUTED
        example = permitted.counter_example
        assert example is not None
        assert low <= example.context["facts"]["order"]["paid"] <= high
        assert not real.raw_allow(example)


def small_cedar_approvals(asked_: Question) -> dict[str, int]:
    """Counts that persons can have given."""
    return dict.fromkeys(asked_.context["approvals"], 0)


def moved(asked_: Question, paid: int) -> Question:
    """The question with another fact."""
    order = {**asked_.context["facts"]["order"], "paid": paid}
    return replace(asked_, context={**asked_.context, "facts": {"order": order}})


def test_refund_stays_permitted_as_long_as_enough_was_paid() -> None:
    """
    A refund of 12.50 is good wherever from 12.50 up the paid amount lies, and a call is shown where it may be less.
    """
    enough = margins.settle(base(), refund(1_250), {"order.paid_cents": (1_250, 1_000_000)})
    short = margins.settle(base(), refund(1_250), {"order.paid_cents": (1_249, 1_000_000)})

    assert {each.verdict for each in enough} == {Found.PROVED}
    (refuted,) = (each for each in short if each.verdict is not Found.PROVED)
    assert refuted.counter_example is not None
    assert refuted.counter_example.context["facts"]["order"]["paid_cents"] == 1_249


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("order.paid_cents", (5, 4)),
        ("order.paid_cents", (-1, 4)),
        ("order.paid_cents", (0, 2**60)),
        ("order.nothing", (0, 1)),
        ("order", (0, 1)),
        ("nothing.paid_cents", (0, 1)),
    ],
)
def test_interval_that_no_fact_can_have_is_refused(name: str, bounds: tuple[int, int]) -> None:
    """
    A fact that is not there, or bounds outside of its range, or none between: refused, never proved of nothing.
    """
    with pytest.raises(Unreadable, match="interval"):
        ranges.robust(base(), refund(100), {name: bounds})
