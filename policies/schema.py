"""The Cedar schema, generated from the contracts: the one description that rules, checks and proofs are read against.

It exists in two forms that say the same. `text` is Cedar's own syntax, for the engine's strict validation and for
people who write rules. `typed` keeps what Cedar cannot say, integer ranges and closed choices, for the proofs and for
`fitting`, which refuses a question outside of them. The text carries them, the definition of risk and where the id of
the resource comes from as comments, so that one digest covers all that proofs rest on.

Every tool is an action. Its groups follow from the contract: `read`, or `write` with `reversible` or `irreversible`;
`governance` for that family; and, for a write, `<role>-approves` for the role that the contract names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from policies.questions import APPROVALS_MAX, APPROVER_ROLES
from tool_registry.contracts import INTEGER_MAX, Contract, Effect, Family, Field, Kind

RISK_MAX = 3
AUTONOMY_MAX = 4
SECONDS_MAX = 253_402_300_799  # The last second of the year 9999, beyond which RFC 3339 cannot write a time.

EFFECT_GROUPS = ("read", "write", "reversible", "irreversible", "governance")
GROUPS = EFFECT_GROUPS + tuple(f"{role}-approves" for role in APPROVER_ROLES)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_KEYWORDS = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has"})
# Names that Cedar or this module has given a meaning; a resource type may not take them.
_RESERVED = frozenset({"Role", "Action", "Approvals", "Long", "String", "Bool", "Set", "Record", "Entity", "Extension"})


class SchemaError(ValueError):
    """The contracts cannot be described: a name is taken, unusable, or means two things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongType:
    """An integer within inclusive bounds."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class BoolType:
    """True or false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StringType:
    """Any string, or one of `choices` when there are any."""

    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """A member of a record."""

    name: str
    type: ValueType
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class RecordType:
    """A closed record: no other member is allowed."""

    attributes: tuple[Attribute, ...]

    def attribute(self, name: str) -> Attribute | None:
        """The member of that name, if the record has one."""
        return next((each for each in self.attributes if each.name == name), None)


ValueType = LongType | BoolType | StringType | RecordType


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActionType:
    """
    What a question about one tool looks like. Principal types are Agent and Person for every action.

    Equal only to itself, so that what is compiled from it can be kept by it; two schemas are compared by digest.
    """

    name: str
    groups: tuple[str, ...]
    """Every action group that the action is in; groups have no parents of their own."""
    resource_type: str
    context: RecordType
    resource_argument: str | None = None
    """The argument that has the resource's id. None: the tenant has."""
    risk: str
    """The contract's expression: `context.risk` has its value in every question, and proofs assume exactly that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedSchema:
    """The schema as data. Entities have no attributes; Role is the only parent type, and only of Person."""

    actions: Mapping[str, ActionType]
    """By tool name, sorted."""
    entity_types: tuple[str, ...]
    groups: tuple[str, ...] = GROUPS


@dataclass(frozen=True, slots=True, kw_only=True)
class CedarSchema:
    """Both forms and the digest that bundles, certificates and activations name."""

    text: str
    typed: TypedSchema
    digest: str


APPROVALS = RecordType(
    tuple(
        Attribute(name=name, type=LongType(minimum=0, maximum=APPROVALS_MAX)) for name in ("persons", *APPROVER_ROLES)
    )
)


def generate(contracts: Iterable[Contract]) -> CedarSchema:
    """
    Describe the questions that can be asked about `contracts`.

    The same contracts in any order give the same text and digest. Raises `SchemaError` where a name is taken.
    """
    actions: dict[str, ActionType] = {}
    for contract in sorted(contracts, key=lambda each: each.name):
        if contract.name in GROUPS or contract.name in actions:
            raise SchemaError(f"tool `{contract.name}`: the name is taken")
        actions[contract.name] = _action(contract)
    entities = {"Agent", "Person", "Role", "Tenant"} | {each.resource_type for each in actions.values()}
    typed = TypedSchema(actions=actions, entity_types=tuple(sorted(entities)))
    text = "\n".join(_lines(typed)) + "\n"
    return CedarSchema(text=text, typed=typed, digest=f"sha256:{sha256(text.encode()).hexdigest()}")


def _action(contract: Contract) -> ActionType:
    if contract.resource_type in _RESERVED or not _NAME.fullmatch(contract.resource_type):
        raise SchemaError(f"tool `{contract.name}`: the resource type is not a usable name")
    if contract.approver not in APPROVER_ROLES:
        raise SchemaError(f"tool `{contract.name}`: the approver is not a role that approves")
    return ActionType(
        name=contract.name,
        groups=tuple(_groups(contract)),
        resource_type="Tenant" if contract.resource_argument is None else contract.resource_type,
        context=RecordType(
            (
                Attribute(name="arguments", type=_record(contract.arguments)),
                Attribute(name="facts", type=_facts(contract)),
                Attribute(name="approvals", type=APPROVALS),
                Attribute(name="risk", type=LongType(minimum=0, maximum=RISK_MAX)),
                Attribute(name="autonomy", type=LongType(minimum=0, maximum=AUTONOMY_MAX)),
                Attribute(name="registered", type=BoolType()),
                Attribute(name="reason_code", type=StringType(choices=_reason_codes(contract))),
                Attribute(name="environment", type=StringType()),
                Attribute(name="tenant", type=StringType()),
                Attribute(name="now", type=LongType(minimum=0, maximum=SECONDS_MAX)),
            )
        ),
        resource_argument=contract.resource_argument,
        risk=" ".join(contract.risk.split()),
    )


def _reason_codes(contract: Contract) -> tuple[str, ...]:
    """A read may say why it looks, and need not."""
    codes = contract.reason_codes
    return (*codes, "") if codes and contract.effect is Effect.READ else codes


def _groups(contract: Contract) -> Iterator[str]:
    yield contract.effect.value
    if contract.effect is not Effect.READ:
        yield "write"
        yield f"{contract.approver}-approves"
    if contract.family is Family.GOVERNANCE:
        yield "governance"


def _facts(contract: Contract) -> RecordType:
    groups = {source.name: list(_record(source.fields).attributes) for source in contract.facts}
    for limit in contract.limits:
        if limit.shows is not None:
            group, _, member = limit.shows.partition(".")
            reading = LongType(minimum=0, maximum=INTEGER_MAX)
            groups.setdefault(group, []).append(Attribute(name=member, type=reading))
    return RecordType(
        tuple(Attribute(name=_usable(name), type=_closed(members)) for name, members in sorted(groups.items()))
    )


def _record(fields: Iterable[Field]) -> RecordType:
    return _closed([Attribute(name=each.name, type=_value(each), is_required=not each.optional) for each in fields])


def _closed(members: list[Attribute]) -> RecordType:
    names = [_usable(each.name) for each in members]
    if len(set(names)) != len(names):
        raise SchemaError("a record names a member twice")
    return RecordType(tuple(members))


def _usable(name: str) -> str:
    if not _NAME.fullmatch(name) or name in _KEYWORDS:
        raise SchemaError("a member is not a name that a rule could write")
    return name


def _value(field: Field) -> ValueType:
    match field.kind:
        case Kind.INTEGER:
            return LongType(minimum=field.minimum, maximum=field.maximum)
        case Kind.TIMESTAMP:
            return LongType(minimum=0, maximum=SECONDS_MAX)
        case Kind.FLAG:
            return BoolType()
        case Kind.CHOICE:
            return StringType(choices=field.choices)
        case Kind.IDENTIFIER | Kind.TEXT:
            return StringType()
        case Kind.RECORD:
            return _record(field.fields)
        case Kind.LIST:
            raise SchemaError("lists belong to results: no rule reads one")


def _lines(schema: TypedSchema) -> Iterator[str]:
    yield "// Generated from the tool registry. The comment after a member gives its range or its choices."
    yield "entity Role;"
    yield "entity Person in [Role];"
    for name in schema.entity_types:
        if name not in ("Role", "Person"):
            yield f"entity {name};"
    yield f"type Approvals = {_text(APPROVALS, indent='')};"
    for name in schema.groups:
        yield f"action {json.dumps(name)};"
    for action in schema.actions.values():
        parents = ", ".join(json.dumps(group) for group in action.groups)
        yield f"// resource id: {action.resource_argument or 'the tenant'}"
        yield f"// risk: {action.risk}"
        yield f"action {json.dumps(action.name)} in [{parents}] appliesTo {{"
        yield "  principal: [Agent, Person],"
        yield f"  resource: {action.resource_type},"
        yield f"  context: {_text(action.context, indent='  ')}"
        yield "};"


def _text(record: RecordType, *, indent: str) -> str:
    if not record.attributes:
        return "{}"
    members = []
    for each in record.attributes:
        mark = "" if each.is_required else "?"
        shown, comment = _shown(each, indent=indent + "  ")
        members.append(f"{indent}  {each.name}{mark}: {shown},{comment}")
    return "{\n" + "\n".join(members) + f"\n{indent}}}"


def _shown(attribute: Attribute, *, indent: str) -> tuple[str, str]:
    match attribute.type:
        case LongType(minimum=minimum, maximum=maximum):
            return "Long", f" // {minimum}..{maximum}"
        case BoolType():
            return "Bool", ""
        case StringType(choices=()):
            return "String", ""
        case StringType(choices=choices):
            return "String", f" // {json.dumps(choices)}"
        case RecordType() as record:
            return ("Approvals", "") if record is APPROVALS else (_text(record, indent=indent), "")
