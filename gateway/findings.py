"""Finding: a place in free text that holds what should not be kept: a secret, or something that leads to a person.

Shapes first, in either direction, by an engine that takes linear time whatever it meets; then, for numbers, a look at
the digits that decides which part of the shape is meant. A finding is a guess, and errs to the side of hiding.
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
    """The whole run where 12 to 19 digits of it, whole groups, have a card's check digit: what is beside may be its."""
    if text.startswith("+"):  # Dialled: one such number in ten has that digit by chance.
        return
    places = [place for place, character in enumerate(text) if character.isdigit()]
    sums = _luhn_sums([int(text[place]) for place in places])
    edges = [at for at in range(len(places) + 1) if _is_edge(places, at)]
    for number, start in enumerate(edges):
        ends = edges[number + 1 : number + 20]
        if any(12 <= end - start <= 19 and _is_card(sums, start, end) for end in ends):
            yield 0, len(text)
            return


def _is_edge(places: list[int], at: int) -> bool:
    """Whether a group of digits begins at this digit, and another ends before it."""
    return at in (0, len(places)) or places[at] > places[at - 1] + 1


def _luhn_sums(digits: list[int]) -> tuple[list[int], list[int]]:
    """Sums of the first n digits, those at odd places doubled, and those at even places doubled."""
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits]
    odd = itertools.accumulate((doubled[at] if at % 2 else digits[at] for at in range(len(digits))), initial=0)
    even = itertools.accumulate((digits[at] if at % 2 else doubled[at] for at in range(len(digits))), initial=0)
    return list(odd), list(even)


def _is_card(sums: tuple[list[int], list[int]], start: int, end: int) -> bool:
    each = sums[(end - 1) % 2]  # The last digit is not doubled.
    return (each[end] - each[start]) % 10 == 0


def _ibans(text: str) -> Spans:
    """Wherever a country's letters stand, the longest account number with its check digits: words may follow it."""
    at = 0
    for match in _COUNTRY.finditer(text):
        length = _account_length(text[match.start() : match.start() + 2 * _IBAN_MAX]) if match.start() >= at else 0
        if length:
            at = match.start() + length
            yield match.start(), at


def _account_length(text: str) -> int:
    """Up to where the text is an account number; 0 if it is none."""
    head = int("".join(str(_value(character)) for character in text[:4]))
    rest, digits, taken, length = 0, 2, 4, 0
    for place, character in enumerate(text[4:], 5):
        if character == " ":
            continue
        value = _value(character)
        rest = (rest * (10 if value < 10 else 100) + value) % 97
        digits, taken = digits + (value < 10), taken + 1
        # Ten digits at least: a few words after a code such as `AB12` come out right by chance too.
        if taken >= 15 and digits >= 10 and text[place : place + 1] in ("", " ") and (rest * 10**6 + head) % 97 == 1:
            length = place
        if taken == _IBAN_MAX:
            break
    return length


def _value(character: str) -> int:
    # The pattern, which ignores case, takes the long s and the Kelvin sign for letters too.
    return int(character, 36) if character.isascii() else 0


def _addresses(text: str) -> Spans:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return
    yield 0, len(text)


def _phones(text: str) -> Spans:
    """What people dial, several of them too. Dates are read by the same pattern, so that none begins a number."""
    number = text.lower().partition("e")[0].partition("x")[0].strip()
    digits = sum(map(str.isdigit, number))
    separators = [each for each in number[1:] if not each.isdigit()]
    is_spelled = separators not in ([], ["."])  # With one dot it is an amount.
    if not _DATE.fullmatch(text) and (is_spelled or 9 <= digits <= 11 or (number[0] in "+(0" and digits <= 16)):
        yield 0, len(text)


_IBAN_MAX = 34
_COUNTRY = re2.compile(r"(?i)\b[A-Z]{2}\d{2}")
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
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[A-Za-z0-9+/=:,\s\\]|-[A-Za-z0-9])*"
            r"(?:-----END [A-Z ]*PRIVATE KEY-----)?"
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
            r"|(?:\(?\+ ?\(?|\(|\b)\d(?:[ ()./-]{0,3}\d){6,}(?: ?(?:[xX]|(?:ext|Ext|EXT)\.?) ?\d{1,6})?\b"
        ),
        _phones,
    ),
)


def find(text: str, *, nested: int = 0) -> list[Finding]:
    """Everything found in the text, in order and apart from each other: as it stands, and as it reads undisguised."""
    found = [*_swept(text), *_backwards(text)]
    plain = disguises.plain(text)
    if plain is not None:
        found += (
            Finding(*plain.written(each.start, each.end), each.kind, each.said)
            for each in itertools.chain(_swept(plain.text), _unpacked(plain.text, nested))
        )
    found += _unpacked(text, nested)
    return apart(sorted(found))


def _unpacked(text: str, nested: int) -> Iterator[Finding]:
    if nested == _NESTED_MAX:
        return
    for content, start, end in disguises.packed(text):
        inner = find(content, nested=nested + 1)
        if inner:
            yield Finding(start, end, inner[0].kind, inner[0].said)


def _backwards(text: str) -> Iterator[Finding]:
    """What somebody wrote from right to left. No telephone number is bare digits then: dates end in 0 too."""
    for each in _swept(text[::-1]):
        if each.kind != "phone" or not each.said.isdigit():
            yield replace(each, start=len(text) - each.end, end=len(text) - each.start)


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


def apart(found: list[Finding]) -> list[Finding]:
    """Findings that overlap become one, of the kind that begins first."""
    apart: list[Finding] = []
    for each in found:
        if apart and each.start < apart[-1].end:
            apart[-1] = replace(apart[-1], end=max(apart[-1].end, each.end))
        else:
            apart.append(each)
    return apart
