"""What may stand in a slot of a template: each kind as a language, and again as a plain question about a value.

The two are written apart on purpose. A counter-example is shown only after its values answered the plain question.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, assert_never

import re2

from invariants.solving import languages
from invariants.solving.languages import Language
from invariants.texts import contexts, dialects, patterns
from invariants.texts.dialects import Dialect, Mode

LENGTH_MAX = 1000
INTEGER_MAX = 10**15
CHOICES_MAX = 1000


@dataclass(frozen=True, slots=True)
class Letters:
    """One letter of Unicode or more."""

    length_max: int


@dataclass(frozen=True, slots=True)
class Integer:
    """A natural number in decimal, without leading zeros."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Choices:
    """One of some texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matching:
    """A text that a pattern matches from end to end."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Free:
    """Any text in which none of some patterns is found: what was checked when it was filled in."""

    of: tuple[str, ...]


Slot = Letters | Integer | Choices | Matching | Free


def language(slot: Slot, mode: Mode) -> Language:
    """The values of a slot. Raises `PatternRefused`."""
    match slot:
        case Letters(length_max):
            return languages.repeat(languages.Characters(dialects.letters()), 1, length_max)
        case Integer(minimum, maximum):
            return _integers(minimum, maximum)
        case Choices(texts):
            return languages.either(*map(languages.literal, texts))
        case Matching(pattern):
            return contexts.whole(pattern, _exact(mode))
        case Free(of):
            return languages.both(*(languages.complement(contexts.found(pattern, mode)) for pattern in of))
        case _:
            assert_never(slot)


def fits(slot: Slot, value: str, mode: Mode) -> bool:
    """Whether a value may stand in a slot, by the means of the engine and of Python alone."""
    match slot:
        case Letters(length_max):
            return value.isalpha() and len(value) <= length_max
        case Integer(minimum, maximum):
            return (
                value.isascii() and value.isdecimal() and minimum <= int(value) <= maximum and value == str(int(value))
            )
        case Choices(texts):
            return value in texts
        case Matching(pattern):
            return engine(pattern, _exact(mode)).fullmatch(value) is not None
        case Free(of):
            return not any(engine(pattern, mode).search(value) for pattern in of)
        case _:
            assert_never(slot)


def engine(pattern: str, mode: Mode) -> Any:
    """The pattern compiled by the engine that it is written for. Read it by `patterns` first: that sets its bounds."""
    _, mode = patterns.read(pattern, mode)
    bare = patterns.without_flags(pattern)
    if mode.dialect is Dialect.RE2:
        letters = "i" * mode.ignores_case + "s" * mode.dot_is_all
        return re2.compile(f"(?{letters}){bare}" if letters else bare)
    compiled: Callable[[str, int], re.Pattern[str]] = re.compile
    ascii_only = re.ASCII if mode.dialect is Dialect.PYTHON_ASCII else re.RegexFlag(0)
    flags = ascii_only | re.IGNORECASE * mode.ignores_case | re.DOTALL * mode.dot_is_all
    return compiled(bare, int(flags))


def _exact(mode: Mode) -> Mode:
    # A slot says what may stand there, and says so with its own flags; the mode's case is that of what is banned.
    return replace(mode, ignores_case=False, dot_is_all=False)


def _integers(minimum: int, maximum: int) -> Language:
    """Decimal numbers between two, by their number of digits."""
    options = []
    for digits in range(len(str(minimum)), len(str(maximum)) + 1):
        low = max(minimum, 0 if digits == 1 else 10 ** (digits - 1))
        options.append(_same_length(str(low), str(min(maximum, 10**digits - 1))))
    return languages.either(*options)


def _same_length(low: str, high: str) -> Language:
    """Numbers of as many digits as both, between them."""
    if not low:
        return languages.EMPTY
    first, last, rest = int(low[0]), int(high[0]), len(low) - 1
    if first == last:
        return languages.sequence(_digits(first, first), _same_length(low[1:], high[1:]))
    return languages.either(
        languages.sequence(_digits(first, first), _same_length(low[1:], "9" * rest)),
        languages.sequence(_digits(first + 1, last - 1), languages.repeat(_digits(0, 9), rest, rest)),
        languages.sequence(_digits(last, last), _same_length("0" * rest, high[1:])),
    )


def _digits(first: int, last: int) -> Language:
    return languages.Characters(((48 + first, 48 + last),) if first <= last else ())
