"""The commands of an auditor, with nothing running: `recheck` a certificate, `settle` a packet, `robust` facts.

Exit codes: 0 confirmed, 1 something differs or is refuted, 2 not known, 3 the input could not be read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from invariants import packets, sources
from invariants.errors import InvariantError
from invariants.jobs import ProofLimits, job
from invariants.packets import Packet
from invariants.recheck import Difference, Outcome, Recheck, Step, recheck
from invariants.reports import Finding, Verdict
from policies import replay
from policies.errors import PolicyFault
from policies.schema import SchemaError, generate
from proofs import certificates
from proofs.errors import EvidenceError
from proofs.keys import KeyRing
from tool_registry.contracts import Contract
from tool_registry.documents import DeclarationError

CONFIRMED, DIFFERS, UNKNOWN, BAD_INPUT = 0, 1, 2, 3

_CODES = {Outcome.CONFIRMED: CONFIRMED, Outcome.DIFFERS: DIFFERS, Outcome.UNKNOWN: UNKNOWN}
_FACT = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)=(-?\d{1,16})\.\.(-?\d{1,16})")
_SHOWN_MAX = 20  # Of what differs: the first says what is wrong; `--json` has all.
_UNREADABLE = (InvariantError, PolicyFault, SchemaError, DeclarationError, EvidenceError, OSError, UnicodeError)


def add(commands: Any) -> None:
    """Add the three commands to a parser's."""
    again = commands.add_parser("recheck", help="check a certificate again: digests, obligations, both solvers")
    again.add_argument(
        "certificate", type=Path, metavar="CERTIFICATE", help="as `GET /v1/certificates/DIGEST` gives it"
    )
    defaults = ProofLimits()
    again.add_argument("--resources", type=int, default=defaults.resources, help="solver units for one question")
    again.add_argument("--memory-mib", type=int, default=defaults.memory_bytes // 1024 // 1024, help="of each solver")
    again.set_defaults(run=_run(_recheck))
    settle = commands.add_parser("settle", help="settle the ground obligation of one call's packet")
    settle.add_argument("packet", type=Path, metavar="PACKET", help="as `GET /v1/calls/CALL/packet` gives it")
    settle.add_argument("--certificate", type=Path, metavar="FILE", help="the certificate that its entry names")
    settle.set_defaults(run=_run(_settle))
    robust = commands.add_parser(
        "robust", help="show that a call stays permitted wherever between bounds its facts lie"
    )
    robust.add_argument("question", type=Path, metavar="QUESTION", help="a question document, or a packet")
    robust.add_argument(
        "--fact", action="append", default=[], metavar="NAME=LOW..HIGH", help="such as order.paid_cents=1000..5000"
    )
    robust.set_defaults(run=_run(_robust))
    for command in (again, settle, robust):
        is_needed = command is not settle
        command.add_argument(
            "--bundle", type=Path, required=is_needed, metavar="BUNDLE", help="bundle file, or a folder of rules"
        )
        command.add_argument(
            "--tools", type=Path, metavar="FOLDER", help="declarations (YAML) beside those of this release"
        )
        command.add_argument("--json", action="store_true", help="print JSON")
    for command in (again, settle):
        command.add_argument(
            "--keys", type=Path, metavar="KEYS", help="trusted public keys, as `GET /v1/keys` gives them"
        )


def _run(command: Any) -> Any:
    def run(chosen: argparse.Namespace) -> int:
        try:
            return int(command(chosen))
        except sources.SourceMissing as error:
            print(f"cannot check: {error}; fetch each and name its folder with --tools", file=sys.stderr)
            return UNKNOWN
        except _UNREADABLE as error:
            print(f"cannot check: {error}", file=sys.stderr)
            return BAD_INPUT

    return run


def _recheck(chosen: argparse.Namespace) -> int:
    started = time.monotonic()
    signed = certificates.parse(sources.document(chosen.certificate))
    keys = None if chosen.keys is None else KeyRing.load(chosen.keys)
    source = sources.bundle(chosen.bundle)
    tools = sources.tools(signed.certificate.tools, chosen.tools)
    progress = _progress if sys.stderr.isatty() else None
    limits = ProofLimits(resources=chosen.resources, memory_bytes=chosen.memory_mib * 1024 * 1024)
    found = asyncio.run(recheck(signed, source, tools, keys, progress, limits))
    if chosen.json:
        _print(found.document())
    else:
        _show(found, time.monotonic() - started)
    return _CODES[found.outcome]


def _settle(chosen: argparse.Namespace) -> int:
    # Here and not above: it loads solvers, and a check of a certificate keeps them in processes of their own.
    from invariants import packet_checks  # noqa: PLC0415

    packet = packets.parse(sources.document(chosen.packet))
    steps = packet_checks.settle(
        packet,
        keys=None if chosen.keys is None else KeyRing.load(chosen.keys),
        certificate=None if chosen.certificate is None else certificates.parse(sources.document(chosen.certificate)),
        source=None if chosen.bundle is None else sources.bundle(chosen.bundle),
        contract=None if chosen.bundle is None else _contract(packet, chosen.tools),
    )
    outcome = _worst(step.outcome for step in steps)
    if chosen.json:
        _print({"outcome": outcome.value, "steps": [step.document() for step in steps]})
    else:
        _table(steps)
        print(f"\n{outcome.value}: entry {packet.entry.get('seq')}, call {packet.entry.get('call')}{_skipped(steps)}")
    return _CODES[outcome]


def _robust(chosen: argparse.Namespace) -> int:
    from invariants import margins  # noqa: PLC0415 - as above

    document = sources.document(chosen.question)
    if isinstance(document, Mapping) and "lockgate_packet" in document:
        document = packets.parse(document).payload.get("question")
    question = replay.read(document)
    tools = tuple(each for each in sources.every_tool(chosen.tools) if each.name == question.action)[-1:]
    asked = job(sources.bundle(chosen.bundle).files, generate(tools), tools)
    found = margins.settle(asked, question, dict(_interval(text) for text in chosen.fact))
    is_proved = all(each.verdict is Verdict.PROVED for each in found)
    if chosen.json:
        _print({"proved": is_proved, "claims": [each.document() for each in found]})
    else:
        for each in found:
            said = ", ".join(f"{name} {answer}" for name, answer in each.answers.items())
            print(f"{each.verdict.value:12}  {each.kind.value} {each.subject}  ({said})")
        for each in found:
            if each.counter_example is not None:
                print(
                    f"\n{each.kind.value} {each.subject}: not for this call\n{_shown(each.counter_example.document())}"
                )
    if any(each.verdict is Verdict.REFUTED for each in found):
        return DIFFERS
    return CONFIRMED if is_proved else UNKNOWN


def _interval(text: str) -> tuple[str, tuple[int, int]]:
    match = _FACT.fullmatch(text)
    if match is None:
        raise InvariantError("--fact: expected NAME=LOW..HIGH, such as order.paid_cents=1000..5000")
    return match[1], (int(match[2]), int(match[3]))


def _contract(packet: Packet, folder: Path | None) -> Contract:
    (contract,) = sources.tools({str(packet.entry.get("tool")): str(packet.entry.get("tool_digest"))}, folder)
    return contract


def _worst(outcomes: Iterable[Outcome]) -> Outcome:
    found = set(outcomes)
    return next((each for each in (Outcome.DIFFERS, Outcome.UNKNOWN) if each in found), Outcome.CONFIRMED)


def _progress(finding: Finding, place: int, total: int) -> None:
    end = "\r\033[K" if place == total else ""
    print(f"\r\033[K{place}/{total} {finding.action}", end=end, file=sys.stderr, flush=True)


def _show(found: Recheck, seconds: float) -> None:
    _table(found.steps)
    for each in found.differences[:_SHOWN_MAX]:
        _show_difference(each)
    if len(found.differences) > _SHOWN_MAX:
        print(f"\nand {len(found.differences) - _SHOWN_MAX} more: see --json")
    total = len(found.certificate.obligations) + len(found.certificate.vacuity)
    confirmed = f"{found.confirmed} of {total} claims confirmed in {seconds:.1f} s"
    print(f"\n{found.outcome.value}: {confirmed}{_skipped(found.steps)}")


def _show_difference(each: Difference) -> None:
    print(f"\n{each.name}: {each.cause}")
    if each.counter_example is not None:
        print(f"  Cedar allows this question:\n{_shown(each.counter_example)}")


def _table(steps: Iterable[Step]) -> None:
    listed = tuple(steps)
    width = max(len(step.name) for step in listed)
    for step in listed:
        print(f"{step.name:{width}}  {step.outcome.value:9}  {step.detail}")


def _skipped(steps: Iterable[Step]) -> str:
    names = [step.name for step in steps if step.outcome is Outcome.SKIPPED]
    return f" (not checked: {', '.join(names)})" if names else ""


def _shown(question: Mapping[str, Any]) -> str:
    return "\n".join(f"    {line}" for line in json.dumps(question, ensure_ascii=False, indent=2).splitlines())


def _print(document: Mapping[str, Any]) -> None:
    print(json.dumps(document, ensure_ascii=True, indent=2))
