"""The command `bundle diff`: what one bundle permits that another does not, over every request, with a call for each.

Compared is what Cedar permits. The other files of a bundle are named where they differ: they may narrow a decision, or
say what is meant, and no solver compares them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from admin import candidates, display, questions, solving
from admin.candidates import Candidate, Toolbox
from admin.errors import CommandError, Found
from admin.options import Asked, remote
from invariants.analyses.asking import Inquiry, ask
from invariants.analyses.results import Analysis, Result, Verdict
from policies.autonomy import AutonomyRule
from policies.errors import PolicyFault
from tool_registry.registry import CATALOGUE

app = typer.Typer(no_args_is_help=True)

_SIDE = "Bundle file, folder of rules, or `active`: the one in force at the gateway."
Old = Annotated[Path, typer.Argument(metavar="OLD", help=_SIDE, show_default=False)]
New = Annotated[Path, typer.Argument(metavar="NEW", help="The same.", show_default=False)]

_SAME = (Verdict.EQUIVALENT,)
_DOUBT = (Verdict.UNKNOWN, Verdict.ENCODING_BUG)
_SHOWS = {
    "newly_permitted": "newly permitted",
    "newly_refused": "no longer permitted",
    "permitted": "permitted",
}
_BESIDE = {
    "invariants": "invariants.cedar",
    "rego": "deny.rego",
    "data": "data.json",
    "cases": "cases.json",
    "autonomy": "autonomy.json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What was found out about two bundles."""

    old: Candidate
    new: Candidate
    results: tuple[Result, ...]
    missing: str

    @property
    def code(self) -> Found:
        """A difference that was found counts also where something else is not known."""
        if any(each.verdict not in (*_SAME, *_DOUBT) for each in self.results):
            return Found.NO
        doubtful = self.missing or any(each.verdict in _DOUBT for each in self.results)
        return Found.UNKNOWN if doubtful else Found.YES

    @property
    def verdict(self) -> str:
        """In one word."""
        return {Found.YES: "equivalent", Found.NO: "different"}.get(self.code, "unknown")

    @property
    def beside(self) -> tuple[str, ...]:
        """Files that differ and are not compared."""
        old, new = self.old.bundle.content, self.new.bundle.content
        return tuple(file for member, file in _BESIDE.items() if old.get(member) != new.get(member))

    @property
    def autonomy(self) -> Mapping[str, str]:
        """What lowers agents, and no longer in the same way: rule by rule, what became of it."""
        old, new = ({rule.id: rule for rule in each.bundle.autonomy} for each in (self.old, self.new))
        return {
            name: "added" if name not in old else "removed" if name not in new else _changes(old[name], new[name])
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        }


@app.command(cls=solving.Command)
@remote
@solving.answering
def diff(
    asked: Asked,
    old: Old,
    new: New,
    tools: Annotated[
        Path | None, typer.Option(help="Folder of tool declarations.", show_default="the catalogue, or the gateway's")
    ] = None,
    old_tools: Annotated[
        Path | None, typer.Option(help="Tools of OLD, where they are others.", show_default="those of --tools")
    ] = None,
) -> Found:
    """What NEW permits that OLD does not, and the other way round: over every request, not text against text."""
    after = _tools(asked, tools, old, new)
    before = candidates.toolbox(old_tools) if old_tools else after
    found = _compare(_side(asked, old, before), _side(asked, new, after))
    if asked.as_json:
        display.document(_document(found))
    else:
        _show(found)
    return found.code


def _tools(asked: Asked, folder: Path | None, *sides: Path) -> Toolbox:
    """Those that the reader says; else what decides at the gateway is held against what would decide there."""
    if folder is None and any(map(_is_active, sides)):
        return candidates.registered(asked.session())
    return candidates.toolbox(folder or CATALOGUE)


def _is_active(place: Path) -> bool:
    return str(place) == candidates.ACTIVE


def _side(asked: Asked, place: Path, tools: Toolbox) -> Candidate:
    side = candidates.in_force(asked.session(), tools) if _is_active(place) else candidates.read(place, tools)
    candidates.require_fitting(side)
    return side


def _compare(old: Candidate, new: Candidate) -> Difference:
    inquiry = Inquiry(job=new.job, old=old.job, questions=(Analysis.DIFFERENCE,))
    with display.working("comparing") as say:
        try:
            answers = asyncio.run(ask(inquiry, lambda result: say(f"comparing {result.action} by {result.principal}")))
        except PolicyFault as fault:
            raise CommandError(str(fault), "`lockgate bundle check` looks at one bundle") from fault
    return Difference(old=old, new=new, results=answers.results, missing=answers.missing)


def _document(found: Difference) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "old": found.old.bundle.digest,
        "new": found.new.bundle.digest,
        "missing": found.missing,
        "changed_and_not_compared": list(found.beside),
        "autonomy_rules": dict(found.autonomy),
        "results": [each.document() for each in found.results],
    }


def _show(found: Difference) -> None:
    counts = Counter(each.verdict for each in found.results)
    listed = ", ".join(f"{counts[each]} {_words(each)}" for each in Verdict if counts[each])
    display.sentence(f"{found.verdict.upper()}: of {len(found.results)} types of request {listed or 'none compared'}")
    if found.missing:
        display.sentence(f"not all compared: {found.missing}")
    if found.beside:
        display.sentence(f"changed, and not compared: {', '.join(found.beside)}")
    if found.autonomy:
        display.table(("autonomy rule", "what became of it"), found.autonomy.items())
    told = [each for each in found.results if each.verdict not in _SAME]
    if told:
        display.table(("tool", "asked by", "verdict", "reason"), _rows(told))
    for each in told:
        for witness in each.witnesses:
            display.sentence("")
            display.sentence(f"{_SHOWS.get(witness.shows, witness.shows)}: {each.action} by {each.principal}")
            display.pairs((f"  {name}", value) for name, value in questions.rows(witness.question))


def _changes(old: AutonomyRule, new: AutonomyRule) -> str:
    before, after = old.document(), new.document()
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "; ".join(f"{name}: {_told(before.get(name))} -> {_told(after.get(name))}" for name in names)


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for each in results:
        reason = f"{each.reason} at {each.where}" if each.where else each.reason
        yield each.action, each.principal, _words(each.verdict), reason


def _words(verdict: Verdict) -> str:
    return verdict.value.replace("_", " ")
