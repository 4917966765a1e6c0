"""Every request of one type, over every store of entities that fits a schema, as unknown functions.

A member of the context is a symbol; an attribute of entities is a function of the entity's id, a tag one of id and
key; existence, presence, ancestry and membership in a set are relations. All are numbers: what a number stands for is
kept beside it (`Unknown`). Whatever is said about the unknowns (64 bits, choices, a hierarchy without cycles) is an
axiom about the places at which they are looked at, which is all that a formula without quantifiers can tell apart.

Ancestry is closed over the policies' own footprint: where x is below y and y below z, x is below z, for every x and y
whose ancestors are asked for. A set is known by the elements that are asked for, and by one witness for each question
about all of its elements: whoever says that not every element passes has one that does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from invariants.errors import Unsupported
from invariants.meaning.extensions import BITS_V4, BITS_V6
from invariants.meaning.schemas import (
    BOOL,
    LONG,
    STRING,
    EntityType,
    ExtensionType,
    RecordType,
    RequestType,
    Schema,
    SetType,
    Type,
)
from invariants.meaning.values import (
    Address,
    Bool,
    Case,
    Datetime,
    Decimal,
    Duration,
    Entity,
    Field,
    Listed,
    Long,
    Record,
    String,
    Unlisted,
    Value,
)
from invariants.solving.terms import Sort, Term, Terms
from policies.cedar_syntax import LONG_MAX, LONG_MIN
from policies.schema import BoolType, LongType, StringType

# Beyond it the closure of a hierarchy costs more than a proof is worth; no policy that people write comes near.
_TRIPLES_MAX = 20_000
_PAIRS_MAX = 20_000
_ELEMENTS_MAX = 250_000  # Comparisons between the elements of two literal sets.


@dataclass(frozen=True, slots=True)
class Unknown:
    """What a symbol or function stands for."""

    number: int
    sort: Sort
    path: tuple[str, ...]
    """First what it is: `principal`, `resource`, `context`, `attribute`, `tag`, `exists`, `present`, `tagged`, `above`,
    `member`, `part`, or `fresh`, which only the solver knows."""
    type: Type | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether it belongs to a witness or to the solver's own answer, and not to the request or the store."""
        place = {"present": 1, "part": 2}.get(self.path[0], 0)
        return self.path[place] == "fresh"


class Universe:
    """The unknowns of one request type, and what is said about them."""

    __slots__ = (
        "_axioms",
        "_doubts",
        "_pools",
        "_said",
        "_sources",
        "_targets",
        "_unknowns",
        "request",
        "schema",
        "terms",
    )

    def __init__(self, schema: Schema, request: RequestType) -> None:
        self.schema = schema
        self.request = request
        self.terms = Terms()
        self._unknowns: dict[tuple[str, ...], Unknown] = {}
        self._axioms: list[Term] = []
        self._said: set[int] = set()
        self._pools: dict[Type, dict[tuple[int, ...], Value]] = {}
        self._doubts: list[tuple[Type, Callable[[Value], Term]]] = []
        self._sources: dict[tuple[str, int], Entity] = {}
        self._targets: dict[tuple[str, int], Entity] = {}

    @property
    def unknowns(self) -> tuple[Unknown, ...]:
        """By number."""
        return tuple(self._unknowns.values())

    def principal(self) -> Entity:
        """Who asks."""
        return self._entity(self.request.principal, ("principal",), ())

    def resource(self) -> Entity:
        """What about."""
        return self._entity(self.request.resource, ("resource",), ())

    def action(self) -> Entity:
        """The request type's own."""
        return Entity(self.request.action.type, self.terms.text(self.request.action.id))

    def context(self) -> Value:
        """Any that fits the action."""
        return self._unknown(self.schema.acts[self.request.action].context, ("context",), ())

    def exists(self, entity: Entity) -> Term:
        """Whether the store has the entity."""
        kind = self.schema.kinds.get(entity.kind)
        if kind is None:
            ids = [uid.id for uid in self.schema.acts if uid.type == entity.kind]
            return self._one_of(entity.id, ids)
        if kind.choices is not None:
            return self._one_of(entity.id, kind.choices)
        return self._apply(Sort.BOOL, ("exists", entity.kind), (entity.id,))

    def attribute(self, entity: Entity, name: str) -> Field | None:
        """An attribute of an entity. None: no entity of the type has it."""
        kind = self.schema.kinds.get(entity.kind)
        member = kind.attributes.member(name) if kind is not None else None
        if member is None:
            return None
        present = self.exists(entity)
        if not member.is_required:
            has = self._apply(Sort.BOOL, ("present", "attribute", entity.kind, name), (entity.id,))
            present = self.terms.both(present, has)
        value = self._unknown(member.type, ("attribute", entity.kind, name), (entity.id,))
        return Field(present, self.sure(value))

    def tag(self, entity: Entity, key: Term) -> Field | None:
        """A tag of an entity. None: no entity of the type has tags."""
        kind = self.schema.kinds.get(entity.kind)
        if kind is None or kind.tags is None:
            return None
        has = self._apply(Sort.BOOL, ("tagged", entity.kind), (entity.id, key))
        value = self._unknown(kind.tags, ("tag", entity.kind), (entity.id, key))
        return Field(self.terms.both(self.exists(entity), has), self.sure(value))

    def sure(self, value: Value) -> tuple[Case, ...]:
        """A value that depends on nothing."""
        return (Case(self.terms.true, value),)

    def same(self, left: Value, right: Value) -> Term:
        """Cedar's `==`: values of different types are different."""
        terms = self.terms
        match left, right:
            case Entity(kind=one, id=first), Entity(kind=two, id=second):
                return terms.equal(first, second) if one == two else terms.false
            case Address(), Address():
                pairs = ((left.is_v6, right.is_v6), (left.number, right.number), (left.prefix, right.prefix))
                return terms.conjunction(terms.equal(first, second) for first, second in pairs)
            case Record(), Record():
                names = dict.fromkeys(left.names + right.names)
                return terms.conjunction(self._same_fields(left, right, name) for name in names)
            case ((Listed() | Unlisted()), (Listed() | Unlisted())):
                return terms.both(self.subset(left, right), self.subset(right, left))
            case (
                (Bool(term=first), Bool(term=second))
                | (Long(term=first), Long(term=second))
                | (String(term=first), String(term=second))
                | (Decimal(term=first), Decimal(term=second))
                | (Datetime(term=first), Datetime(term=second))
                | (Duration(term=first), Duration(term=second))
            ):
                return terms.equal(first, second)
            case _:
                return terms.false

    def same_cases(self, left: Sequence[Case], right: Sequence[Case]) -> Term:
        """`==` of two values that depend on the request."""
        return self.terms.disjunction(
            self.terms.conjunction((one.guard, two.guard, self.same(one.value, two.value)))
            for one in left
            for two in right
        )

    def holds(self, values: Listed | Unlisted, wanted: Value) -> Term:
        """Whether a set has the element."""
        if isinstance(values, Listed):
            case = self.sure(wanted)
            return self.terms.disjunction(self.same_cases(element, case) for element in values.elements)
        fitted = self.fitted(wanted, values.element)
        if fitted is None:
            return self.terms.false
        condition, parts = fitted
        pool = self._pools.setdefault(_shape(values.element), {})
        pool.setdefault(tuple(part.number for part in parts), wanted)
        is_member = self.terms.application(Sort.BOOL, values.member, (*values.owner, *parts))
        if self._is_new(is_member):
            self._say(self.terms.implication(is_member, self._choices(wanted, values.element)))
        return self.terms.both(condition, is_member)

    def subset(self, left: Listed | Unlisted, right: Listed | Unlisted) -> Term:
        """Whether every element of `left` is one of `right`."""
        self._bound(left, right)
        return self._every(left, "subset", lambda element: self.holds(right, element))

    def meets(self, left: Listed | Unlisted, right: Listed | Unlisted) -> Term:
        """Whether the two have an element in common."""
        self._bound(left, right)
        if isinstance(left, Unlisted) and isinstance(right, Listed):
            left, right = right, left
        apart = self._every(left, "apart", lambda element: self.terms.negation(self.holds(right, element)))
        return self.terms.negation(apart)

    def is_empty(self, values: Listed | Unlisted) -> Term:
        """Whether a set has no element."""
        return self._every(values, "empty", lambda _element: self.terms.false)

    def below_any(self, entity: Entity, targets: Unlisted) -> Term:
        """Whether `entity` is in some element of an unknown set of entities."""
        none = self._every(targets, "below", lambda element: self.terms.negation(self._below_value(entity, element)))
        return self.terms.negation(none)

    def below(self, entity: Entity, target: Entity) -> Term:
        """Cedar's `in`: the same, or an ancestor."""
        return self.terms.either(self.same(entity, target), self._above(entity, target, note=True))

    def _below_value(self, entity: Entity, target: Value) -> Term:
        return self.below(entity, target) if isinstance(target, Entity) else self.terms.false

    def axioms(self) -> tuple[Term, ...]:
        """
        All that is said about the unknowns. Take it last.

        Raises `Unsupported` when the footprint is too large to be closed.
        """
        if sum(len(self._pools.get(shape, {})) for shape, _ in self._doubts) > _PAIRS_MAX:
            raise Unsupported("footprint_too_large", "sets")
        for shape, consequence in self._doubts:
            self._axioms.extend([consequence(element) for element in tuple(self._pools.get(shape, {}).values())])
        return (*self._axioms, *self._hierarchy())

    def asked(self) -> tuple[Entity, ...]:
        """Entities whose ancestors are asked for."""
        return tuple(self._sources.values())

    def instances(self, element: Type, values: Sequence[Value]) -> tuple[Term, ...]:
        """What follows from the axioms for elements that no policy names; a store has such."""
        shape = _shape(element)
        return tuple(consequence(value) for wanted, consequence in self._doubts if wanted == shape for value in values)

    def _every(
        self,
        values: Listed | Unlisted,
        question: str,
        passes: Callable[[Value], Term],
    ) -> Term:
        """Whether all elements pass. About an unknown set the solver decides, bound by all that could show it wrong."""
        terms = self.terms
        if isinstance(values, Listed):
            return terms.conjunction(
                terms.implication(case.guard, passes(case.value)) for element in values.elements for case in element
            )
        answer = terms.symbol(Sort.BOOL, self._number(Sort.BOOL, self._fresh(question)))
        witness = self._unknown(values.element, self._fresh("witness"), ())
        fails = terms.both(self.holds(values, witness), terms.negation(passes(witness)))
        self._axioms.append(terms.either(answer, fails))

        def consequence(element: Value) -> Term:
            return terms.implication(terms.both(answer, self.holds(values, element)), passes(element))

        self._doubts.append((_shape(values.element), consequence))
        return answer

    def _bound(self, left: Listed | Unlisted, right: Listed | Unlisted) -> None:
        sizes = [len(each.elements) for each in (left, right) if isinstance(each, Listed)]
        if len(sizes) == 2 and sizes[0] * sizes[1] > _ELEMENTS_MAX:
            raise Unsupported("footprint_too_large", "sets")

    def _same_fields(self, left: Record, right: Record, name: str) -> Term:
        terms = self.terms
        one = left.read(name) if name in left.names else None
        two = right.read(name) if name in right.names else None
        if one is None or two is None:
            there = one or two
            return terms.true if there is None else terms.negation(there.present)
        if one.present is terms.false or two.present is terms.false:
            return terms.equal(one.present, two.present)
        both = terms.conjunction((one.present, two.present, self.same_cases(one.cases, two.cases)))
        neither = terms.both(terms.negation(one.present), terms.negation(two.present))
        return terms.either(both, neither)

    def _above(self, entity: Entity, target: Entity, *, note: bool) -> Term:
        """Whether `target` is an ancestor of `entity`."""
        terms = self.terms
        if entity.kind not in self.schema.kinds:
            return terms.disjunction(
                terms.both(terms.equal(entity.id, terms.text(uid.id)), self._one_of(target.id, ids))
                for uid, groups in self.schema.groups.items()
                if uid.type == entity.kind and (ids := [group.id for group in groups if group.type == target.kind])
            )
        if target.kind not in self.schema.above[entity.kind]:
            return terms.false
        if note:
            self._sources[entity.kind, entity.id.number] = entity
            self._targets[target.kind, target.id.number] = target
        is_above = self._apply(Sort.BOOL, ("above", entity.kind, target.kind), (entity.id, target.id))
        if self._is_new(is_above):
            self._say(terms.implication(is_above, self.exists(entity)))
        return is_above

    def _hierarchy(self) -> Iterator[Term]:
        terms = self.terms
        sources = tuple(self._sources.values())
        targets = tuple({**self._sources, **self._targets}.values())
        if len(sources) ** 2 * len(targets) > _TRIPLES_MAX:
            raise Unsupported("footprint_too_large", "hierarchy")
        count = len(self._axioms)
        for low in sources:
            yield terms.negation(self._above(low, low, note=False))
            for middle in sources:
                if middle is low:
                    continue
                first = self._above(low, middle, note=False)
                for high in targets:
                    second = self._above(middle, high, note=False)
                    yield terms.implication(terms.both(first, second), self._above(low, high, note=False))
        yield from self._axioms[count:]

    def fitted(self, value: Value, kind: Type) -> tuple[Term, tuple[Term, ...]] | None:
        """The parts of a value of that type in one order, and where it is of the type. None: nowhere."""
        terms = self.terms
        match value, kind:
            case (
                (Bool(term=term), BoolType())
                | (Long(term=term), LongType())
                | (String(term=term), StringType())
                | (Decimal(term=term), ExtensionType(name="decimal"))
                | (Datetime(term=term), ExtensionType(name="datetime"))
                | (Duration(term=term), ExtensionType(name="duration"))
            ):
                return terms.true, (term,)
            case Address(), ExtensionType(name="ipaddr"):
                return terms.true, (value.is_v6, value.number, value.prefix)
            case Entity(kind=name, id=identifier), EntityType(name=wanted):
                return (terms.true, (identifier,)) if name == wanted else None
            case Record(), RecordType():
                return self._fitted_record(value, kind)
            case ((Listed() | Unlisted()), SetType()):
                raise Unsupported("set_in_unknown_set", "sets")
            case _:
                return None

    def _fitted_record(self, record: Record, kind: RecordType) -> tuple[Term, tuple[Term, ...]] | None:
        terms = self.terms
        known = {member.name for member in kind.members}
        conditions = [terms.negation(record.read(name).present) for name in record.names if name not in known]
        parts: list[Term] = []
        for member in sorted(kind.members, key=lambda each: each.name):
            default = self._defaults(member.type)
            field = record.read(member.name) if member.name in record.names else Field(terms.false, ())
            if len(field.cases) > 1:
                raise Unsupported("mixed_in_unknown_set", "sets")
            fitted = self.fitted(field.cases[0].value, member.type) if field.cases else (terms.true, default)
            if member.is_required:
                conditions.append(field.present)
            if fitted is None:
                # The member is of another type, so the record is one only where it may be, and is, absent.
                conditions.append(terms.negation(field.present))
                fitted = terms.true, default
            condition, inner = fitted
            conditions.append(terms.implication(field.present, condition))
            parts.append(field.present)
            parts.extend(terms.choice(field.present, part, other) for part, other in zip(inner, default, strict=True))
        return terms.conjunction(conditions), tuple(parts)

    def _defaults(self, kind: Type) -> tuple[Term, ...]:
        """What stands for the parts of a member that is absent."""
        terms = self.terms
        match kind:
            case BoolType():
                return (terms.false,)
            case StringType() | EntityType():
                return (terms.text(""),)
            case ExtensionType(name="ipaddr"):
                return terms.false, terms.integer(0), terms.integer(0)
            case LongType() | ExtensionType():
                return (terms.integer(0),)
            case RecordType():
                parts: list[Term] = []
                for member in sorted(kind.members, key=lambda each: each.name):
                    parts.extend((terms.false, *self._defaults(member.type)))
                return tuple(parts)
            case SetType():
                raise Unsupported("set_in_unknown_set", "sets")

    def _choices(self, value: Value, kind: Type) -> Term:
        """What the schema says of an element beyond its shape."""
        terms = self.terms
        match value, kind:
            case Long(term=term), LongType(minimum=minimum, maximum=maximum):
                return terms.within(term, minimum, maximum)
            case String(term=term), StringType(choices=choices) if choices:
                return self._one_of(term, choices)
            case Entity(kind=name, id=identifier), EntityType():
                enumerated = self.schema.kinds[name].choices if name in self.schema.kinds else None
                return terms.true if enumerated is None else self._one_of(identifier, enumerated)
            case Record(), RecordType(members=members):
                return terms.conjunction(
                    terms.implication(field.present, self._choices(case.value, member.type))
                    for member in members
                    if member.name in value.names
                    for field in (value.read(member.name),)
                    for case in field.cases
                )
            case _:
                return terms.true

    def _unknown(self, kind: Type, path: tuple[str, ...], owner: tuple[Term, ...]) -> Value:
        """Some value of a type: its parts are unknown functions of its owner."""
        terms = self.terms
        match kind:
            case LongType(minimum=minimum, maximum=maximum):
                number = self._apply(Sort.INTEGER, path, owner, kind)
                if self._is_new(number):
                    self._say(terms.within(number, minimum, maximum))
                return Long(number)
            case BoolType():
                return Bool(self._apply(Sort.BOOL, path, owner, kind))
            case StringType(choices=choices):
                text = self._apply(Sort.TEXT, path, owner, kind)
                if choices and self._is_new(text):
                    self._say(self._one_of(text, choices))
                return String(text)
            case EntityType(name=name):
                return self._entity(name, path, owner)
            case ExtensionType(name="ipaddr"):
                return self._address(path, owner)
            case ExtensionType(name=name):
                number = self._apply(Sort.INTEGER, path, owner, kind)
                if self._is_new(number):
                    self._say(terms.within(number, LONG_MIN, LONG_MAX))
                if name == "decimal":
                    return Decimal(number)
                return Datetime(number) if name == "datetime" else Duration(number)
            case SetType(element=element):
                return Unlisted(self._number(Sort.BOOL, ("member", *path), kind), owner, element)
            case RecordType():
                return Record(
                    tuple(member.name for member in kind.members), lambda name: self._field(kind, name, path, owner)
                )

    def _field(self, kind: RecordType, name: str, path: tuple[str, ...], owner: tuple[Term, ...]) -> Field:
        member = kind.member(name)
        if member is None:
            raise KeyError(name)
        is_there = self.terms.true
        if not member.is_required:
            is_there = self._apply(Sort.BOOL, ("present", *path, name), owner, BOOL)
        return Field(is_there, self.sure(self._unknown(member.type, (*path, name), owner)))

    def _entity(self, name: str, path: tuple[str, ...], owner: tuple[Term, ...]) -> Entity:
        identifier = self._apply(Sort.TEXT, path, owner, EntityType(name))
        kind = self.schema.kinds.get(name)
        if kind is not None and kind.choices is not None and self._is_new(identifier):
            self._say(self._one_of(identifier, kind.choices))
        return Entity(name, identifier)

    def _address(self, path: tuple[str, ...], owner: tuple[Term, ...]) -> Address:
        terms = self.terms
        is_v6 = self._apply(Sort.BOOL, ("part", "v6", *path), owner, ExtensionType("ipaddr"))
        number = self._apply(Sort.INTEGER, ("part", "number", *path), owner, ExtensionType("ipaddr"))
        prefix = self._apply(Sort.INTEGER, ("part", "prefix", *path), owner, ExtensionType("ipaddr"))
        for part, bound_v4, bound_v6 in ((number, 2**BITS_V4 - 1, 2**BITS_V6 - 1), (prefix, BITS_V4, BITS_V6)):
            if self._is_new(part):
                self._say(terms.choice(is_v6, terms.within(part, 0, bound_v6), terms.within(part, 0, bound_v4)))
        return Address(is_v6, number, prefix)

    def _one_of(self, text: Term, choices: Sequence[str]) -> Term:
        return self.terms.disjunction(self.terms.equal(text, self.terms.text(choice)) for choice in choices)

    def _apply(self, sort: Sort, path: tuple[str, ...], owner: tuple[Term, ...], kind: Type | None = None) -> Term:
        return self.terms.application(sort, self._number(sort, path, kind), owner)

    def _number(self, sort: Sort, path: tuple[str, ...], kind: Type | None = None) -> int:
        return self._unknowns.setdefault(path, Unknown(len(self._unknowns), sort, path, kind)).number

    def _fresh(self, *purpose: str) -> tuple[str, ...]:
        return ("fresh", str(len(self._unknowns)), *purpose)

    def _is_new(self, about: Term) -> bool:
        """Whether nothing has been said about a place yet; it counts as said from now on."""
        is_new = about.number not in self._said
        self._said.add(about.number)
        return is_new

    def _say(self, fact: Term) -> None:
        """An axiom."""
        if fact is not self.terms.true:
            self._axioms.append(fact)


def _shape(kind: Type) -> Type:
    """A type without what does not show in a value's parts: values of one shape may be equal."""
    match kind:
        case LongType():
            return LONG
        case StringType():
            return STRING
        case RecordType(members=members):
            ordered = sorted(members, key=lambda each: each.name)
            return RecordType(tuple(type(each)(each.name, _shape(each.type)) for each in ordered))
        case SetType(element=element):
            return SetType(_shape(element))
        case _:
            return kind
