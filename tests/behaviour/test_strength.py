"""The mutation score: what is found out about a mistake, and by whom it is noticed."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from invariants import prover
from invariants.errors import InvariantError
from invariants.jobs import Job, ProofLimits, job
from invariants.reports import Verdict as Proved
from invariants.strength import measuring, opinions, proposals, scores, scoring, trials
from invariants.strength.mutants import Mistake, mutants
from invariants.strength.scores import Judgement, Score, Verdict
from invariants.strength.trials import Asked
from policies import case_form, cedar, cedar_syntax
from policies import cases as case_runs
from policies.schema import generate
from tests.attacks.bundle_edits import CONTRACTS, FILES, INVARIANTS, POLICIES, REFUND, SCHEMA, rule
from tests.world.bundles import bundle

ROOT = Path(__file__).resolve().parents[2]
SMALL = generate(REFUND)
ANYBODY = '@id("anybody") permit (principal, action, resource);\n'
CAP = """@id("cap") forbid (principal, action == Action::"issue_refund", resource) when {
  context.arguments.amount_cents >
  context.facts.order.paid_cents - context.facts.order.refunded_cents - context.facts.order.in_flight_cents
};
"""
CALM = '@id("calm") forbid (principal, action, resource) when { context.autonomy > 3 };\n'
NARROW = """@id("narrow") forbid (principal, action, resource)
when {
  context.arguments.amount_cents < 1000 &&
  context.arguments.amount_cents * 1000000000000000 > 900000000000000000
};
"""
WHOLE = {
    "name": "all that is left",
    "question": {
        "principal": "agent/a",
        "action": "issue_refund",
        "context": {
            "arguments": {"order_id": "ord_1", "amount_cents": 300},
            "facts": {"order": {"paid_cents": 400, "refunded_cents": 100}},
        },
    },
    "expect": {"decision": "permit", "rules": ["anybody"]},
}


def small(policies: str, limits: ProofLimits | None = None) -> Job:
    files = {"policies.cedar": policies, "invariants.cedar": rule(INVARIANTS, "refund-cap")}
    return job(files, SMALL, REFUND, limits)


def cases(*documents: object) -> tuple[Asked, ...]:
    read = case_form.read_cases(list(documents))
    whole = (case_form.question(case, SMALL.typed.actions[case.action], REFUND[0]) for case in read)
    return tuple(Asked(name=case.name, question=asked, narrowing=None) for case, asked in zip(read, whole, strict=True))


def verdicts(score: Score) -> list[tuple[str, Verdict]]:
    return [(each.mutant.id, each.verdict) for each in score.judgements]


def judged(score: Score) -> dict[str, Judgement]:
    return {each.mutant.id: each for each in score.judgements}


@cache
def base() -> tuple[Job, tuple[Asked, ...], Score]:
    asked = job(FILES, SCHEMA, CONTRACTS)
    known = trials.asked(bundle(), CONTRACTS, SCHEMA.typed)
    return asked, known, scoring.score(asked, known)


def test_mutants_are_other_policies_that_can_be_written_down() -> None:
    """
    Every mutant of the base bundle has its own id and a text that reads as its nodes, which are not the rule's; every
    kind of mistake is made.
    """
    rules = {each.id: each for each in cedar.parse(POLICIES)}
    made = list(mutants(rules.values()))

    assert len({each.id for each in made}) == len(made)
    assert {each.mistake for each in made} == set(Mistake)
    for each in made:
        assert each.node != rules[each.rule].node
        if each.node is not None:
            (read,) = cedar_syntax.parse(each.text)
            assert replace(read, id=each.node.id) == each.node


def test_ids_of_mutants_do_not_depend_on_other_rules() -> None:
    """
    A certificate that names a mutant names the same one after another rule came in.
    """
    one = {each.id: each.text for each in mutants(cedar.parse(CAP))}
    two = {each.id: each.text for each in mutants(cedar.parse(CAP + ANYBODY + CALM))}

    assert one.items() <= two.items()


def test_each_verdict_is_given_where_it_is_due() -> None:
    """
    A lost guard breaks the proof, a stricter one a case, a guard that overflows errs, one beyond its range is dead,
    one about what no case asks survives; a second guard that says the same may go.
    """
    score = judged(scoring.score(small(ANYBODY + CAP + CALM + NARROW), cases(WHOLE)))
    twice = judged(scoring.score(small(ANYBODY + CAP + CAP.replace('"cap"', '"cap-again"')), cases(WHOLE)))

    assert (score["cap/rule_removed/1"].verdict, score["cap/rule_removed/1"].by) == (Verdict.PROOF, "refund-cap")
    assert score["anybody/rule_removed/1"].verdict is Verdict.CASES
    assert (score["cap/comparison_moved/1"].verdict, score["cap/comparison_moved/1"].by) == (
        Verdict.CASES,
        WHOLE["name"],
    )
    assert score["narrow/conjunct_dropped/2"].verdict is Verdict.NEVER_ERRS
    assert score["calm/comparison_flipped/1"].verdict is Verdict.SURVIVOR
    assert score["calm/constant_moved/2"].verdict is Verdict.DEAD_RULE
    assert twice["cap/rule_removed/1"].verdict is Verdict.EQUIVALENT
    assert twice["cap-again/rule_removed/1"].verdict is Verdict.EQUIVALENT


def test_bundle_that_nobody_can_use_any_more_is_noticed() -> None:
    """
    A mutant under which no request of a tool is permitted breaks the proof's premise, without any case.
    """
    score = judged(scoring.score(small(ANYBODY + CAP), ()))

    negated = score["cap/effect_swapped/1"], score["cap/clause_dropped/1"]

    assert [(each.verdict, each.by) for each in negated] == [(Verdict.PROOF, "refund-cap"), (Verdict.PROOF, "premise")]


def test_survivor_is_shown_by_a_question_and_caught_by_the_case_made_of_it() -> None:
    """
    Without a case at the limit `>=` for `>` survives; the proposed case is decided as the bundle decides, and catches
    every survivor.
    """
    asked = small(ANYBODY + CAP)
    before = scoring.score(asked, ())

    proposed = proposals.propose(before, asked, REFUND)
    after = scoring.score(asked, cases(*proposed))

    survivor = judged(before)["cap/comparison_moved/1"]
    assert (survivor.verdict, survivor.before) == (Verdict.SURVIVOR, True)
    assert 0 < len(proposed) < len(before.with_verdict(Verdict.SURVIVOR))
    assert after.with_verdict(Verdict.SURVIVOR) == ()


def test_solver_that_gives_up_shows_nothing() -> None:
    """
    With no resources for the solver nothing means the same and nothing survives: it is unknown, and not caught.
    """
    twice = ANYBODY + CAP + CAP.replace('"cap"', '"cap-again"')

    score = scoring.score(small(twice, ProofLimits(resources=1)), ())

    counts = Counter(each.verdict for each in score.judgements)
    assert counts[Verdict.UNKNOWN] > 0
    assert counts[Verdict.EQUIVALENT] == counts[Verdict.SURVIVOR] == counts[Verdict.DEAD_RULE] == 0
    assert {each.by for each in score.with_verdict(Verdict.UNKNOWN)} == {"solver_limit"}


def test_workers_say_what_one_process_says() -> None:
    """
    Shared among worker processes, every mutant gets the verdict that it gets alone, and the certificate its sum.
    """
    asked = small(ANYBODY + CAP + CALM)

    alone = scoring.score(asked, cases(WHOLE))
    shared = asyncio.run(measuring.measure(asked, cases(WHOLE)))
    stated = scores.mutation(shared)

    assert verdicts(shared) == verdicts(alone)
    assert stated.mutants == stated.equivalent + stated.caught + len(stated.survivors) == len(alone.judgements)


def test_half_a_score_is_none() -> None:
    """
    Workers without the memory to start leave no score, and a sentence that says so.
    """
    cramped = small(ANYBODY + CAP, ProofLimits(memory_bytes=24 * 1024 * 1024))

    with pytest.raises(InvariantError, match=r"mutants not judged: (worker_died|out_of_memory)"):
        asyncio.run(measuring.measure(cramped, cases(WHOLE)))


def test_second_opinions_would_see_a_false_proof() -> None:
    """
    A refuted mutant passed off as caught by a case: cvc5 contradicts, and the engine permits what it should not.
    """
    asked = small(ANYBODY + CAP)
    score = scoring.score(asked, cases(WHOLE))
    lie = tuple(
        replace(each, verdict=Verdict.CASES) if each.mutant.id == "cap/rule_removed/1" else each
        for each in score.judgements
    )

    honest = opinions.second(score, asked, cases(WHOLE))
    lying = opinions.second(replace(score, judgements=lie), asked, cases(WHOLE))

    assert (honest.conflicts, honest.permitted) == ([], [])
    assert {*lying.conflicts} == {*lying.permitted} == {"cap/rule_removed/1"}
    assert honest.asked > 0


def test_base_bundle_notices_what_is_aimed_at() -> None:
    """
    D09: at least 99 % of the mistakes in the base bundle are caught, nothing is unknown, and every survivor has a
    question.
    """
    _, _, score = base()

    assert score.caught_bp >= 9_900
    assert score.with_verdict(Verdict.UNKNOWN) == ()
    assert all(each.question is not None for each in score.with_verdict(Verdict.SURVIVOR))
    assert len(score.with_verdict(Verdict.PROOF)) > len(score.judgements) // 4


@pytest.mark.parametrize(
    "verdict", [Verdict.PROOF, Verdict.DEAD_RULE, Verdict.CASES, Verdict.EQUIVALENT, Verdict.SURVIVOR]
)
def test_the_gate_says_of_a_mutant_what_the_score_says(verdict: Verdict) -> None:
    """
    Put into the bundle as text, mutants meet the same prover and the same cases as any upload: what counts as caught
    by proof is not proved, all else is, and what counts as caught by a case fails that case.
    """
    asked, _, score = base()
    found = score.with_verdict(verdict)

    assert found
    for each in found[:: max(1, len(found) // 2)][:2]:
        text = POLICIES.replace(rule(POLICIES, each.mutant.rule), each.mutant.text)
        is_proved = all(finding.verdict is Proved.PROVED for finding in prover.run(replace(asked, policies=text)))
        report = case_runs.run_alone(bundle(policies=text), CONTRACTS)

        assert is_proved is (verdict not in (Verdict.PROOF, Verdict.DEAD_RULE)), each.mutant.id
        if verdict is Verdict.CASES:
            assert each.by in {failure.case for failure in report.failures}
        if verdict is Verdict.SURVIVOR:
            assert report.failures == ()


def test_every_mistake_and_verdict_is_documented() -> None:
    """
    docs/strength.md names every kind of mistake and every verdict.
    """
    page = (ROOT / "docs" / "strength.md").read_text(encoding="utf-8")

    assert [each for each in (*Mistake, *Verdict) if f"`{each}`" not in page] == []
