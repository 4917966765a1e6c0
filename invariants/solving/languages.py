"""Regular languages as data: what a pattern means, apart from how anybody writes it.

A character is a code point, a set of characters is sorted ranges. Constructors fold what cannot matter, so equal
languages are often, though not always, equal values. `derivative` says what may follow a first character; with it
`contains` decides about a text, without a solver and without backtracking.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

Ranges = tuple[tuple[int, int], ...]
"""Inclusive, ascending, apart: two neighbours never touch."""


@dataclass(frozen=True, slots=True)
class Characters:
    """One character of a set. Of no set: no text at all."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Sequence:
    """One text of each part, in order. Without parts: the empty text."""

    parts: tuple[Language, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """A text of any option."""

    options: frozenset[Language]


@dataclass(frozen=True, slots=True)
class Both:
    """A text of all options."""

    options: frozenset[Language]


@dataclass(frozen=True, slots=True)
class Complement:
    """Any text that is not one of the other language."""

    other: Language


@dataclass(frozen=True, slots=True)
class Repeat:
    """Texts of one language, one after another."""

    language: Language
    minimum: int
    maximum: int | None
    """None: any number."""


Language = Characters | Sequence | Either | Both | Complement | Repeat

NOTHING = Characters(())
EMPTY = Sequence(())
EVERYTHING = Complement(NOTHING)


def ranges(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """The characters of any ranges, in one order."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(pairs):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return tuple(joined)


def common(one: Ranges, other: Ranges) -> Ranges:
    """The characters of both sets."""
    found = []
    at, beside = 0, 0
    while at < len(one) and beside < len(other):
        (first, last), (start, end) = one[at], other[beside]
        if max(first, start) <= min(last, end):
            found.append((max(first, start), min(last, end)))
        if last < end:
            at += 1
        else:
            beside += 1
    return tuple(found)


def without(one: Ranges, other: Ranges) -> Ranges:
    """The characters of the first set that are not in the second."""
    gaps, start = [], 0
    for first, last in other:
        gaps.append((start, first - 1))
        start = last + 1
    gaps.append((start, 0x10FFFF))
    return common(one, tuple((first, last) for first, last in gaps if first <= last))


def holds(characters: Ranges, code: int) -> bool:
    """Whether a character is in a set."""
    place = bisect_right(characters, (code, 0x10FFFF))
    return place > 0 and characters[place - 1][1] >= code


def literal(text: str) -> Language:
    """That one text."""
    return sequence(*(Characters(((ord(each), ord(each)),)) for each in text))


def sequence(*parts: Language) -> Language:
    """One text of each part, in order."""
    flat: list[Language] = []
    for part in parts:
        flat += part.parts if isinstance(part, Sequence) else (part,)
    if NOTHING in flat:
        return NOTHING
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def either(*options: Language) -> Language:
    """A text of any option."""
    single: Ranges = ()
    kept: set[Language] = set()
    for option in options:
        for each in option.options if isinstance(option, Either) else (option,):
            if isinstance(each, Characters):
                single = ranges((*single, *each.ranges))
            else:
                kept.add(each)
    if EVERYTHING in kept:
        return EVERYTHING
    if single:
        kept.add(Characters(single))
    while len(kept) > 1 and (pair := _adjacent(kept)):
        kept -= {*pair[:2]}
        kept.add(pair[2])
    if not kept:
        return NOTHING
    return kept.pop() if len(kept) == 1 else Either(frozenset(kept))


def _adjacent(options: Iterable[Language]) -> tuple[Language, Language, Language] | None:
    """
    Two options that differ in the bounds of one repetition, where those touch, and the option that is both.

    Without it a search for `[0-9]{12,18}` has a state for every set of places at which the digits may have begun.
    """
    seen: dict[tuple[Language | int, ...], list[tuple[int, int | None, Language]]] = {}
    for option in options:
        parts = option.parts if isinstance(option, Sequence) else (option,)
        for place, part in enumerate(parts):
            if not isinstance(part, Repeat):
                continue
            key = (*parts[:place], place, part.language, *parts[place + 1 :])
            for minimum, maximum, other in seen.get(key, ()):
                if _reaches(part.maximum, minimum) and _reaches(maximum, part.minimum):
                    most = None if part.maximum is None or maximum is None else max(part.maximum, maximum)
                    joined = repeat(part.language, min(part.minimum, minimum), most)
                    return option, other, sequence(*parts[:place], joined, *parts[place + 1 :])
            seen.setdefault(key, []).append((part.minimum, part.maximum, option))
    return None


def _reaches(maximum: int | None, minimum: int) -> bool:
    """Whether an upper bound leaves no gap below another's lower one."""
    return maximum is None or minimum <= maximum + 1


def both(*options: Language) -> Language:
    """A text of all options."""
    kept: set[Language] = set()
    for option in options:
        kept |= option.options if isinstance(option, Both) else {option}
    kept.discard(EVERYTHING)
    if NOTHING in kept:
        return NOTHING
    if not kept:
        return EVERYTHING
    return kept.pop() if len(kept) == 1 else Both(frozenset(kept))


def complement(other: Language) -> Language:
    """Any text that is not one of the other language."""
    return other.other if isinstance(other, Complement) else Complement(other)


def repeat(language: Language, minimum: int, maximum: int | None) -> Language:
    """Texts of one language, one after another."""
    if maximum == 0 or language == EMPTY or (language == NOTHING and minimum == 0):
        return EMPTY
    if language == NOTHING or (minimum, maximum) == (1, 1):
        return language
    # With the empty text among them, fewer are always enough.
    return Repeat(language, 0 if has_empty(language) else minimum, maximum)


def has_empty(language: Language) -> bool:
    """Whether the empty text is one of a language."""
    match language:
        case Characters():
            return False
        case Sequence(parts):
            return all(has_empty(part) for part in parts)
        case Either(options):
            return any(has_empty(option) for option in options)
        case Both(options):
            return all(has_empty(option) for option in options)
        case Complement(other):
            return not has_empty(other)
        case Repeat(inner, minimum):
            return minimum == 0 or has_empty(inner)
        case _:
            assert_never(language)


# Most of a state is a part of the state before, and what a search looks for is a part of every one.
@lru_cache(maxsize=65_536)
def derivative(language: Language, code: int) -> Language:
    """What may follow that first character."""
    match language:
        case Characters(of):
            return EMPTY if holds(of, code) else NOTHING
        case Sequence(parts):
            options = []
            for place, part in enumerate(parts):
                options.append(sequence(derivative(part, code), *parts[place + 1 :]))
                if not has_empty(part):
                    break
            return either(*options)
        case Either(options):
            return either(*(derivative(option, code) for option in options))
        case Both(options):
            return both(*(derivative(option, code) for option in options))
        case Complement(other):
            return complement(derivative(other, code))
        case Repeat(inner, minimum, maximum):
            rest = repeat(inner, max(0, minimum - 1), None if maximum is None else maximum - 1)
            return sequence(derivative(inner, code), rest)
        case _:
            assert_never(language)


def contains(language: Language, text: str) -> bool:
    """Whether a text is one of a language."""
    for character in text:
        language = derivative(language, ord(character))
    return has_empty(language)


def classes(language: Language) -> frozenset[Ranges]:
    """Every set of characters that a language is made of."""
    match language:
        case Characters(of):
            return frozenset((of,))
        case Sequence(inner) | Either(inner) | Both(inner):
            return frozenset[Ranges]().union(*map(classes, inner))
        case Complement(inner) | Repeat(inner):
            return classes(inner)
        case _:
            assert_never(language)


def size(language: Language) -> int:
    """How many nodes it has when every bounded repetition is written out."""
    match language:
        case Characters(of):
            return max(1, len(of))
        case Sequence(inner) | Either(inner) | Both(inner):
            return 1 + sum(map(size, inner))
        case Complement(other):
            return 1 + size(other)
        case Repeat(inner, minimum, maximum):
            return max(1, minimum, maximum or 0) * size(inner)
        case _:
            assert_never(language)
