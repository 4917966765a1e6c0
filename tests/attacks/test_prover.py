"""Bundles that must not be published: guards lost or mistyped, proofs that show nothing, workers that die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from invariants import declared, processes, supervisor
from invariants.jobs import ProofLimits, job, planned
from invariants.reports import Finding, ProofReport, Verdict
from invariants.supervisor import Prover
from policies.cedar import Engine
from tests.attacks.bundle_edits import (
    CONTRACTS,
    FILES,
    INVARIANTS,
    MEMORY_BOMB,
    POLICIES,
    REFUND,
    SCHEMA,
    about_invariants,
    proved,
    rule,
    without,
)


def prove(files: dict[str, str], limits: ProofLimits | None = None) -> ProofReport:
    """Through the worker, as an upload does it."""
    return asyncio.run(Prover(limits).prove(files, SCHEMA, CONTRACTS))


def over_refunds(condition: str) -> str:
    return f"""@id("extra") @sentence("A sentence.")
forbid (principal, action == Action::"issue_refund", resource) when {{ {condition} }};"""


HARD = over_refunds(
    # 2^61 - 1 is prime; the bounds keep the product from overflowing.
    "context.facts.order.paid_cents > 1 && context.facts.order.paid_cents < 2147483648 && "
    "context.facts.order.refunded_cents > 1 && context.facts.order.refunded_cents < 2147483648 && "
    "context.facts.order.paid_cents * context.facts.order.refunded_cents == 2305843009213693951"
)


def test_forbid_that_overflows_is_seen_as_missing() -> None:
    """
    "Never more than half" as a product of Longs reads well and validates; from 922,337,203,685,478 cents on it errs,
    Cedar drops it, and the prover finds the first amount that passes.
    """
    wide = [
        replace(
            contract,
            arguments=tuple(
                replace(each, maximum=2**53 - 1) if each.name == "amount_cents" else each for each in contract.arguments
            ),
        )
        for contract in REFUND
    ]
    half = """@id("anybody") permit (principal, action, resource);
@id("half") forbid (principal, action == Action::"issue_refund", resource)
when { context.arguments.amount_cents * 10000 > context.facts.order.paid_cents * 5000 };"""
    exact = over_refunds("context.arguments.amount_cents > context.facts.order.paid_cents")

    findings = proved(half, exact, wide)

    assert {(each.verdict, each.value) for each in about_invariants(findings)} == {
        (Verdict.REFUTED, 922_337_203_685_478)
    }
    erring = [each for each in findings if each.kind == "never_errs"]
    assert {(each.verdict, each.reason, each.where) for each in erring} == {
        (Verdict.REFUTED, "forbid_errs", "rule `half`")
    }


def test_solver_limit_is_not_a_yes() -> None:
    """
    D01: a nonlinear formula reaches the resource limit; the verdict is unknown, twice the same, and the bundle is
    refused.
    """
    limits = ProofLimits(resources=100_000)

    reports = [prove({**FILES, "invariants.cedar": HARD}, limits) for _ in range(2)]

    for report in reports:
        found = about_invariants(report.findings)
        assert {(finding.reason, finding.where) for finding in found} == {("solver_limit", "invariant `extra`")}
        assert not report.is_proved


def test_contradictory_assumptions_prove_nothing() -> None:
    """
    D02: with a risk that no question can have, every sentence would follow; the verdict is vacuous.
    """
    impossible = [replace(contract, risk="7") for contract in REFUND]

    findings = proved(POLICIES, rule(INVARIANTS, "refund-cap"), impossible)

    verdicts = {finding.kind: (finding.verdict, finding.reason) for finding in findings}
    assert verdicts["assumptions"] == (Verdict.VACUOUS, "assumptions_contradict")
    assert verdicts["premise"] == (Verdict.VACUOUS, "premise_unreachable")


def test_premise_that_nothing_reaches_proves_nothing() -> None:
    """
    D02: forbids that leave no permitted question of a permitted tool make every invariant true and worthless.
    """
    closed = POLICIES + '@id("never") forbid (principal, action == Action::"issue_refund", resource) when { true };'

    findings = proved(closed, rule(INVARIANTS, "refund-cap"), REFUND)

    premises = [finding for finding in findings if finding.kind == "premise"]
    assert {(each.verdict, each.reason) for each in premises} == {(Verdict.VACUOUS, "premise_unreachable")}


def test_invariant_about_no_tool_is_vacuous() -> None:
    """
    A group that no tool is in, or a tool that is only a name, gives an invariant nothing to hold for.
    """
    nowhere = over_refunds("true").replace("issue_refund", "issue_refunds")

    (finding,) = about_invariants(proved(POLICIES, nowhere))

    assert (finding.verdict, finding.reason) == (Verdict.VACUOUS, "covers_no_action")


@pytest.mark.parametrize(
    ("annotation", "verdict", "reason"),
    [("", Verdict.VACUOUS, "never_satisfied"), ('@accepted("Kept for an audit.") ', Verdict.PROVED, "accepted")],
)
def test_dead_rule_is_refused_unless_accepted(annotation: str, verdict: Verdict, reason: str) -> None:
    """
    A rule that no question satisfies is a mistake, or stays with a reason that a reviewer reads.
    """
    dead = f'@id("idle") {annotation}forbid (principal, action, resource) when {{ context.risk > 3 }};'

    findings = proved(POLICIES + dead, rule(INVARIANTS, "refund-cap"), REFUND)

    (idle,) = (finding for finding in findings if finding.rule == "idle")
    assert (idle.verdict, idle.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ('Person::"a" in Role::"finance" && principal != Person::"a"', Verdict.PROVED),
        ('Person::"a" in Role::"finance"', Verdict.REFUTED),
        ('principal in Role::"finance"', Verdict.REFUTED),
    ],
)
def test_nobody_but_the_principal_comes_with_a_question(condition: str, verdict: Verdict) -> None:
    """
    A rule about somebody else's roles never holds: only the principal's are known to the engine.
    """
    text = f'@id("a") permit (principal, action, resource) when {{ {condition} }}; {OPEN}'
    closed = over_refunds('context.tenant == "x"')

    findings = about_invariants(proved(text, closed, REFUND))

    assert verdict in {finding.verdict for finding in findings}
    assert {finding.verdict for finding in findings} <= {Verdict.PROVED, verdict}


OPEN = '@id("b") permit (principal, action, resource) when { context.tenant == "y" };'


def test_bundle_without_invariants_is_not_proved() -> None:
    """
    Nothing shown is not everything shown.
    """
    assert not prove({**FILES, "invariants.cedar": "// none"}).is_proved


@pytest.mark.parametrize(
    "condition", ["ip({}).isLoopback()", 'decimal({}) == decimal("1.0")', "datetime({}) == datetime({})"]
)
def test_form_without_exact_meaning_is_refused(condition: str) -> None:
    """
    A rule that the prover cannot say exactly makes every obligation it takes part in unknown, with the rule's place.
    """
    written = condition.format("context.tenant", "context.tenant")
    guard = f'@id("odd") forbid (principal, action == Action::"issue_refund", resource) when {{ {written} }};'

    findings = proved(POLICIES + guard, rule(INVARIANTS, "refund-cap"), REFUND)

    asked = [finding for finding in findings if not finding.rule]
    assert {(finding.verdict, finding.reason, finding.where) for finding in asked} == {
        (Verdict.UNKNOWN, "extension_of_unknown_text", "rule `odd`, clause 1")
    }


@pytest.mark.parametrize(
    "condition",
    [
        'context.arguments.order_id like "ord_*"',
        "context.arguments == context.facts",
        "[1, 2].containsAll([context.autonomy])",
        '(if context.registered then 1 else "a") == 1',
        'ip("127.0.0.1").isLoopback()',
        'decimal("1.5").lessThan(decimal("2.0")) && duration("1h") > duration("59m")',
    ],
)
def test_every_form_of_cedar_has_a_meaning(condition: str) -> None:
    """
    A guard in any form keeps what it says, and without it the invariant is refuted by a call that the engine allows.
    """
    text = f"""@id("all") permit (principal, action, resource);
@id("odd") forbid (principal, action, resource) unless {{ {condition} }};"""
    invariant = over_refunds(f"!({condition})")
    permitted = """@id("all") permit (principal, action, resource);"""
    is_always = condition.startswith(("ip", "decimal"))

    (kept, _), (lost, _) = (about_invariants(proved(each, invariant, REFUND)) for each in (text, permitted))

    assert kept.verdict is Verdict.PROVED
    assert lost.verdict is (Verdict.PROVED if is_always else Verdict.REFUTED)


def test_texts_that_look_alike_stay_apart() -> None:
    """
    Strings with NUL, quotes or SMT syntax are other strings than their look-alikes: no two become one symbol.
    """
    texts = [r"a\0", "a", r"a\0b", "a|b", "|s0|", "s0", r"a\"b", r"\u{2ffff}", r"\u{10ffff}", "é", r"e\u{301}"]
    anybody = '@id("any") permit (principal, action, resource) when {{ context.tenant == "{}" }};'
    for number, text in enumerate(texts):
        for other, alike in enumerate(texts):
            invariant = over_refunds(f'context.tenant != "{alike}"')
            found = about_invariants(proved(anybody.format(text), invariant, REFUND))
            assert {each.verdict for each in found} == {Verdict.PROVED if number == other else Verdict.REFUTED}


def test_counter_example_that_the_engine_denies_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where solver and engine differ, one of them is wrong: no counter-example, and no proof either.
    """
    monkeypatch.setattr(Engine, "raw_allow", lambda _engine, _question: False)

    findings = about_invariants(proved(without(POLICIES, "refund-within-paid"), rule(INVARIANTS, "refund-cap"), REFUND))

    assert {(each.verdict, each.counter_example) for each in findings} == {(Verdict.ENCODING_BUG, None)}


def test_killed_worker_leaves_unknowns() -> None:
    """
    A worker killed in the middle: what it had not answered is unknown, the bundle is refused, the next proof is fine.
    """

    def kill(_finding: Finding, place: int, _total: int) -> None:
        if place == 3:
            for child in psutil.Process().children():
                if "invariants.worker" in child.cmdline():
                    os.kill(child.pid, signal.SIGKILL)

    report = asyncio.run(Prover().prove(FILES, SCHEMA, CONTRACTS, kill))

    assert {finding.reason for finding in report.failures} == {"worker_died"}
    assert {finding.verdict for finding in report.failures} == {Verdict.UNKNOWN}
    assert not report.is_proved
    assert prove({**FILES, "invariants.cedar": rule(INVARIANTS, "refund-cap")}).is_proved


def test_memory_bomb_dies_alone() -> None:
    """
    D07: a formula that eats memory in a worker of 256 MB ends in unknown; this process and the next proof are fine.
    """
    limits = ProofLimits(resources=4_000_000_000, memory_bytes=256 * 1024 * 1024, seconds=60)
    report = prove({**FILES, "invariants.cedar": over_refunds(MEMORY_BOMB)}, limits)

    assert {finding.verdict for finding in about_invariants(report.findings)} == {Verdict.UNKNOWN}
    assert prove({**FILES, "invariants.cedar": rule(INVARIANTS, "refund-cap")}).is_proved


def test_worker_without_room_to_start_proves_nothing() -> None:
    """
    A memory limit below what the interpreter needs: the worker dies at once, every obligation is unknown.
    """
    report = prove(FILES, ProofLimits(memory_bytes=24 * 1024 * 1024))

    assert {finding.verdict for finding in report.findings} == {Verdict.UNKNOWN}
    assert report.solvers == ()


def test_slow_proof_is_cut_off() -> None:
    """
    Wall time is the safety net: a check that the resource limit does not end is killed, and the process is gone.
    """
    limits = ProofLimits(resources=4_000_000_000, seconds=2)

    report = prove({**FILES, "invariants.cedar": HARD}, limits)

    assert {finding.reason for finding in about_invariants(report.findings)} == {"out_of_time"}
    assert not [child for child in psutil.Process().children() if "invariants.worker" in child.cmdline()]


_JOB = job({**FILES, "invariants.cedar": rule(INVARIANTS, "refund-cap")}, SCHEMA, CONTRACTS)
_FIRST = next(iter(planned(_JOB, declared.read(_JOB.invariants, SCHEMA.typed))))
NAMED = json.dumps({"solver": {"name": "z3", "version": "1", "options": []}})
YES = json.dumps(replace(_FIRST, verdict=Verdict.PROVED, digest="d", answers={"z3": "sat"}).document())


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["nonsense"],
        [NAMED, YES.replace("assumptions", "premise")],
        [NAMED, '{"kind":"assumptions","verdict":"proved"}'],
        [NAMED, YES.replace("proved", "yes")],
        [YES],
        ["x" * 2_000_000],
        [NAMED, '{"d": 1}'],
        [NAMED, YES.replace('{"z3": "sat"}', "{}")],
        [NAMED, "[" * 500_000],
        [NAMED, YES.replace('{"z3": "sat"}', '"sat"')],
        [NAMED, YES.replace('"digest": "d"', '"digest": []')],
        [NAMED, YES.replace("proved", "refuted").replace('"counter_example": null', '"counter_example": [1]')],
    ],
    ids=[
        "silent",
        "nonsense",
        "other",
        "half",
        "word",
        "unnamed",
        "endless",
        "number",
        "unasked",
        "deep",
        "no answers",
        "no digest",
        "no question",
    ],
)
def test_worker_that_talks_nonsense_is_not_believed(
    lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Answers to other questions, half answers and endless lines count as the worker's death.
    """
    fake = tmp_path / "python"
    (tmp_path / "answers").write_text("\n".join(lines) + "\n")
    fake.write_text(f"#!/bin/sh\ncat > {tmp_path}/job\ncat {tmp_path}/answers\n")
    fake.chmod(0o700)
    monkeypatch.setattr(processes.sys, "executable", str(fake))

    report = prove({**FILES, "invariants.cedar": rule(INVARIANTS, "refund-cap")})

    assert {(finding.verdict, finding.reason) for finding in report.findings} == {(Verdict.UNKNOWN, "worker_died")}


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        ("unsat", Verdict.PROVED, ""),
        ("sat", Verdict.ENCODING_BUG, "solvers_disagree"),
        ("unknown", Verdict.UNKNOWN, "second_solver_limit"),
        (None, Verdict.UNKNOWN, "worker_died"),
    ],
)
def test_only_both_solvers_together_prove(answer: str | None, verdict: Verdict, reason: str) -> None:
    """
    What z3 proves and cvc5 refutes, gives up on, or never sees under that digest, is not proved.
    """
    finding = Finding(
        invariant="refund-cap",
        action="issue_refund",
        verdict=Verdict.PROVED,
        digest="sha256:a",
        answers={"z3": "unsat"},
    )
    second = supervisor.Second(answers={"sha256:b": "unsat"} if answer is None else {"sha256:a": answer})

    judged = second.judge(finding, "worker_died")

    assert (judged.verdict, judged.reason) == (verdict, reason)


def test_killed_second_worker_proves_nothing() -> None:
    """
    The prover goes on and answers everything; without the second solver none of it is a proof.
    """

    async def kill(run: asyncio.Task[ProofReport]) -> None:
        while not run.done():
            for child in psutil.Process().children():
                if "settle" in child.cmdline():
                    os.kill(child.pid, signal.SIGKILL)
                    return
            await asyncio.sleep(0.01)

    async def proving() -> ProofReport:
        run = asyncio.create_task(Prover().prove(FILES, SCHEMA, CONTRACTS))
        await kill(run)
        return await run

    report = asyncio.run(proving())

    assert "worker_died" in {finding.reason for finding in report.failures}
    assert {finding.verdict for finding in report.failures} == {Verdict.UNKNOWN}
