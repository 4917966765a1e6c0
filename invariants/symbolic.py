"""Cedar over unknown questions: policies become terms with Cedar's full error semantics.

Every expression becomes a pair: a term that says whether it evaluates without error, and a value that means something
only where it does. `&&`, `||` and `if` skip what Cedar skips; a missing attribute, an operand of the wrong type and an
integer beyond 64 bits make the pair err. Attribute types come from the generated schema and are closed, so a type error
is known when translating. What has no exact meaning here raises `Unsupported`; nothing is approximated.

Written apart from `expressions`, on purpose: the two meanings and the engine are tested against one another.
"""

from __future__ import annotations

from collections.abc import Iterable

from invariants.errors import Unsupported
from invariants.solving.terms import Term, Terms
from invariants.vocabulary import Bool, EntityValue, Long, Nothing, Outcome, RecordValue, String, Value, Vocabulary
from policies.cedar_syntax import LONG_MAX, LONG_MIN, subexpressions
from policies.cedar_syntax import nodes as pst

ENCODER_VERSION = "lockgate-symbolic 1"
"""Changes whenever the meaning or the printed form of an obligation changes; certificates name it."""


def policy(template: pst.Template, vocabulary: Vocabulary, where: str) -> Outcome:
    """
    Translate a policy whose action scope covers the vocabulary's action.

    It is satisfied where `ok` and the value are true; it errs where `ok` is false. Scopes and clauses are one
    conjunction, evaluated in Cedar's order, so a scope that does not match hides an error in a clause.
    """
    translator = _Translator(vocabulary, where)
    parts = [
        translator.scope(template.principal, vocabulary.principal()),
        translator.scope(template.resource, vocabulary.resource()),
    ]
    for clause in template.clauses:
        outcome = translator.translate(clause.expr)
        parts.append(outcome if isinstance(clause, pst.When) else translator.negation(outcome))
    result = parts[0]
    for part in parts[1:]:
        result = translator.conjunction(result, part)
    return result


def expression(node: pst.Expr, vocabulary: Vocabulary, where: str) -> Outcome:
    """Translate one expression."""
    return _Translator(vocabulary, where).translate(node)


def satisfied(outcome: Outcome, terms: Terms) -> Term:
    """Where a condition is true without error."""
    return terms.both(outcome.ok, outcome.value.term) if isinstance(outcome.value, Bool) else terms.false


class _Translator:
    """One policy. Holds the vocabulary and the name under which a refusal is reported."""

    __slots__ = ("_terms", "_vocabulary", "_where")

    def __init__(self, vocabulary: Vocabulary, where: str) -> None:
        self._vocabulary = vocabulary
        self._terms = vocabulary.terms
        self._where = where

    def translate(self, node: pst.Expr) -> Outcome:
        match node:
            case pst.BoolLit() | pst.LongLit() | pst.StringLit() | pst.EntityLit() | pst.Var():
                return self._sure(self._leaf(node))
            case pst.GetAttr(base=base, attr=attr):
                return self._attribute(self.translate(base), attr)
            case pst.HasAttr(base=base, attrs=attrs):
                return self._has(self.translate(base), attrs)
            case pst.UnaryOp(op="not", arg=arg):
                return self.negation(self.translate(arg))
            case pst.UnaryOp(op="neg", arg=arg):
                return self._arithmetic("sub", self._sure(Long(self._terms.integer(0))), self.translate(arg))
            case pst.BinaryOp(op="in", left=left, right=right):
                return self._in(left, right)
            case pst.BinaryOp(op="contains", left=pst.Set(elements=elements), right=right):
                # A set stands only where it is looked into: sets as values have no meaning here yet.
                return self._contains(elements, self.translate(right))
            case pst.BinaryOp(op=op, left=left, right=right):
                return self._binary(op, left, right)
            case pst.Is(base=base, entity_type=kind, in_expr=target):
                return self._is(base, str(kind), target)
            case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
                return self._choice(self.translate(cond), self.translate(then), self.translate(other))
            case pst.UnaryOp(op=op):
                raise Unsupported(f"operator_{op}", self._where)
            case _:
                raise Unsupported(f"form_{type(node).__name__.lower()}", self._where)

    def scope(self, scope: pst.PrincipalOrResourceConstraint, entity: EntityValue) -> Outcome:
        match scope:
            case pst.ScopeAny():
                return self._truth(self._terms.true)
            case pst.ScopeEq(entity=pst.EntityUid() as uid):
                return self._truth(self._same(entity, self._entity(uid)))
            case pst.ScopeIn(entity=pst.EntityUid() as uid):
                return self._truth(self._member(entity, self._entity(uid)))
            case pst.ScopeIs(entity_type=kind):
                return self._truth(self._terms.equal(entity.type, self._vocabulary.name(str(kind))))
            case pst.ScopeIsIn(entity_type=kind, entity=pst.EntityUid() as uid):
                is_kind = self._terms.equal(entity.type, self._vocabulary.name(str(kind)))
                return self._truth(self._terms.both(is_kind, self._member(entity, self._entity(uid))))
            case _:
                raise Unsupported("template_slot", self._where)

    def negation(self, outcome: Outcome) -> Outcome:
        if not isinstance(outcome.value, Bool):
            return self._error()
        return Outcome(outcome.ok, Bool(self._terms.negation(outcome.value.term)))

    def conjunction(self, left: Outcome, right: Outcome) -> Outcome:
        return self._junction(left, right, going_on=True)

    def _junction(self, left: Outcome, right: Outcome, *, going_on: bool) -> Outcome:
        terms = self._terms
        if not isinstance(left.value, Bool):
            return self._error()
        first = left.value.term
        stops = terms.negation(first) if going_on else first
        if not isinstance(right.value, Bool):
            # Wrong type or always an error on the right: fine only where the left side answers alone.
            return Outcome(terms.both(left.ok, stops), Bool(first))
        second = right.value.term
        value = terms.both(first, second) if going_on else terms.either(first, second)
        return Outcome(terms.both(left.ok, terms.either(stops, right.ok)), Bool(value))

    def _binary(self, op: str, left: pst.Expr, right: pst.Expr) -> Outcome:
        first, second = self.translate(left), self.translate(right)
        match op:
            case "and" | "or":
                return self._junction(first, second, going_on=op == "and")
            case "eq":
                return self._equal(first, second)
            case "not_eq":
                return self.negation(self._equal(first, second))
            case "less" | "less_eq" | "greater" | "greater_eq":
                return self._comparison(op, first, second)
            case "add" | "sub" | "mul":
                return self._arithmetic(op, first, second)
            case _:
                raise Unsupported(f"operator_{op}", self._where)

    def _equal(self, left: Outcome, right: Outcome) -> Outcome:
        ok = self._terms.both(left.ok, right.ok)
        match left.value, right.value:
            case (Nothing(), _) | (_, Nothing()):
                return self._error()
            case (Long(first), Long(second)) | (Bool(first), Bool(second)) | (String(first), String(second)):
                return Outcome(ok, Bool(self._terms.equal(first, second)))
            case EntityValue() as one, EntityValue() as two:
                return Outcome(ok, Bool(self._same(one, two)))
            case RecordValue(), RecordValue():
                raise Unsupported("record_equality", self._where)
            case _:
                # Values of different types are unequal, without error.
                return Outcome(ok, Bool(self._terms.false))

    def _comparison(self, op: str, left: Outcome, right: Outcome) -> Outcome:
        if not isinstance(left.value, Long) or not isinstance(right.value, Long):
            return self._error()
        first, second = left.value.term, right.value.term
        if op.startswith("greater"):
            first, second = second, first
        compare = self._terms.less_equal if op.endswith("_eq") else self._terms.less
        return Outcome(self._terms.both(left.ok, right.ok), Bool(compare(first, second)))

    def _arithmetic(self, op: str, left: Outcome, right: Outcome) -> Outcome:
        if not isinstance(left.value, Long) or not isinstance(right.value, Long):
            return self._error()
        terms = self._terms
        combine = {"add": terms.add, "sub": terms.subtract, "mul": terms.multiply}[op]
        value = combine(left.value.term, right.value.term)
        fits = terms.within(value, LONG_MIN, LONG_MAX)
        return Outcome(terms.conjunction((left.ok, right.ok, fits)), Long(value))

    def _attribute(self, base: Outcome, name: str) -> Outcome:
        # Entities of a question have no attributes; scalars never have: both err.
        found = self._vocabulary.member(base.value, name) if isinstance(base.value, RecordValue) else None
        if found is None:
            return self._error()
        return Outcome(self._terms.both(base.ok, found.ok), found.value)

    def _has(self, base: Outcome, names: tuple[str, ...]) -> Outcome:
        match base.value:
            case RecordValue():
                found = self._vocabulary.member(base.value, names[0])
            case EntityValue():
                found = None
            case _:
                return self._error()
        if found is None:
            return Outcome(base.ok, Bool(self._terms.false))
        here = Outcome(base.ok, Bool(found.ok))
        if len(names) == 1:
            return here
        return self.conjunction(here, self._has(Outcome(self._terms.both(base.ok, found.ok), found.value), names[1:]))

    def _in(self, entity: pst.Expr, right: pst.Expr) -> Outcome:
        if any(isinstance(node, pst.EntityLit) and str(node.value.type) == "Action" for node in subexpressions(entity)):
            # The groups of this action are known here, those of another are not.
            raise Unsupported("in_other_action", self._where)
        left = self.translate(entity)
        targets = right.elements if isinstance(right, pst.Set) else (right,)
        outcomes = [self.translate(target) for target in targets]
        values = [outcome.value for outcome in outcomes if isinstance(outcome.value, EntityValue)]
        if not isinstance(left.value, EntityValue) or len(values) != len(outcomes):
            return self._error()
        ok = self._terms.conjunction((left.ok, *(outcome.ok for outcome in outcomes)))
        members = [self._member(left.value, value) for value in values]
        return Outcome(ok, Bool(self._terms.disjunction(members)))

    def _contains(self, elements: Iterable[pst.Expr], wanted: Outcome) -> Outcome:
        result = self._truth(self._terms.false)
        for element in elements:
            found = self._equal(self.translate(element), wanted)
            if not isinstance(found.value, Bool) or not isinstance(result.value, Bool):
                return self._error()
            # No short-circuit: every element of a set is evaluated before anything is looked for.
            ok, value = self._terms.both(result.ok, found.ok), self._terms.either(result.value.term, found.value.term)
            result = Outcome(ok, Bool(value))
        return Outcome(self._terms.both(result.ok, wanted.ok), result.value)

    def _is(self, base: pst.Expr, kind: str, target: pst.Expr | None) -> Outcome:
        entity = self.translate(base)
        if not isinstance(entity.value, EntityValue):
            return self._error()
        matches = Outcome(entity.ok, Bool(self._terms.equal(entity.value.type, self._vocabulary.name(kind))))
        return matches if target is None else self.conjunction(matches, self._in(base, target))

    def _choice(self, test: Outcome, then: Outcome, other: Outcome) -> Outcome:
        if not isinstance(test.value, Bool):
            return self._error()
        terms, condition = self._terms, test.value.term
        ok = terms.both(test.ok, terms.choice(condition, then.ok, other.ok))
        match then.value, other.value:
            case (_, Nothing()):
                return Outcome(ok, then.value)
            case (Nothing(), _):
                return Outcome(ok, other.value)
            case (Long(first), Long(second)):
                return Outcome(ok, Long(terms.choice(condition, first, second)))
            case (Bool(first), Bool(second)):
                return Outcome(ok, Bool(terms.choice(condition, first, second)))
            case (String(first), String(second)):
                return Outcome(ok, String(terms.choice(condition, first, second)))
            case (EntityValue() as one, EntityValue() as two):
                kind = terms.choice(condition, one.type, two.type)
                return Outcome(ok, EntityValue(kind, terms.choice(condition, one.id, two.id)))
            case _:
                raise Unsupported("mixed_branches", self._where)

    def _leaf(self, node: pst.Lit | pst.Var) -> Value:
        vocabulary = self._vocabulary
        match node:
            case pst.BoolLit(value=truth):
                return Bool(self._terms.boolean(value=truth))
            case pst.LongLit(value=number):
                return Long(self._terms.integer(number))
            case pst.StringLit(value=text):
                return String(vocabulary.name(text))
            case pst.EntityLit(value=uid):
                return self._entity(uid)
            case pst.Var(name="principal"):
                return vocabulary.principal()
            case pst.Var(name="resource"):
                return vocabulary.resource()
            case pst.Var(name="action"):
                return vocabulary.act()
            case _:
                return vocabulary.context()

    def _entity(self, uid: pst.EntityUid) -> EntityValue:
        return EntityValue(self._vocabulary.name(str(uid.type)), self._vocabulary.name(uid.id))

    def _same(self, one: EntityValue, two: EntityValue) -> Term:
        return self._terms.both(self._terms.equal(one.type, two.type), self._terms.equal(one.id, two.id))

    def _member(self, entity: EntityValue, target: EntityValue) -> Term:
        """`entity in target` over exactly the entities of a question: the principal's roles and the action's groups."""
        terms, vocabulary = self._terms, self._vocabulary
        kind, identifier = self._text(target.type), self._text(target.id)
        reflexive = self._same(entity, target)
        if target.type is vocabulary.principal().type:
            return reflexive  # Neither a person nor an agent is anybody's parent.
        if kind is None:
            raise Unsupported("in_unknown_type", self._where)
        if kind == "Role":
            if identifier is None:
                raise Unsupported("in_unknown_role", self._where)
            is_principal = self._same(entity, vocabulary.principal())
            return terms.either(reflexive, terms.both(is_principal, vocabulary.has_role(identifier)))
        if kind == "Action":
            is_action = self._same(entity, vocabulary.act())
            is_group = terms.boolean(value=identifier in vocabulary.action.groups)
            return terms.either(reflexive, terms.both(is_action, is_group))
        return reflexive

    def _text(self, name: Term) -> str | None:
        """The text of a name that is a constant."""
        from_table = self._vocabulary.names
        is_constant = name.payload is not None and name is self._terms.name(name.payload)
        return from_table[name.payload] if is_constant and name.payload is not None else None

    def _truth(self, term: Term) -> Outcome:
        return self._sure(Bool(term))

    def _sure(self, value: Value) -> Outcome:
        return Outcome(self._terms.true, value)

    def _error(self) -> Outcome:
        return Outcome(self._terms.false, Nothing())
