"""The command `bundle mutants`: small mistakes made in every rule, and which of them nobody would notice.

A score says something about a bundle that is proved and passes its cases, and about no other; so that is asked first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated

import typer

from admin import candidates, case_files, display, proving, questions, solving
from admin.candidates import Candidate, Place, Tools
from admin.errors import CommandError, Found
from admin.options import AsJson, offline
from invariants.errors import InvariantError
from invariants.strength import measuring, proposals, trials
from invariants.strength.scores import Judgement, Score, Verdict
from policies import cases
from policies.cases import Failure
from policies.errors import PolicyFault
from tool_registry.registry import CATALOGUE

app = typer.Typer(no_args_is_help=True)

_NOTICED = {
    "proof": "caught by a proof",
    "never_errs": "caught because a forbid errs",
    "dead_rule": "caught because a rule is dead",
    "cases": "caught by a case",
}
_FOUND = {Found.YES: "caught", Found.NO: "survived", Found.UNKNOWN: "unknown"}


@app.command(cls=solving.Command)
@offline
@solving.answering
def mutants(
    place: Place,
    write_cases: Annotated[
        bool, typer.Option("--write-cases", help="Add cases that tell every survivor from the bundle.")
    ] = False,
    tools: Tools = CATALOGUE,
    as_json: AsJson = False,
) -> Found:
    """Make small mistakes in every rule, and show those that neither proof nor cases would notice."""
    candidate = candidates.read(place, candidates.toolbox(tools))
    if write_cases and candidate.folder is None:
        raise CommandError(f"`{place}` is a file, and signed content cannot grow", "say the folder that it was made of")
    _require_good(candidate)
    score = _measure(candidate)
    written: tuple[str, ...] = ()
    failing: tuple[Failure, ...] = ()
    if write_cases and candidate.folder is not None:
        proposed = proposals.propose(score, candidate.job, candidate.tools.contracts)
        written = case_files.add(candidate.folder, filter(case_files.is_case, proposed))
        failing = _failing(candidates.read(place, candidate.tools)) if written else ()
    code = _verdict(score)
    if as_json:
        display.document(
            {
                "verdict": _FOUND[code],
                "bundle": candidate.bundle.digest,
                "written": list(written),
                "failing": {each.case: each.explanation for each in failing},
                **score.document(),
            }
        )
    else:
        _show(score, code)
        _tell_written(score, written, failing, is_asked=write_cases)
    return code


def _require_good(candidate: Candidate) -> None:
    report = proving.proof(candidate)
    code = proving.verdict(report)
    if code is not Found.YES:
        raise CommandError(
            f"`{candidate.name}` is not proved ({proving.headline(report)}), so mistakes in it mean nothing yet",
            "`lockgate bundle prove` shows what is wrong",
            code=code,
        )
    failing = _failing(candidate)
    if failing:
        raise CommandError(
            f"`{candidate.name}` fails its own case `{failing[0].case}`, so cases notice nothing yet",
            "`lockgate bundle check` shows every case that fails",
            code=Found.NO,
        )


def _failing(candidate: Candidate) -> tuple[Failure, ...]:
    with display.working(f"running {len(candidate.bundle.cases)} cases"):
        try:
            return cases.run_alone(candidate.bundle, candidate.tools.contracts).failures
        except PolicyFault as fault:
            raise CommandError(str(fault), "`lockgate bundle check` looks at the whole bundle") from fault


def _measure(candidate: Candidate) -> Score:
    tools = candidate.tools
    asked = trials.asked(candidate.bundle, tools.contracts, tools.schema.typed)
    with display.working("making mistakes, and looking who would notice"):
        try:
            return asyncio.run(measuring.measure(candidate.job, asked))
        except InvariantError as fault:
            raise CommandError(str(fault), "try again with fewer rules at once", code=Found.UNKNOWN) from fault
        except PolicyFault as fault:
            raise CommandError(str(fault), "`lockgate bundle check` looks at the whole bundle") from fault


def _verdict(score: Score) -> Found:
    if score.with_verdict(Verdict.SURVIVOR):
        return Found.NO
    return Found.UNKNOWN if score.with_verdict(Verdict.UNKNOWN) else Found.YES


def _show(score: Score, code: Found) -> None:
    document = score.document()
    share = f"{score.caught} of {score.to_catch} mistakes caught ({score.caught_bp / 100:.2f} %)"
    display.sentence(f"{_FOUND[code].upper()}: {share}, {len(document['survivors'])} survive")
    display.table(("mutants", "count"), _counts(score))
    for each in score.with_verdict(Verdict.SURVIVOR):
        display.sentence("")
        display.sentence(f"survives: {each.mutant.id}: {each.mutant.sentence}")
        display.pairs((f"  {name}", value) for name, value in _survivor(each))
    for each in score.with_verdict(Verdict.UNKNOWN):
        display.sentence(f"unknown: {each.mutant.id}: {each.by}")


def _counts(score: Score) -> Iterator[tuple[str, str]]:
    document = score.document()
    for name, words in _NOTICED.items():
        yield words, f"{document['by'][name]:,}"
    yield "survive", f"{len(document['survivors']):,}"
    yield "unknown", f"{len(document['unknown']):,}"
    yield "mean the same as the rule: no mistake", f"{document['equivalent']:,}"
    yield "refused by validation: not counted", f"{document['ill_typed']:,}"


def _survivor(judgement: Judgement) -> Iterator[tuple[str, str]]:
    before, after = ("permitted", "not permitted") if judgement.before else ("not permitted", "permitted")
    yield "decides otherwise", f"{before} now, {after} with the mistake"
    if judgement.question is not None:
        yield from questions.rows(judgement.question)


def _tell_written(score: Score, written: tuple[str, ...], failing: tuple[Failure, ...], *, is_asked: bool) -> None:
    if is_asked:
        display.sentence("")
        display.pairs([("written", f"{len(written)} in {case_files.FILE}"), *(("", name) for name in written)])
        for each in failing:
            # What a case expects is what Cedar decides; Rego has its say as well, and may narrow it.
            display.sentence(f"to be mended: {each.case}: {each.explanation}")
        if written:
            display.next_step("read each, and give it a name that says why: the mistake may be the better rule")
    elif score.with_verdict(Verdict.SURVIVOR):
        display.next_step("--write-cases adds to cases.json what tells every survivor from the bundle")
