"""Characters that no class of a question tells apart are one: an exact quotient, and a small one.

A class such as every letter of Unicode has hundreds of ranges, on which solvers get lost, and characters past U+2FFFF
they do not have at all. Over the blocks of a question both are a few characters. The block of U+10FFFF stands for every
place that no other block has, so that each character that a solver may choose is one of some block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from invariants.solving import languages
from invariants.solving.languages import Characters, Language, Ranges
from invariants.solving.terms import CHARACTER_MAX
from invariants.texts import dialects

BLOCKS_MAX = 1024  # Fewer than surrogates, and more than a question with an answer has.
_ALL_PLACES: Ranges = ((0, CHARACTER_MAX),)


class TooManyBlocks(Exception):
    """More different characters than a proof is worth."""


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The blocks of one question, by a member of each: the one that reads best. The last is that of U+10FFFF."""

    members: tuple[int, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """Where solvers know each block by: its member, or a surrogate for one that they lack."""
        lacking = iter(range(0xD800, 0xE000))
        return tuple(member if member <= CHARACTER_MAX else next(lacking) for member in self.members)

    def placed(self, language: Language) -> Language:
        """The language over places."""
        match language:
            case Characters(of):
                return Characters(self._placed(of))
            case languages.Sequence(parts):
                return languages.Sequence(tuple(map(self.placed, parts)))
            case languages.Either(options):
                return languages.Either(frozenset(map(self.placed, options)))
            case languages.Both(options):
                return languages.Both(frozenset(map(self.placed, options)))
            case languages.Complement(other):
                return languages.Complement(self.placed(other))
            case languages.Repeat(inner, minimum, maximum):
                return languages.Repeat(self.placed(inner), minimum, maximum)

    def _placed(self, characters: Ranges) -> Ranges:
        held = [languages.holds(characters, member) for member in self.members]
        *places, _ = zip(self.places, held, strict=True)
        if not held[-1]:
            return languages.ranges((place, place) for place, is_held in places if is_held)
        missing = languages.ranges((place, place) for place, is_held in places if not is_held)
        return languages.without(_ALL_PLACES, missing)


def of(question: Iterable[Language]) -> Alphabet:
    """The blocks of some languages together. Raises `TooManyBlocks`."""
    classes = sorted({each for language in question for each in languages.classes(language)})
    starts = {0, 0xE000, *(edge for each in classes for first, last in each for edge in (first, last + 1))}
    members: dict[tuple[bool, ...], int] = {}
    for start, following in zip(ordered := sorted(starts), [*ordered[1:], 0x110000], strict=True):
        if languages.holds(dialects.ANY, start):
            block = tuple(languages.holds(each, start) for each in classes)
            found = min(range(start, min(following, max(start + 1, 0x80))), key=_plainness)
            members[block] = min(members.get(block, found), found, key=_plainness)
            if len(members) > BLOCKS_MAX:
                raise TooManyBlocks
    rest = members.pop(tuple(languages.holds(each, 0x10FFFF) for each in classes))
    return Alphabet((*sorted(members.values(), key=_plainness), rest))


def _plainness(code: int) -> tuple[int, int]:
    """Small for what reads well: lower-case letters, capitals, digits, other ASCII, all else by number."""
    character = chr(code)
    if not character.isascii() or not character.isprintable():
        return (4, code) if character.isprintable() else (5, code)
    return (0 if character.islower() else 1 if character.isalpha() else 2 if character.isdigit() else 3, code)
