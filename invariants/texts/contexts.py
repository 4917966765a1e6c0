"""Trees with assertions as languages: what may stand before and after is written out, exactly.

`rest` is what may follow a place, to the end of the text, for each kind of character that may come before it. A tree is
put before its rest from the right; an assertion then is no more than a condition on how the rest begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from invariants.solving import languages
from invariants.solving.languages import (
    EMPTY,
    EVERYTHING,
    NOTHING,
    Characters,
    Language,
    Ranges,
    both,
    either,
    sequence,
)
from invariants.texts import dialects
from invariants.texts.dialects import Mode
from invariants.texts.patterns import Assertion, Choice, Joined, Tree, read

_LINE_FEED = Characters(((10, 10),))


@dataclass(frozen=True, slots=True)
class _Rest:
    """What may follow: at the start of the text, after no word's character, after a word's character."""

    start: Language
    other: Language
    word: Language


def whole(pattern: str, mode: Mode) -> Language:
    """The texts that the pattern matches from end to end. Raises `PatternRefused`."""
    tree, mode = read(pattern, mode)
    return _Contexts(mode).before(tree, _Rest(EMPTY, EMPTY, EMPTY)).start


def found(pattern: str, mode: Mode) -> Language:
    """The texts in which a search finds the pattern somewhere. Raises `PatternRefused`."""
    tree, mode = read(pattern, mode)
    contexts = _Contexts(mode)
    rest = contexts.before(tree, _Rest(EVERYTHING, EVERYTHING, EVERYTHING))
    if rest.start == rest.other == rest.word:
        return sequence(EVERYTHING, rest.start)
    other = sequence(EVERYTHING, contexts.other)
    if rest.start == rest.other:
        after_other = sequence(either(EMPTY, other), rest.other)
    else:
        after_other = either(rest.start, sequence(other, rest.other))
    return either(after_other, sequence(EVERYTHING, contexts.word, rest.word))


class _Contexts:
    """Trees before rests, for one mode."""

    def __init__(self, mode: Mode) -> None:
        words = dialects.words(mode.dialect)
        self.word: Language = Characters(words)
        self.other: Language = Characters(dialects.other_than(words))

    def before(self, tree: Tree, rest: _Rest) -> _Rest:
        """What may follow where the tree does and then the rest."""
        match tree:
            case Joined(parts):
                for part in reversed(parts):
                    rest = self.before(part, rest)
                return rest
            case Choice(options):
                found = [self.before(option, rest) for option in options]
                return _Rest(
                    either(*(each.start for each in found)),
                    either(*(each.other for each in found)),
                    either(*(each.word for each in found)),
                )
            case Assertion():
                return self._asserted(tree, rest)
            case _:
                return self._preceded(tree, rest)

    def _asserted(self, assertion: Assertion, rest: _Rest) -> _Rest:
        ends = both(rest.start, EMPTY), both(rest.other, EMPTY), both(rest.word, EMPTY)
        match assertion:
            case Assertion.START:
                return _Rest(rest.start, NOTHING, NOTHING)
            case Assertion.END:
                return _Rest(*ends)
            case Assertion.LAST_LINE_END:
                last = either(EMPTY, _LINE_FEED)
                return _Rest(both(rest.start, last), both(rest.other, last), both(rest.word, last))
            case Assertion.EDGE:
                return _Rest(self._word(rest.start), self._word(rest.other), self._no_word(rest.word))
            case _:
                assert_never(assertion)

    def _word(self, rest: Language) -> Language:
        """What of the rest begins with a word's character."""
        return self._limited(rest, self.word, sequence(self.word, EVERYTHING))

    def _no_word(self, rest: Language) -> Language:
        """What of the rest does not."""
        limited = self._limited(rest, self.other, sequence(self.other, EVERYTHING))
        return either(EMPTY, limited) if languages.has_empty(rest) else limited

    def _limited(self, rest: Language, first: Language, begun: Language) -> Language:
        allowed = _ranges(first)
        possible = _first(rest, 0)
        if not languages.common(possible, allowed):
            return NOTHING
        if not languages.has_empty(rest) and not languages.without(possible, allowed):
            return rest
        return both(rest, begun)

    def _preceded(self, language: Language, rest: _Rest) -> _Rest:
        """A language without assertions, then the rest by the kind of its last character."""
        if rest.start == rest.other == rest.word:
            return _Rest(*[sequence(language, rest.word)] * 3)
        some = either(
            sequence(self._ending(language, self.word), rest.word),
            sequence(self._ending(language, self.other), rest.other),
        )
        if not languages.has_empty(language):
            return _Rest(some, some, some)
        return _Rest(either(some, rest.start), either(some, rest.other), either(some, rest.word))

    def _ending(self, language: Language, last: Language) -> Language:
        """The texts of a language with a last character of that kind."""
        allowed = _ranges(last)
        possible = _first(language, -1)
        if not languages.common(possible, allowed):
            return NOTHING
        if not languages.without(possible, allowed):
            return _some(language)
        return both(language, sequence(EVERYTHING, last))


def _some(language: Language) -> Language:
    """A language without the empty text."""
    if not languages.has_empty(language):
        return language
    if isinstance(language, languages.Repeat) and not languages.has_empty(language.language):
        return languages.repeat(language.language, 1, language.maximum)
    return both(language, languages.complement(EMPTY))


def _ranges(language: Language) -> Ranges:
    return language.ranges if isinstance(language, Characters) else dialects.ANY


def _first(language: Language, end: int) -> Ranges:
    """No fewer than the first characters that a text of the language can have; the last ones where `end` is -1."""
    match language:
        case Characters(of):
            return of
        case languages.Sequence(parts):
            possible: Ranges = ()
            for part in parts if end == 0 else reversed(parts):
                possible = languages.ranges((*possible, *_first(part, end)))
                if not languages.has_empty(part):
                    break
            return possible
        case languages.Either(options):
            return languages.ranges(pair for option in options for pair in _first(option, end))
        case languages.Both(options):
            possible = dialects.ANY
            for option in options:
                possible = languages.common(possible, _first(option, end))
            return possible
        case languages.Complement():
            return dialects.ANY
        case languages.Repeat(inner):
            return _first(inner, end)
        case _:
            assert_never(language)
