"""One request over one store of entities, as facts about the unknowns of its universe.

Every place at which an unknown is looked at gets the value that the request and the store give it; relations that a
witness may stand in are written out instead. Under these facts exactly one answer is possible, whichever it is: that
is what a solver is asked to confirm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from invariants.meaning import entities, extensions
from invariants.meaning.entities import Request, SetValue, Store
from invariants.meaning.schemas import EntityType, SetType, Type, Uid
from invariants.meaning.universe import Universe, Unknown
from invariants.meaning.values import (
    Address,
    Bool,
    Datetime,
    Decimal,
    Duration,
    Entity,
    Field,
    Listed,
    Long,
    Record,
    String,
    Value,
)
from invariants.solving.terms import Op, Sort, Term, graph, valuation
from invariants.solving.terms import Value as Number
from policies.schema import LongType, StringType

_DEFAULTS: dict[Sort, Number] = {Sort.BOOL: 0, Sort.INTEGER: 0, Sort.TEXT: ""}


class Ground:
    """What the request and the store say."""

    __slots__ = ("_members", "_request", "_store", "_universe", "_unknowns")

    def __init__(self, universe: Universe, request: Request, store: Store) -> None:
        self._universe = universe
        self._request = request
        self._store = store
        self._unknowns = universe.unknowns
        self._members: dict[int, tuple[SetValue, frozenset[tuple[Number, ...]]]] = {}

    def facts(self, roots: Sequence[Term]) -> tuple[Term, ...]:
        """
        What holds of every unknown below `roots`.

        Raises `BeyondSolvers` when a string of the request has a character that solvers do not know.
        """
        fresh = _fresh_places(roots, self._unknowns)
        instances = self._instances(roots, fresh)
        roots = (*roots, *instances)
        self._unknowns = self._universe.unknowns
        fresh = _fresh_places(roots, self._unknowns)
        values = valuation(roots, self._value)
        facts: list[Term] = [*instances]
        for term in graph(roots):
            if term.op not in (Op.SYMBOL, Op.APPLY) or self._unknown(term).is_fresh:
                continue
            if term.number not in fresh:
                facts.append(self._fact(term, values[term.number]))
            else:
                facts.extend(self._relation(term))
        return tuple(facts)

    def _instances(self, roots: Sequence[Term], fresh: frozenset[int]) -> tuple[Term, ...]:
        """What the axioms say of the elements that the sets below `roots` really have."""
        values = valuation(roots, self._value)
        terms: list[Term] = []
        for term in graph(roots):
            if term.op not in (Op.SYMBOL, Op.APPLY) or not isinstance(kind := self._unknown(term).type, SetType):
                continue
            path = self._unknown(term).path[1:]
            if path[0] == "fresh":
                continue
            operands = term.operands[: _owner_size(path)]
            for owner in self._owners(path, operands, values, fresh):
                given = self._look(path, owner)
                if isinstance(given, SetValue):
                    elements = tuple(self.lifted(each) for each in given.elements)
                    terms.extend(self._universe.instances(kind.element, elements))
        return tuple(dict.fromkeys(terms))

    def _owners(
        self, path: tuple[str, ...], operands: Sequence[Term], values: dict[int, Number], fresh: frozenset[int]
    ) -> Iterator[tuple[Number, ...]]:
        """Whose set it is: known, or anybody's where a witness takes part."""
        if not any(operand.number in fresh for operand in operands):
            yield tuple(values[operand.number] for operand in operands)
            return
        for uid, known in self._store.items():
            if uid.type == path[1]:
                placed = self._universe.terms.placed
                keys = [(placed(key),) for key in known.tags] if path[0] == "tag" else [()]
                yield from ((placed(uid.id), *key) for key in keys)

    def _unknown(self, term: Term) -> Unknown:
        return self._unknowns[term.payload or 0]

    def _fact(self, term: Term, value: Number) -> Term:
        terms = self._universe.terms
        if term.sort is Sort.BOOL:
            return term if value else terms.negation(term)
        if isinstance(value, str):
            return terms.equal(term, terms.text(terms.original(value)))
        return terms.equal(term, terms.integer(value))

    def _value(self, term: Term, operands: tuple[Number, ...]) -> Number:
        """What the data give; anything where they give nothing, as an expression that asks there errs."""
        unknown = self._unknown(term)
        if unknown.is_fresh:
            return _DEFAULTS[term.sort]
        path = unknown.path
        match path[0]:
            case "exists":
                return int(self._uid(path[1], operands) in self._store)
            case "above":
                known = self._store.get(self._uid(path[1], operands))
                return int(known is not None and self._uid(path[2], operands[1:]) in known.ancestors)
            case "tagged":
                known = self._store.get(self._uid(path[1], operands))
                return int(known is not None and self._original(operands[1]) in known.tags)
            case "present":
                return int(self._look(path[1:], operands) is not None)
            case "part":
                return _part(path[1], self._look(path[2:], operands))
            case "member":
                return self._member(unknown, operands)
            case _:
                found = self._look(path, operands)
                return self._default(unknown) if found is None else self._number(found)

    def _default(self, unknown: Unknown) -> Number:
        """What an attribute counts as where it is not: any value that its type allows."""
        match unknown.type:
            case EntityType(name=name) if name in self._universe.schema.kinds:
                choices = self._universe.schema.kinds[name].choices
                return self._universe.terms.placed(choices[0]) if choices else ""
            case StringType(choices=choices) if choices:
                return self._universe.terms.placed(choices[0])
            case LongType(minimum=minimum, maximum=maximum):
                return min(max(0, minimum), maximum)
            case _:
                return _DEFAULTS[unknown.sort]

    def _number(self, value: entities.Value) -> Number:
        match value:
            case bool():
                return int(value)
            case int():
                return value
            case str():
                return self._universe.terms.placed(value)
            case Uid():
                return self._universe.terms.placed(value.id)
            case extensions.Decimal() | extensions.Datetime() | extensions.Duration():
                return value.number
            case _:
                raise TypeError("a scalar expected")

    def _uid(self, kind: str, operands: Sequence[Number]) -> Uid:
        return Uid(kind, self._original(operands[0]))

    def _original(self, text: Number) -> str:
        return self._universe.terms.original(str(text))

    def _look(self, path: tuple[str, ...], operands: Sequence[Number]) -> entities.Value | None:
        """The value at a path, if there is one."""
        match path:
            case ("principal",):
                return self._request.principal
            case ("resource",):
                return self._request.resource
            case ("context", *names):
                found: entities.Value | None = dict(self._request.context)
            case ("attribute", kind, *names):
                known = self._store.get(self._uid(kind, operands))
                found = None if known is None else dict(known.attributes)
            case ("tag", kind, *names):
                known = self._store.get(self._uid(kind, operands))
                found = None if known is None else known.tags.get(self._original(operands[1]))
            case _:
                return None
        for name in names:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def _member(self, unknown: Unknown, operands: tuple[Number, ...]) -> int:
        owner = _owner_size(unknown.path[1:])
        given = self._look(unknown.path[1:], operands[:owner])
        if not isinstance(given, SetValue):
            return 0
        # Kept by the set itself: one set is asked for each of its elements.
        known = self._members.get(id(given))
        if known is None:
            known = given, frozenset(self._numbers(each, unknown.type) for each in given.elements)
            self._members[id(given)] = known
        return int(operands[owner:] in known[1])

    def _numbers(self, element: entities.Value, kind: Type | None) -> tuple[Number, ...]:
        parts = self._parts(element, kind)
        values = valuation(parts, self._value)
        return tuple(values[part.number] for part in parts)

    def _relation(self, term: Term) -> Iterator[Term]:
        """An unknown at a place that depends on a witness: what the data say, wherever that place is."""
        terms = self._universe.terms
        unknown = self._unknown(term)
        match unknown.path:
            case ("above", kind, wanted):
                source, target = term.operands
                yield from self._above(term, source, target, kind, wanted)
            case ("tagged", kind):
                source, key = term.operands
                pairs = (
                    terms.both(terms.equal(source, terms.text(uid.id)), terms.equal(key, terms.text(each)))
                    for uid, known in self._store.items()
                    if uid.type == kind
                    for each in known.tags
                )
                yield terms.equal(term, terms.disjunction(pairs))
            case ("exists", kind):
                ids = (terms.text(uid.id) for uid in self._store if uid.type == kind)
                yield terms.equal(term, terms.disjunction(terms.equal(term.operands[0], each) for each in ids))
            case ("member", "context", *_):
                given = self._look(unknown.path[1:], ())
                yield self._listed(term, term.operands, given, unknown.type)
            case _:
                yield from self._everywhere(term, unknown)

    def _listed(self, term: Term, parts: tuple[Term, ...], given: entities.Value | None, kind: Type | None) -> Term:
        """Membership written out."""
        terms = self._universe.terms
        elements = given.elements if isinstance(given, SetValue) else ()
        return terms.equal(
            term,
            terms.disjunction(
                terms.conjunction(
                    terms.equal(part, same) for part, same in zip(parts, self._parts(each, kind), strict=True)
                )
                for each in elements
            ),
        )

    def _everywhere(self, term: Term, unknown: Unknown) -> Iterator[Term]:
        """An attribute or tag, for every entity that has it."""
        terms = self._universe.terms
        place = {"present": 1, "part": 2, "member": 1}.get(unknown.path[0], 0)
        form, kind = unknown.path[place], unknown.path[place + 1]
        for uid, known in self._store.items():
            keys = tuple((key,) for key in known.tags) if form == "tag" else ((),)
            for key in keys if uid.type == kind else ():
                texts = (uid.id, *key)
                owner: tuple[Number, ...] = tuple(terms.placed(text) for text in texts)
                size = len(owner)
                here = terms.conjunction(
                    terms.equal(operand, terms.text(text))
                    for operand, text in zip(term.operands[:size], texts, strict=True)
                )
                if unknown.path[0] == "member":
                    given = self._look(unknown.path[1:], owner)
                    fact = self._listed(term, term.operands[size:], given, unknown.type)
                else:
                    fact = self._fact(term, self._value(term, owner))
                yield terms.implication(here, fact)

    def _above(self, term: Term, source: Term, target: Term, kind: str, wanted: str) -> Iterator[Term]:
        terms = self._universe.terms
        pairs = (
            terms.both(terms.equal(source, terms.text(uid.id)), terms.equal(target, terms.text(each.id)))
            for uid, known in self._store.items()
            if uid.type == kind
            for each in known.ancestors
            if each.type == wanted
        )
        yield terms.equal(term, terms.disjunction(pairs))

    def _parts(self, value: entities.Value, kind: Type | None) -> tuple[Term, ...]:
        fitted = self._universe.fitted(self.lifted(value), kind.element) if isinstance(kind, SetType) else None
        if fitted is None:
            raise TypeError("an element of another type than the schema says")
        return fitted[1]

    def lifted(self, value: entities.Value) -> Value:
        """A concrete value as a constant of the universe."""
        terms, universe = self._universe.terms, self._universe
        match value:
            case bool():
                return Bool(terms.boolean(value=value))
            case int():
                return Long(terms.integer(value))
            case str():
                return String(terms.text(value))
            case Uid():
                return Entity(value.type, terms.text(value.id))
            case extensions.Decimal():
                return Decimal(terms.integer(value.number))
            case extensions.Datetime():
                return Datetime(terms.integer(value.number))
            case extensions.Duration():
                return Duration(terms.integer(value.number))
            case extensions.Address():
                family = terms.boolean(value=value.is_v6)
                return Address(family, terms.integer(value.number), terms.integer(value.prefix))
            case SetValue():
                return Listed(tuple(universe.sure(self.lifted(each)) for each in value.elements))
            case dict():
                fields = {name: Field(terms.true, universe.sure(self.lifted(each))) for name, each in value.items()}
                return Record(tuple(fields), fields.__getitem__)
        raise TypeError("a value expected")


def _fresh_places(roots: Sequence[Term], unknowns: Sequence[Unknown]) -> frozenset[int]:
    """Terms whose value a witness may take part in."""
    touched: set[int] = set()
    for term in graph(roots):
        if term.op in (Op.SYMBOL, Op.APPLY):
            unknown = unknowns[term.payload or 0]
            if unknown.is_fresh:
                touched.add(term.number)
                continue
        if any(operand.number in touched for operand in term.operands):
            touched.add(term.number)
    return frozenset(touched)


def _owner_size(path: Sequence[str]) -> int:
    """How many operands before an element say whose set it is."""
    return {"attribute": 1, "tag": 2}.get(path[0], 0)


def _part(name: str, value: entities.Value | None) -> Number:
    if not isinstance(value, extensions.Address):
        return 0
    return {"v6": int(value.is_v6), "number": value.number, "prefix": value.prefix}[name]
