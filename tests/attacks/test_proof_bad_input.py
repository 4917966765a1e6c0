"""Bundles and tools written to break the proof: each ends in a clear no, whatever it costs, and nothing else breaks."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import pairwise

import psutil
import pytest
import uvloop

from invariants.errors import Unreadable
from invariants.jobs import ProofLimits
from invariants.meaning import compiler, encodings, schema_text
from invariants.meaning.schemas import RequestType, Uid
from invariants.reports import ProofReport, Verdict
from invariants.solving import cvc5_backend, smtlib, z3_backend
from invariants.solving.answers import Verdict as Answer
from invariants.supervisor import Prover
from policies import cedar_syntax
from policies.cedar import Engine
from policies.errors import PolicyFault
from policies.schema import generate
from tests.attacks.bundle_edits import INVARIANTS, POLICIES, REFUND, about_invariants, question, rule
from tests.properties import meanings
from tool_registry.contracts import Contract

ANYBODY = '@id("anybody") @hint("Ask.") permit (principal, action == Action::"issue_refund", resource);\n'
GUARD = rule(POLICIES, "refund-within-paid")
CAP = rule(INVARIANTS, "refund-cap")
HURRIED = ProofLimits(seconds=10)
"""What takes longer is cut off here rather than after minutes: no less of a refusal."""
AMOUNT, PAID, BACK = (
    "context.arguments.amount_cents",
    "context.facts.order.paid_cents",
    "context.facts.order.refunded_cents",
)


def prove(
    policies: str,
    invariants: str = CAP,
    contracts: Iterable[Contract] = REFUND,
    limits: ProofLimits | None = None,
    run: Callable[..., ProofReport] = asyncio.run,
) -> ProofReport:
    """Through both worker processes, as an upload does it."""
    listed = tuple(contracts)
    files = {"policies.cedar": policies, "invariants.cedar": invariants}
    return run(Prover(limits).prove(files, generate(listed), listed))


def grant(condition: str) -> str:
    """A rule that permits refunds without looking at what was paid."""
    return f"""@id("careless") @hint("Ask.")
permit (principal, action == Action::"issue_refund", resource) when {{ {condition} }};"""


def over_refunds(condition: str, name: str = "extra") -> str:
    """An invariant: the condition is never met."""
    return f"""@id("{name}") @sentence("A sentence.")
forbid (principal, action == Action::"issue_refund", resource) when {{ {condition} }};"""


def verdicts(report: ProofReport) -> dict[str, set[Verdict]]:
    """By invariant."""
    found: dict[str, set[Verdict]] = {}
    for finding in about_invariants(report.findings):
        found.setdefault(finding.invariant, set()).add(finding.verdict)
    return found


@contextmanager
def killing(task: str, *parents: psutil.Process) -> Iterator[list[int]]:
    """Kills the first worker that one of the parents starts for the task, and tells its number."""
    killed: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not killed and not is_over.wait(0.005):
            for child in [each for parent in parents for each in parent.children(recursive=True)]:
                with suppress(psutil.Error):
                    if child.cmdline()[2:4] == ["invariants.worker", task]:
                        child.send_signal(signal.SIGKILL)
                        killed.append(child.pid)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield killed
    finally:
        is_over.set()
        watcher.join()


def test_the_bundle_that_is_spoilt_below_is_proved() -> None:
    """
    Without what is done to it here nothing would be refused.
    """
    assert prove(ANYBODY + GUARD).is_proved


LONG = {
    "rules": "\n".join(
        f'@id("r-{n}") permit (principal, action == Action::"issue_refund", resource == Order::"ord_{n}") '
        f"when {{ {AMOUNT} < {n} }};"
        for n in range(8_000)
    ),
    "set": grant(f"[{', '.join(map(str, range(140_000)))}].contains({AMOUNT})"),
    "text": grant(f'context.tenant != "{"x" * 1_000_000}"'),
    "pattern": grant(f'!(context.tenant like "{"x*" * 500_000}")'),
    "comment": "// " + "x" * 1_000_000 + "\n" + grant("true"),
}


@pytest.mark.parametrize("name", LONG)
def test_a_megabyte_of_policies_is_not_proved(name: str) -> None:
    """
    8,000 rules, a set of 140,000 numbers, a text or pattern of a megabyte: a careless grant among them is never missed.
    """
    text = LONG[name]
    assert len(text) >= 900_000

    report = prove(text, limits=HURRIED)

    assert not report.is_proved
    assert verdicts(report)["refund-cap"] <= {Verdict.REFUTED, Verdict.UNKNOWN}


@pytest.mark.parametrize("target", ["resource in [{}]", "[{}].contains(resource)", "!(principal in [{}])"])
def test_ten_thousand_entities_hide_nothing(target: str) -> None:
    """
    A grant over 10,000 entities is refuted by a call about one of them or is unknown; it is never proved.
    """
    kind = "Role" if "principal" in target else "Order"
    condition = target.format(", ".join(f'{kind}::"n{number}"' for number in range(10_000)))

    report = prove(grant(condition), limits=HURRIED)

    assert not report.is_proved
    assert verdicts(report)["refund-cap"] <= {Verdict.REFUTED, Verdict.UNKNOWN}


@pytest.mark.parametrize("condition", ['principal in Group::"g7"', "principal.friends.containsAny(resource.friends)"])
def test_ten_thousand_entities_around_one_request_change_nothing(condition: str) -> None:
    """
    One request in a store of 10,000 entities: the solver finds the engine's answer possible, and no other.
    """
    schema = """entity Group; entity User in [Group] = { friends: Set<User> };
action look appliesTo { principal: User, resource: User };"""
    users = [{"type": "User", "id": f"u{number}"} for number in range(10_000)]
    documents = [
        {
            "uid": user,
            "attrs": {"friends": [{"__entity": users[(number * 7 + 1) % 100]}]},
            "parents": [{"type": "Group", "id": f"g{number % 50}"}],
        }
        for number, user in enumerate(users)
    ]
    asked = {"principal": users[7], "action": {"type": "Action", "id": "look"}, "resource": users[107], "context": {}}
    text = f"permit (principal, action, resource) when {{ {condition} }};"

    situation = meanings.situation(schema, text, documents, asked)
    answer = meanings.by_closures(situation)

    assert answer.satisfied
    assert meanings.decided(situation, answer) == meanings.by_engine(situation)
    assert meanings.is_only_answer(situation, answer)


@pytest.mark.parametrize(
    "deep", ["(" * 5_000 + "true" + ")" * 5_000, "!" * 5_000 + "true", "||".join(["true"] * 5_000)]
)
def test_nesting_that_would_end_the_process_is_refused(deep: str) -> None:
    """
    Past the parser's limit, in a rule or in an invariant: refused before the parser or a solver sees it.
    """
    with pytest.raises(PolicyFault, match="nested too deeply"):
        prove(ANYBODY + grant(deep))
    with pytest.raises(Unreadable, match="nested too deeply"):
        prove(ANYBODY, over_refunds(deep))


NAMES = {
    "nul": (r"a\0", "a"),
    "nul-within": (r"a\0b", r"a\0c"),
    "quote": (r"a\"b", "a'b"),
    "command": (r"\") (exit) (assert \"", ") (exit) (assert "),
    "symbol": ("|s0|", "s0"),
    "escape": (r"\\u{41}", "A"),
    "beyond": (r"\u{30000}", r"\u{10ffff}"),
    "greatest": (r"\u{2ffff}", r"\u{30000}"),
    "composed": ("é", r"e\u{301}"),
    "wildcard": ("*", "anything"),
}


@pytest.mark.parametrize("case", NAMES)
def test_user_names_that_look_alike_stay_apart(case: str) -> None:
    """
    What is proved of one user is refuted of a look-alike, by a call of that user that the engine allows.
    """
    name, alike = NAMES[case]
    policies = f'@id("one") permit (principal == Person::"{name}", action == Action::"issue_refund", resource);'
    invariants = over_refunds(f'principal != Person::"{name}"', "same")
    invariants += over_refunds(f'principal != Person::"{alike}"', "alike")

    report = prove(policies, invariants)

    assert verdicts(report) == {"same": {Verdict.PROVED}, "alike": {Verdict.PROVED, Verdict.REFUTED}}
    (refuted,) = (each for each in about_invariants(report.findings) if each.verdict is Verdict.REFUTED)
    assert refuted.counter_example is not None
    assert Engine(policies, generate(REFUND)).raw_allow(question(refuted.counter_example))


@pytest.mark.parametrize("name", ["\ud800", "a\udfffb", r"\u{d800}", r"\u{110000}"])
def test_half_a_character_is_no_name(name: str) -> None:
    """
    A surrogate, as such or as an escape, and what lies past Unicode are refused: no engine could be asked about them.
    """
    with pytest.raises(PolicyFault):
        prove(f'@id("one") permit (principal == Person::"{name}", action, resource);')
    with pytest.raises(Unreadable):
        prove(ANYBODY, over_refunds(f'context.tenant == "{name}"'))


KEYWORDS = ("assert", "exit", "let", "forall", "push", "select", "declare_fun", "int", "s0", "s1", "t0", "q0", "f0")


def test_arguments_named_like_solver_keywords_are_arguments() -> None:
    """
    A tool whose arguments are called after commands and symbols of solvers is proved and refuted as any other.
    """
    (contract,) = REFUND
    (amount,) = (each for each in contract.arguments if each.name == "amount_cents")
    named = replace(
        contract, arguments=(*contract.arguments, *(replace(amount, name=name, maximum=100) for name in KEYWORDS))
    )
    ordered = " && ".join(f"context.arguments.{one} < context.arguments.{two}" for one, two in pairwise(KEYWORDS))
    invariants = over_refunds("context.arguments.assert >= context.arguments.f0", "kept")
    invariants += over_refunds("context.arguments.s0 == 20 && context.arguments.s1 == 21", "broken")

    report = prove(grant(ordered), invariants, [named])

    assert verdicts(report) == {"kept": {Verdict.PROVED}, "broken": {Verdict.REFUTED}}


ODD = ("a", r"a\0", r"a\0b", "assert", "(check-sat)", "|a|", r"\") (exit)", "s0", r"\u{10ffff}", "")
LOOK = RequestType(principal="User", action=Uid("Action", "look"), resource="User")


def test_attributes_of_a_schema_given_as_text_stay_apart() -> None:
    """
    Attributes called after commands, after symbols, or with NUL: any two can differ, and none differs from itself.
    """
    members = ", ".join(f'"{name}": Long' for name in ODD)
    schema = schema_text.read(
        f"entity User = {{ {members} }}; "
        f"action look appliesTo {{ principal: User, resource: User, context: {{ {members} }} }};"
    )
    for owner in ("context", "principal"):
        for number, one in enumerate(ODD):
            two = ODD[number - 1]
            differ = f'{owner}["{one}"] == 1 && {owner}["{two}"] == 2'
            itself = f'{owner}["{one}"] == 1 && {owner}["{one}"] == 2'
            for condition, expected in ((differ, Answer.SATISFIABLE), (itself, Answer.UNSATISFIABLE)):
                policies = cedar_syntax.parse_set(f"permit (principal, action, resource) when {{ {condition} }};")
                encoding = encodings.encode(policies.static_policies, schema, LOOK)
                (outcome,) = encoding.outcomes.values()
                asked = (*encoding.axioms, compiler.satisfied(outcome, encoding.universe))
                found = (
                    z3_backend.Solver(asked, ProofLimits().resources).check(),
                    cvc5_backend.settle(smtlib.script(asked)),
                )
                assert found == (expected, expected), condition


@pytest.mark.parametrize(
    "contradiction",
    [
        {"risk": "7"},
        {"risk": "context.arguments.amount_cents * 1000000000000 * 1000000000"},
        {"risk": "context.arguments.amount_cents - context.arguments.amount_cents - 1"},
    ],
    ids=["beyond", "errs", "negative"],
)
def test_contradictory_assumptions_prove_nothing(contradiction: dict[str, str]) -> None:
    """
    A tool of which no question can be asked: everything would follow, so nothing is accepted.
    """
    impossible = [replace(contract, **contradiction) for contract in REFUND]

    report = prove(ANYBODY, over_refunds("true"), impossible)

    assert not report.is_proved
    assert "assumptions_contradict" in {finding.reason for finding in report.failures}


@pytest.mark.parametrize(
    "product",
    [
        f"{PAID} * {PAID} * {AMOUNT} - {BACK} * {BACK} * {BACK} == 7",
        f"{PAID} * {BACK} == 2305843009213693951",
        f"{PAID} * {PAID} * {PAID} + {AMOUNT} * {AMOUNT} * {AMOUNT} == {BACK} * {BACK} * {BACK} + 42",
    ],
    ids=["squares", "prime", "cubes"],
)
def test_a_product_beyond_the_solvers_is_unknown(product: str) -> None:
    """
    Products of products, and the factors of a prime: unknown, with the place and the word for what to simplify.
    """
    bounded = " && ".join(f"{each} > 1 && {each} < 2147483648" for each in (PAID, AMOUNT, BACK))

    report = prove(ANYBODY + GUARD, over_refunds(f"{bounded} && {product}"), limits=ProofLimits(resources=100_000))

    assert not report.is_proved
    assert verdicts(report)["extra"] <= {Verdict.UNKNOWN, Verdict.REFUTED}
    assert {each.reason for each in about_invariants(report.failures)} <= {"solver_limit", "violated", "invariant_errs"}


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("task", ["prove", "settle"])
def test_either_solver_killed_leaves_no_yes(task: str, run: Callable[..., ProofReport]) -> None:
    """
    The prover's process or the second solver's, killed as it starts: what it had not answered is unknown.
    """
    with killing(task, psutil.Process()) as killed:
        report = prove(ANYBODY + GUARD, run=run)

    assert len(killed) == 1
    assert not report.is_proved
    assert verdicts(report) == {"refund-cap": {Verdict.UNKNOWN}}
    assert {finding.reason for finding in report.failures} == {"worker_died"}
    assert prove(ANYBODY + GUARD).is_proved


@pytest.mark.parametrize(
    "limits",
    [
        ProofLimits(resources=1),
        ProofLimits(resources=300),
        ProofLimits(seconds=0.05),
        ProofLimits(memory_bytes=16 * 1024 * 1024),
        ProofLimits(memory_bytes=64 * 1024 * 1024),
    ],
    ids=["no-resources", "few-resources", "no-time", "no-memory", "little-memory"],
)
def test_a_starved_machine_never_says_yes(limits: ProofLimits) -> None:
    """
    Without resources, time or memory a sound bundle is unknown and a careless one is not proved either.
    """
    for policies in (ANYBODY + GUARD, ANYBODY):
        report = prove(policies, limits=limits)
        assert not report.is_proved
        assert Verdict.PROVED not in verdicts(report).get("refund-cap", set())


def test_reports_of_odd_names_are_json() -> None:
    """
    A counter-example that holds NUL, quotes and characters past the solvers' own reads back as it was.
    """
    name = r"a\0\"\u{10ffff}"
    policies = f'@id("one") permit (principal == Person::"{name}", action == Action::"issue_refund", resource);'

    report = prove(policies, over_refunds("true"))

    shown = json.loads(json.dumps(report.document()))
    ids = {each["counter_example"]["principal"]["id"] for each in shown["obligations"] if each.get("counter_example")}
    assert 'a\0"\U0010ffff' in ids
