"""The general typed schema: what a request of each type, and the entities around it, can look like.

It says everything that Cedar's own schema language can say (see `schema_text`, which reads it). The schema that is
generated from the tool registry is a special case, `of_tools`, and knows more: ranges of integers, choices of strings.
Types are hashable values, so equal types are one key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from policies import questions
from policies import schema as registry
from policies.cedar_syntax import LONG_MAX, LONG_MIN
from policies.schema import BoolType, LongType, StringType, TypedSchema

T = TypeVar("T")

LONG = LongType(minimum=LONG_MIN, maximum=LONG_MAX)
STRING = StringType()
BOOL = BoolType()


@dataclass(frozen=True, slots=True)
class EntityType:
    """A reference to an entity of a type, by its full name. The entity need not exist."""

    name: str


@dataclass(frozen=True, slots=True)
class ExtensionType:
    """`decimal`, `ipaddr`, `datetime` or `duration`."""

    name: str


@dataclass(frozen=True, slots=True)
class SetType:
    """A finite set of values of one type."""

    element: Type


@dataclass(frozen=True, slots=True)
class Member:
    """An attribute of a record or an entity."""

    name: str
    type: Type
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class RecordType:
    """A closed record."""

    members: tuple[Member, ...] = ()

    def member(self, name: str) -> Member | None:
        """The member of that name, if the record has one."""
        return next((each for each in self.members if each.name == name), None)


Type = LongType | BoolType | StringType | EntityType | ExtensionType | SetType | RecordType


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """An entity type."""

    name: str
    parents: tuple[str, ...] = ()
    """Types of which its direct parents may be."""
    attributes: RecordType = RecordType()
    tags: Type | None = None
    """Of which type every tag is. None: no tags."""
    choices: tuple[str, ...] | None = None
    """The ids of an enumerated type: all of them exist, nothing else does, and none has attributes or parents."""


Uid = questions.Entity
"""An entity's name, as a question has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An action and the requests it takes."""

    uid: Uid
    parents: tuple[Uid, ...] = ()
    principals: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    context: RecordType = RecordType()


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Entity types and actions, by full name."""

    kinds: Mapping[str, Kind]
    acts: Mapping[Uid, Act]

    @cached_property
    def above(self) -> Mapping[str, frozenset[str]]:
        """For each entity type the types that its ancestors may have."""
        return {
            name: _reachable(name, {kind.name: kind.parents for kind in self.kinds.values()}) for name in self.kinds
        }

    @cached_property
    def groups(self) -> Mapping[Uid, frozenset[Uid]]:
        """For each action the groups that it is in, directly or not."""
        return {uid: _reachable(uid, {act.uid: act.parents for act in self.acts.values()}) for uid in self.acts}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestType:
    """One kind of request: an action with the type of its principal and of its resource."""

    principal: str
    action: Uid
    resource: str


def of_tools(typed: TypedSchema) -> Schema:
    """The generated schema in general terms, with its ranges and choices."""
    kinds = {name: Kind(name=name, parents=("Role",) if name == "Person" else ()) for name in typed.entity_types}
    acts = {Uid("Action", group): Act(uid=Uid("Action", group)) for group in typed.groups}
    for action in typed.actions.values():
        uid = Uid("Action", action.name)
        acts[uid] = Act(
            uid=uid,
            parents=tuple(Uid("Action", group) for group in action.groups),
            principals=("Agent", "Person"),
            resources=(action.resource_type,),
            context=_record(action.context),
        )
    return Schema(kinds=kinds, acts=acts)


def _record(record: registry.RecordType) -> RecordType:
    return RecordType(tuple(Member(each.name, _type(each.type), each.is_required) for each in record.attributes))


def _type(given: registry.ValueType) -> Type:
    return _record(given) if isinstance(given, registry.RecordType) else given


def _reachable(start: T, edges: Mapping[T, tuple[T, ...]]) -> frozenset[T]:
    found: set[T] = set()
    pending = list(edges.get(start, ()))
    while pending:
        each = pending.pop()
        if each not in found:
            found.add(each)
            pending.extend(edges.get(each, ()))
    return frozenset(found)
