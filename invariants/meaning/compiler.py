"""The compiler: Cedar over unknown requests and entities, with Cedar's full error semantics.

Every expression becomes an `Outcome`: where it evaluates without error, and what it is there. `&&`, `||` and `if` skip
what Cedar skips; everything else errs where a part of it does, where a part has another type, where an attribute, a tag
or an entity is missing, and where an integer leaves 64 bits. Types are those that values have, not those that a
validator allows: `if` may give a number or a text, and a set may hold both.

What has no exact meaning here raises `Unsupported` with a reason and a position; nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from invariants.errors import Unsupported
from invariants.meaning import extensions
from invariants.meaning.evaluation import pattern_of, uid_of
from invariants.meaning.extensions import BITS_V4, BITS_V6, CONSTRUCTORS, DAY_MS, LOOPBACK, MULTICAST, UNIT_MS
from invariants.meaning.schemas import EntityType
from invariants.meaning.universe import Universe
from invariants.meaning.values import (
    SCALARS,
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
    Outcome,
    Record,
    String,
    Unlisted,
    Value,
)
from invariants.solving.terms import BeyondSolvers, Op, Term
from policies.cedar_syntax import LONG_MAX, LONG_MIN, Place
from policies.cedar_syntax import nodes as pst

COMPILER_VERSION = "lockgate-compiler 1"

_CASES_MAX = 64  # Types that depend on the request multiply; nobody writes so many on purpose.


def policy(template: pst.Template, universe: Universe, where: str, place: Place | None = None) -> Outcome:
    """
    Translate a policy: a truth value, false where its scope does not match.

    A refusal names `where`, and the clause by its number and, given its place, by line and column.

    Scope and clauses are one conjunction in Cedar's order, so a scope that does not match hides an error in a clause.
    Raises `Unsupported`.
    """
    compiler = _Compiler(universe, where)
    try:
        return compiler.policy(template, place)
    except BeyondSolvers as error:
        raise Unsupported("string_beyond_solvers", compiler.position) from error
    except Unsupported as refused:
        # What the universe refuses has no place of its own: it was asked on behalf of this clause.
        raise Unsupported(refused.reason_code, compiler.position) from refused


def expression(node: pst.Expr, universe: Universe, where: str) -> Outcome:
    """Translate one expression. Raises `Unsupported`."""
    try:
        return _Compiler(universe, where).compile(node)
    except BeyondSolvers as error:
        raise Unsupported("string_beyond_solvers", where) from error


def satisfied(outcome: Outcome, universe: Universe) -> Term:
    """Where a condition is true without error."""
    terms = universe.terms
    truths = (terms.both(case.guard, case.value.term) for case in outcome.cases if isinstance(case.value, Bool))
    return terms.both(outcome.ok, terms.disjunction(truths))


class _Compiler:
    """One policy."""

    __slots__ = ("_terms", "_universe", "_where")

    def __init__(self, universe: Universe, where: str) -> None:
        self._universe = universe
        self._terms = universe.terms
        self._where = where

    @property
    def position(self) -> str:
        """The rule and clause that is being translated."""
        return self._where

    def policy(self, template: pst.Template, place: Place | None) -> Outcome:
        universe, rule = self._universe, self._where
        result = self._truth(
            self._terms.conjunction(
                (
                    self._scope(template.principal, universe.principal()),
                    self._actions(template.action),
                    self._scope(template.resource, universe.resource()),
                )
            )
        )
        for number, clause in enumerate(template.clauses):
            if self._always(result) is False:
                break  # The scope does not match: Cedar never looks at the clauses.
            self._where = f"{rule}, clause {number + 1}"
            if place is not None and number < len(place.clauses):
                line, column = place.clauses[number]
                self._where += f", line {line}, column {column}"
            outcome = self.compile(clause.expr)
            if isinstance(clause, pst.Unless):
                outcome = self._unary("not", outcome)
            result = self._junction(result, outcome, going_on=True)
        return result

    def compile(self, node: pst.Expr) -> Outcome:
        match node:
            case pst.BinaryOp(op="and" | "or" as op, left=left, right=right):
                first = self.compile(left)
                if self._always(first) is (op == "or"):
                    return first
                return self._junction(first, self.compile(right), going_on=op == "and")
            case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
                test = self.compile(cond)
                known = self._always(test)
                if known is not None:
                    return self.compile(then if known else other)
                return self._if(test, self.compile(then), self.compile(other))
            case pst.GetAttr(base=base, attr=name):
                return self._lift(self.compile(base), lambda value: self._attribute(value, name))
            case pst.HasAttr(base=base, attrs=names):
                return self._has(self.compile(base), names)
            case pst.Is(base=base, entity_type=kind, in_expr=target):
                entity = self.compile(base)
                is_kind = self._lift(entity, lambda value: self._is(value, str(kind)))
                if target is None:
                    return is_kind
                return self._junction(is_kind, self._binary("in", entity, self.compile(target)), going_on=True)
            case _:
                return self._strict(node)

    def _strict(self, node: pst.Expr) -> Outcome:
        """Forms that evaluate all their parts first."""
        match node:
            case pst.Like(base=base, pattern=elements):
                pattern = pattern_of(elements)
                return self._lift(self.compile(base), lambda value: self._like(value, pattern))
            case pst.UnaryOp(op=op, arg=arg):
                return self._unary(op, self.compile(arg))
            case pst.BinaryOp(op=op, left=left, right=right):
                return self._binary(op, self.compile(left), self.compile(right))
            case pst.Set(elements=elements):
                return self._set([self.compile(element) for element in elements])
            case pst.Record(fields=fields):
                return self._record({name: self.compile(part) for name, part in fields.items()})
            case pst.BoolLit() | pst.LongLit() | pst.StringLit() | pst.EntityLit() | pst.Var():
                return self._sure(self._leaf(node))
            case pst.Slot():
                raise Unsupported("form_slot", self._where)
            case _:
                raise Unsupported("form_unknown", self._where)

    def _leaf(self, node: pst.Lit | pst.Var) -> Value:
        terms, universe = self._terms, self._universe
        match node:
            case pst.BoolLit(value=truth):
                return Bool(terms.boolean(value=truth))
            case pst.LongLit(value=number):
                return Long(terms.integer(number))
            case pst.StringLit(value=text):
                return String(terms.text(text))
            case pst.EntityLit(value=uid):
                return self._entity(uid)
            case pst.Var(name="principal"):
                return universe.principal()
            case pst.Var(name="resource"):
                return universe.resource()
            case pst.Var(name="action"):
                return universe.action()
            case _:
                return universe.context()

    # --- scopes ------------------------------------------------------------------------------------------------------

    def _scope(self, scope: pst.PrincipalOrResourceConstraint, entity: Entity) -> Term:
        match scope:
            case pst.ScopeAny():
                return self._terms.true
            case pst.ScopeEq(entity=pst.EntityUid() as uid):
                return self._universe.same(entity, self._entity(uid))
            case pst.ScopeIn(entity=pst.EntityUid() as uid):
                return self._universe.below(entity, self._entity(uid))
            case pst.ScopeIs(entity_type=kind):
                return self._terms.boolean(value=entity.kind == str(kind))
            case pst.ScopeIsIn(entity_type=kind, entity=pst.EntityUid() as uid):
                if entity.kind != str(kind):
                    return self._terms.false
                return self._universe.below(entity, self._entity(uid))
            case _:
                raise Unsupported("template_slot", self._where)

    def _actions(self, scope: pst.ActionConstraint) -> Term:
        action = self._universe.request.action
        above = self._universe.schema.groups.get(action, frozenset()) | {action}
        match scope:
            case pst.ScopeAny():
                return self._terms.true
            case pst.ActionEq(entity=entity):
                return self._terms.boolean(value=uid_of(entity) == action)
            case pst.ActionIn(entities=entities):
                return self._terms.boolean(value=any(uid_of(entity) in above for entity in entities))

    # --- cases -------------------------------------------------------------------------------------------------------

    def _lift(self, outcome: Outcome, one: Callable[[Value], Outcome]) -> Outcome:
        """What `one` makes of each case, and an error where the part errs."""
        if not outcome.cases:
            return self._error()
        result = one(outcome.cases[-1].value)
        for case in reversed(outcome.cases[:-1]):
            result = self._choice(case.guard, one(case.value), result)
        return Outcome(self._terms.both(outcome.ok, result.ok), result.cases)

    def _choice(self, condition: Term, then: Outcome, other: Outcome) -> Outcome:
        ok = self._terms.choice(condition, then.ok, other.ok)
        return Outcome(ok, self._merged(condition, then.cases, other.cases))

    def _merged(self, condition: Term, then: tuple[Case, ...], other: tuple[Case, ...]) -> tuple[Case, ...]:
        """The cases of a choice: those that can be one value are. An outcome without cases always errs."""
        terms = self._terms
        if condition is terms.true or not other:
            return then
        if condition is terms.false or not then:
            return other
        rest = list(other)
        cases: list[Case] = []
        for case in then:
            partner = next((each for each in rest if _can_be_one(case.value, each.value)), None)
            if partner is None:
                cases.append(Case(terms.both(condition, case.guard), case.value))
            else:
                rest.remove(partner)
                guard = terms.choice(condition, case.guard, partner.guard)
                cases.append(Case(guard, self._one(condition, case.value, partner.value)))
        cases.extend(Case(terms.both(terms.negation(condition), case.guard), case.value) for case in rest)
        if len(cases) > _CASES_MAX:
            raise Unsupported("too_many_cases", self._where)
        return tuple(cases)

    def _one(self, condition: Term, then: Value, other: Value) -> Value:
        terms = self._terms
        match then, other:
            case Entity(kind=kind, id=first), Entity(id=second):
                return Entity(kind, terms.choice(condition, first, second))
            case Address(), Address():
                return Address(
                    terms.choice(condition, then.is_v6, other.is_v6),
                    terms.choice(condition, then.number, other.number),
                    terms.choice(condition, then.prefix, other.prefix),
                )
            case Record(), Record():
                return self._one_record(condition, then, other)
            case ((Bool() | Long() | String() | Decimal() | Datetime() | Duration()), _) if isinstance(other, SCALARS):
                return type(then)(terms.choice(condition, then.term, other.term))
            case _:
                return then  # Two sets that are one set.

    def _one_record(self, condition: Term, then: Record, other: Record) -> Record:
        absent = Field(self._terms.false, ())

        def read(name: str) -> Field:
            one = then.read(name) if name in then.names else absent
            two = other.read(name) if name in other.names else absent
            present = self._terms.choice(condition, one.present, two.present)
            return Field(present, self._merged(condition, one.cases, two.cases))

        return Record(tuple(dict.fromkeys(then.names + other.names)), read)

    # --- operators ---------------------------------------------------------------------------------------------------

    def _junction(self, left: Outcome, right: Outcome, *, going_on: bool) -> Outcome:
        terms = self._terms
        first_ok, first = self._as_truth(left)
        second_ok, second = self._as_truth(right)
        stops = terms.negation(first) if going_on else first
        value = terms.both(first, second) if going_on else terms.either(first, second)
        ok = terms.both(first_ok, terms.either(stops, second_ok))
        return Outcome(ok, self._universe.sure(Bool(value)))

    def _if(self, test: Outcome, then: Outcome, other: Outcome) -> Outcome:
        ok, condition = self._as_truth(test)
        chosen = self._choice(condition, then, other)
        return Outcome(self._terms.both(ok, chosen.ok), chosen.cases)

    def _as_truth(self, outcome: Outcome) -> tuple[Term, Term]:
        """Where an outcome is a truth value, and which."""
        terms = self._terms
        truths = [case for case in outcome.cases if isinstance(case.value, Bool)]
        is_truth = terms.disjunction(case.guard for case in truths)
        value = terms.disjunction(
            terms.both(case.guard, case.value.term) for case in truths if isinstance(case.value, Bool)
        )
        return terms.both(outcome.ok, is_truth), value

    def _always(self, outcome: Outcome) -> bool | None:
        """The truth value that an outcome has whatever the request; what Cedar then skips needs no meaning."""
        terms = self._terms
        match outcome:
            case Outcome(ok=ok, cases=(Case(value=Bool(term=term)),)) if ok is terms.true:
                return True if term is terms.true else False if term is terms.false else None
            case _:
                return None

    def _unary(self, op: str, arg: Outcome) -> Outcome:
        return self._lift(arg, lambda value: self._unary_value(op, value))

    def _unary_value(self, op: str, value: Value) -> Outcome:
        terms = self._terms
        match op, value:
            case "not", Bool(term=term):
                return self._truth(terms.negation(term))
            case "neg", Long(term=term):
                return self._fitting(Long(terms.subtract(terms.integer(0), term)))
            case "is_empty", (Listed() | Unlisted()):
                return self._truth(self._universe.is_empty(value))
            case (("decimal" | "datetime" | "duration" | "ip"), String(term=term)):
                return self._constructed(op, term)
            case "is_ipv4", Address(is_v6=is_v6):
                return self._truth(terms.negation(is_v6))
            case "is_ipv6", Address(is_v6=is_v6):
                return self._truth(is_v6)
            case "is_loopback", Address():
                return self._truth(self._in_ranges(value, LOOPBACK))
            case "is_multicast", Address():
                return self._truth(self._in_ranges(value, MULTICAST))
            case "to_date", Datetime(term=term):
                days = terms.divide(term, DAY_MS)
                return self._fitting(Datetime(terms.multiply(days, terms.integer(DAY_MS))))
            case "to_time", Datetime(term=term):
                start = terms.multiply(terms.divide(term, DAY_MS), terms.integer(DAY_MS))
                return self._sure(Duration(terms.subtract(term, start)))
            case _, Duration(term=term) if op in UNIT_MS:
                return self._sure(Long(self._towards_zero(term, UNIT_MS[op])))
            case _:
                return self._error()

    def _binary(self, op: str, left: Outcome, right: Outcome) -> Outcome:
        if op in ("eq", "not_eq"):
            if not left.cases or not right.cases:
                return self._error()
            equal = self._universe.same_cases(left.cases, right.cases)
            ok = self._terms.both(left.ok, right.ok)
            term = equal if op == "eq" else self._terms.negation(equal)
            return Outcome(ok, self._universe.sure(Bool(term)))
        return self._lift(left, lambda first: self._lift(right, lambda second: self._binary_values(op, first, second)))

    def _binary_values(self, op: str, left: Value, right: Value) -> Outcome:
        universe = self._universe
        match op, left, right:
            case "in", Entity(), _:
                return self._in(left, right)
            case "contains", (Listed() | Unlisted()), _:
                return self._truth(universe.holds(left, right))
            case "contains_all", (Listed() | Unlisted()), (Listed() | Unlisted()):
                return self._truth(universe.subset(right, left))
            case "contains_any", (Listed() | Unlisted()), (Listed() | Unlisted()):
                return self._truth(universe.meets(left, right))
            case "has_tag", Entity(), String(term=key):
                tag = universe.tag(left, key)
                return self._truth(self._terms.false if tag is None else tag.present)
            case "get_tag", Entity(), String(term=key):
                return self._found(universe.tag(left, key))
            case "is_in_range", Address(), Address():
                return self._truth(self._in_range(left, right))
            case _:
                return self._numbers(op, left, right)

    def _numbers(self, op: str, left: Value, right: Value) -> Outcome:
        terms = self._terms
        match op, left, right:
            case (
                (("less" | "less_eq" | "greater" | "greater_eq"), Long(term=first), Long(term=second))
                | (("less" | "less_eq" | "greater" | "greater_eq"), Datetime(term=first), Datetime(term=second))
                | (("less" | "less_eq" | "greater" | "greater_eq"), Duration(term=first), Duration(term=second))
                | (
                    ("decimal_less_than" | "decimal_less_eq" | "decimal_greater" | "decimal_greater_eq"),
                    Decimal(term=first),
                    Decimal(term=second),
                )
            ):
                return self._truth(self._compared(op, first, second))
            case (("add" | "sub" | "mul"), Long(term=first), Long(term=second)):
                combine = {"add": terms.add, "sub": terms.subtract, "mul": terms.multiply}[op]
                return self._fitting(Long(combine(first, second)))
            case "offset", Datetime(term=first), Duration(term=second):
                return self._fitting(Datetime(terms.add(first, second)))
            case "duration_since", Datetime(term=first), Datetime(term=second):
                return self._fitting(Duration(terms.subtract(first, second)))
            case _:
                return self._error()

    def _compared(self, op: str, first: Term, second: Term) -> Term:
        if "greater" in op:
            first, second = second, first
        return (self._terms.less_equal if op.endswith("_eq") else self._terms.less)(first, second)

    def _in(self, entity: Entity, target: Value) -> Outcome:
        universe, terms = self._universe, self._terms
        match target:
            case Entity():
                return self._truth(universe.below(entity, target))
            case Listed(elements=elements):
                ok: list[Term] = []
                found: list[Term] = []
                for case in (case for element in elements for case in element):
                    if isinstance(case.value, Entity):
                        found.append(terms.both(case.guard, universe.below(entity, case.value)))
                    else:
                        ok.append(terms.negation(case.guard))
                return Outcome(terms.conjunction(ok), universe.sure(Bool(terms.disjunction(found))))
            case Unlisted():
                found_any = universe.below_any(entity, target)
                if isinstance(target.element, EntityType):
                    return self._truth(found_any)
                return Outcome(universe.is_empty(target), universe.sure(Bool(terms.false)))
            case _:
                return self._error()

    def _attribute(self, value: Value, name: str) -> Outcome:
        match value:
            case Record():
                return self._found(value.read(name) if name in value.names else None)
            case Entity():
                return self._found(self._universe.attribute(value, name))
            case _:
                return self._error()

    def _found(self, field: Field | None) -> Outcome:
        return self._error() if field is None else Outcome(field.present, field.cases)

    def _has(self, base: Outcome, names: tuple[str, ...]) -> Outcome:
        here = self._lift(base, lambda value: self._has_one(value, names[0]))
        if len(names) == 1:
            return here
        inner = self._lift(base, lambda value: self._attribute(value, names[0]))
        return self._junction(here, self._has(inner, names[1:]), going_on=True)

    def _has_one(self, value: Value, name: str) -> Outcome:
        found = self._attribute(value, name) if isinstance(value, Record | Entity) else None
        return self._error() if found is None else self._truth(found.ok)

    def _is(self, value: Value, kind: str) -> Outcome:
        if not isinstance(value, Entity):
            return self._error()
        return self._truth(self._terms.boolean(value=value.kind == kind))

    def _like(self, value: Value, pattern: tuple[str | None, ...]) -> Outcome:
        return self._truth(self._terms.like(value.term, pattern)) if isinstance(value, String) else self._error()

    def _set(self, elements: Iterable[Outcome]) -> Outcome:
        parts = tuple(elements)
        if not all(part.cases for part in parts):
            return self._error()
        ok = self._terms.conjunction(part.ok for part in parts)
        return Outcome(ok, self._universe.sure(Listed(tuple(part.cases for part in parts))))

    def _record(self, parts: dict[str, Outcome]) -> Outcome:
        if not all(part.cases for part in parts.values()):
            return self._error()
        fields = {name: Field(self._terms.true, part.cases) for name, part in parts.items()}
        ok = self._terms.conjunction(part.ok for part in parts.values())
        return Outcome(ok, self._universe.sure(Record(tuple(fields), fields.__getitem__)))

    # --- extensions --------------------------------------------------------------------------------------------------

    def _constructed(self, name: str, text: Term) -> Outcome:
        """The value that a text denotes. A text that only the request knows has no exact meaning here."""
        if text.op is Op.IF:
            condition, then, other = text.operands
            return self._choice(condition, self._constructed(name, then), self._constructed(name, other))
        if text.op is not Op.CONSTANT:
            raise Unsupported("extension_of_unknown_text", self._where)
        found = CONSTRUCTORS[name](text.detail[0] or "")
        if found is None:
            return self._error()
        terms = self._terms
        match found:
            case extensions.Decimal(number=number):
                return self._sure(Decimal(terms.integer(number)))
            case extensions.Datetime(number=number):
                return self._sure(Datetime(terms.integer(number)))
            case extensions.Duration(number=number):
                return self._sure(Duration(terms.integer(number)))
            case extensions.Address():
                return self._sure(self._address(found))

    def _address(self, address: extensions.Address) -> Address:
        terms = self._terms
        return Address(terms.boolean(value=address.is_v6), terms.integer(address.number), terms.integer(address.prefix))

    def _in_ranges(self, address: Address, ranges: tuple[extensions.Address, ...]) -> Term:
        return self._terms.disjunction(self._in_range(address, self._address(each)) for each in ranges)

    def _in_range(self, inner: Address, outer: Address) -> Term:
        """As many leading bits as the outer prefix has are the same, and the inner prefix is not shorter."""
        terms = self._terms
        families = []
        for is_v6, bits in ((False, BITS_V4), (True, BITS_V6)):
            family = [each.is_v6 if is_v6 else terms.negation(each.is_v6) for each in (inner, outer)]
            if terms.conjunction(family) is terms.false:
                continue
            lengths = [outer.prefix.payload or 0] if outer.prefix.op is Op.CONSTANT else range(bits + 1)
            agrees = terms.disjunction(
                terms.both(
                    terms.equal(outer.prefix, terms.integer(length)),
                    terms.equal(
                        terms.divide(inner.number, 2 ** (bits - length)),
                        terms.divide(outer.number, 2 ** (bits - length)),
                    ),
                )
                for length in lengths
                if length <= bits
            )
            families.append(terms.conjunction((*family, agrees)))
        return terms.both(terms.less_equal(outer.prefix, inner.prefix), terms.disjunction(families))

    def _towards_zero(self, term: Term, divisor: int) -> Term:
        terms = self._terms
        zero = terms.integer(0)
        negated = terms.subtract(zero, terms.divide(terms.subtract(zero, term), divisor))
        return terms.choice(terms.less_equal(zero, term), terms.divide(term, divisor), negated)

    # --- outcomes ----------------------------------------------------------------------------------------------------

    def _entity(self, uid: pst.EntityUid) -> Entity:
        return Entity(str(uid.type), self._terms.text(uid.id))

    def _fitting(self, value: Long | Datetime | Duration) -> Outcome:
        """An integer of 64 bits, or an error."""
        return Outcome(self._terms.within(value.term, LONG_MIN, LONG_MAX), self._universe.sure(value))

    def _truth(self, term: Term) -> Outcome:
        return self._sure(Bool(term))

    def _sure(self, value: Value) -> Outcome:
        return Outcome(self._terms.true, self._universe.sure(value))

    def _error(self) -> Outcome:
        return Outcome(self._terms.false, ())


def _can_be_one(one: Value, two: Value) -> bool:
    """Whether a choice between two values is a value and not two cases."""
    if isinstance(one, Entity) and isinstance(two, Entity):
        return one.kind == two.kind
    if isinstance(one, Listed | Unlisted):
        return one is two
    return type(one) is type(two)
