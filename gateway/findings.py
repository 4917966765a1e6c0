"""Finding: a place in free text that holds what should not be kept: a secret, or something that leads to a person.

Shapes first, by an engine that takes linear time whatever it meets; then, for numbers, a look at the digits that
decides which part of the shape is meant. A finding is a guess, and errs to the side of hiding.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import re2

from gateway import disguises

_NESTED_MAX = 2
"""Packings in packings that are opened."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What kind of thing stands from `start` to before `end`, and what it says undisguised."""

    start: int
    end: int
    kind: str
    said: str


Spans = Iterator[tuple[int, int]]


def _whole(text: str) -> Spans:
    yield 0, len(text)


def _cards(text: str) -> Spans:
    """The longest runs of 12 to 19 digits that begin and end with a group and have a card's check digit."""
    if not text.startswith("+"):  # Dialled: one such number in ten has that digit by chance.
        yield from _checked(text, 12, 19, _luhn)


def _ibans(text: str) -> Spans:
    """Wherever a country's letters stand, the longest account number with its check digits: words may follow it."""
    at = 0
    for match in _COUNTRY.finditer(text):
        start = match.start()
        for end in reversed([each.end() for each in _WORD.finditer(text[start : start + 2 * _IBAN_MAX])]):
            account = text[start : start + end].replace(" ", "").upper()
            if start >= at and 15 <= len(account) <= _IBAN_MAX and _mod97(account):
                at = start + end
                yield start, at


def _addresses(text: str) -> Spans:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return
    yield 0, len(text)


def _phones(text: str) -> Spans:
    """What people dial. A date is read by the same pattern, so that it is not taken for the beginning of a number."""
    number = text.lower().partition("e")[0].partition("x")[0]
    digits = sum(map(str.isdigit, number))
    separators = [each for each in number.strip() if not each.isdigit()]
    if _DATE.fullmatch(text) or digits > 16:
        return
    if number[0] in "+(0" or 9 <= digits <= 11 or (separators and separators != ["."]):
        yield 0, len(text)


def _checked(text: str, shortest: int, longest: int, holds: Callable[[str], bool]) -> Spans:
    groups = [(match.start(), match.end()) for match in _GROUP.finditer(text)]
    first = 0
    while first < len(groups):
        found = None
        digits = ""
        for last, (start, end) in enumerate(groups[first : first + longest], first):
            digits += text[start:end]
            if len(digits) > longest:
                break
            if len(digits) >= shortest and holds(digits):
                found = last
        if found is None:
            first += 1
        else:
            yield groups[first][0], groups[found][1]
            first = found + 1


def _luhn(text: str) -> bool:
    digits = [int(each) for each in text]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _mod97(account: str) -> bool:
    # Ten digits at least: a few words after a code such as `AB12` come out right by chance too.
    digits = "".join(str(int(each, 36)) for each in account[4:] + account[:4])
    return sum(map(str.isdigit, account)) >= 10 and int(digits) % 97 == 1


_IBAN_MAX = 34
_COUNTRY = re2.compile(r"(?i)\b[A-Z]{2}\d{2}")
_WORD = re2.compile(r"[A-Za-z0-9]+")
_GROUP = re2.compile(r"\d+")
_DATE = re2.compile(r"\d{4}[./-]\d{1,2}[./-]\d{1,2}|[0-3]?\d[./-][0-3]?\d[./-](?:\d{2}|\d{4})")
_TOP = "com|org|net|edu|gov|info|biz|io|dev|app|eu|"
_TOP += "uk|de|fr|es|it|nl|se|pl|ch|dk|fi|cz|pt|br|mx|ca|au|nz|jp|cn|kr|ru|tr|vn|ie"

Shape = tuple[str, Any, Callable[[str], Spans]]

# In order: what one has hidden, the next does not see. Secrets come first, so that nothing after `password:` is read as
# something lesser. docs/texts.md: what these find is proved never to be in what is put in their place.
SHAPES: tuple[Shape, ...] = (
    (
        "secret",
        re2.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
            r"(?:[A-Za-z0-9+/=:,\s\\-]*-----END [A-Z ]*PRIVATE KEY-----|[A-Za-z0-9+/=\s\\]*)"
        ),
        _whole,
    ),
    ("secret", re2.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), _whole),
    (
        "secret",
        re2.compile(
            r"(?i)\b(?:sk|pk|rk|gh[opsu]|github_pat|glpat|xox[abeprs])[-_][A-Za-z0-9_-]{12,}"
            r"|\b(?:AKIA|ASIA|AIza)[A-Za-z0-9_-]{12,}"
        ),
        _whole,
    ),
    ("secret", re2.compile(r"(?i)\b(?:password|passwd|secret|api[_-]?key|token)\s*[:=]\s*\S+"), _whole),
    ("link", re2.compile(r"(?i)\b(?:[a-z][a-z0-9+]{1,10}://|www\.)[^\s<>\[\]\"]+"), _whole),
    ("email", re2.compile(r"[^\s@<>()\[\],;:\"\\]+@[^\s@<>()\[\],;:\"\\.]+(?:\.[^\s@<>()\[\],;:\"\\.]+)+"), _whole),
    ("link", re2.compile(rf"(?i)\b(?:[a-z0-9-]+\.)+(?:{_TOP})\b"), _whole),
    ("iban", re2.compile(r"(?i)\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,}\b"), _ibans),
    ("card", re2.compile(r"(?:\b|\+)\d(?:[ -]?\d){11,}\b"), _cards),
    ("ip", re2.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"), _addresses),
    ("ip", re2.compile(r"(?i)(?:\b[0-9a-f]{1,4}|:):(?:[0-9a-f]{0,4}:){0,6}[0-9a-f]{0,4}"), _addresses),
    ("document", re2.compile(r"\b\d{3}-\d{2}-\d{4}\b|\b[A-Z]{1,2}\d{6,9}[A-Z]?\b"), _whole),
    (
        "phone",
        re2.compile(
            r"\b\d\d(?:[./-]\d\d){3,7}\b"
            r"|\b\d{4}[./-]\d{1,2}[./-]\d{1,2}\b|\b[0-3]?\d[./-][0-3]?\d[./-](?:\d{2}|\d{4})\b"
            r"|(?:\(?\+ ?\(?|\(|\b)\d(?:[ ()./-]{0,3}\d){6,15}(?: ?(?:[xX]|(?:ext|Ext|EXT)\.?) ?\d{1,6})?\b"
        ),
        _phones,
    ),
)


def find(text: str, *, nested: int = 0) -> list[Finding]:
    """Everything found in the text, in order and apart from each other: as it stands, and as it reads undisguised."""
    found = [*_swept(text)]
    plain = disguises.plain(text)
    if plain is not None:
        found += (
            Finding(*plain.written(each.start, each.end), each.kind, each.said)
            for each in itertools.chain(_swept(plain.text), _unpacked(plain.text, nested))
        )
    found += _unpacked(text, nested)
    return _apart(sorted(found))


def _unpacked(text: str, nested: int) -> Iterator[Finding]:
    if nested == _NESTED_MAX:
        return
    for content, start, end in disguises.packed(text):
        inner = find(content, nested=nested + 1)
        if inner:
            yield Finding(start, end, inner[0].kind, inner[0].said)


def _swept(text: str) -> Iterator[Finding]:
    """What the shapes find, each in the pieces that those before it have left."""
    pieces = [(0, text)]
    for kind, pattern, meant in SHAPES:
        left = []
        for begin, piece in pieces:
            at = 0
            for match in pattern.finditer(piece):
                for first, last in meant(match.group()):
                    start, end = match.start() + first, match.start() + last
                    yield Finding(begin + start, begin + end, kind, piece[start:end])
                    left.append((begin + at, piece[at:start]))
                    at = end
            left.append((begin + at, piece[at:]))
        pieces = left


def _apart(found: list[Finding]) -> list[Finding]:
    """Findings that overlap become one, of the kind that begins first."""
    apart: list[Finding] = []
    for each in found:
        if apart and each.start < apart[-1].end:
            apart[-1] = replace(apart[-1], end=max(apart[-1].end, each.end))
        else:
            apart.append(each)
    return apart
