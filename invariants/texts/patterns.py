"""Patterns read: a strict part of the syntax that Python's `re` and RE2 share, with one meaning in both.

What a pattern can say beyond regular languages is refused with a reason and the place, and so is what the engines read
differently (an unescaped brace, a set operation in a class). Zero-width assertions stay in the tree; `contexts` turns a
tree into a language. Lazy quantifiers are read: they change which match is found, not whether there is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum, unique

from invariants.solving import languages
from invariants.solving.languages import Characters, Language, Ranges
from invariants.texts import dialects
from invariants.texts.dialects import Dialect, Mode
from invariants.texts.errors import PatternRefused

PATTERN_CHARACTERS_MAX = 4096
DEPTH_MAX = 40  # Groups in groups: deeper has always been generated.
REPEAT_MAX = 1000  # RE2's own bound.
SIZE_MAX = 20_000  # Nodes with every repetition written out.


@unique
class Assertion(StrEnum):
    """A condition on a place between two characters."""

    START = "start"
    END = "end"
    LAST_LINE_END = "last_line_end"
    """Python's `$`: the end, or before a line feed that ends the text."""
    EDGE = "edge"
    """`\\b`: the edge of a word."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Trees in order, some with assertions."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Any of some trees, some with assertions."""

    options: tuple[Tree, ...]


Tree = Language | Assertion | Joined | Choice

_FLAGS = re.compile(r"\(\?([is]{1,2})\)")
_BOUNDS = re.compile(r"\{(\d{1,6})(?:(,)(\d{1,6})?)?\}")
_BEYOND = (
    ("(?=", "look_around"),
    ("(?!", "look_around"),
    ("(?<=", "look_around"),
    ("(?<!", "look_around"),
    ("(?P=", "back_reference"),
    ("(?P>", "recursion"),
    ("(?R", "recursion"),
    ("(?&", "recursion"),
    ("(?>", "atomic_group"),
    ("(?(", "conditional_group"),
    ("(?P<", "named_group"),
    ("(?<", "named_group"),
    ("(?#", "comment"),
    ("(?", "inline_flags"),
)
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}
_HEXADECIMAL = {
    Dialect.PYTHON: re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})"),
    Dialect.PYTHON_ASCII: re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})"),
    Dialect.RE2: re.compile(r"x([0-9A-Fa-f]{2})|x\{([0-9A-Fa-f]{1,6})\}"),
}


def read(pattern: str, mode: Mode) -> tuple[Tree, Mode]:
    """The tree of a pattern, and its mode with the flags that the pattern opens with. Raises `PatternRefused`."""
    if len(pattern) > PATTERN_CHARACTERS_MAX:
        raise PatternRefused("too_long", PATTERN_CHARACTERS_MAX)
    for position, character in enumerate(pattern):
        if "\ud800" <= character <= "\udfff":
            raise PatternRefused("surrogate", position)
    flags = _FLAGS.match(pattern)
    if flags:
        mode = replace(
            mode,
            ignores_case=mode.ignores_case or "i" in flags.group(1),
            dot_is_all=mode.dot_is_all or "s" in flags.group(1),
        )
    reader = _Reader(pattern, mode, flags.end() if flags else 0)
    tree = reader.alternatives(0)
    if reader.position < len(pattern):
        raise PatternRefused("unopened_group", reader.position)
    return tree, mode


def without_flags(pattern: str) -> str:
    """A pattern without the flags that it opens with."""
    return _FLAGS.sub("", pattern, count=1) if _FLAGS.match(pattern) else pattern


@dataclass(slots=True)
class _Reader:
    """Where in a pattern reading stands."""

    pattern: str
    mode: Mode
    position: int

    def alternatives(self, depth: int) -> Tree:
        options = [self.joined(depth)]
        while self.take("|"):
            options.append(self.joined(depth))
        return _choice(options)

    def joined(self, depth: int) -> Tree:
        parts = []
        while self.position < len(self.pattern) and self.pattern[self.position] not in "|)":
            parts.append(self.repeated(depth))
        return self.bounded(_joined(parts))

    def repeated(self, depth: int) -> Tree:
        start = self.position
        tree = self.atom(depth)
        bounds = self.quantifier()
        if bounds is None:
            return tree
        if not isinstance(tree, Language):
            if bounds != (0, 1):
                raise PatternRefused("assertion_repeated", start)
            return _choice([tree, languages.EMPTY])
        return self.bounded(languages.repeat(tree, *bounds))

    def quantifier(self) -> tuple[int, int | None] | None:
        """The bounds that stand here, if any."""
        start = self.position
        bounds: tuple[int, int | None] | None = None
        if self.take("*"):
            bounds = (0, None)
        elif self.take("+"):
            bounds = (1, None)
        elif self.take("?"):
            bounds = (0, 1)
        elif written := _BOUNDS.match(self.pattern, start):
            self.position = written.end()
            minimum = int(written.group(1))
            bounds = (minimum, int(written.group(3)) if written.group(3) else None if written.group(2) else minimum)
            if max(minimum, bounds[1] or 0) > REPEAT_MAX:
                raise PatternRefused("repeat_too_large", start)
            if bounds[1] is not None and bounds[1] < minimum:
                raise PatternRefused("bad_repeat", start)
        if bounds is not None and not self.take("?"):
            if self.pattern.startswith("+", self.position):
                raise PatternRefused("possessive", self.position)
            if self.pattern.startswith(("*", "{"), self.position):
                raise PatternRefused("repeat_of_repeat", self.position)
        return bounds

    def atom(self, depth: int) -> Tree:
        start, character = self.position, self.pattern[self.position]
        if character == "(":
            return self.group(depth)
        self.position += 1
        match character:
            case "[":
                return Characters(self.bracketed(start))
            case "\\":
                return self.escape(start)
            case ".":
                line_feed = ((10, 10),)
                return Characters(dialects.ANY if self.mode.dot_is_all else dialects.other_than(line_feed))
            case "^":
                return Assertion.START
            case "$":
                return Assertion.END if self.mode.dialect is Dialect.RE2 else Assertion.LAST_LINE_END
            case "*" | "+" | "?":
                raise PatternRefused("nothing_to_repeat", start)
            case "{" | "}" | "]":
                raise PatternRefused("unescaped_bracket", start)
            case _:
                return Characters(self.cased(_single(ord(character))))

    def group(self, depth: int) -> Tree:
        start = self.position
        if depth == DEPTH_MAX:
            raise PatternRefused("too_deep", start)
        if not self.take("(?:"):
            for opening, reason_code in _BEYOND:
                if self.pattern.startswith(opening, start):
                    raise PatternRefused(reason_code, start)
            self.position += 1
        tree = self.alternatives(depth + 1)
        if not self.take(")"):
            raise PatternRefused("unclosed_group", start)
        return tree

    def escape(self, start: int) -> Tree:
        character = self.pattern[self.position : self.position + 1]
        assertion = self.assertion(character)
        if assertion is not None:
            self.position += 1
            return assertion
        if character == "B":
            # Of the empty text engines, and versions of one engine, say different things.
            raise PatternRefused("no_edge", start)
        if character in "123456789" and character:
            raise PatternRefused("back_reference", start)
        found = self.escaped(start)
        return Characters(self.cased(found) if _is_single(found) else found)

    def assertion(self, character: str) -> Assertion | None:
        end = "z" if self.mode.dialect is Dialect.RE2 else "Z"
        return {"b": Assertion.EDGE, "A": Assertion.START, end: Assertion.END}.get(character)

    def escaped(self, start: int) -> Ranges:
        """The characters of an escape, its backslash read."""
        character = self.pattern[self.position : self.position + 1]
        if written := _HEXADECIMAL[self.mode.dialect].match(self.pattern, self.position):
            self.position = written.end()
            code = int(next(group for group in written.groups() if group is not None), 16)
            if not languages.holds(dialects.ANY, code):
                raise PatternRefused("surrogate", start)
            return _single(code)
        self.position += 1
        known = {"d": dialects.digits, "w": dialects.words, "s": dialects.spaces}.get(character.lower())
        if known is not None:
            found = known(self.mode.dialect)
            if self.mode.dialect is Dialect.RE2:
                # RE2 folds these classes, and then negates; Python asks them of a character as it is.
                found = self.cased(found)
            return found if character.islower() else dialects.other_than(found)
        if character in _CONTROLS:
            return _single(ord(_CONTROLS[character]))
        if character and character.isascii() and not character.isalnum() and character.isprintable():
            return _single(ord(character))
        raise PatternRefused("unknown_escape", start)

    def bracketed(self, start: int) -> Ranges:
        """The characters of a class, its opening bracket read."""
        is_negated = self.take("^")
        found: Ranges = ()
        is_first = True
        while not self.take("]"):
            if self.position == len(self.pattern):
                raise PatternRefused("unclosed_class", start)
            found = languages.ranges((*found, *self.member(is_first=is_first)))
            is_first = False
        if not found:
            raise PatternRefused("empty_class", start)
        return dialects.other_than(found) if is_negated else found

    def member(self, *, is_first: bool) -> Ranges:
        """A character, a range or a class within brackets."""
        start = self.position
        first = self.bound()
        is_last = self.pattern.startswith("-]", self.position)
        if not self.pattern.startswith("-", self.position) or is_last:
            if self.pattern[start] == "-" and not (is_first or self.pattern.startswith("]", self.position)):
                raise PatternRefused("unescaped_hyphen", start)
            return self.cased(first) if _is_single(first) else first
        self.position += 1
        if self.position == len(self.pattern):
            raise PatternRefused("unclosed_class", start)
        last = self.bound()
        if not _is_single(first) or not _is_single(last) or last[0][0] < first[0][0]:
            raise PatternRefused("bad_range", start)
        # A range that spans the surrogates spans what texts have of it.
        return self.cased(languages.common(dialects.ANY, ((first[0][0], last[0][0]),)))

    def bound(self) -> Ranges:
        start, character = self.position, self.pattern[self.position]
        self.position += 1
        if character == "\\":
            return self.escaped(start)
        doubled = self.pattern[start : start + 2]
        if character == "[" or doubled in ("--", "&&", "||", "~~"):
            raise PatternRefused("set_operation", start)
        return _single(ord(character))

    def cased(self, characters: Ranges) -> Ranges:
        return dialects.in_any_case(characters, self.mode.dialect) if self.mode.ignores_case else characters

    def bounded(self, tree: Tree) -> Tree:
        """The tree, unless written out it is more than a proof is worth."""
        if isinstance(tree, Language) and languages.size(tree) > SIZE_MAX:
            raise PatternRefused("too_large", self.position)
        return tree

    def take(self, text: str) -> bool:
        if not self.pattern.startswith(text, self.position):
            return False
        self.position += len(text)
        return True


def _joined(parts: list[Tree]) -> Tree:
    read = [part for part in parts if isinstance(part, Language)]
    return languages.sequence(*read) if len(read) == len(parts) else Joined(tuple(parts))


def _choice(options: list[Tree]) -> Tree:
    if len(options) == 1:
        return options[0]
    read = [option for option in options if isinstance(option, Language)]
    return languages.either(*read) if len(read) == len(options) else Choice(tuple(options))


def _single(code: int) -> Ranges:
    return ((code, code),)


def _is_single(characters: Ranges) -> bool:
    return len(characters) == 1 and characters[0][0] == characters[0][1]
