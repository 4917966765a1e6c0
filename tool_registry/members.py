"""Members: typed, bounded access to one mapping of a declaration.

Every access names the member's path when it does not find what it expects. A mapping that was read to its end holds no
member that nobody asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import TracebackType
from typing import Self, TypeVar

from tool_registry.documents import DeclarationError, Tree, joined

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
EXPRESSION_MAX = 2000  # Characters. The longest threshold of the catalogue has 250.

_EXPRESSION = re.compile(r"[\x20-\x7e\n]+")
_Choice = TypeVar("_Choice", bound=StrEnum)


class Members:
    """The members of one mapping. As a context manager it refuses, at the end, what nobody asked for."""

    def __init__(self, tree: Mapping[str, Tree], path: str) -> None:
        self._tree = tree
        self._taken: set[str] = set()
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish()

    def at(self, name: str) -> str:
        """The path of a member."""
        return joined(self.path, name)

    def has(self, name: str) -> bool:
        """Whether the member is there. Does not count as reading it."""
        return name in self._tree

    def text(self, name: str, *, pattern: str, expected: str, default: str | None = None) -> str:
        """A text that matches `pattern` as a whole."""
        value = self._take(name, default, expected)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise DeclarationError(self.at(name), expected)
        return value

    def name(self, name: str) -> str:
        """A text of the form `a_name`."""
        return self.text(name, pattern=NAME.pattern, expected="a name of small letters, digits and `_`")

    def expression(self, name: str) -> str:
        """Cedar text, carried and not read. Layout is not part of it: runs of white space become one blank."""
        expected = f"a Cedar expression as text, of at most {EXPRESSION_MAX} ASCII characters and without comments"
        value = self._take(name, None, expected)
        if not isinstance(value, str) or not _EXPRESSION.fullmatch(value) or "//" in value:
            raise DeclarationError(self.at(name), expected)
        normal = " ".join(value.split())
        if not 0 < len(normal) <= EXPRESSION_MAX:
            raise DeclarationError(self.at(name), expected)
        return normal

    def integer(self, name: str, *, minimum: int, maximum: int, default: int | None = None) -> int:
        """An integer within inclusive bounds."""
        expected = f"an integer from {minimum} to {maximum}"
        value = self._take(name, default, expected)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise DeclarationError(self.at(name), expected)
        return value

    def flag(self, name: str) -> bool:
        """True or false; absent means false."""
        value = self._take(name, False, "true or false")
        if not isinstance(value, bool):
            raise DeclarationError(self.at(name), "true or false")
        return value

    def choice(self, name: str, among: type[_Choice], default: _Choice | None = None) -> _Choice:
        """One of a closed set."""
        expected = f"one of: {', '.join(among)}"
        value = self._take(name, default, expected)
        if value not in tuple(among):
            raise DeclarationError(self.at(name), expected)
        return among(str(value))

    def texts(
        self, name: str, *, pattern: str, expected: str, most: int, default: tuple[str, ...] | None = None
    ) -> tuple[str, ...]:
        """A list of distinct texts, each matching `pattern`; not empty where it is written at all."""
        expected = f"a list of 1 to {most} different texts, each {expected}"
        value = self._take(name, None if default is None else list(default), expected)
        if not isinstance(value, list) or len(value) > most or (not value and self.has(name)):
            raise DeclarationError(self.at(name), expected)
        texts = tuple(each for each in value if isinstance(each, str) and re.fullmatch(pattern, each))
        if len(set(texts)) != len(value):
            raise DeclarationError(self.at(name), expected)
        return texts

    def mapping(self, name: str, *, optional: bool = False) -> dict[str, Tree]:
        """A mapping as it stands."""
        value = self._take(name, {} if optional else None, "a mapping")
        if not isinstance(value, dict):
            raise DeclarationError(self.at(name), "a mapping")
        return value

    def each(self, name: str, *, most: int, optional: bool = False) -> tuple[tuple[str, Members], ...]:
        """A mapping of names to mappings, in the order in which they are written."""
        named = self.mapping(name, optional=optional)
        if len(named) > most or not (named or optional):
            raise DeclarationError(self.at(name), f"1 to {most} members")
        found = []
        for key, value in named.items():
            path = joined(self.at(name), key)
            if not NAME.fullmatch(key):
                raise DeclarationError(path, "a name of small letters, digits and `_`")
            if not isinstance(value, dict):
                raise DeclarationError(path, "a mapping")
            found.append((key, Members(value, path)))
        return tuple(found)

    def only(self, name: str) -> Members:
        """One mapping with members of its own."""
        return Members(self.mapping(name), self.at(name))

    def _take(self, name: str, default: Tree | None, expected: str) -> Tree:
        self._taken.add(name)
        value = self._tree.get(name, default)
        if value is None:
            raise DeclarationError(self.at(name), expected)
        return value

    def _finish(self) -> None:
        for name in self._tree:
            if name not in self._taken:
                raise DeclarationError(self.at(name), f"no such member here, only: {', '.join(sorted(self._taken))}")
