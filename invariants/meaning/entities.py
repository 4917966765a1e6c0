"""Entities and requests as data: what a concrete evaluation reads, and what a symbolic one is grounded on.

Values are int, bool, str, `Uid`, the extension values, `SetValue`, and plain dicts for records. Cedar's JSON is read
against the schema, which knows whether `"10.0.0.1"` is a string or an address. That data fits the schema in every
other way is the engine's to check.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from invariants.errors import Unreadable
from invariants.meaning.extensions import CONSTRUCTORS, Address, Datetime, Decimal, Duration, fits
from invariants.meaning.schemas import (
    EntityType,
    ExtensionType,
    RecordType,
    Schema,
    SetType,
    Type,
    Uid,
)
from policies.schema import BoolType, LongType, StringType

_CONSTRUCTOR_OF = {"decimal": "decimal", "datetime": "datetime", "duration": "duration", "ipaddr": "ip"}


@dataclass(frozen=True, slots=True)
class SetValue:
    """A set; no two elements are the same."""

    elements: tuple[Value, ...]
    keys: frozenset[Hashable]

    def holds(self, wanted: Value) -> bool:
        """Whether `wanted` is an element."""
        return _key(wanted) in self.keys


Value = int | bool | str | Uid | Decimal | Datetime | Duration | Address | SetValue | dict[str, Any]


def same(left: Value, right: Value) -> bool:
    """Cedar's `==`: values of different types are different, without error."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict | SetValue):
        return _key(left) == _key(right)
    return left == right


def set_of(values: Iterable[Value]) -> SetValue:
    """The set of these values."""
    found = {_key(value): value for value in values}
    return SetValue(tuple(found.values()), frozenset(found))


def _key(value: Value) -> Hashable:
    """Equal for the same values and for no others: in Python `True == 1`."""
    if isinstance(value, dict):
        return dict, frozenset((name, _key(inner)) for name, inner in value.items())
    return (SetValue, value.keys) if isinstance(value, SetValue) else (type(value), value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """An entity that exists."""

    attributes: Mapping[str, Value] = field(default_factory=dict)
    tags: Mapping[str, Value] = field(default_factory=dict)
    ancestors: frozenset[Uid] = frozenset()
    """Its parents and theirs, which need not exist."""


Store = Mapping[Uid, Entity]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One authorization request."""

    principal: Uid
    action: Uid
    resource: Uid
    context: Mapping[str, Value]


def store(documents: Iterable[Mapping[str, Any]], schema: Schema) -> Store:
    """
    Read Cedar's entity JSON, and add the actions and enumerated entities of the schema.

    Raises `Unreadable` for anything that the schema gives no type.
    """
    parents: dict[Uid, tuple[Uid, ...]] = {}
    found: dict[Uid, tuple[Mapping[str, Value], Mapping[str, Value]]] = {}
    for each in schema.kinds.values():
        found.update({Uid(each.name, choice): ({}, {}) for choice in each.choices or ()})
    for document in documents:
        uid = _uid(document["uid"])
        kind = schema.kinds.get(uid.type)
        if kind is None and uid not in schema.acts:
            raise Unreadable("entities: an entity whose type the schema does not have")
        attributes = kind.attributes if kind is not None else RecordType()
        tags = document.get("tags") or {}
        if tags and (kind is None or kind.tags is None):
            raise Unreadable("entities: tags where the schema has none")
        tag_type = kind.tags if kind is not None and kind.tags is not None else StringType()
        found[uid] = (
            record(document.get("attrs") or {}, attributes),
            {key: value(given, tag_type) for key, given in tags.items()},
        )
        parents[uid] = tuple(_uid(parent) for parent in document.get("parents") or ())
    for act in schema.acts.values():
        found[act.uid] = ({}, {})
        parents[act.uid] = act.parents
    return {
        uid: Entity(attributes=attributes, tags=tags, ancestors=_ancestors(uid, parents))
        for uid, (attributes, tags) in found.items()
    }


def request(document: Mapping[str, Any], schema: Schema) -> Request:
    """Read one request in Cedar's JSON. Raises `Unreadable` when its action or context is not the schema's."""
    action = _uid(document["action"])
    if action not in schema.acts:
        raise Unreadable("request: an action that the schema does not have")
    return Request(
        principal=_uid(document["principal"]),
        action=action,
        resource=_uid(document["resource"]),
        context=record(document.get("context") or {}, schema.acts[action].context),
    )


def record(given: Mapping[str, Any], kind: RecordType) -> dict[str, Value]:
    """Read a JSON object as a record of that type."""
    found: dict[str, Value] = {}
    for name, inner in given.items():
        member = kind.member(name)
        if member is None:
            raise Unreadable("data: a member that the schema does not have")
        found[name] = value(inner, member.type)
    return found


def value(given: Any, kind: Type) -> Value:
    """Read a JSON value as one of that type."""
    match kind:
        case LongType() if type(given) is int and fits(given):
            return given
        case BoolType() if type(given) is bool:
            return given
        case StringType() if isinstance(given, str):
            return given
        case EntityType(name=name) if isinstance(given, dict):
            uid = _uid(given)
            if uid.type == name:
                return uid
        case ExtensionType(name=name):
            return _extension(given, _CONSTRUCTOR_OF[name])
        case SetType(element=element) if isinstance(given, list):
            return set_of(value(each, element) for each in given)
        case RecordType() if isinstance(given, dict):
            return record(given, kind)
        case _:
            pass
    raise Unreadable("data: a value of another type than the schema says")


def _extension(given: Any, constructor: str) -> Value:
    """A constructor's text, with or without its name; or a datetime as an offset from another, as the engine writes."""
    call = given.get("__extn", given) if isinstance(given, dict) else {"fn": constructor, "arg": given}
    name = call.get("fn")
    arguments = call.get("args", [call.get("arg")])
    if name == "offset" and constructor == "datetime" and len(arguments) == 2:
        start, length = _extension(arguments[0], "datetime"), _extension(arguments[1], "duration")
        if isinstance(start, Datetime) and isinstance(length, Duration) and fits(start.number + length.number):
            return Datetime(start.number + length.number)
    elif name == constructor and len(arguments) == 1 and isinstance(arguments[0], str):
        found = CONSTRUCTORS[constructor](arguments[0])
        if found is not None:
            return found
    raise Unreadable("data: no value of the extension type that the schema says")


def _uid(given: Mapping[str, Any]) -> Uid:
    inner = given.get("__entity", given)
    return Uid(inner["type"], inner["id"])


def _ancestors(uid: Uid, parents: Mapping[Uid, tuple[Uid, ...]]) -> frozenset[Uid]:
    found: set[Uid] = set()
    pending = list(parents.get(uid, ()))
    while pending:
        each = pending.pop()
        if each not in found:
            found.add(each)
            pending.extend(parents.get(each, ()))
    return frozenset(found)


def documents(known: Store, schema: Schema) -> list[dict[str, Any]]:
    """A store in Cedar's entity JSON, without what the schema brings. Ancestors that may be parents are."""
    found: list[dict[str, Any]] = []
    for uid, entity in known.items():
        kind = schema.kinds.get(uid.type)
        if kind is None or kind.choices is not None:
            continue
        document: dict[str, Any] = {
            "uid": {"type": uid.type, "id": uid.id},
            "attrs": {name: written(each) for name, each in entity.attributes.items()},
            "parents": [{"type": up.type, "id": up.id} for up in entity.ancestors if up.type in kind.parents],
        }
        if entity.tags:
            document["tags"] = {key: written(each) for key, each in entity.tags.items()}
        found.append(document)
    return found


def written(given: Value) -> Any:
    """A value in Cedar's JSON."""
    match given:
        case bool() | int() | str():
            return given
        case Uid():
            return {"__entity": {"type": given.type, "id": given.id}}
        case SetValue():
            return [written(each) for each in given.elements]
        case dict():
            return {name: written(each) for name, each in given.items()}
        case Decimal(number=number):
            sign, size = "-" if number < 0 else "", abs(number)
            return _called("decimal", f"{sign}{size // 10_000}.{size % 10_000:04}")
        case Duration(number=number):
            return _called("duration", f"{number}ms")
        case Datetime(number=number):
            start, length = _called("datetime", "1970-01-01"), _called("duration", f"{number}ms")
            return {"__extn": {"fn": "offset", "args": [start, length]}}
        case Address(is_v6=is_v6, number=number, prefix=prefix):
            return _called("ip", f"{IPv6Address(number) if is_v6 else IPv4Address(number)}/{prefix}")


def _called(name: str, argument: str) -> dict[str, Any]:
    return {"__extn": {"fn": name, "arg": argument}}
