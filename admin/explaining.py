"""The command `explain`: what became of a call, and what would have passed where it was refused or waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from admin import display, solving
from admin.connection import ask
from admin.errors import Found
from admin.options import Asked, Call, remote

app = typer.Typer(no_args_is_help=True)

_REFUSING = ("refused", "parked")
_VERDICTS = {"would_pass": Found.YES, "nothing_would_pass": Found.NO}


@app.command(cls=solving.Command)
@remote
@solving.answering
def explain(
    asked: Asked,
    call: Call,
    wait: Annotated[int, typer.Option(min=0, max=30, help="Seconds to wait for a change of state.")] = 0,
) -> Found:
    """What became of a call: state, rules, invariants, and the smallest changes with which a refused one would pass."""
    session = asked.session()
    parameters = {"wait": str(wait)} if wait else {}
    answered = ask(session, "GET", f"/v1/calls/{call}", parameters=parameters)
    found = display.require(answered)
    if found.get("status") not in _REFUSING:
        display.call(answered, as_json=asked.as_json)
        return Found.YES
    explanation = ask(session, "GET", f"/v1/calls/{call}/explanation").document
    if asked.as_json:
        display.document({**found, "explanation": explanation})
    else:
        display.call(answered, as_json=False)
        _show(explanation)
    return _VERDICTS.get(str(explanation.get("verdict")), Found.UNKNOWN)


def _show(explanation: Mapping[str, Any]) -> None:
    for each in explanation.get("alternatives") or ():
        display.sentence(str(each.get("sentence")))
        rows = list(_rows(each))
        if rows:
            display.table(("member", "now", "would pass"), rows)
    if explanation.get("sentence"):
        display.sentence(str(explanation["sentence"]))
    standing = explanation.get("stands_in_the_way") or ()
    if standing:
        rows = [(each.get("id") or each.get("kind"), each.get("kind"), each.get("hint")) for each in standing]
        display.table(("in the way", "kind", "hint"), rows)
    if explanation.get("not_seen"):
        display.progress(
            f"the ledger decides on these limits when the call is made: {', '.join(explanation['not_seen'])}"
        )
    why = explanation.get("unknown") or explanation.get("reason")
    if why:
        display.progress(f"not explained: {why}; docs/explanations.md says what each means")


def _rows(alternative: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for change in alternative.get("changes") or ():
        passing = change.get("range") or change.get("would_pass")
        if change.get("or"):
            passing = " or ".join(str(each) for each in (passing, *change["or"]))
        yield (
            change.get("member"),
            change.get("now"),
            change.get("follows_from", passing),
        )
    for need in alternative.get("approvals") or ():
        yield f"approvals.{need.get('role')}", "", f"{need.get('persons')} more"
