"""A solver's model as a request and a store: the witness of a universal question, ready to be asked of the engine.

Only what the formula looks at is in the model. The rest is filled in so that the store fits the schema: required
attributes get plain values, and where an ancestor is not of a type that a direct parent may have, entities that nobody
mentions stand between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from invariants.meaning import extensions
from invariants.meaning.entities import Entity, Request, Store, set_of
from invariants.meaning.entities import Value as Data
from invariants.meaning.schemas import EntityType, ExtensionType, RecordType, SetType, Type, Uid
from invariants.meaning.universe import Universe
from invariants.solving.terms import Term, Terms, Value, applications
from policies.schema import BoolType, LongType, StringType

_CHARACTERS_FREE = 0xF0000  # Private use: where a model has a surrogate that stands for nothing.


def witness(universe: Universe, roots: Sequence[Term], values: Mapping[int, Value]) -> tuple[Request, Store]:
    """The request and the store behind a model: `values` of every symbol and function value below `roots`."""
    return _Reader(universe, roots, values).read()


class _Reader:
    """The model, by what its unknowns stand for."""

    __slots__ = ("_between", "_known", "_universe")

    def __init__(self, universe: Universe, roots: Sequence[Term], values: Mapping[int, Value]) -> None:
        self._universe = universe
        self._between = 0
        unknowns = universe.unknowns
        # What an unknown is at one place: by its path and the values of its operands.
        self._known: dict[tuple[str, ...], dict[tuple[Value, ...], Value]] = {}
        for term in applications(roots):
            unknown = unknowns[term.payload or 0]
            place = tuple(values[operand.number] for operand in term.operands)
            self._known.setdefault(unknown.path, {})[place] = values[term.number]

    def read(self) -> tuple[Request, Store]:
        universe = self._universe
        action = universe.request.action
        request = Request(
            principal=Uid(universe.request.principal, self._text(self._at(("principal",), (), ""))),
            action=action,
            resource=Uid(universe.request.resource, self._text(self._at(("resource",), (), ""))),
            context=self._record(universe.schema.acts[action].context, ("context",), ()),
        )
        return request, self._store()

    def _store(self) -> Store:
        schema = self._universe.schema
        found = {uid: Entity(ancestors=groups) for uid, groups in schema.groups.items()}
        for kind in schema.kinds.values():
            if kind.choices is not None:
                found.update({Uid(kind.name, choice): Entity() for choice in kind.choices})
                continue
            for (identifier,) in self._true(("exists", kind.name)):
                tags = {
                    self._text(key): self._value(kind.tags, ("tag", kind.name), (identifier, key))
                    for owner, key in self._true(("tagged", kind.name))
                    if owner == identifier and kind.tags is not None
                }
                found[Uid(kind.name, self._text(identifier))] = Entity(
                    attributes=self._record(kind.attributes, ("attribute", kind.name), (identifier,)),
                    tags=tags,
                    ancestors=frozenset(self._ancestors(kind.name, identifier)),
                )
        self._bridge(found)
        return found

    def _bridge(self, found: dict[Uid, Entity]) -> None:
        """Put entities that nobody mentions between an ancestor and what may not have it as a direct parent."""
        for uid, entity in tuple(found.items()):
            for target in entity.ancestors if uid.type in self._universe.schema.kinds else ():
                beyond = found[target].ancestors if target in found else frozenset()
                above = frozenset({target}) | beyond
                for kind in reversed(self._steps(uid.type, target.type)):
                    self._between += 1
                    between = Uid(kind, f"between {self._between}")
                    attributes = self._record(
                        self._universe.schema.kinds[kind].attributes, ("attribute", kind), (between.id,)
                    )
                    found[between] = Entity(attributes=attributes, ancestors=above)
                    above |= {between}
                found[uid] = replace(found[uid], ancestors=found[uid].ancestors | above)
        for _ in range(2):  # Ancestors of those in between reach what is below at once, and what is below that next.
            for uid, entity in found.items():
                above = entity.ancestors.union(*(found[each].ancestors for each in entity.ancestors if each in found))
                found[uid] = replace(entity, ancestors=above)

    def _steps(self, start: str, end: str) -> tuple[str, ...]:
        """The types between, on a shortest way from type to parent's type."""
        kinds = self._universe.schema.kinds
        ways: list[tuple[str, ...]] = [(start,)]
        for way in ways:
            parents = kinds[way[-1]].parents if way[-1] in kinds else ()
            if end in parents:
                return way[1:]
            ways.extend((*way, parent) for parent in parents if parent not in way)
        return ()

    def _ancestors(self, kind: str, identifier: Value) -> Iterator[Uid]:
        for above in self._universe.schema.above[kind]:
            for low, high in self._true(("above", kind, above)):
                if low == identifier:
                    yield Uid(above, self._text(high))

    def _true(self, path: tuple[str, ...]) -> Iterator[tuple[Value, ...]]:
        return (place for place, value in self._known.get(path, {}).items() if value)

    def _at(self, path: tuple[str, ...], owner: tuple[Value, ...], default: Value) -> Value:
        return self._known.get(path, {}).get(owner, default)

    def _record(self, kind: RecordType, path: tuple[str, ...], owner: tuple[Value, ...]) -> dict[str, Data]:
        return {
            member.name: self._value(member.type, (*path, member.name), owner)
            for member in kind.members
            if member.is_required or self._at(("present", *path, member.name), owner, 0)
        }

    def _value(self, kind: Type, path: tuple[str, ...], owner: tuple[Value, ...]) -> Data:
        match kind:
            case RecordType():
                return self._record(kind, path, owner)
            case SetType(element=element):
                members = (
                    place[len(owner) :] for place in self._true(("member", *path)) if place[: len(owner)] == owner
                )
                return set_of(self._decoded(element, iter(parts)) for parts in members)
            case ExtensionType(name="ipaddr"):
                parts = tuple(self._at(("part", part, *path), owner, 0) for part in ("v6", "number", "prefix"))
                return self._decoded(kind, iter(parts))
            case _:
                return self._decoded(kind, iter((self._at(path, owner, self._plain(kind)),)))

    def _plain(self, kind: Type) -> Value:
        match kind:
            case StringType(choices=choices) if choices:
                return choices[0]
            case EntityType(name=name) if name in self._universe.schema.kinds:
                choices_of = self._universe.schema.kinds[name].choices
                return choices_of[0] if choices_of else ""
            case StringType() | EntityType():
                return ""
            case LongType(minimum=minimum, maximum=maximum):
                return min(max(0, minimum), maximum)
            case _:
                return 0

    def _decoded(self, kind: Type, parts: Iterator[Value]) -> Data:
        """A value from its parts, as `Universe.fitted` orders them."""
        match kind:
            case RecordType(members=members):
                found: dict[str, Data] = {}
                for member in sorted(members, key=lambda each: each.name):
                    is_there = next(parts)
                    inner = self._decoded(member.type, parts)
                    if is_there:
                        found[member.name] = inner
                return found
            case ExtensionType(name="ipaddr"):
                is_v6, number, prefix = bool(next(parts)), int(next(parts)), int(next(parts))
                return extensions.Address(is_v6, number, prefix)
            case SetType():
                raise TypeError("a set within a set has no parts")
        part = next(parts)
        match kind:
            case BoolType():
                return bool(part)
            case LongType():
                return int(part)
            case StringType():
                return self._text(part)
            case EntityType(name=name):
                return Uid(name, self._text(part))
            case ExtensionType(name="decimal"):
                return extensions.Decimal(int(part))
            case ExtensionType(name="datetime"):
                return extensions.Datetime(int(part))
            case ExtensionType():
                return extensions.Duration(int(part))

    def _text(self, value: Value) -> str:
        return original(self._universe.terms, str(value))


def original(terms: Terms, text: str) -> str:
    """What a solver's string stands for; a surrogate that stands for nothing is some other character."""
    return "".join(
        chr(_CHARACTERS_FREE + ord(character) - 0xD800) if "\ud800" <= character <= "\udfff" else character
        for character in terms.original(text)
    )
