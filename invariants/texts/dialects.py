"""Which engine a pattern is written for: what its classes hold, what its case-insensitivity folds.

A text meets one engine at run time, and the proof is about that one. Three are known, each compared with the real one
character by character in the tests:

PYTHON        `re` on str: classes and case by Unicode
PYTHON_ASCII  `re` with the flag ASCII: classes and case by ASCII alone
RE2           classes by ASCII, case by Unicode
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import cache, lru_cache
from itertools import groupby

from invariants.solving.languages import Ranges, holds, ranges, without

ANY: Ranges = ((0, 0xD7FF), (0xE000, 0x10FFFF))
"""Every character of a text. Surrogates are none."""


@unique
class Dialect(StrEnum):
    """An engine whose patterns are understood."""

    PYTHON = "python"
    PYTHON_ASCII = "python_ascii"
    RE2 = "re2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How a pattern is meant. Whether it is searched for or matches whole is said where it is used."""

    dialect: Dialect
    ignores_case: bool = False
    dot_is_all: bool = False
    """Whether `.` is also a line feed."""


def digits(dialect: Dialect) -> Ranges:
    """`\\d`."""
    return _where("isdecimal") if dialect is Dialect.PYTHON else _of("0-9")


def words(dialect: Dialect) -> Ranges:
    """`\\w`, and what `\\b` stands at the edge of."""
    if dialect is Dialect.PYTHON:
        return ranges((*_where("isalnum"), (ord("_"), ord("_"))))
    return _of("0-9A-Z__a-z")


def spaces(dialect: Dialect) -> Ranges:
    """`\\s`. RE2's lacks the vertical tab."""
    match dialect:
        case Dialect.PYTHON:
            return _where("isspace")
        case Dialect.PYTHON_ASCII:
            return _of("\t-\r - ")
        case Dialect.RE2:
            return _of("\t-\n\f-\r - ")


def letters() -> Ranges:
    """Every letter of Unicode (categories L*), as `str.isalpha` has it."""
    return _where("isalpha")


@lru_cache(maxsize=1024)
def in_any_case(characters: Ranges, dialect: Dialect) -> Ranges:
    """A set with every character that the dialect takes for one of its own when it ignores case."""
    if dialect is Dialect.PYTHON_ASCII:
        upper = ((a + 32, b + 32) for a, b in _within(characters, "A", "Z"))
        lower = ((a - 32, b - 32) for a, b in _within(characters, "a", "z"))
        return ranges((*characters, *upper, *lower))
    others = (other for code, group in _cases(dialect).items() if holds(characters, code) for other in group)
    return ranges((*characters, *((other, other) for other in others)))


@lru_cache(maxsize=1024)
def other_than(characters: Ranges) -> Ranges:
    """Every character that is not in a set."""
    return without(ANY, characters)


@cache
def _cases(dialect: Dialect) -> Mapping[int, tuple[int, ...]]:
    """
    Each character that has a case, with all that are the same but for it.

    The same are those with one lower or one upper form: k, K and the Kelvin sign; s, S and the long s. RE2 folds by
    Unicode's simple folding, which sets the dotted capital and the dotless small i apart from i; Python does not.
    """
    by_form: dict[str, list[int]] = {}
    for code in _codes():
        lower, upper = chr(code).lower()[0], chr(code).upper()
        if (lower, upper) != (chr(code), chr(code)):
            by_form.setdefault(f"lower {lower}", []).append(code)
            by_form.setdefault(f"lower {lower}", []).append(ord(lower))
            by_form.setdefault(f"upper {upper}", []).append(code)
            if len(upper) == 1:
                by_form.setdefault(f"upper {upper}", []).append(ord(upper))
    if dialect is Dialect.RE2:
        for group in by_form.values():
            group[:] = [code for code in group if code not in (0x130, 0x131)]
    groups: dict[int, set[int]] = {}
    for found in by_form.values():
        joined = set(found).union(*(groups.get(code, ()) for code in found))
        groups |= dict.fromkeys(joined, joined)
    return {code: tuple(sorted(group)) for code, group in groups.items() if len(group) > 1}


@cache
def _where(question: str) -> Ranges:
    """The characters of which a method of `str` says yes."""
    ask: Callable[[str], bool] = getattr(str, question)
    runs = groupby(enumerate(filter(lambda code: ask(chr(code)), _codes())), lambda pair: pair[1] - pair[0])
    found = []
    for _, run in runs:
        codes = [code for _, code in run]
        found.append((codes[0], codes[-1]))
    return ranges(found)


def _codes() -> list[int]:
    return [code for first, last in ANY for code in range(first, last + 1)]


def _of(pairs: str) -> Ranges:
    """Ranges written as in a class: first, hyphen, last; `__` is one range of one character."""
    spelled = pairs.replace("__", "_-_")
    return ranges((ord(spelled[at]), ord(spelled[at + 2])) for at in range(0, len(spelled), 3))


def _within(characters: Ranges, first: str, last: str) -> Ranges:
    inside = ((max(a, ord(first)), min(b, ord(last))) for a, b in characters)
    return ranges((a, b) for a, b in inside if a <= b)
