"""Cedar expressions as compiled Python closures: the meaning that is evaluated on each call.

A closure takes a *scope* (see `scope_of`) and returns the value that Cedar would compute, or raises `EvaluationError`
where Cedar would report an error: a missing attribute, an operand of the wrong type, an integer beyond 64 bits. `&&`,
`||` and `if` skip what Cedar skips. Values are int, bool, str, `Entity` and plain dicts; their types are looked at
while evaluating, as in Cedar. Forms beyond the supported ones raise `Unsupported` when compiled.

Written apart from the symbolic compiler, on purpose: the two meanings and the engine are tested against one another.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from invariants.errors import EvaluationError, Unsupported
from invariants.meaning import compiler, schemas
from invariants.meaning.schemas import RequestType, Uid
from invariants.meaning.universe import Universe
from invariants.meaning.values import Bool, Long
from policies import cedar_syntax
from policies.cedar_syntax import LONG_MAX, LONG_MIN
from policies.cedar_syntax import nodes as pst
from policies.questions import Entity, Question
from policies.schema import TypedSchema

Scope = Mapping[str, Any]
Closure = Callable[[Scope], Any]

Trace = Callable[[Scope], tuple[bool, int | None, int | None]]
"""A truth value with both sides of the comparison that decided it, where one did."""


def compile_long(text: str, action: str, schema: TypedSchema) -> Callable[[Mapping[str, Any]], int]:
    """
    Compile a contract's expression (`risk`, `amount`, `ceiling`) over the context of one action.

    Raises `Unsupported` for forms without a meaning here, for members that the action's context does not have and for
    another type than Long, and `SyntaxRefused` when the text is not one expression. The result raises
    `EvaluationError` where Cedar would err.
    """
    run = _context_only(text, action, schema, Long)

    def evaluate(context: Mapping[str, Any]) -> int:
        value = run({"context": context})
        if type(value) is not int:
            raise EvaluationError("a Long expected")
        return value

    return evaluate


def compile_bool(text: str, action: str, schema: TypedSchema) -> Callable[[Mapping[str, Any]], bool]:
    """Compile a condition over the context of one action, as `compile_long` does."""
    run = _context_only(text, action, schema, Bool)

    def evaluate(context: Mapping[str, Any]) -> bool:
        return _truth(run({"context": context}))

    return evaluate


def scope_of(question: Question) -> Scope:
    """What the closures of a whole policy read. Build it once for all checks of a question."""
    return {
        "context": question.context,
        "principal": question.principal,
        "resource": question.resource,
        "roles": question.roles,
    }


def closure(expression: pst.Expr, *, action: str, groups: frozenset[str], where: str) -> Closure:
    """Compile any supported expression for questions about one action, which belongs to `groups`."""
    return _Compiler(action, groups, where).compile(expression)


def trace(expression: pst.Expr, *, action: str, groups: frozenset[str], where: str) -> Trace:
    """Compile a condition so that its evaluation also tells the comparison that decided it."""
    return _Compiler(action, groups, where).trace(expression)


def scope_matches(scope: pst.PrincipalOrResourceConstraint, variable: str, where: str) -> Closure | None:
    """Compile a principal or resource scope. None: it admits everything."""
    match scope:
        case pst.ScopeAny():
            return None
        case pst.ScopeEq(entity=pst.EntityUid() as uid):
            wanted = _entity(uid)
            return lambda values: values[variable] == wanted
        case pst.ScopeIn(entity=pst.EntityUid() as uid):
            wanted = _entity(uid)
            return lambda values: _is_in(values, values[variable], wanted)
        case pst.ScopeIs(entity_type=kind):
            name = str(kind)
            return lambda values: values[variable].type == name
        case pst.ScopeIsIn(entity_type=kind, entity=pst.EntityUid() as uid):
            name, wanted = str(kind), _entity(uid)
            return lambda values: values[variable].type == name and _is_in(values, values[variable], wanted)
        case _:
            raise Unsupported("template_slot", where)


class _Compiler:
    """One expression of one action. Holds what stays the same down the tree."""

    __slots__ = ("_action", "_groups", "_where")

    def __init__(self, action: str, groups: frozenset[str], where: str) -> None:
        self._action = action
        self._groups = groups
        self._where = where

    def compile(self, node: pst.Expr) -> Closure:
        match node:
            case pst.BoolLit(value=value) | pst.LongLit(value=value) | pst.StringLit(value=value):
                return lambda _scope: value
            case pst.EntityLit(value=uid):
                entity = _entity(uid)
                return lambda _scope: entity
            case pst.Var(name="action"):
                action = Entity(type="Action", id=self._action)
                return lambda _scope: action
            case pst.Var(name=name):
                return lambda scope: scope[name]
            case pst.GetAttr():
                return self._attribute(node)
            case pst.HasAttr(base=base, attrs=attributes):
                return _has(self.compile(base), attributes)
            case pst.UnaryOp(op="not", arg=arg):
                return _negation(self.compile(arg))
            case pst.UnaryOp(op="neg", arg=arg):
                return _minus(self.compile(arg))
            case pst.BinaryOp(op=op, left=left, right=right):
                return self._binary(op, left, right)
            case pst.Is(base=base, entity_type=kind, in_expr=target):
                return self._is(base, str(kind), target)
            case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
                return _choice(self.compile(cond), self.compile(then), self.compile(other))
            case pst.UnaryOp(op=op):
                raise Unsupported(f"operator_{op}", self._where)
            case _:
                raise Unsupported(f"form_{type(node).__name__.lower()}", self._where)

    def trace(self, node: pst.Expr) -> Trace:
        match node:
            case pst.BinaryOp(op="less" | "less_eq" | "greater" | "greater_eq" | "eq" | "not_eq" as op):
                return _traced_comparison(op, self.compile(node.left), self.compile(node.right))
            case pst.BinaryOp(op="and", left=left, right=right):
                return _traced_junction(self.trace(left), self.trace(right), going_on=True)
            case pst.BinaryOp(op="or", left=left, right=right):
                return _traced_junction(self.trace(left), self.trace(right), going_on=False)
            case pst.UnaryOp(op="not", arg=arg):
                inner = self.trace(arg)

                def negated(scope: Scope) -> tuple[bool, int | None, int | None]:
                    truth, value, limit = inner(scope)
                    return not truth, value, limit

                return negated
            case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
                test, positive, negative = self.compile(cond), self.trace(then), self.trace(other)
                return lambda scope: positive(scope) if _truth(test(scope)) else negative(scope)
            case _:
                plain = self.compile(node)
                return lambda scope: (_truth(plain(scope)), None, None)

    def _attribute(self, node: pst.GetAttr) -> Closure:
        """A chain `context.a.b.c` becomes one closure: attribute access is most of what a condition does."""
        path: list[str] = []
        base: pst.Expr = node
        while isinstance(base, pst.GetAttr):
            path.append(base.attr)
            base = base.base
        path.reverse()
        if isinstance(base, pst.Var) and base.name == "context" and len(path) in {1, 2, 3}:
            return _CHAINS[len(path)](*path)
        read = self.compile(base)

        def attribute(scope: Scope) -> Any:
            value = read(scope)
            try:
                for name in path:
                    value = value[name]
            except (KeyError, TypeError):
                raise EvaluationError("attribute missing") from None
            return value

        return attribute

    def _binary(self, op: str, left: pst.Expr, right: pst.Expr) -> Closure:
        match op:
            case "and":
                return _junction(self.compile(left), self.compile(right), going_on=True)
            case "or":
                return _junction(self.compile(left), self.compile(right), going_on=False)
            case "eq" | "not_eq" | "less" | "less_eq" | "greater" | "greater_eq":
                return _COMPARISONS[op](self.compile(left), self.compile(right))
            case "add" | "sub" | "mul":
                return _ARITHMETIC[op](self.compile(left), self.compile(right))
            case "in":
                return self._in(left, right)
            case "contains" if isinstance(left, pst.Set):
                # A set stands only where it is looked into: sets as values have no meaning here yet.
                return _contains(tuple(self.compile(element) for element in left.elements), self.compile(right))
            case _:
                raise Unsupported(f"operator_{op}", self._where)

    def _in(self, left: pst.Expr, right: pst.Expr) -> Closure:
        if any(
            isinstance(node, pst.EntityLit) and str(node.value.type) == "Action"
            for node in cedar_syntax.subexpressions(left)
        ):
            # The groups of this action are known here, those of another are not.
            raise Unsupported("in_other_action", self._where)
        read = self.compile(left)
        targets = right.elements if isinstance(right, pst.Set) else (right,)
        compiled = tuple(self.compile(target) for target in targets)
        action, groups = self._action, self._groups

        def member(scope: Scope) -> bool:
            entity = read(scope)
            # Every element is evaluated and must be an entity before membership is looked at, as in Cedar.
            wanted = [target(scope) for target in compiled]
            if type(entity) is not Entity or any(type(target) is not Entity for target in wanted):
                raise EvaluationError("an entity expected")
            return any(_is_in(scope, entity, target, action, groups) for target in wanted)

        return member

    def _is(self, base: pst.Expr, kind: str, target: pst.Expr | None) -> Closure:
        read = self.compile(base)

        def matches(scope: Scope) -> bool:
            entity = read(scope)
            if type(entity) is not Entity:
                raise EvaluationError("an entity expected")
            return entity.type == kind

        return matches if target is None else _junction(matches, self._in(base, target), going_on=True)


def _context_only(text: str, action: str, schema: TypedSchema, expected: type[Long] | type[Bool]) -> Closure:
    where = f"expression of `{action}`"
    expression = cedar_syntax.parse_expression(text)
    for node in cedar_syntax.subexpressions(expression):
        if isinstance(node, pst.EntityLit) or (isinstance(node, pst.Var) and node.name != "context"):
            raise Unsupported("outside_context", where)
    outcome = compiler.expression(expression, _universe(schema, action), where)
    if not all(isinstance(case.value, expected) for case in outcome.cases) or not outcome.cases:
        # Always an error, or a value of another type: the author meant something else.
        raise Unsupported("other_type", where)
    return _Compiler("", frozenset(), where).compile(expression)


def _universe(schema: TypedSchema, action: str) -> Universe:
    """Every request for one action. Whose is all one: an expression over the context does not ask."""
    known = schema.actions[action]
    alone = schemas.of_tools(replace(schema, actions={action: known}))
    return Universe(alone, RequestType(principal="Agent", action=Uid("Action", action), resource=known.resource_type))


def _entity(uid: pst.EntityUid) -> Entity:
    return Entity(type=str(uid.type), id=uid.id)


def _is_in(
    scope: Scope, entity: Entity, target: Entity, action: str = "", groups: frozenset[str] = frozenset()
) -> bool:
    """Membership over exactly the entities that a question carries: the principal's roles and the action's groups."""
    if entity == target:
        return True
    if target.type == "Role" and entity == scope["principal"]:
        return target.id in scope["roles"]
    return target.type == "Action" and entity.type == "Action" and entity.id == action and target.id in groups


def _truth(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise EvaluationError("a boolean expected")


def _long(value: int) -> int:
    if LONG_MIN <= value <= LONG_MAX:
        return value
    raise EvaluationError("integer overflow")


def _equal(left: Any, right: Any) -> bool:
    kind = type(left)
    if kind is not type(right):
        # In Cedar values of different types are unequal, which is no error; in Python `True == 1`.
        return False
    if kind is dict:
        return left.keys() == right.keys() and all(_equal(value, right[name]) for name, value in left.items())
    if kind in _SCALARS:
        return bool(left == right)
    raise EvaluationError("a value outside the value kinds")


_SCALARS = frozenset({int, bool, str, Entity})


def _chain_of_one(first: str) -> Closure:
    def attribute(scope: Scope) -> Any:
        try:
            return scope["context"][first]
        except (KeyError, TypeError):
            raise EvaluationError("attribute missing") from None

    return attribute


def _chain_of_two(first: str, second: str) -> Closure:
    def attribute(scope: Scope) -> Any:
        try:
            return scope["context"][first][second]
        except (KeyError, TypeError):
            raise EvaluationError("attribute missing") from None

    return attribute


def _chain_of_three(first: str, second: str, third: str) -> Closure:
    def attribute(scope: Scope) -> Any:
        try:
            return scope["context"][first][second][third]
        except (KeyError, TypeError):
            raise EvaluationError("attribute missing") from None

    return attribute


_CHAINS: dict[int, Callable[..., Closure]] = {1: _chain_of_one, 2: _chain_of_two, 3: _chain_of_three}


def _has(read: Closure, attributes: tuple[str, ...]) -> Closure:
    def has(scope: Scope) -> bool:
        value = read(scope)
        for name in attributes:
            if type(value) is Entity:
                return False  # Entities of a question carry no attributes.
            if not isinstance(value, Mapping):
                raise EvaluationError("a record or entity expected")
            if name not in value:
                return False
            value = value[name]
        return True

    return has


def _negation(read: Closure) -> Closure:
    return lambda scope: not _truth(read(scope))


def _minus(read: Closure) -> Closure:
    def minus(scope: Scope) -> int:
        value = read(scope)
        if type(value) is not int:
            raise EvaluationError("a Long expected")
        return _long(-value)

    return minus


def _choice(test: Closure, then: Closure, other: Closure) -> Closure:
    return lambda scope: then(scope) if _truth(test(scope)) else other(scope)


def _junction(left: Closure, right: Closure, *, going_on: bool) -> Closure:
    """`&&` goes on while true, `||` while false; the other value answers without looking right."""

    def junction(scope: Scope) -> bool:
        if _truth(left(scope)) is not going_on:
            return not going_on
        return _truth(right(scope))

    return junction


def _traced_junction(left: Trace, right: Trace, *, going_on: bool) -> Trace:
    def junction(scope: Scope) -> tuple[bool, int | None, int | None]:
        first = left(scope)
        if first[0] is not going_on:
            return first
        second = right(scope)
        if second[1] is None and second[0] is going_on:
            return first  # Both sides were needed; the one with numbers tells more.
        return second

    return junction


def _contains(elements: tuple[Closure, ...], wanted: Closure) -> Closure:
    def contains(scope: Scope) -> bool:
        values = [element(scope) for element in elements]
        value = wanted(scope)
        return any(_equal(candidate, value) for candidate in values)

    return contains


def _less_eq(left: Closure, right: Closure) -> Closure:
    def less_eq(scope: Scope) -> bool:
        first, second = left(scope), right(scope)
        if type(first) is int and type(second) is int:
            return first <= second
        raise EvaluationError("a Long expected")

    return less_eq


def _less(left: Closure, right: Closure) -> Closure:
    def less(scope: Scope) -> bool:
        first, second = left(scope), right(scope)
        if type(first) is int and type(second) is int:
            return first < second
        raise EvaluationError("a Long expected")

    return less


_COMPARISONS: dict[str, Callable[[Closure, Closure], Closure]] = {
    "eq": lambda left, right: lambda scope: _equal(left(scope), right(scope)),
    "not_eq": lambda left, right: lambda scope: not _equal(left(scope), right(scope)),
    "less": _less,
    "less_eq": _less_eq,
    # The operands change places; which of two errors would be met first makes no difference here.
    "greater": lambda left, right: _less(right, left),
    "greater_eq": lambda left, right: _less_eq(right, left),
}

_LONG_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq,
    "not_eq": operator.ne,
    "less": operator.lt,
    "less_eq": operator.le,
    "greater": operator.gt,
    "greater_eq": operator.ge,
}


def _traced_comparison(op: str, left: Closure, right: Closure) -> Trace:
    compare = _LONG_COMPARISONS[op]
    is_equality, is_equal = op in {"eq", "not_eq"}, op == "eq"

    def comparison(scope: Scope) -> tuple[bool, int | None, int | None]:
        first, second = left(scope), right(scope)
        if type(first) is int and type(second) is int:
            return compare(first, second), first, second
        if is_equality:
            return _equal(first, second) is is_equal, None, None
        raise EvaluationError("a Long expected")

    return comparison


def _arithmetic(combine: Callable[[int, int], int]) -> Callable[[Closure, Closure], Closure]:
    def build(left: Closure, right: Closure) -> Closure:
        def compute(scope: Scope) -> int:
            first, second = left(scope), right(scope)
            if type(first) is int and type(second) is int:
                value = combine(first, second)
                if LONG_MIN <= value <= LONG_MAX:
                    return value
                raise EvaluationError("integer overflow")
            raise EvaluationError("a Long expected")

        return compute

    return build


_ARITHMETIC: dict[str, Callable[[Closure, Closure], Closure]] = {
    "add": _arithmetic(int.__add__),
    "sub": _arithmetic(int.__sub__),
    "mul": _arithmetic(int.__mul__),
}
