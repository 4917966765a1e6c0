"""The command `bundle prove`: every invariant over every request that a bundle permits, and the call that breaks one.

First the verdict, then counts, then what is wrong; everything that was asked is in `--json`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from admin import candidates, case_files, display, questions, solving
from admin.candidates import Candidate, Place, Tools
from admin.errors import CommandError, Found
from admin.options import AsJson, offline
from invariants import declared
from invariants.errors import InvariantError
from invariants.reports import Finding, ProofReport, Verdict
from invariants.supervisor import Prover
from policies import case_form
from policies.errors import PolicyFault
from tool_registry.registry import CATALOGUE

app = typer.Typer(no_args_is_help=True)

_KINDS = {
    "assumptions": "some request fits the assumptions",
    "premise": "some request is permitted",
    "never_errs": "no forbid errs",
    "lives": "every rule can be satisfied",
}
_CLOSED = "nothing_permitted"
_FOUND = {Found.YES: "proved", Found.NO: "refuted", Found.UNKNOWN: "unknown"}


@app.command(cls=solving.Command)
@offline
@solving.answering
def prove(
    place: Place,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write each counter-example into the folder's cases.json.")
    ] = False,
    tools: Tools = CATALOGUE,
    as_json: AsJson = False,
) -> Found:
    """Prove every invariant over every permitted request, with two solvers; a call that breaks one is shown."""
    candidate = candidates.read(place, candidates.toolbox(tools))
    if keep and candidate.folder is None:
        raise CommandError(
            f"`{place}` is a file, and signed content cannot grow", "say the folder that it was made of, or no --keep"
        )
    report = proof(candidate)
    kept: tuple[str, ...] = ()
    if keep and candidate.folder is not None:
        kept = case_files.add(candidate.folder, filter(case_files.is_case, counter_examples(report)))
    code = verdict(report)
    if as_json:
        display.document(
            {"verdict": _FOUND[code], "bundle": candidate.bundle.digest, "kept": list(kept), **report.document()}
        )
    else:
        _show(report)
        _tell_kept(candidate, report, kept, is_asked=keep)
    return code


def proof(candidate: Candidate) -> ProofReport:
    """Prove a bundle. Raises `CommandError` where there is nothing that could be proved."""
    candidates.require_fitting(candidate)
    if not declared.read(candidate.bundle.invariants, candidate.tools.schema.typed):
        raise CommandError(
            f"`{candidate.name}` has no invariant: there is nothing to prove",
            "docs/tutorial/invariant.md shows how to write one",
        )
    with display.working("proving every invariant over every permitted request") as say:

        def tell(finding: Finding, place: int, total: int) -> None:
            say(f"proving {place} of {total}: {asked(finding)}")

        try:
            proving = Prover().prove(candidate.bundle.files, candidate.tools.schema, candidate.tools.contracts, tell)
            return asyncio.run(proving)
        except (InvariantError, PolicyFault) as fault:
            raise CommandError(str(fault), "`lockgate bundle check` looks at the whole bundle") from fault


def verdict(report: ProofReport) -> Found:
    """The exit code of a report."""
    if report.is_proved:
        return Found.YES
    only_unknown = report.failures and all(each.verdict is Verdict.UNKNOWN for each in report.failures)
    return Found.UNKNOWN if only_unknown else Found.NO


def headline(report: ProofReport) -> str:
    """The verdict and the counts."""
    counts = Counter(each.verdict.value for each in report.findings)
    listed = ", ".join(f"{counts[each.value]} {each.value}" for each in Verdict if counts[each.value])
    word = _FOUND[verdict(report)].upper()
    return f"{word}: of {len(report.findings)} claims {listed}, by {report.solver_names}"


def counter_examples(report: ProofReport) -> Iterator[dict[str, Any]]:
    """
    As cases that must be denied: every call that the bundle permits and an invariant does not.

    Where a forbid or the invariant itself errs, nobody has said yet what should be decided: there is no case to make.
    """
    for each in report.failures:
        if each.reason == "violated" and each.counter_example is not None:
            name = f"counter-example of {each.invariant}: {each.action} by {each.principal}"
            yield case_form.kept(name, each.counter_example, "deny")


def asked(finding: Finding) -> str:
    """What was asked, in short."""
    if finding.rule:
        return f"rule `{finding.rule}`"
    subject = finding.invariant or _KINDS.get(finding.kind, finding.kind)
    return f"{subject}: {finding.action} by {finding.principal}" if finding.action else f"{subject}: no tool"


def detail(finding: Finding) -> Iterator[tuple[str, str]]:
    """What is wrong, name and value a row: the reason, both sides, and the call."""
    yield "reason", f"{finding.reason}: {finding.where}" if finding.where else finding.reason
    yield "sentence", finding.sentence
    if finding.value is not None and finding.limit is not None:
        yield "measured", f"{finding.value:,} against {finding.limit:,}"
    if finding.counter_example is not None:
        yield from questions.rows(finding.counter_example)


def _show(report: ProofReport) -> None:
    display.sentence(headline(report))
    display.table(("claim", "verdict", "holds", "over", "sentence"), _rows(report.findings))
    for each in report.failures:
        display.sentence("")
        display.sentence(f"{asked(each)}: {each.verdict.value}{_allowing(each)}")
        display.pairs((f"  {name}", value) for name, value in detail(each))


def _allowing(finding: Finding) -> str:
    if finding.counter_example is None:
        return ""
    return ", Cedar allows this call" if finding.invariant else ", the engine errs on this call"


def _rows(findings: Iterable[Finding]) -> Iterator[tuple[Any, ...]]:
    by_subject: dict[str, list[Finding]] = {}
    for each in findings:
        by_subject.setdefault(each.invariant or _KINDS.get(each.kind, each.kind), []).append(each)
    for subject, group in by_subject.items():
        closed = sum(each.reason == _CLOSED for each in group) if group[0].kind == "premise" else 0
        held = sum(each.verdict is Verdict.PROVED for each in group) - closed
        said = {each.verdict for each in group}
        worst = next(each for each in _WORST_FIRST if each in said)
        over = "rules" if group[0].rule else "types"
        sentence = f"Of the other {closed} no rule permits any." if closed else group[0].sentence
        yield subject, worst.value, f"{held} of {len(group)}", over, sentence


_WORST_FIRST = (Verdict.ENCODING_BUG, Verdict.REFUTED, Verdict.VACUOUS, Verdict.UNKNOWN, Verdict.PROVED)


def _tell_kept(candidate: Candidate, report: ProofReport, kept: tuple[str, ...], *, is_asked: bool) -> None:
    found = list(counter_examples(report))
    if not is_asked:
        if found and candidate.folder is not None:
            display.next_step("--keep writes each call that must be denied into cases.json: it never passes again")
        return
    path = candidate.folder / case_files.FILE if candidate.folder else case_files.FILE
    unfit = sum(not case_files.is_case(each) for each in found)
    there = len(found) - unfit - len(kept)
    told = [f"{len(kept)} in {path}"]
    told += [f"{there} there already"] if there else []
    told += [f"{unfit} not of the form of a case"] if unfit else []
    display.sentence("")
    display.pairs([("kept", ", ".join(told))])
