"""How much of what is personal or secret the redactor hides: `python -m tests.outside.redactor FILE` prints a table.

With `--names` the optional detector of names and addresses looks too (`make names` installs its lists). With `--plain`
FILE is any text that holds nothing to hide, and every finding in it is printed, with how many words there are.

FILE holds a labelled text per line: `{"id", "text", "spans": [[start, end, type]]}`. A span counts as found when each
of its characters other than spaces is hidden, and a finding as false when none of its characters is labelled.

    free text    recall by type, and false findings by kind
    disguises    the same values, each alone in a sentence and written in the ways of catalogue H02
    labelled     every value, in every form, as a field labelled personal or secret: nothing of it may be left

Without FILE it answers texts on standard input, `{"id", "text"}` per line, with `{"id", "spans"}` per line.
Exit code 1: a labelled field let something through.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import html
import json
import sys
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gateway import findings, words
from gateway.clock import SystemClock
from gateway.findings import Finding
from gateway.names import Names
from gateway.redaction import Redactor
from tool_registry.contracts import Field, Kind, Label

Find = Callable[[str], list[Finding]]

STRUCTURED = ("CREDIT_CARD", "DOMAIN_NAME", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "US_SSN")
"""Types with a shape of their own. The rest are words: names, places, dates."""

SENTENCE = "the customer wrote {} on the line"
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
LOOK_ALIKES = str.maketrans("aeopcxi", "аеорсхі")  # noqa: RUF001 - the point of them

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "spaced": " ".join,
    "zero width": "\u200b".join,
    "full width": lambda value: value.translate(FULL_WIDTH),
    "look-alikes": lambda value: value.translate(LOOK_ALIKES),
    "HTML entities": lambda value: "".join(f"&#{ord(each)};" for each in value),
    "HTML escaped": html.escape,
    "percent": lambda value: urllib.parse.quote(value, safe=""),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64url": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "hexadecimal": lambda value: value.encode().hex(),
    "gzip, base64": lambda value: base64.b64encode(gzip.compress(value.encode(), mtime=0)).decode(),
    "JSON escapes": lambda value: "".join(f"\\u{ord(each):04x}" for each in value),
    "JSON in strings": lambda value: in_strings(value, 3),
    "reversed": lambda value: value[::-1],
    "in two halves": lambda value: f"{value[: len(value) // 2]} and then {value[len(value) // 2 :]}",
}


def in_strings(value: str, times: int) -> str:
    """A document that says the value, as a text of JSON that was put into a text of JSON so many times."""
    document = json.dumps({"said": value}, ensure_ascii=False)
    for _ in range(times):
        document = json.dumps(document, ensure_ascii=False)
    return document


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.outside.redactor", description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--names", action="store_true", help="with the optional detector of names and addresses")
    parser.add_argument("--plain", action="store_true", help="FILE is plain text with nothing to hide")
    options = parser.parse_args()
    find = with_names() if options.names else findings.find
    if options.file is None:
        answer(sys.stdin, find)
        return 0
    if options.plain:
        plain(options.file.read_text(encoding="utf-8"), find)
        return 0
    rows = [json.loads(line) for line in options.file.read_text(encoding="utf-8").splitlines()]
    free_text(rows, find)
    disguises(rows, find)
    return 1 if labelled(rows) else 0


def plain(text: str, find: Find) -> None:
    """Print what is found in a text that holds nothing to hide."""
    found = find(text)
    for each in found:
        print(f"  {each.kind:<10}{' '.join(each.said.split())}")
    print(f"plain text: {len(text.split())} words, {len(found)} findings")


def with_names() -> Find:
    """What the redactor finds with the detector on. Here nobody else needs the event loop: it may take its time."""
    names = Names(words.load(), Timeless())
    return lambda text: findings.apart(sorted([*findings.find(text), *names.find(text)]))


class Timeless(SystemClock):
    """A clock by which nothing takes time."""

    def monotonic(self) -> float:
        return 0.0


def answer(lines: Iterable[str], find: Find) -> None:
    """What is found in each text, as the published scorer reads it."""
    for line in lines:
        asked = json.loads(line)
        spans = [[each.start, each.end, each.kind] for each in find(asked["text"])]
        print(json.dumps({"id": asked["id"], "spans": spans}), flush=True)


def free_text(rows: Sequence[dict[str, Any]], find: Find) -> None:
    """Print recall by type and false findings by kind."""
    found: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for row in rows:
        found_here = find(row["text"])
        hidden = {place for each in found_here for place in range(each.start, each.end)}
        personal: set[int] = set()
        for start, end, kind in row["spans"]:
            places = {place for place in range(start, end) if not row["text"][place].isspace()}
            personal |= places
            (found if places <= hidden else missed)[kind] += 1
        false.update(each.kind for each in found_here if not personal & set(range(each.start, each.end)))
    print(f"free text: {len(rows)} texts")
    for kind in sorted(found.keys() | missed.keys(), key=lambda kind: (kind not in STRUCTURED, kind)):
        print_recall(kind, found[kind], missed[kind])
    print_recall("structured types", *(sum(each[kind] for kind in STRUCTURED) for each in (found, missed)))
    print_recall("all types", found.total(), missed.total())
    for kind in dict.fromkeys([*(kind for kind, _, _ in findings.SHAPES), *sorted(false)]):
        print(f"  false findings, {kind:<10}{false[kind]:>6}")


def disguises(rows: Sequence[dict[str, Any]], find: Find) -> None:
    """Print the recall of each form, over the values of the structured types."""
    print("disguises: values of structured types, each alone in a sentence")
    values = [value for kind, value in labelled_values(rows) if kind in STRUCTURED]
    for name, form in FORMS.items():
        found = sum(is_hidden(value, form(value), find) for value in values)
        print_recall(name, found, len(values) - found)


def is_hidden(value: str, written: str, find: Find = findings.find) -> bool:
    """Whether each character but spaces is hidden: of the value where it stands in what is written, or else of all."""
    text = SENTENCE.format(written)
    meant = value if value in written else written
    begin = text.index(meant)
    hidden = {place for each in find(text) for place in range(each.start, each.end)}
    return all(place in hidden for place in range(begin, begin + len(meant)) if not text[place].isspace())


def labelled(rows: Sequence[dict[str, Any]]) -> int:
    """Print how many labelled fields kept something of their value in a record, and return it."""
    redactor = Redactor(b"k" * 32)
    fields = tuple(
        Field(name=label.value, kind=Kind.TEXT, label=label, length_max=4_000)
        for label in (Label.PERSONAL, Label.SECRET)
    )
    recorded = leaked = 0
    for _, value in labelled_values(rows):
        # A hidden character is refused at the door, so no field ever holds one.
        for written in (form(value) for name, form in FORMS.items() if name != "zero width"):
            kept = redactor.record(fields, {field.name: written for field in fields}, tenant="acme")
            recorded += len(fields)
            leaked += sum(kept[field.name] != redactor.token(written, "acme") for field in fields)
    print(f"labelled fields: {recorded} recorded, {leaked} with something of their value left")
    return leaked


def labelled_values(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Every labelled value with its type."""
    return [(kind, row["text"][start:end]) for row in rows for start, end, kind in row["spans"]]


def print_recall(name: str, found: int, missed: int) -> None:
    """One line of a table."""
    total = found + missed
    print(f"  {name:<22}{found:>6} of {total:<6}{found / total if total else 1:>7.1%}")


if __name__ == "__main__":
    sys.exit(main())
