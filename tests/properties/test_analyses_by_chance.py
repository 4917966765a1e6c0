"""Analyses against the engine, by chance: what is said never to be is never seen, and what is shown is so."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from invariants.analyses import difference, inquiry
from invariants.analyses.results import Analysis, Result, Verdict
from invariants.jobs import Job
from policies import cedar
from policies.cedar import Engine
from policies.questions import APPROVER_ROLES, Entity, Question
from tests.attacks.bundle_edits import question
from tests.properties import small_cedar

SMALL = Job(policies="", invariants="", schema=small_cedar.SCHEMA, resource_arguments={"refund": None})
QUESTIONS = 2_000  # Concrete questions put to the engine for each bundle.


def sampled(random: Random) -> Question:
    """A question of the small world that the assumptions admit, near the edges of what rules compare."""
    edge = (-1, 0, 1, 2, 49, 50, 51, 10_000, small_cedar.GREATEST, -small_cedar.GREATEST, random.randrange(-99, 99))
    is_agent = random.random() < 0.5
    counts = {role: random.choice((0, 0, 0, 1, 2, 3)) for role in APPROVER_ROLES}
    persons = random.randint(max(counts.values()), min(3, sum(counts.values())))
    amount = random.choice(edge)
    arguments = {"amount": amount, "note": random.choice(small_cedar.TEXTS), "flag": random.random() < 0.5}
    order = {"paid": abs(random.choice(edge))}
    if random.random() < 0.5:
        arguments["extra"] = random.choice(edge)
    if random.random() < 0.5:
        arguments["mode"] = random.choice(("a", "b"))
    if random.random() < 0.5:
        order["seen"] = random.random() < 0.5
    return Question(
        principal=Entity(type="Agent" if is_agent else "Person", id=random.choice(small_cedar.TEXTS)),
        roles=() if is_agent else tuple(role for role in small_cedar.ROLES if random.random() < 0.5),
        action="refund",
        resource=Entity(type="Order", id=random.choice(small_cedar.TEXTS)),
        context={
            "arguments": arguments,
            "facts": {"order": order},
            "approvals": {**counts, "persons": persons},
            "risk": 2 if amount > 50 else 1,
            "autonomy": random.randint(0, 4) if is_agent else 0,
            "registered": is_agent and random.random() < 0.5,
            "reason_code": random.choice(("a", "b")),
            "environment": "dev",
            "tenant": random.choice(small_cedar.TEXTS),
            "now": abs(random.choice(edge)),
        },
    )


@cache
def samples() -> tuple[Question, ...]:
    """The questions that are put to the engines."""
    random = Random(1)
    return tuple(sampled(random) for _ in range(QUESTIONS))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two sets of rules, often one of them a small change of the other, so that every verdict occurs."""
    one = draw(small_cedar.policy_sets())
    match draw(st.sampled_from(("other", "removed", "repeated", "reworded"))):
        case "other":
            return one, draw(small_cedar.policy_sets())
        case "removed":
            return one, one[: one.rindex("@id(")] or one
        case "repeated":
            return one, one + one[one.rindex("@id(") :].replace('@id("', '@id("again-')
        case _:
            return one, one.replace("when {", "unless { !(").replace("}", ")}") if "unless" not in one else one


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_difference_is_what_the_engine_does(pair: tuple[str, str]) -> None:
    """
    Equivalent: thousands of questions are decided alike. More or less permissive: none is decided the other way.
    """
    old, new = (replace(SMALL, policies=text) for text in pair)
    engines = [Engine(each.policies, each.schema) for each in (old, new)]

    found = {each.principal: each for each in difference.run(old, new)}

    refuted = {
        Verdict.EQUIVALENT: {(True, False), (False, True)},
        Verdict.MORE_PERMISSIVE: {(True, False)},
        Verdict.LESS_PERMISSIVE: {(False, True)},
    }
    assert Verdict.ENCODING_BUG not in {each.verdict for each in found.values()}
    for asked in samples():
        answers = engines[0].raw_allow(asked), engines[1].raw_allow(asked)
        assert answers not in refuted.get(found[asked.principal.type].verdict, set()), asked
    for result in found.values():
        for witness in result.witnesses:
            shown = question(witness.question)
            newly = witness.shows == "newly_permitted"
            assert (engines[0].raw_allow(shown), engines[1].raw_allow(shown)) == (not newly, newly)


@settings(max_examples=40, deadline=None)
@given(small_cedar.policy_sets())
def test_removing_an_idle_rule_changes_no_decision(policies: str) -> None:
    """
    Dead, shadowed or redundant: without the rule the engine decides thousands of questions as with it.
    """
    given_ = replace(SMALL, policies=policies)
    engine = Engine(policies, given_.schema)
    allowed = [engine.raw_allow(each) for each in samples()]

    found = list(inquiry.run(given_, [Analysis.DECISIVE]))

    assert {each.analysis for each in found} == {Analysis.DECISIVE}
    assert Verdict.ENCODING_BUG not in {each.verdict for each in found}
    for result in found:
        if result.verdict in (Verdict.DEAD, Verdict.SHADOWED, Verdict.REDUNDANT):
            rest = tuple(rule for rule in cedar.parse(policies) if rule.id != result.subject)
            alone = Engine(rest, given_.schema)
            assert [alone.raw_allow(each) for each in samples()] == allowed


def is_seen(result: Result, asked: Question, errors: tuple[str, ...], *, allowed: bool) -> bool:
    """Whether the engine's answer to a question is what a result says can never be."""
    match result.analysis, result.verdict:
        case Analysis.NEVER_ERRS, Verdict.HOLDS:
            return result.subject in errors
        case Analysis.ALWAYS, Verdict.ALWAYS_ALLOWS:
            return not allowed
        case Analysis.ALWAYS, Verdict.ALWAYS_DENIES:
            return allowed
        case ((Analysis.IRREVERSIBLE_APPROVED | Analysis.DUTIES_SEPARATED), Verdict.HOLDS):
            return allowed and asked.context["risk"] >= 2 and asked.context["approvals"]["persons"] < 1
        case _:
            return False


@settings(max_examples=40, deadline=None)
@given(small_cedar.policy_sets())
def test_what_can_never_be_is_never_seen(policies: str) -> None:
    """
    No question errs, passes or is refused against what an analysis says of its type of request.
    """
    engine = Engine(policies, SMALL.schema)

    found = [each for each in inquiry.run(replace(SMALL, policies=policies)) if each.principal]

    assert Verdict.ENCODING_BUG not in {each.verdict for each in found}
    for asked in samples()[: QUESTIONS // 2]:
        errors, allowed = engine.decide(asked).errors, engine.raw_allow(asked)
        about = [each for each in found if each.principal == asked.principal.type]
        assert not [each for each in about if is_seen(each, asked, errors, allowed=allowed)], asked
