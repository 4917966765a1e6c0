"""`python -m invariants counters` and `python -m invariants plan FILE`: proofs about counters, at a terminal.

The tools are those of the catalogue or of `--tools`. Exit codes: 0 everything is proved, 1 something is refuted, 2
something is unknown, 3 the input could not be read.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from invariants.errors import InvariantError
from invariants.reports import Verdict
from invariants.state import induction, plan_files, plans
from invariants.state.counters import COUNTERS
from invariants.state.induction import CounterFinding
from invariants.state.plan_reports import PlanFinding, PlanReport
from policies.schema import SchemaError
from tool_registry.documents import DeclarationError
from tool_registry.registry import CATALOGUE, load_catalogue

_PLAN_BYTES_MAX = 1024 * 1024  # A hundred calls with every argument come to a tenth of it.


def add(commands: Any) -> None:
    """Add both commands to a parser's subcommands; `run` of what is parsed gives the exit code."""
    counters = commands.add_parser("counters", help="prove that no step of a call leads a counter past its ceiling")
    counters.set_defaults(run=_counters)
    plan = commands.add_parser("plan", help="prove that a list of calls passes no ceiling, whichever one fails")
    plan.add_argument("file", type=Path, help="the plan as JSON (docs/counters.md)")
    plan.set_defaults(run=_plan)
    for command, resources in ((counters, induction.RESOURCES), (plan, plans.RESOURCES)):
        command.add_argument("--tools", type=Path, default=CATALOGUE, help="directory with one YAML document per tool")
        command.add_argument("--json", action="store_true", help="print the report as JSON")
        command.add_argument("--resources", type=int, default=resources, help="solver units for one obligation")


def _counters(chosen: argparse.Namespace) -> int:
    started = time.monotonic()
    try:
        findings = induction.prove(load_catalogue(chosen.tools).contracts.values(), resources=chosen.resources)
    except (InvariantError, SchemaError, DeclarationError, OSError, UnicodeError) as error:
        sys.stderr.write(f"cannot prove the counters of `{chosen.tools}`: {error}\n")
        return 3
    if chosen.json:
        _say(json.dumps([finding.document() for finding in findings], ensure_ascii=False, indent=2))
    else:
        proved = sum(finding.verdict is Verdict.PROVED for finding in findings)
        spent = time.monotonic() - started
        total = f"\n{proved} of {len(findings)} obligations proved in {spent:.1f} s by z3 and cvc5."
        _say(*_steps(), "", *_limits(findings), total)
    return _exit_code(finding.verdict for finding in findings)


def _plan(chosen: argparse.Namespace) -> int:
    try:
        with chosen.file.open("rb") as file:
            raw = file.read(_PLAN_BYTES_MAX + 1)
        if len(raw) > _PLAN_BYTES_MAX:
            raise plan_files.PlanUnreadable(f"plan: at most {_PLAN_BYTES_MAX} bytes expected")
        plan = plan_files.read(raw, load_catalogue(chosen.tools).contracts.values())
        report = plans.prove(plan, chosen.resources)
    except (InvariantError, SchemaError, DeclarationError, OSError, UnicodeError) as error:
        sys.stderr.write(f"cannot prove `{chosen.file}`: {error}\n")
        return 3
    if chosen.json:
        _say(json.dumps(report.document(), ensure_ascii=False, indent=2))
    else:
        _say(*_plan_lines(report))
    return _exit_code([report.verdict])


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _exit_code(verdicts: Iterable[Verdict]) -> int:
    found = set(verdicts)
    if found <= {Verdict.PROVED}:
        return 0
    return 1 if Verdict.REFUTED in found else 2


def _steps() -> Iterator[str]:
    for name in ("reserve", "overrun", "commit", "release"):
        yield f"{name:8} {getattr(COUNTERS, name)}"


def _limits(findings: Iterable[CounterFinding]) -> Iterator[str]:
    by_limit: dict[tuple[str, str, str], list[CounterFinding]] = {}
    for finding in findings:
        by_limit.setdefault((finding.tool, finding.limit, finding.counting.value), []).append(finding)
    for (tool, limit, counting), each in by_limit.items():
        proved = sum(finding.verdict is Verdict.PROVED for finding in each)
        verdict = "proved" if proved == len(each) else "NOT PROVED"
        yield f"{tool:16} {limit:24} {counting:10} {verdict:10} {proved}/{len(each)}"
        for finding in each:
            if finding.verdict is not Verdict.PROVED:
                yield f"  {finding.step or 'no obligation'}: {finding.verdict.value} ({finding.reason})"
                yield from (f"    {number}. {line}" for number, line in enumerate(finding.trace, 1))


def _plan_lines(report: PlanReport) -> Iterator[str]:
    for finding in report.findings:
        note = "" if finding.verdict is Verdict.PROVED else f" ({finding.reason})"
        yield f"call {finding.call:<3} {finding.tool:16} {finding.counter:48} {finding.verdict.value}{note}"
    for finding in report.findings:
        yield from _example(finding)
    first = next((each for each in report.findings if each.verdict is not Verdict.PROVED and not each.is_soft), None)
    shown = f"all {report.calls} calls, for every prefix and whichever one call fails"
    if first is not None:
        shown = f"calls 1 to {first.call} of {report.calls}"
    yield ""
    yield f"{report.verdict.value}: {shown}"


def _example(finding: PlanFinding) -> Iterator[str]:
    example = finding.example
    if example is None:
        return
    fails = "no call fails before" if example.failing is None else f"call {example.failing} fails before"
    yield ""
    yield f"call {finding.call}, {finding.counter}: {finding.reason}; {fails}"
    if finding.reason != "not_evaluable":
        yield f"  {example.standing:,} stand there, {example.amount:,} come on top, the ceiling is {example.ceiling:,}"
    yield from (f"  {name} = {value:,}" for name, value in example.values.items())
