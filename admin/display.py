"""How answers look: a document on standard output, words about the way on standard error.

With `--json` standard output is exactly one JSON document and nothing else. NO_COLOR and pipes are honoured by rich.
Everything that came from elsewhere is printed as plain text: markup and control characters in it do nothing.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from admin import next_steps
from admin.connection import Answered
from admin.errors import CommandError, Exit

COLOURS = {
    "executed": "green",
    "proved": "green",
    "pass": "green",
    "ok": "green",
    "parked": "yellow",
    "in_doubt": "yellow",
    "executing": "yellow",
    "unknown": "yellow",
    "remark": "yellow",
    "failed": "red",
    "refused": "red",
    "fail": "red",
    "error": "red",
    "bad": "red",
    "refuted": "red",
    "vacuous": "red",
}
PIPE_WIDTH = 1000
EXITS = {
    "executed": Exit.DONE,
    "permit": Exit.DONE,
    "needs_approval": Exit.PARKED,
    "parked": Exit.PARKED,
    "executing": Exit.IN_DOUBT,
    "in_doubt": Exit.IN_DOUBT,
}


def document(value: Any) -> None:
    """The one JSON document of `--json`."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def progress(sentence: str) -> None:
    """A word about the way, never part of the result."""
    Console(stderr=True).print(Text(plain(sentence)), style="dim", soft_wrap=True)


@contextmanager
def working(doing: str) -> Iterator[Callable[[str], None]]:
    """Say on a terminal what is being done, and say anew whenever the function given is called. Elsewhere: silence."""
    console = Console(stderr=True)
    with console.status(Text(plain(doing))) as status:
        yield lambda now: status.update(Text(plain(now)))


def sentence(text: str) -> None:
    """A result in words, on a line of its own."""
    Console().print(Text(plain(text)), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows for people; a column without any value is left out."""
    cells = [tuple(row) for row in rows]
    kept = [place for place in range(len(columns)) if not cells or any(row[place] not in (None, "") for row in cells)]
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for place in kept:
        shown.add_column(columns[place], overflow="fold", no_wrap=place == 0)  # Ids are copied: never broken.
    for row in cells:
        shown.add_row(*(_cell(row[place]) for place in kept))
    # A pipe has no width: nothing that a program reads is broken into lines.
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(shown)


def pairs(rows: Iterable[tuple[str, Any]]) -> None:
    """Names and values for people; empty values are left out. Long values run on: digests and ids are copied."""
    shown = [(name, _cell(value)) for name, value in rows if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    console = Console()
    for name, value in shown:
        console.print(Text.assemble((name.ljust(width), "bold"), "  ", value), soft_wrap=True)


def call(answered: Answered, *, as_json: bool) -> Exit:
    """Show what became of a call, and say the exit code that stands for it."""
    found = answered.document if isinstance(answered.document, dict) else {}
    if as_json:
        document(answered.document)
    else:
        pairs(_call_rows(found, answered))
        _rules(found)
        _checks(found)
        _needs(found)
    if answered.status >= 400:
        next_step(next_steps.step(found, answered.status))
        return _exit_of(answered.status)
    state = str(found.get("verdict") or found.get("status", ""))  # A dry run says what would become of the call.
    if state == "in_doubt":
        next_step(next_steps.step({**found, "reason": "in_doubt"}, 504))
    return EXITS.get(state, Exit.DONE if not state else Exit.NO)


def require(answered: Answered) -> Mapping[str, Any]:
    """The document of a good answer. Raises `CommandError` with the next step for any other."""
    found = answered.document if isinstance(answered.document, dict) else {}
    if answered.status >= 400:
        reason = found.get("reason") or f"status {answered.status}"
        detail = found.get("detail") or found.get("title") or ""
        raise CommandError(
            plain(f"refused: {reason}" + (f": {detail}" if detail else "")),
            next_steps.step(found, answered.status),
            code=_exit_of(answered.status),
            document=found,
        )
    return found


def error(raised: CommandError, *, as_json: bool) -> None:
    """The end of a command that could not go on."""
    if as_json:
        document(raised.document or {"error": raised.sentence, "next_step": raised.next_step, "exit": int(raised.code)})
    console = Console(stderr=True)
    console.print(Text.assemble(("error: ", "bold red"), plain(raised.sentence)), soft_wrap=True)
    next_step(raised.next_step)


def next_step(sentence: str) -> None:
    """What the reader can do now."""
    Console(stderr=True).print(Text.assemble(("next: ", "bold"), plain(sentence)), soft_wrap=True)


def plain(text: str) -> str:
    """Text in which nothing hides: control, bidi and zero-width characters are shown as their code points."""
    return "".join(
        character if character == "\n" or unicodedata.category(character)[0] != "C" else f"<U+{ord(character):04X}>"
        for character in text
    )


def _call_rows(found: Mapping[str, Any], answered: Answered) -> Iterable[tuple[str, Any]]:
    decision = found.get("decision") or {}
    receipt = found.get("receipt") or {}
    yield "call", found.get("call")
    yield "status", found.get("reason") if answered.status >= 400 else found.get("status")
    yield "verdict", found.get("verdict")
    yield "reason", found.get("reason") if answered.status < 400 else None
    yield "detail", found.get("detail")
    yield "feedback", found.get("feedback")
    for fault in found.get("faults") or ():
        yield "fault", f"{fault.get('pointer')}: expected {fault.get('expected')}"
    yield "tool", found.get("tool")
    yield "arguments", found.get("arguments")
    yield "result", found.get("result")
    yield "principal", found.get("principal")
    yield "replayed", "yes: the first answer again, nothing ran" if answered.is_replayed else None
    yield "bundle", f"{decision['bundle']} (revision {decision.get('revision')})" if decision.get("bundle") else None
    yield "entry", found.get("entry") or (receipt.get("entry") or {}).get("seq")
    yield "expires", found.get("expires_at")
    for given in found.get("approvals") or ():
        yield "approval", f"{given.get('approval')}: {given.get('verdict')} by {given.get('person')}"
    if found.get("entries"):
        yield "entries", ", ".join(f"{entry.get('seq')} {entry.get('kind')}" for entry in found["entries"])


def _rules(found: Mapping[str, Any]) -> None:
    rules = found.get("rules") or (found.get("decision") or {}).get("rules") or []
    if rules:
        rows = [(rule.get("id"), rule.get("engine"), rule.get("effect"), rule.get("hint")) for rule in rules]
        table(("rule", "engine", "effect", "hint"), rows)


def _checks(found: Mapping[str, Any]) -> None:
    checks = found.get("invariant_checks") or []
    if checks:
        rows = [(c.get("id"), c.get("status"), c.get("value"), c.get("limit"), c.get("sentence")) for c in checks]
        table(("invariant", "status", "value", "limit", "sentence"), rows)


def _needs(found: Mapping[str, Any]) -> None:
    if not found.get("call"):
        return
    for need in found.get("needs") or []:
        role, persons = need.get("role"), need.get("persons")
        next_step(f"{persons} person(s) with role {role}: `lockgate approve {found.get('call')} --as role:{role}`")
    given = [str(each.get("approval")) for each in found.get("approvals") or () if each.get("verdict") == "approve"]
    if found.get("needs") and given:
        options = " ".join(f"--approval {approval}" for approval in given)
        next_step(f"when all of them have signed, the requester sends the same call and --key again with {options}")


def _exit_of(status: int) -> Exit:
    if status == 504:
        return Exit.IN_DOUBT
    if status in {429, 503}:
        return Exit.UNKNOWN
    return Exit.NO


def _cell(value: Any) -> Text:
    if value is None:
        return Text("")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Text(plain(text), style=COLOURS.get(text, ""))
