"""`python -m invariants text FILE`: prove that no text of its templates contains what it bans, with nothing running.

Exit codes: 0 everything is proved, 1 something is refuted, 2 something is unknown or vacuous, 3 the file could not be
read. Solvers run in a process of their own; whatever becomes of it, what it has not answered is unknown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from invariants import proving
from invariants.errors import InvariantError
from invariants.jobs import ProofLimits
from invariants.processes import converse
from invariants.reports import Verdict
from invariants.texts import documents, findings
from invariants.texts.documents import Texts
from invariants.texts.findings import TextFinding, TextJob


def add(commands: Any) -> None:
    """Add the command to a parser's subcommands; `run` of what is parsed gives the exit code."""
    text = commands.add_parser("text", help="prove that no text of a template contains a banned pattern")
    text.add_argument("file", type=Path, help="templates and banned patterns as JSON (docs/texts.md)")
    text.add_argument("--json", action="store_true", help="print the findings as JSON")
    text.add_argument("--resources", type=int, default=findings.RESOURCES, help="z3 units for one obligation")
    text.add_argument("--memory-mib", type=int, default=2048, help="of the process that solves")
    text.add_argument("--seconds", type=proving.seconds, default=600.0, help="safety net for the whole run")
    text.set_defaults(run=_text)


def _text(chosen: argparse.Namespace) -> int:
    started = time.monotonic()
    limits = ProofLimits(
        resources=chosen.resources, memory_bytes=chosen.memory_mib * 1024 * 1024, seconds=chosen.seconds
    )
    try:
        with chosen.file.open("rb") as file:
            texts = documents.read(file.read(documents.BYTES_MAX + 1))
    except (InvariantError, OSError) as error:
        sys.stderr.write(f"cannot prove `{chosen.file}`: {error}\n")
        return 3
    found = asyncio.run(_prove(texts, limits))
    if chosen.json:
        _say(json.dumps([finding.document() for finding in found], ensure_ascii=False, indent=2))
    else:
        _say(*(line for finding in found for line in _lines(finding)))
        proved = sum(finding.verdict is Verdict.PROVED for finding in found)
        _say(f"\n{proved} of {len(found)} obligations proved in {time.monotonic() - started:.1f} s by z3 and cvc5.")
    return _exit_code(found)


async def _prove(texts: Texts, limits: ProofLimits) -> Sequence[TextFinding]:
    asked = list(findings.planned(texts, "not_tried"))
    answered: list[TextFinding] = []

    def hear(document: dict[str, Any]) -> None:
        finding = findings.read(document)
        if len(answered) == len(asked) or finding.key != asked[len(answered)].key:
            raise InvariantError("the answer to another question")
        answered.append(finding)
        if sys.stderr.isatty():
            end = "\n" if len(answered) == len(asked) else ""
            sys.stderr.write(f"\r\033[K{len(answered)}/{len(asked)} {finding.template}, {finding.banned}{end}")
            sys.stderr.flush()

    reason = await converse("text", TextJob(texts=texts, limits=limits), limits, hear)
    return [*answered, *list(findings.planned(texts, reason or "worker_died"))[len(answered) :]]


def _lines(finding: TextFinding) -> Iterator[str]:
    note = "" if finding.verdict is Verdict.PROVED else f"  ({finding.reason})"
    yield f"{finding.template:20}  {finding.banned:20}  {finding.verdict.value}{note}"
    example = finding.example
    if example is not None:
        yield f"  {json.dumps(example.text)} contains {json.dumps(example.text[example.start : example.end])}"
        yield from (f"    {name} = {json.dumps(value)}" for name, value in example.values.items())


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _exit_code(found: Sequence[TextFinding]) -> int:
    verdicts = {finding.verdict for finding in found}
    if verdicts <= {Verdict.PROVED}:
        return 0
    return 1 if Verdict.REFUTED in verdicts else 2
