"""What invariants promise: numbers on every check, a proved base bundle, a report that a certificate can carry."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import invariants
from invariants import checks, declared, reports
from invariants.__main__ import main
from invariants.checks import Check, Status
from invariants.errors import InvariantError, Unreadable, Unsupported
from invariants.expressions import compile_long
from invariants.jobs import ProofLimits
from invariants.reports import ProofReport, Verdict
from invariants.supervisor import Prover
from policies.cedar import Engine
from policies.cedar_syntax import SyntaxRefused
from policies.questions import Entity, Question
from proofs import canonical
from tests.attacks.bundle_edits import BASE, CONTRACTS, FILES, INVARIANTS, POLICIES, SCHEMA, mistyped, rule

ROOT = Path(invariants.__file__).parent.parent


def refund(amount: int, *, paid: int = 5000, refunded: int = 1, risk: int = 1, persons: int = 0) -> Question:
    """A refund that a registered agent asks for."""
    question = Question(
        principal=Entity(type="Agent", id="agent_1"),
        roles=(),
        action="issue_refund",
        resource=Entity(type="Order", id="ord_1"),
        context={
            "arguments": {"order_id": "ord_1", "amount_cents": amount},
            "facts": {
                "order": {"paid_cents": paid, "refunded_cents": refunded, "in_flight_cents": 0},
                "agent": {"routine_refunds_today_cents": 0},
            },
            "risk": risk,
            "autonomy": 2,
            "registered": True,
            "reason_code": "damaged_item",
            "environment": "dev",
            "tenant": "acme",
            "now": 1,
        },
    )
    return question.with_approvals({"persons": persons, "finance": persons})


def evaluated(question: Question, text: str = INVARIANTS) -> dict[str, Check]:
    return {check.id: check for check in checks.compile(text, SCHEMA.typed).evaluate(question)}


def one(condition: str) -> str:
    return f"""@id("one") @sentence("A sentence.")
forbid (principal, action == Action::"issue_refund", resource) unless {{ {condition} }};"""


@pytest.fixture(scope="module")
def base_report() -> ProofReport:
    return asyncio.run(Prover().prove(FILES, SCHEMA, CONTRACTS))


def test_check_shows_both_sides_of_what_decided() -> None:
    """
    A refund at the bound passes and one cent more fails, each with amount and limit.
    """
    at, above = evaluated(refund(4999))["refund-cap"], evaluated(refund(5000))["refund-cap"]

    assert (at.status, at.value, at.limit) == (Status.PASS, 4999, 4999)
    assert (above.status, above.value, above.limit) == (Status.FAIL, 5000, 4999)
    assert above.sentence.startswith("A refund never exceeds")


def test_invariant_that_errs_does_not_hold() -> None:
    """
    A missing fact and an overflow are errors of the check, and an error is never a pass.
    """
    question = refund(1)
    without_order = replace(question, context={**question.context, "facts": {}})

    missing = evaluated(without_order)["refund-cap"]
    overflow = evaluated(question, one("context.arguments.amount_cents * 9223372036854775807 * 2 > 0"))["one"]

    assert (missing.status, missing.value, missing.holds) == (Status.ERROR, None, False)
    assert (overflow.status, overflow.holds) == (Status.ERROR, False)


def test_only_invariants_of_the_action_are_checked() -> None:
    """
    A refund is checked against what covers refunds: by its own name, and by the groups of its contract.
    """
    ids = evaluated(refund(1)).keys()

    assert {"refund-cap", "irreversible-approved", "agents-registered"} <= ids
    assert not {"payout-cap", "governance-officers", "throttle-floor"} & ids


def test_base_bundle_is_proved(base_report: ProofReport) -> None:
    """
    Every invariant of the base bundle holds over every permitted question of every tool of the catalogue.
    """
    assert base_report.is_proved
    assert {finding.reason for finding in base_report.findings} == {
        "consistent",
        "reachable",
        "holds",
        "nothing_permitted",
        "lives",
        "accepted",
    }
    invariants = {finding.invariant for finding in base_report.findings if finding.invariant}
    assert invariants == set(checks.compile(INVARIANTS, SCHEMA.typed).ids)
    assert {tuple(finding.answers) for finding in base_report.findings if not finding.rule} == {("z3", "cvc5")}


def test_report_names_what_it_rests_on(base_report: ProofReport) -> None:
    """
    The report is canonical JSON with versions, assumptions and a digest for each obligation, and reads back.
    """
    document: dict[str, Any] = base_report.document()

    assert canonical.parse(canonical.encode(document), depth_max=16) == document
    assert set(document["solvers"]) == {"z3", "cvc5"}
    assert f"rlimit={ProofLimits().resources}" in document["solvers"]["z3"]["options"]
    assert document["engine"].startswith("cedarpy ")
    digests = [each["digest"] for each in document["obligations"] if not each["rule"]]
    assert len(set(digests)) == len(digests)
    assert tuple(reports.finding(each) for each in document["obligations"]) == base_report.findings


def test_obligation_is_the_same_text_every_time(base_report: ProofReport) -> None:
    """
    Proved again in another process the digests are equal; a constant moved in a guard changes exactly what it guards.
    """
    moved = mistyped(POLICIES, "refund-founder", "50000", "49000")

    again = asyncio.run(Prover().prove(FILES, SCHEMA, CONTRACTS))
    changed = asyncio.run(Prover().prove({**FILES, "policies.cedar": moved}, SCHEMA, CONTRACTS))

    assert again == base_report
    differing = {
        before.action
        for before, after in zip(base_report.findings, changed.findings, strict=True)
        if before.digest != after.digest
    }
    assert differing == {"issue_refund"}


def test_the_gateway_loads_no_solver() -> None:
    """
    Supervisor, checks and reports are imported without z3: only the worker process knows it.
    """
    code = (
        "import sys, gateway.app, invariants.supervisor, invariants.strength.measuring;"
        "sys.exit(bool({'z3', 'cvc5', 'regopy'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('@sentence("s") forbid (principal, action, resource);', "`@id`"),
        ('@id("a") forbid (principal, action, resource);', "`@sentence`"),
        ('@id("a") @sentence("s") permit (principal, action, resource);', "a forbid"),
        ('@id("a") @sentence("s") forbid (principal, action, resource);' * 2, "its id is taken"),
        ('@id("a") @sentence("s") forbid (principal == ?principal, action, resource);', "templates"),
        ("forbid", "does not parse"),
    ],
)
def test_invariants_of_another_shape_are_unreadable(text: str, message: str) -> None:
    """
    An id, a sentence, one forbid each; nothing else is taken for an invariant.
    """
    with pytest.raises(Unreadable, match=message):
        declared.read(text, SCHEMA.typed)


def test_contract_expression_is_a_long_over_its_own_context() -> None:
    """
    A risk expression computes what Cedar would, and is refused when it reads what the tool does not have.
    """
    contract = next(contract for contract in CONTRACTS if contract.name == "issue_refund")
    risk = compile_long(contract.risk, "issue_refund", SCHEMA.typed)

    assert [risk(refund(amount).context) for amount in (5000, 5001, 50_000, 50_001)] == [1, 2, 2, 3]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("true", Unsupported),
        ("context.arguments.nothing", Unsupported),
        ("context.arguments.amount_cents / 2", SyntaxRefused),
        ("principal == principal", Unsupported),
        ("1 }; permit (principal, action, resource) when { 1", SyntaxRefused),
        ("1 } unless { 1", SyntaxRefused),
        ("", SyntaxRefused),
        ('(if context.registered then 1 else "a")', Unsupported),
    ],
)
def test_contract_expression_of_another_kind_is_refused(text: str, error: type[Exception]) -> None:
    """
    Another type, another context, another language, or text that breaks out of its braces: refused when registered.
    """
    with pytest.raises(error):
        compile_long(text, "issue_refund", SCHEMA.typed)


def test_counter_example_reads_like_a_call(tmp_path: Path) -> None:
    """
    At a terminal a lost guard is answered by the smallest refund that the engine would let through, and exit code 1.
    """
    (tmp_path / "policies.cedar").write_text(POLICIES.replace(rule(POLICIES, "refund-within-paid"), ""))
    (tmp_path / "invariants.cedar").write_text(INVARIANTS)

    result = subprocess.run(
        [sys.executable, "-m", "invariants", "prove", str(tmp_path), "--json"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )

    failed = [each for each in json.loads(result.stdout)["obligations"] if each["verdict"] != "proved"]
    refuted = next(each for each in failed if each["principal"] == "Agent")
    assert result.returncode == 1
    assert {each["principal"] for each in failed} == {"Agent", "Person"}
    assert (refuted["invariant"], refuted["action"]) == ("refund-cap", "issue_refund")
    assert refuted["counter_example"]["resource"] == {"type": "Order", "id": "ord_1"}
    assert refuted["counter_example"]["context"]["arguments"] == {"order_id": "ord_1", "amount_cents": 1}
    assert (refuted["value"], refuted["limit"]) == (1, 0)


def test_command_line_proves_the_base_bundle() -> None:
    """
    `python -m invariants prove` names every invariant with its sentence and answers exit code 0.
    """
    result = subprocess.run(
        [sys.executable, "-m", "invariants", "prove", str(BASE)], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0
    assert "A refund never exceeds what the customer paid" in result.stdout
    assert "NOT PROVED" not in result.stdout


def test_command_line_says_what_it_could_not_read(tmp_path: Path) -> None:
    """
    A directory that holds no bundle is exit code 3 and a sentence, not a traceback.
    """
    result = subprocess.run(
        [sys.executable, "-m", "invariants", "prove", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 3
    assert "policies.cedar" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["prove", "text"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "0", "soon"])
def test_time_that_is_none_is_bad_input(command: str, seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A limit that no clock reaches, or has passed, is exit code 3 and a sentence.
    """
    with pytest.raises(SystemExit) as ended:
        main([command, str(BASE), "--seconds", seconds])

    assert ended.value.code == 3
    assert "--seconds" in capsys.readouterr().err


def test_half_a_finding_is_not_read() -> None:
    """
    A refutation without its question, or a verdict outside the list, is refused.
    """
    refuted = {"invariant": "a", "sentence": "s", "action": "t", "verdict": "refuted"}

    with pytest.raises(InvariantError, match="counter-example"):
        reports.finding(refuted)
    with pytest.raises(InvariantError, match="not a finding"):
        reports.finding({**refuted, "verdict": "fine"})


def test_tool_without_a_permit_is_closed_and_not_vacuous() -> None:
    """
    A tool that no rule permits is safe as it stands: registering it does not wait for rules.
    """
    only_reads = '@id("reads") permit (principal, action in Action::"read", resource);'
    files = {"policies.cedar": only_reads, "invariants.cedar": rule(INVARIANTS, "refund-cap")}

    report = asyncio.run(Prover().prove(files, SCHEMA, CONTRACTS))

    assert report.is_proved
    assert {finding.reason for finding in report.findings if finding.invariant} == {"nothing_permitted"}


def test_bundle_that_permits_nothing_is_not_proved() -> None:
    """
    D02: without a permit every invariant is true; nobody may publish that as a proof.
    """
    closed = '@id("never") forbid (principal, action, resource) when { context.risk > 2 };'
    files = {"policies.cedar": closed, "invariants.cedar": rule(INVARIANTS, "refund-cap")}

    report = asyncio.run(Prover().prove(files, SCHEMA, CONTRACTS))

    assert not report.is_proved
    assert {(each.verdict, each.reason) for each in report.failures} == {(Verdict.VACUOUS, "bundle_permits_nothing")}


def test_checks_and_engine_agree_on_the_base_invariants() -> None:
    """
    The compiled checks and Cedar itself, given the invariants as policies, call the same refunds violations.
    """
    engine = Engine(INVARIANTS, SCHEMA)
    for amount in (1, 4999, 5000, 5001, 50_001):
        for persons in (0, 1):
            question = refund(amount, risk=1 if amount <= 5000 else 2, persons=persons)
            broken = {check.id for check in evaluated(question).values() if not check.holds}
            assert broken == {hit.id for hit in engine.decide(question).rules}


def test_every_reason_is_documented() -> None:
    """
    Whoever meets a reason of a proof finds it in the documentation.
    """
    page = "\n".join(each.read_text(encoding="utf-8") for each in (ROOT / "docs").glob("*.md"))
    pattern = re.compile(r'Unsupported\("([a-z_]+)"|reason="([a-z_]+)"|return "([a-z]+_[a-z_]+)"')

    found = {
        name
        for source in (ROOT / "invariants").rglob("*.py")
        for groups in pattern.findall(source.read_text(encoding="utf-8"))
        for name in groups
        if name
    }

    assert {name for name in found if f"`{name}`" not in page} == set()
    assert {"replay_differs", "solver_limit", "worker_died"} <= found
