"""Analyses of bundles that were written to mislead them: no doubt becomes a yes, and nobody's text becomes a symbol."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import invariants
from invariants.analyses import asking, difference, inquiry, results, surveys
from invariants.analyses.asking import Inquiry
from invariants.analyses.liveness import Liveness
from invariants.analyses.results import Analysis, Result, Verdict
from invariants.errors import InvariantError
from invariants.jobs import Job, ProofLimits, job
from invariants.solving.answers import Verdict as Answer
from policies.errors import PolicyFault
from policies.schema import generate
from tests.attacks.bundle_edits import CONTRACTS, POLICIES
from tool_registry.contracts import Contract

TOOLS = {str(contract.name): contract for contract in CONTRACTS}
ANYONE = '@id("anyone") permit (principal, action, resource);'
YES = {
    Verdict.HOLDS,
    Verdict.DEAD,
    Verdict.SHADOWED,
    Verdict.REDUNDANT,
    Verdict.EQUIVALENT,
    Verdict.ALWAYS_ALLOWS,
    Verdict.ALWAYS_DENIES,
}
"""Verdicts that rest on something never being so."""


def bundle(policies: str, *names: str, limits: ProofLimits | None = None) -> Job:
    """Rules over some tools, by default refunds alone."""
    return over(policies, *(TOOLS[name] for name in names or ("issue_refund",)), limits=limits)


def over(policies: str, *contracts: Contract, limits: ProofLimits | None = None) -> Job:
    """Rules over contracts."""
    files = {"policies.cedar": policies, "invariants.cedar": ""}
    return job(files, generate(contracts), contracts, limits)


def forbid(condition: str, identity: str = "one", action: str = "action") -> str:
    """A forbid."""
    return f'@id("{identity}") forbid (principal, {action}, resource) when {{ {condition} }};'


def decisive(given: Job) -> dict[str, Result]:
    """By rule."""
    return {each.subject: each for each in inquiry.run(given, [Analysis.DECISIVE])}


def test_solver_that_gives_up_never_gives_a_yes() -> None:
    """
    With next to no resources nothing is said to hold, to be idle or to be equivalent that a solver was asked about.
    """
    starved = bundle(POLICIES, *TOOLS, limits=ProofLimits(resources=1))
    other = replace(starved, policies=POLICIES.replace("> 50000", "> 60000"))

    found = [*inquiry.run(starved), *difference.run(starved, other)]

    assert len(found) > 500
    assert {each.verdict for each in found} & YES == set()
    assert Verdict.UNKNOWN in {each.verdict for each in found}


def test_never_is_believed_of_both_solvers_only() -> None:
    """
    With resources that suffice for the first solver and not for the second, the answer is that nobody knows.
    """
    found = [
        each
        for resources in (2_500, 3_000, 3_500)
        for each in inquiry.run(
            bundle(POLICIES, *TOOLS, limits=ProofLimits(resources=resources)), [Analysis.DUTIES_SEPARATED]
        )
    ]

    reasons = {each.reason for each in found if each.verdict is Verdict.UNKNOWN}
    assert {each.verdict for each in found} <= {Verdict.HOLDS, Verdict.UNKNOWN}
    assert "second_solver_limit" in reasons


def test_product_beyond_the_solver_is_unknown() -> None:
    """
    A rule that asks for the factors of a large number is neither dead nor equivalent to nothing.
    """
    number = (2**31 - 1) * (2**19 - 1)
    amounts = "context.arguments.amount_cents * context.facts.order.paid_cents * context.facts.order.paid_cents"
    hard = bundle(ANYONE + forbid(f"{amounts} == {number}"), limits=ProofLimits(resources=20_000))

    one = decisive(hard)["one"]
    compared = list(difference.run(replace(hard, policies=ANYONE), hard))

    assert (one.verdict, one.reason) == (Verdict.UNKNOWN, "solver_limit")
    assert {(each.verdict, each.reason) for each in compared} == {(Verdict.UNKNOWN, "solver_limit")}


def test_contradictory_assumptions_prove_nothing() -> None:
    """
    Where the contract's risk lies beyond its range no request fits, so every *never* would be true, and none is said.
    """
    impossible = over(ANYONE + forbid("context.risk == 2"), replace(TOOLS["issue_refund"], risk="4"))

    found = [*inquiry.run(impossible), *difference.run(impossible, impossible)]

    asked = [each for each in found if each.reason not in ("not_registered", "not_a_tool", "resource_without_tenant")]
    assert {(each.verdict, each.reason) for each in asked} == {(Verdict.UNKNOWN, "assumptions_contradict")}


def test_form_without_meaning_hides_no_other_rule() -> None:
    """
    One tool's rule that cannot be written down makes that tool unknown, and a rule over it is not called dead; all
    else is answered as before.
    """
    strange = forbid("ip(context.environment).isLoopback()", "strange", 'action == Action::"ban_user"')
    bans = forbid("context.arguments.duration_days > 5", "bans", 'action == Action::"ban_user"')
    refunds = forbid("context.risk > 3", "dead", 'action == Action::"issue_refund"')
    given = bundle(ANYONE + strange + bans + refunds, "ban_user", "issue_refund")

    found = decisive(given)
    errs = {(each.action, each.verdict, each.reason) for each in inquiry.run(given, [Analysis.NEVER_ERRS])}

    unknown = (Verdict.UNKNOWN, "extension_of_unknown_text")
    assert {name: (found[name].verdict, found[name].reason) for name in ("strange", "bans")} == {
        "strange": unknown,
        "bans": unknown,
    }
    assert (found["anyone"].verdict, found["dead"].verdict) == (Verdict.DECISIVE, Verdict.DEAD)
    assert errs == {("ban_user", *unknown), ("issue_refund", Verdict.HOLDS, "")}


def test_gate_does_not_call_dead_what_nobody_could_ask_about() -> None:
    """
    A refused tool, or a solver without an answer, leaves a rule unknown in the gate's form too.
    """
    given = bundle(ANYONE + forbid("context.risk > 3"), "issue_refund")
    laid_open = surveys.survey(given)
    refused, starved = (Liveness(laid_open.rules, given.schema.typed) for _ in range(2))

    refused.refuse("issue_refund", "form_unknown")
    for requests in laid_open.types:
        starved.look(requests, lambda _claim: Answer.UNKNOWN)

    for liveness, reason in ((refused, "form_unknown"), (starved, "solver_limit")):
        assert {(each.verdict, each.reason) for each in liveness.results()} == {(Verdict.UNKNOWN, reason)}


def test_acceptance_excuses_a_dead_rule_and_nothing_else() -> None:
    """
    A rule that errs, or that nobody could ask about, is not excused by its own annotation.
    """
    accepted = '@accepted("Trust me.") '
    errs = accepted + forbid("context.facts.order.paid_cents * 1000000000 > 5")
    strange = accepted + forbid("ip(context.environment).isLoopback()")

    assert Verdict.FAILS in {each.verdict for each in inquiry.run(bundle(ANYONE + errs), [Analysis.NEVER_ERRS])}
    assert decisive(bundle(ANYONE + strange))["one"].verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "text",
    ["s0", "q0", "(check-sat)", "true", '") (assert false) ("', "\\0", "\\u{61}", "\\u{30000}\\u{10fffe}", "ü*"],
)
def test_text_of_a_rule_stays_text(text: str) -> None:
    """
    Strings like symbols, commands, escapes or characters that solvers lack: the rule lives, and the witness has it.
    """
    quoted = text.replace('"', '\\"')
    given = bundle(ANYONE + forbid(f'context.environment == "{quoted}" || context.environment == "{quoted}x"'))
    (expected,) = (
        rule.node.clauses[0].expr.left.right.value for rule in surveys.survey(given).rules if rule.id == "one"
    )

    found = decisive(given)["one"]

    assert found.verdict is Verdict.DECISIVE
    assert found.witnesses[0].question["context"]["environment"] in (expected, expected + "x")


def test_same_id_in_both_bundles_is_two_rules() -> None:
    """
    A new rule under an old rule's id is compared with it, and not taken for it.
    """
    old, new = (bundle(ANYONE + forbid(f"context.arguments.amount_cents > {limit}")) for limit in (10, 20))

    found = list(difference.run(old, new))

    assert {each.verdict for each in found} == {Verdict.MORE_PERMISSIVE}


def test_text_beyond_the_parser_is_refused_before_it() -> None:
    """
    Nesting that would end the process ends in a refusal.
    """
    deep = forbid("(" * 5_000 + "true" + ")" * 5_000)

    with pytest.raises(PolicyFault):
        list(inquiry.run(bundle(deep)))
    with pytest.raises(PolicyFault):
        asyncio.run(asking.ask(Inquiry(job=bundle(deep))))


def test_rule_at_the_end_of_a_range_is_told_from_its_neighbours() -> None:
    """
    Of sixty rules about one amount each, only that about 0 is dead: no refund is of nothing.
    """
    many = [forbid(f"context.arguments.amount_cents == {number}", f"n{number}") for number in range(60)]
    given = bundle(ANYONE + "\n".join(many))

    found = decisive(given)

    assert {name for name, each in found.items() if each.verdict is not Verdict.DECISIVE} == {"n0"}
    assert found["n0"].verdict is Verdict.DEAD


@pytest.mark.parametrize(
    ("limits", "missing"),
    [
        (ProofLimits(memory_bytes=48 * 1024 * 1024), {"worker_died", "out_of_memory"}),
        (ProofLimits(memory_bytes=256 * 1024 * 1024, seconds=0.2), {"out_of_time"}),
    ],
    ids=["memory", "time"],
)
def test_process_that_dies_leaves_answers_out(limits: ProofLimits, missing: set[str]) -> None:
    """
    Starved of memory or time, the process has not answered everything, and the caller is told why.
    """
    given = bundle(POLICIES, *TOOLS, limits=limits)

    answers = asyncio.run(asking.ask(Inquiry(job=given)))

    assert answers.missing in missing
    assert Analysis.NOBODY_LOCKED_OUT not in {each.analysis for each in answers.results}


def test_nonsense_of_a_worker_is_no_result() -> None:
    """
    Half a line, an unknown verdict, or another member: not read.
    """
    whole = Result(analysis=Analysis.ALWAYS, verdict=Verdict.DEPENDS).document()

    assert results.read(whole).document() == whole
    for document in ({}, {**whole, "verdict": "fine"}, {**whole, "more": 1}, {**whole, "witnesses": [{"shows": "x"}]}):
        with pytest.raises(InvariantError):
            results.read(document)


def test_results_are_read_without_a_solver() -> None:
    """
    What an analysis found may be read in the gateway's process, and a worker of one solver loads no other.
    """
    code = (
        "import sys; from invariants.analyses import asking, liveness, results; "
        "sys.exit(any(name.split('.')[0] in ('z3', 'cvc5') for name in sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=Path(invariants.__file__).parent.parent, check=False)

    assert done.returncode == 0
