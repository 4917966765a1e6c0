"""`python -m invariants prove BUNDLE_DIR`: prove a bundle at a terminal, with nothing running.

The directory holds `policies.cedar` and `invariants.cedar`, as `policies/base` does; the tools are those of the
catalogue or of `--tools`. Exit codes: 0 everything is proved, 1 something is refuted, vacuous or dead, 2 something is
unknown, 3 the input could not be read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from invariants.errors import InvariantError
from invariants.jobs import ProofLimits
from invariants.reports import Finding, ProofReport, Verdict
from invariants.supervisor import Prover
from policies.errors import PolicyFault
from policies.schema import SchemaError, generate
from tool_registry.documents import DeclarationError
from tool_registry.registry import CATALOGUE, load_catalogue

_SUBJECTS = {
    "assumptions": "(some request fits the assumptions)",
    "premise": "(some request is permitted)",
    "never_errs": "(no forbid errs)",
    "lives": "(every rule can be satisfied)",
}
_FILES = ("policies.cedar", "invariants.cedar")
_SECONDS_MAX = 86_400.0
_BYTES_MAX = 4 * 1024 * 1024  # Far more than a bundle may have.


def add(commands: Any) -> None:
    """Add the command to a parser's commands."""
    prove = commands.add_parser("prove", help="prove every invariant of a bundle over every permitted question")
    prove.add_argument("bundle", type=Path, help="directory with policies.cedar and invariants.cedar")
    prove.add_argument("--tools", type=Path, default=CATALOGUE, help="directory with one YAML document for each tool")
    prove.add_argument("--json", action="store_true", help="print the report as JSON")
    defaults = ProofLimits()
    prove.add_argument("--resources", type=int, default=defaults.resources, help="solver units for one check")
    prove.add_argument("--memory-mib", type=int, default=defaults.memory_bytes // 1024 // 1024, help="of each worker")
    prove.add_argument("--seconds", type=seconds, default=defaults.seconds, help="safety net for the whole run")
    prove.set_defaults(run=_run)


def seconds(text: str) -> float:
    """A time limit as an option gives it: more than nothing, and at most a day. Raises `ValueError`."""
    value = float(text)
    if not 0 < value <= _SECONDS_MAX:
        raise ValueError(text)
    return value


def exit_code(report: ProofReport) -> int:
    """0 proved, 1 something is not so, 2 nothing is known to be wrong and something is not known."""
    if report.is_proved:
        return 0
    return 2 if report.failures and all(each.verdict is Verdict.UNKNOWN for each in report.failures) else 1


def _run(chosen: argparse.Namespace) -> int:
    limits = ProofLimits(
        resources=chosen.resources, memory_bytes=chosen.memory_mib * 1024 * 1024, seconds=chosen.seconds
    )
    started = time.monotonic()
    try:
        report = asyncio.run(_prove(chosen.bundle, chosen.tools, limits))
    except (InvariantError, PolicyFault, SchemaError, DeclarationError, OSError, UnicodeError) as error:
        print(f"cannot prove `{chosen.bundle}`: {error}", file=sys.stderr)
        return 3
    if chosen.json:
        print(json.dumps(report.document(), ensure_ascii=False, indent=2))
    else:
        _show(report, time.monotonic() - started)
    return exit_code(report)


async def _prove(bundle: Path, tools: Path, limits: ProofLimits) -> ProofReport:
    contracts = load_catalogue(tools).contracts.values()
    files = {name: _read(bundle / name) for name in _FILES}
    return await Prover(limits).prove(files, generate(contracts), contracts, _progress if sys.stderr.isatty() else None)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_BYTES_MAX + 1)
    if len(content) > _BYTES_MAX:
        raise InvariantError(f"`{path.name}`: at most {_BYTES_MAX} bytes expected")
    return content.decode("utf-8")


def _progress(finding: Finding, place: int, total: int) -> None:
    end = "\n" if place == total else ""
    print(
        f"\r\033[K{place}/{total} {_asked(finding)}",
        end=end,
        file=sys.stderr,
        flush=True,
    )


def _show(report: ProofReport, seconds: float) -> None:
    by_subject: dict[str, list[Finding]] = {}
    for finding in report.findings:
        by_subject.setdefault(finding.invariant or _SUBJECTS[finding.kind], []).append(finding)
    width = max(map(len, by_subject))
    for name, findings in by_subject.items():
        proved = sum(finding.verdict is Verdict.PROVED for finding in findings)
        verdict = "proved" if proved == len(findings) else "NOT PROVED"
        of = "rules" if findings[0].rule else "request types"
        print(f"{name:{width}}  {verdict:10}  {f'{proved}/{len(findings)}':>7} {of:13}  {findings[0].sentence}")
    for finding in report.failures:
        print(f"\n{_asked(finding)}: {finding.verdict.value} ({finding.reason})")
        if finding.where:
            print(f"  {finding.where}")
        if finding.value is not None:
            print(f"  {finding.value:,} against {finding.limit:,}")
        if finding.counter_example is not None:
            print("  Cedar allows this question:" if finding.invariant else "  The engine errs on this question:")
            print("\n".join(f"    {line}" for line in _shown(finding.counter_example)))
    total, failed = len(report.findings), len(report.failures)
    print(f"\n{total - failed} of {total} claims proved in {seconds:.1f} s by {report.solver_names}.")


def _asked(finding: Finding) -> str:
    if finding.rule:
        return f"rule `{finding.rule}`"
    subject = finding.invariant or _SUBJECTS[finding.kind]
    return f"{subject} over {finding.action} by {finding.principal}" if finding.action else f"{subject} over no action"


def _shown(question: Mapping[str, object]) -> list[str]:
    return json.dumps(question, ensure_ascii=False, indent=2).splitlines()
