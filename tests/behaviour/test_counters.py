"""Counters and plans at a terminal: what is proved, what is shown when it is not, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invariants.__main__ import main
from invariants.reports import Verdict
from invariants.state import plan_files, plans
from invariants.state.plan_files import PlanUnreadable
from invariants.state.plan_reports import PlanReport
from tool_registry.contracts import Contract, Field, Kind, Limit
from tool_registry.registry import CATALOGUE, load_catalogue

CONTRACTS = load_catalogue(CATALOGUE).contracts
REFUND = CONTRACTS["issue_refund"]
Call = dict[str, Any]
Run = Callable[..., tuple[int, str, str]]


def refund(amount: Any, *, order: str = "ord_1001", paid: Any = 20_000, refunded: Any = 0, by: str = "ada") -> Call:
    """A planned refund."""
    return {
        "tool": "issue_refund",
        "principal": "agent/triage-7" if by == "agent" else f"person/{by}",
        "arguments": {"order_id": order, "amount_cents": amount},
        "facts": {"order": {"paid_cents": paid, "refunded_cents": refunded}},
    }


def proved(*calls: Call, contracts: tuple[Contract, ...] = (REFUND,), **members: Any) -> PlanReport:
    """What is found out about a plan."""
    return plans.prove(plan_files.read(json.dumps({"calls": calls, **members}).encode(), contracts))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command `plan` over a document, with its exit code, output and complaint."""

    def command(document: Any, *options: str) -> tuple[int, str, str]:
        path = tmp_path / "plan.json"
        path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        code = main(["plan", str(path), *options])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return command


def test_a_plan_within_its_ceilings_is_proved_for_every_prefix(run: Run) -> None:
    """
    Every call of the plan is within every ceiling for all values of its intervals, whichever call fails.
    """
    calls = [refund([1, 5_000]), refund([1, 15_000]), refund(100_000, order="ord_1002", paid=[100_000, 200_000])]

    code, shown, _ = run({"calls": calls}, "--json")

    report = json.loads(shown)
    assert (code, report["verdict"]) == (0, "proved")
    assert {(each["call"], each["verdict"]) for each in report["findings"]} == {(n, "proved") for n in (1, 2, 3)}
    assert all(each["digest"].startswith("sha256:") for each in report["findings"])


def test_the_shortest_prefix_that_passes_a_ceiling_is_shown(run: Run) -> None:
    """
    What comes after the first call that cannot be granted is not looked at, and the numbers add up.
    """
    calls = [refund([1, 5_000]), refund(12_000), refund([1, 6_000], refunded=[0, 2_000]), refund(1)]

    code, shown, _ = run({"calls": calls})
    report = proved(*calls)

    example = report.findings[-2].example
    assert code == 1
    assert example is not None
    assert (report.findings[-1].call, report.findings[-2].limit, example.failing) == (3, "order_in_flight", None)
    assert example.standing + example.amount > example.ceiling
    assert example.standing == 12_000 + example.values["call 1: arguments.amount_cents"]
    assert example.ceiling == 20_000 - example.values["call 3: facts.order.refunded_cents"]
    assert "no call fails before" in shown
    assert shown.endswith("refuted: calls 1 to 3 of 4\n")


def test_the_failing_call_that_passes_a_ceiling_is_named(run: Run) -> None:
    """
    Where an amount depends on what was counted before, a plan may hold only as long as nobody fails.
    """
    shows = "agent.counted"
    limit = Limit(
        name="quota",
        key="tenant",
        amount=f"if context.facts.{shows} >= 5 then 1 else context.arguments.amount_cents",
        ceiling="10",
        window="day",
        shows=shows,
    )
    contract = replace(REFUND, limits=(limit,), risk="0")

    good, bad = (
        proved(*calls, contracts=(contract,)) for calls in ([refund(5), refund(9)], [refund(3), refund(5), refund(11)])
    )

    assert good.verdict is Verdict.PROVED
    assert bad.verdict is Verdict.REFUTED
    assert bad.findings[-1].example is not None
    example = bad.findings[-1].example
    assert (bad.findings[-1].call, example.failing, example.standing, example.amount) == (3, 2, 3, 11)


def test_a_soft_ceiling_is_told_and_refuses_nothing() -> None:
    """
    An agent's sum of small refunds may be overrun: the plan stands, and the finding says which call does it.
    """
    calls = [refund(5_000, by="agent", order=f"ord_{number}") for number in range(5)]

    report = proved(*calls)

    overrun = [finding for finding in report.findings if finding.verdict is not Verdict.PROVED]
    assert report.verdict is Verdict.PROVED
    assert [(each.call, each.limit, each.reason) for each in overrun] == [(5, "agent_routine_refunds", "soft_overrun")]


def test_limits_of_agents_do_not_count_what_persons_do() -> None:
    """
    A person's calls are held to the limits that apply to persons, and reserve nothing from the others.
    """
    limits = {finding.limit for finding in proved(refund(1), refund(2, by="agent")).findings if finding.call == 1}

    assert limits == {"order_in_flight", "tenant_daily_refunds"}


def test_what_stands_on_a_counter_before_counts() -> None:
    """
    A plan that fits an empty day may not fit the rest of one.
    """
    counter = "issue_refund.tenant_daily_refunds tenant"
    calls = [refund(20_000)]

    fits, exceeds, may = (
        proved(*calls, standing=[{"counter": counter, "amount": amount}])
        for amount in (4_980_000, 4_980_001, [0, 4_980_001])
    )

    assert [each.verdict for each in (fits, exceeds, may)] == [Verdict.PROVED, Verdict.REFUTED, Verdict.REFUTED]
    assert may.findings[-1].example is not None
    assert may.findings[-1].example.values == {f"standing of {counter}": 4_980_001}


def test_tools_that_share_a_counter_are_counted_together() -> None:
    """
    A payment and an order of stock draw on one cash balance, so two that fit alone need not fit in a row.
    """
    cash = {"balance_cents": 100_000, "daily_burn_cents": 1_000}
    pay = {
        "tool": "pay_supplier",
        "principal": "person/ada",
        "arguments": {"invoice_id": "inv_1", "amount_cents": 30_000},
        "facts": {"cash": cash, "invoice": {"open_cents": 30_000}},
    }
    order = {
        "tool": "reorder_stock",
        "principal": "person/ada",
        "arguments": {"quantity": 3},
        "facts": {"cash": cash, "product": {"unit_cost_cents": 10_000}},
    }
    tools = (CONTRACTS["pay_supplier"], CONTRACTS["reorder_stock"])

    alone, together = proved(pay, contracts=tools), proved(pay, order, contracts=tools)

    assert (alone.verdict, together.verdict) == (Verdict.PROVED, Verdict.REFUTED)
    assert (together.findings[-1].counter, together.findings[-1].call) == ("cash_in_flight cash", 2)


def test_what_is_left_out_is_anything() -> None:
    """
    Without the fact that a ceiling is read from, nothing is promised, and the example says which value is the trouble.
    """
    call = refund([1, 2])
    call["facts"] = {"order": {"paid_cents": 20_000}}

    report = proved(call)

    assert report.verdict is Verdict.REFUTED
    assert report.findings[0].example is not None
    assert report.findings[0].example.values["call 1: facts.order.refunded_cents"] >= 19_999


def test_a_time_counts_as_questions_carry_it() -> None:
    """
    An amount may depend on a time stamp: a plan writes it as a call does, and the amount reads its seconds.
    """
    until = Field(name="until", kind=Kind.TIMESTAMP)
    amount = "if context.arguments.until > 1767225600 then 2 else 1"
    limit = Limit(name="late", key="tenant", amount=amount, ceiling="1", window="day")
    timed = replace(REFUND, arguments=(*REFUND.arguments, until), limits=(limit,))
    call = refund(1)

    verdicts = {
        time: proved({**call, "arguments": {**call["arguments"], "until": time}}, contracts=(timed,)).verdict
        for time in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z")
    }

    assert list(verdicts.values()) == [Verdict.PROVED, Verdict.REFUTED]


def test_a_plan_that_no_solver_settles_is_unknown(run: Run) -> None:
    """
    Out of resources is exit code 2, never a yes.
    """
    calls = [refund([1, 5_000]), refund([1, 15_000])]

    code, shown, _ = run({"calls": calls}, "--resources", "1", "--json")

    assert (code, json.loads(shown)["verdict"]) == (2, "unknown")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b"{", "plan: not JSON of the profile: `syntax`"),
        ({}, "plan: member `calls` is missing"),
        ({"calls": []}, "`calls`: expected a list of 1 to 100 calls"),
        ({"calls": [refund(1)] * 101}, "`calls`: expected a list of 1 to 100 calls"),
        ({"calls": [1]}, "call 1: expected an object"),
        ({"calls": [refund(1), {**refund(1), "tool": "no_such_tool"}]}, "call 2: member `tool`: expected a registered"),
        ({"calls": [{**refund(1), "principal": "Ada"}]}, "call 1: member `principal`: expected a string of the form"),
        ({"calls": [{**refund(1), "facts": {"cash": {}}}]}, "call 1: member `facts`: expected an object over order"),
        ({"calls": [refund("many")]}, "call 1: arguments.amount_cents: expected an integer"),
        ({"calls": [refund(0)]}, "call 1: arguments.amount_cents: expected an integer"),
        ({"calls": [refund([5, 4])]}, "call 1: arguments.amount_cents: expected 1 <= least <= greatest <= 100000000"),
        ({"calls": [refund([1, 10**12])]}, "call 1: arguments.amount_cents: expected 1 <= least"),
        (
            {"calls": [{**refund(1), "arguments": {"amount_cents": 1}}]},
            "call 1: argument `order_id`: expected one value",
        ),
        (
            {"calls": [refund(1)], "standing": [{"counter": "x", "amount": 1}]},
            "expected a counter of the plan: `issue_",
        ),
        (
            {"calls": [refund(1)], "standing": [{"counter": "order_in_flight order:ord_1001", "amount": -1}]},
            "standing 1: member `amount`: expected an integer of at least 0",
        ),
    ],
)
def test_what_is_no_plan_is_refused_with_its_place(run: Run, document: Any, expected: str) -> None:
    """
    A document that is not a plan over the registered tools is exit code 3, and the complaint says where.
    """
    code, shown, complaint = run(document)

    assert (code, shown) == (3, "")
    assert expected in complaint


def test_a_value_of_a_stranger_is_not_repeated(run: Run) -> None:
    """
    A complaint names members and positions, never what stood there.
    """
    _, _, complaint = run({"calls": [{**refund("DROP TABLE"), "tool": "issue_refund"}]})

    assert "DROP" not in complaint


def test_the_counters_of_the_catalogue_are_proved_at_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The command shows the declared steps and a line for each limit, and as JSON every obligation with its digest.
    """
    code = main(["counters"])
    table = capsys.readouterr().out
    main(["counters", "--json"])
    findings = json.loads(capsys.readouterr().out)

    assert code == 0
    assert "reserve  when 0 <= amount and reserved + spent + amount <= ceiling: reserved +1 * amount" in table
    assert f"{len(findings)} of {len(findings)} obligations proved" in table
    for contract in CONTRACTS.values():
        assert all(f"{contract.name:16} {limit.name}" in table for limit in contract.limits)


def test_tools_that_tear_a_counter_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Two tools that measure one counter against different facts are unknown, and exit code 2.
    """
    tools = tmp_path / "tools"
    shutil.copytree(CATALOGUE, tools)
    path = tools / "reorder_stock.yaml"
    path.write_text(path.read_text().replace("balance_cents - 45 *", "balance_cents - 30 *"))

    code = main(["counters", "--tools", str(tools)])

    assert code == 2
    assert capsys.readouterr().out.count("no obligation: unknown (ceilings_differ)") == 2


def test_the_plan_of_the_page_gives_what_the_page_shows(tmp_path: Path) -> None:
    """
    The example of docs/counters.md is a plan, and its output is the one printed there.
    """
    page = (Path(__file__).resolve().parents[2] / "docs" / "counters.md").read_text()
    (document,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (printed,) = re.findall(r"python -m invariants plan plan.json\n…\n(.*?)```", page, re.DOTALL)

    (tmp_path / "plan.json").write_text(document)
    # In a process of its own, as it is typed: which values a solver shows depends on what it was asked before.
    command = [sys.executable, "-m", "invariants", "plan", str(tmp_path / "plan.json")]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stdout.endswith(printed)


def test_a_plan_is_read_over_registered_tools_alone() -> None:
    """
    A tool outside of those given is not planned with, whatever the catalogue has.
    """
    document = json.dumps({"calls": [refund(1)]}).encode()

    with pytest.raises(PlanUnreadable, match="call 1: member `tool`: expected a registered tool"):
        plan_files.read(document, [CONTRACTS["pay_supplier"]])
