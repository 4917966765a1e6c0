"""Cedar's schema language as text becomes the general typed schema.

Declarations are read first and names are resolved afterwards, so order does not matter. An unqualified type name is
looked for as a common type, then as an entity type, of its namespace, then of the empty one, then among Cedar's own.
Annotations are skipped. What the engine would refuse may pass here: it reads the same text and refuses for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from invariants.errors import Unreadable
from invariants.meaning.schemas import (
    BOOL,
    LONG,
    STRING,
    Act,
    EntityType,
    ExtensionType,
    Kind,
    Member,
    RecordType,
    Schema,
    SetType,
    Type,
    Uid,
)

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|"(?P<text>(?:[^"\\]|\\.)*)"|(?P<mark>::|[{}\[\]<>(),;:=?@])""",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u\{([0-9A-Fa-f]{1,6})\}|x([0-7][0-9A-Fa-f])|(.))", re.DOTALL)
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "0": "\0", "'": "'", '"': '"'}
_BUILT_IN: Mapping[str, Type] = {
    "Long": LONG,
    "String": STRING,
    "Bool": BOOL,
    "Boolean": BOOL,
    **{name: ExtensionType(name) for name in ("decimal", "ipaddr", "datetime", "duration")},
}
T = TypeVar("T")

_DEPTH_MAX = 64  # Deeper types are nobody's; the reader is recursive.
_TEXT_MAX = 4 * 1024 * 1024


def read(text: str) -> Schema:
    """
    Read a schema.

    Raises `Unreadable` with the line for text that is no schema, and for names that nothing declares.
    """
    if len(text) > _TEXT_MAX:
        raise Unreadable(f"schema: at most {_TEXT_MAX} characters expected")
    return _resolve(_Reader(tuple(_tokens(text))).declarations())


# A type as written: a name, a set's element, or members with their marks.
_Written = tuple[str, object]


@dataclass(slots=True)
class _Entity:
    parents: list[str] = field(default_factory=list)
    attributes: _Written = ("record", ())
    tags: _Written | None = None
    choices: tuple[str, ...] | None = None


@dataclass(slots=True)
class _Action:
    parents: list[tuple[str | None, str]] = field(default_factory=list)
    principals: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    context: _Written = ("record", ())


@dataclass(slots=True)
class _Declarations:
    entities: dict[str, tuple[str, _Entity]] = field(default_factory=dict)
    """By full name: the namespace in which its types are looked for, and what was written."""
    actions: dict[Uid, tuple[str, _Action]] = field(default_factory=dict)
    commons: dict[str, tuple[str, _Written]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    value: str
    line: int


def _tokens(text: str) -> Iterator[_Token]:
    place, line = 0, 1
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise Unreadable(f"schema, line {line}: unexpected character")
        kind = str(match.lastgroup)
        if kind != "space":
            value = match.group(kind)
            yield _Token(kind, _unescaped(value, line) if kind == "text" else value, line)
        line += match.group().count("\n")
        place = match.end()
    yield _Token("end", "", line)


def _unescaped(text: str, line: int) -> str:
    def one(match: re.Match[str]) -> str:
        code = match.group(1) or match.group(2)
        if code is not None:
            number = int(code, 16)
            if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
                raise Unreadable(f"schema, line {line}: no such character")
            return chr(number)
        if match.group(3) not in _PLAIN:
            raise Unreadable(f"schema, line {line}: unknown escape")
        return _PLAIN[match.group(3)]

    return _ESCAPE.sub(one, text)


class _Reader:
    """Reads tokens from left to right."""

    __slots__ = ("_depth", "_place", "_tokens")

    def __init__(self, tokens: tuple[_Token, ...]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0

    def declarations(self) -> _Declarations:
        found = _Declarations()
        while self._here.kind != "end":
            self._annotations()
            if self._takes("namespace"):
                namespace = self._path()
                self._expect("{")
                while not self._takes("}"):
                    self._annotations()
                    self._declaration(found, namespace)
            else:
                self._declaration(found, "")
        return found

    def _declaration(self, found: _Declarations, namespace: str) -> None:
        if self._takes("entity"):
            names = self._listed(self._name)
            declared = self._entity()
            found.entities |= {_within(namespace, name): (namespace, declared) for name in names}
        elif self._takes("action"):
            names = self._listed(self._label)
            action = self._action()
            kind = _within(namespace, "Action")
            found.actions |= {Uid(kind, name): (namespace, action) for name in names}
        elif self._takes("type"):
            name = self._name()
            self._expect("=")
            found.commons[_within(namespace, name)] = (namespace, self._type())
            self._expect(";")
        else:
            raise self._refusal("`entity`, `action` or `type`")

    def _entity(self) -> _Entity:
        declared = _Entity()
        if self._takes("enum"):
            self._expect("[")
            declared.choices = tuple(self._until("]", self._text))
            self._expect(";")
            return declared
        if self._takes("in"):
            declared.parents = self._paths()
        if self._takes("=") or self._is("{"):
            declared.attributes = self._record()
        if self._takes("tags"):
            declared.tags = self._type()
        self._expect(";")
        return declared

    def _action(self) -> _Action:
        action = _Action()
        if self._takes("in"):
            action.parents = list(self._until("]", self._parent)) if self._takes("[") else [self._parent()]
        if self._takes("appliesTo"):
            self._expect("{")
            while not self._takes("}"):
                part = self._name()
                self._expect(":")
                if part == "principal":
                    action.principals = self._paths()
                elif part == "resource":
                    action.resources = self._paths()
                elif part == "context":
                    action.context = self._type()
                else:
                    raise self._refusal("`principal`, `resource` or `context`")
                self._takes(",")
        if self._takes("attributes"):
            self._record()
        self._expect(";")
        return action

    def _parent(self) -> tuple[str | None, str]:
        """An action by its name alone, or by its type and name."""
        if self._here.kind == "text":
            return None, self._text()
        names = [self._name()]
        while self._takes("::"):
            if self._here.kind == "text":
                return "::".join(names), self._text()
            names.append(self._name())
        return None, "::".join(names)

    def _type(self) -> _Written:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise Unreadable(f"schema, line {self._here.line}: types nested too deeply")
        try:
            if self._is("{"):
                return self._record()
            name = self._path()
            if name == "Set" and self._takes("<"):
                element = self._type()
                self._expect(">")
                return "set", element
            return "name", name
        finally:
            self._depth -= 1

    def _record(self) -> _Written:
        self._expect("{")
        return "record", tuple(self._until("}", self._member))

    def _member(self) -> tuple[str, bool, _Written]:
        self._annotations()
        name = self._label()
        is_required = not self._takes("?")
        self._expect(":")
        return name, is_required, self._type()

    def _annotations(self) -> None:
        while self._takes("@"):
            self._name()
            if self._takes("("):
                if not self._is(")"):
                    self._text()
                self._expect(")")

    def _paths(self) -> list[str]:
        return list(self._until("]", self._path)) if self._takes("[") else [self._path()]

    def _path(self) -> str:
        names = [self._name()]
        while self._takes("::"):
            names.append(self._name())
        return "::".join(names)

    def _listed(self, one: Callable[[], str]) -> list[str]:
        names = [one()]
        while self._takes(","):
            names.append(one())
        return names

    def _until(self, end: str, one: Callable[[], T]) -> Iterator[T]:
        while not self._takes(end):
            yield one()
            if not self._takes(",") and not self._is(end):
                raise self._refusal(f"`{end}`")

    def _label(self) -> str:
        return self._text() if self._here.kind == "text" else self._name()

    def _name(self) -> str:
        return self._next("name")

    def _text(self) -> str:
        return self._next("text")

    def _next(self, kind: str) -> str:
        if self._here.kind != kind:
            raise self._refusal(f"a {kind}")
        self._place += 1
        return self._tokens[self._place - 1].value

    @property
    def _here(self) -> _Token:
        return self._tokens[self._place]

    def _is(self, value: str) -> bool:
        return self._here.value == value and self._here.kind != "text"

    def _takes(self, value: str) -> bool:
        if self._is(value):
            self._place += 1
            return True
        return False

    def _expect(self, value: str) -> None:
        if not self._takes(value):
            raise self._refusal(f"`{value}`")

    def _refusal(self, expected: str) -> Unreadable:
        return Unreadable(f"schema, line {self._here.line}: {expected} expected")


def _within(namespace: str, name: str) -> str:
    return f"{namespace}::{name}" if namespace else name


def _resolve(found: _Declarations) -> Schema:
    names = _Names(found)
    kinds = {
        name: Kind(
            name=name,
            parents=tuple(names.entity(parent, namespace) for parent in declared.parents),
            attributes=names.record(declared.attributes, namespace),
            tags=None if declared.tags is None else names.type(declared.tags, namespace),
            choices=declared.choices,
        )
        for name, (namespace, declared) in found.entities.items()
    }
    acts = {
        uid: Act(
            uid=uid,
            parents=tuple(names.action(kind, name, namespace) for kind, name in declared.parents),
            principals=tuple(names.entity(name, namespace) for name in declared.principals),
            resources=tuple(names.entity(name, namespace) for name in declared.resources),
            context=names.record(declared.context, namespace),
        )
        for uid, (namespace, declared) in found.actions.items()
    }
    return Schema(kinds=kinds, acts=acts)


class _Names:
    """What a written name stands for."""

    __slots__ = ("_found", "_open")

    def __init__(self, found: _Declarations) -> None:
        self._found = found
        self._open: list[str] = []

    def type(self, written: _Written, namespace: str) -> Type:
        form, content = written
        match content:
            case str() as name:
                return self._named(name, namespace)
            case (str() as inner, body) if form == "set":
                return SetType(self.type((inner, body), namespace))
            case _:
                return self.record(written, namespace)

    def record(self, written: _Written, namespace: str) -> RecordType:
        form, content = written
        if form == "record" and isinstance(content, tuple):
            members = (Member(name, self.type(inner, namespace), required) for name, required, inner in content)
            return RecordType(tuple(members))
        resolved = self.type(written, namespace) if form == "name" else None
        if not isinstance(resolved, RecordType):
            raise Unreadable("schema: a record type expected")
        return resolved

    def entity(self, name: str, namespace: str) -> str:
        for full in _candidates(name, namespace):
            if full in self._found.entities:
                return full
        raise Unreadable("schema: an entity type that nothing declares")

    def action(self, kind: str | None, name: str, namespace: str) -> Uid:
        if kind is None:
            return Uid(_within(namespace, "Action"), name)
        for full in _candidates(kind, namespace):
            if Uid(full, name) in self._found.actions:
                return Uid(full, name)
        raise Unreadable("schema: an action that nothing declares")

    def _named(self, name: str, namespace: str) -> Type:
        for full in _candidates(name, namespace):
            if full in self._found.commons:
                return self._common(full)
            if full in self._found.entities:
                return EntityType(full)
        built_in = _BUILT_IN.get(name.removeprefix("__cedar::"))
        if built_in is None:
            raise Unreadable("schema: a type that nothing declares")
        return built_in

    def _common(self, full: str) -> Type:
        if full in self._open:
            raise Unreadable("schema: a type that contains itself")
        self._open.append(full)
        try:
            namespace, written = self._found.commons[full]
            return self.type(written, namespace)
        finally:
            self._open.pop()


def _candidates(name: str, namespace: str) -> Iterator[str]:
    if namespace and "::" not in name:
        yield _within(namespace, name)
    yield name
