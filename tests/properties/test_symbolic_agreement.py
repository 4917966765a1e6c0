"""Three meanings of Cedar agree on the gateway's questions: the engine, the compiled closures, and the solver's."""

from __future__ import annotations

from enum import StrEnum

import pytest
from hypothesis import given, settings

from invariants import checks, tool_requests
from invariants.checks import Status
from invariants.errors import EvaluationError
from invariants.meaning import encodings, evaluation, schemas
from invariants.meaning.encodings import Answer
from invariants.meaning.evaluation import Scene
from invariants.meaning.schemas import RequestType, Uid
from invariants.solving import z3_backend
from invariants.solving.answers import Verdict
from policies import cedar, cedar_syntax
from policies.questions import Entity, Question
from tests.properties import small_cedar

RESOURCES = 20_000_000
GENERAL = schemas.of_tools(small_cedar.TYPED)


class Result(StrEnum):
    SATISFIED = "satisfied"
    NOT = "not"
    ERROR = "error"


def by_engine(text: str, question: Question) -> Result:
    answer = cedar.Engine(text, small_cedar.SCHEMA).decide(question)
    if answer.errors:
        assert answer.errors == ("rule",)
        return Result.ERROR
    return Result.SATISFIED if answer.rules else Result.NOT


def by_closure(text: str, question: Question) -> Result:
    run = evaluation.policy(cedar_syntax.parse(text)[0], "rule")
    try:
        return Result.SATISFIED if run(scene(question)) else Result.NOT
    except EvaluationError:
        return Result.ERROR


def by_check(condition: str, question: Question) -> Result:
    """As an invariant, evaluated the way each call's are: it is violated where the condition is met."""
    text = f'@id("rule") @sentence("A rule.") forbid (principal, action, resource) when {{ {condition} }};'
    (check,) = checks.compile(text, small_cedar.TYPED).evaluate(question)
    return {Status.FAIL: Result.SATISFIED, Status.PASS: Result.NOT, Status.ERROR: Result.ERROR}[check.status]


def scene(question: Question) -> Scene:
    return Scene(tool_requests.request(question), tool_requests.store(question, GENERAL))


def is_only_answer(text: str, question: Question, result: Result) -> bool:
    """Whether the solver, bound to the question, finds no other answer of the rule possible."""
    kind = RequestType(
        principal=question.principal.type, action=Uid("Action", "refund"), resource=question.resource.type
    )
    encoding = encodings.encode({"rule": cedar_syntax.parse(text)[0]}, GENERAL, kind)
    answer = Answer(
        satisfied=frozenset({"rule"} if result is Result.SATISFIED else ()),
        erring=frozenset({"rule"} if result is Result.ERROR else ()),
    )
    other = encoding.other_answer(answer)
    around = scene(question)
    facts = encoding.facts(around.request, around.store, other)
    solver = z3_backend.Solver(facts, RESOURCES)
    return (solver.check(), solver.check(other)) == (Verdict.SATISFIABLE, Verdict.UNSATISFIABLE)


@settings(max_examples=300, deadline=None)
@given(small_cedar.expressions(), small_cedar.questions())
def test_condition_means_the_same_to_engine_closures_and_solver(condition: str, question: Question) -> None:
    """
    Satisfied, not satisfied or an error: on every question all meanings of a condition agree.
    """
    text = f'@id("rule") permit (principal, action, resource) when {{ {condition} }};'
    expected = by_engine(text, question)

    assert by_closure(text, question) is expected
    assert by_check(condition, question) is expected
    assert is_only_answer(text, question, expected)


OVERFLOWS = (
    ("9223372036854775807 + context.arguments.amount > 0", 1, Result.ERROR),
    ("9223372036854775807 + context.arguments.amount > 0", 0, Result.SATISFIED),
    ("(-9223372036854775808) - context.arguments.amount < 0", 1, Result.ERROR),
    ("-(context.arguments.amount - 9223372036854775807 - 1) > 0", 0, Result.ERROR),
    ("context.arguments.amount * 10000 > 0", 922_337_203_685_478, Result.ERROR),
    ("context.arguments.amount * 10000 > 0", 922_337_203_685_477, Result.SATISFIED),
    ("context.arguments.extra > 0", 0, Result.ERROR),
    ("context.arguments has extra && context.arguments.extra > 0", 0, Result.NOT),
    ("true || context.arguments.extra > 0", 0, Result.SATISFIED),
    ("context.arguments.extra > 0 || true", 0, Result.ERROR),
    ("false && 1", 0, Result.NOT),
    ("true && 1", 0, Result.ERROR),
    ("if true then true else 1 + true == 2", 0, Result.SATISFIED),
    ("context.arguments.flag == 0", 0, Result.NOT),
    ("context.arguments.flag < 1", 0, Result.ERROR),
    ('context.arguments.note == "Agent" || principal == Agent::"Agent"', 0, Result.NOT),
    ("[1 + true].contains(1)", 0, Result.ERROR),
    ('principal in ["a"]', 0, Result.ERROR),
    ('context.arguments.note like "*" && !(context.arguments.note like "b*")', 0, Result.SATISFIED),
    ('context.arguments.flag like "*"', 0, Result.ERROR),
    ('principal in [Role::"finance", Role::"sre"] && !(principal in Role::"finance")', 0, Result.SATISFIED),
    ('Action::"refund" in Action::"write" && !(Action::"write" in Action::"refund")', 0, Result.SATISFIED),
    ("{a: context.arguments.amount, b: [1, 1]} == {b: [1], a: 0}", 0, Result.SATISFIED),
    ("[context.arguments.amount, 1].containsAll([1]) && [].isEmpty()", 0, Result.SATISFIED),
    ('decimal("1.50").lessThan(decimal("1.5001")) && ip("10.0.0.1").isInRange(ip("10.0.0.0/8"))', 0, Result.SATISFIED),
    ('datetime("2026-01-02").toDate() > datetime("2026-01-01").offset(duration("1d"))', 0, Result.NOT),
    ('duration("1d") < duration("25h") && decimal("1.00001").lessThan(decimal("1.0"))', 0, Result.ERROR),
)


@pytest.mark.parametrize(("condition", "amount", "expected"), OVERFLOWS)
def test_edges_of_evaluation_are_exact(condition: str, amount: int, expected: Result) -> None:
    """
    Overflow at the last digit, missing attributes, short-circuits and wrong types: the engine's answer, three times.
    """
    question = Question(
        principal=Entity(type="Person", id="a"),
        roles=("sre",),
        action="refund",
        resource=Entity(type="Order", id="b"),
        context={
            "arguments": {"amount": amount, "note": "a", "flag": False},
            "facts": {"order": {"paid": 0}},
            "approvals": {"persons": 0},
        },
    )
    text = f'@id("rule") permit (principal, action, resource) when {{ {condition} }};'

    assert by_engine(text, question) is expected
    assert by_closure(text, question) is expected
    assert by_check(condition, question) is expected
    assert is_only_answer(text, question, expected)
