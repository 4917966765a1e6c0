"""All of Cedar as compiled Python closures, over any request and any entities.

A closure takes a `Scene` and returns the value that Cedar would compute, or raises `EvaluationError` where Cedar would
err. `&&`, `||` and `if` skip what Cedar skips. Invariants are evaluated by these closures on every call, so what
conditions are mostly made of (attributes of the context, integers, truth values) has a short way through.

Written apart from the symbolic compiler, on purpose: the two meanings and the engine are tested against one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from invariants.errors import Unsupported
from invariants.meaning.entities import Entity, Request, SetValue, Store, set_of
from invariants.meaning.extensions import CONSTRUCTORS
from invariants.meaning.operations import ARITHMETIC, BINARY, COMPARISONS, UNARY, err, expect, truth
from invariants.meaning.schemas import Uid
from invariants.solving.terms import Pattern, matches
from policies.cedar_syntax import LONG_MAX, LONG_MIN
from policies.cedar_syntax import nodes as pst


@dataclass(frozen=True, slots=True)
class Scene:
    """What closures read."""

    request: Request
    store: Store


Closure = Callable[[Scene], Any]

Trace = Callable[[Scene], tuple[bool, int | None, int | None]]
"""A truth value with both sides of the comparison that decided it, where it compared integers."""


def policy(template: pst.Template, where: str) -> Callable[[Scene], bool]:
    """Compile a policy: whether it is satisfied. The scope comes before the clauses and hides their errors."""
    scopes = (
        scope(template.principal, "principal", where),
        _actions(template.action),
        scope(template.resource, "resource", where),
    )
    clauses = tuple((isinstance(clause, pst.When), compile(clause.expr, where)) for clause in template.clauses)

    def satisfied(scene: Scene) -> bool:
        if not all(matches(scene) for matches in scopes):
            return False
        return all(truth(condition(scene)) is wanted for wanted, condition in clauses)

    return satisfied


def compile(node: pst.Expr, where: str) -> Closure:
    """Compile any expression."""
    match node:
        case pst.BoolLit(value=value) | pst.LongLit(value=value) | pst.StringLit(value=value):
            return lambda _scene: value
        case pst.EntityLit(value=uid):
            entity = uid_of(uid)
            return lambda _scene: entity
        case pst.Var(name=name):
            return _VARIABLES[name]
        case pst.BinaryOp(op="and" | "or" as op, left=left, right=right):
            return _junction(compile(left, where), compile(right, where), going_on=op == "and")
        case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
            test, positive, negative = compile(cond, where), compile(then, where), compile(other, where)
            return lambda scene: positive(scene) if truth(test(scene)) else negative(scene)
        case pst.Is(base=base, entity_type=kind, in_expr=target):
            is_kind = _is(compile(base, where), str(kind))
            if target is None:
                return is_kind
            return _junction(is_kind, compile(pst.BinaryOp("in", base, target), where), going_on=True)
        case pst.GetAttr(base=base, attr=name):
            return _short_way(node, _attribute(compile(base, where), name))
        case pst.HasAttr(base=base, attrs=names):
            return _has(compile(base, where), names)
        case _:
            return _strict(node, where)


def scope(constraint: pst.PrincipalOrResourceConstraint, variable: str, where: str) -> Closure:
    """Compile a principal or resource scope: whether it admits the request's."""
    read = _VARIABLES[variable]
    match constraint:
        case pst.ScopeAny():
            return lambda _scene: True
        case pst.ScopeEq(entity=pst.EntityUid() as uid):
            wanted = uid_of(uid)
            return lambda scene: bool(read(scene) == wanted)
        case pst.ScopeIn(entity=pst.EntityUid() as uid):
            wanted = uid_of(uid)
            return lambda scene: _in(scene, read(scene), wanted)
        case pst.ScopeIs(entity_type=kind):
            return _is(read, str(kind))
        case pst.ScopeIsIn(entity_type=kind, entity=pst.EntityUid() as uid):
            wanted = uid_of(uid)
            is_kind = _is(read, str(kind))
            return lambda scene: is_kind(scene) and _in(scene, read(scene), wanted)
        case _:
            raise Unsupported("template_slot", where)


def uid_of(uid: pst.EntityUid) -> Uid:
    """An entity's name as a value."""
    return Uid(str(uid.type), uid.id)


def pattern_of(elements: Sequence[pst.PatternElem]) -> Pattern:
    """A pattern's pieces, runs of plain characters joined."""
    pieces: list[str | None] = []
    for element in elements:
        if isinstance(element, pst.Wildcard):
            pieces.append(None)
        elif pieces and pieces[-1] is not None:
            pieces[-1] += element.value
        else:
            pieces.append(element.value)
    return tuple(pieces)


def trace(node: pst.Expr, where: str) -> Trace:
    """Compile a condition so that its evaluation also tells the comparison that decided it."""
    match node:
        case pst.BinaryOp(op=op, left=left, right=right) if op in COMPARISONS:
            return _traced_comparison(op, compile(left, where), compile(right, where))
        case pst.BinaryOp(op="and" | "or" as op, left=left, right=right):
            return _traced_junction(trace(left, where), trace(right, where), going_on=op == "and")
        case pst.UnaryOp(op="not", arg=arg):
            return _traced_negation(trace(arg, where))
        case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
            test, positive, negative = compile(cond, where), trace(then, where), trace(other, where)
            return lambda scene: positive(scene) if truth(test(scene)) else negative(scene)
        case _:
            plain = compile(node, where)
            return lambda scene: (truth(plain(scene)), None, None)


def _traced_comparison(op: str, left: Closure, right: Closure) -> Trace:
    compare, otherwise = COMPARISONS[op], BINARY[op]

    def comparison(scene: Scene) -> tuple[bool, int | None, int | None]:
        first, second = left(scene), right(scene)
        if type(first) is int and type(second) is int:
            return compare(first, second), first, second
        return otherwise(first, second), None, None

    return comparison


def _traced_negation(inner: Trace) -> Trace:
    def negation(scene: Scene) -> tuple[bool, int | None, int | None]:
        is_true, value, limit = inner(scene)
        return not is_true, value, limit

    return negation


def _traced_junction(left: Trace, right: Trace, *, going_on: bool) -> Trace:
    def junction(scene: Scene) -> tuple[bool, int | None, int | None]:
        first = left(scene)
        if first[0] is not going_on:
            return first
        second = right(scene)
        if second[1] is None and second[0] is going_on:
            return first  # Both sides were needed; the one with numbers tells more.
        return second

    return junction


def _strict(node: pst.Expr, where: str) -> Closure:
    """Forms that evaluate all their parts first."""
    match node:
        case pst.UnaryOp(op=op, arg=arg):
            return _unary(op, compile(arg, where))
        case pst.BinaryOp(op=op, left=left, right=right):
            return _binary(op, compile(left, where), compile(right, where))
        case pst.Like(base=base, pattern=elements):
            read, pattern = compile(base, where), pattern_of(elements)
            return lambda scene: matches(expect(str, read(scene)), pattern)
        case pst.Set(elements=parts):
            return _set(parts, where)
        case pst.Record(fields=fields):
            members = tuple((name, compile(part, where)) for name, part in fields.items())
            return lambda scene: {name: part(scene) for name, part in members}
        case _:
            raise Unsupported(f"form_{type(node).__name__.lower()}", where)


def _unary(op: str, read: Closure) -> Closure:
    if op in CONSTRUCTORS:
        construct = CONSTRUCTORS[op]

        def built(scene: Scene) -> Any:
            found = construct(expect(str, read(scene)))
            return err("no literal of the type") if found is None else found

        return built
    compute = UNARY[op]
    return lambda scene: compute(read(scene))


def _binary(op: str, left: Closure, right: Closure) -> Closure:
    match op:
        case "in":
            return lambda scene: _in(scene, left(scene), right(scene))
        case "has_tag":
            return lambda scene: _tagged(scene, left(scene), right(scene))[0]
        case "get_tag":

            def tag(scene: Scene) -> Any:
                is_there, value = _tagged(scene, left(scene), right(scene))
                return value if is_there else err("tag missing")

            return tag
        case _:
            if op in ARITHMETIC:
                return _computed(ARITHMETIC[op], left, right)
            compute = BINARY[op]
            if op in COMPARISONS:
                return _compared(COMPARISONS[op], compute, left, right)
            return lambda scene: compute(left(scene), right(scene))


def _set(parts: Sequence[pst.Expr], where: str) -> Closure:
    each = tuple(compile(part, where) for part in parts)

    def built(scene: Scene) -> SetValue:
        return set_of([part(scene) for part in each])

    if all(isinstance(part, pst.BoolLit | pst.LongLit | pst.StringLit | pst.EntityLit) for part in parts):
        known = built(NOWHERE)
        return lambda _scene: known
    return built


def _actions(scope: pst.ActionConstraint) -> Closure:
    match scope:
        case pst.ScopeAny():
            return lambda _scene: True
        case pst.ActionEq(entity=entity):
            wanted = uid_of(entity)
            return lambda scene: bool(scene.request.action == wanted)
        case pst.ActionIn(entities=entities):
            targets = set_of(uid_of(entity) for entity in entities)
            return lambda scene: _in(scene, scene.request.action, targets)


def _junction(left: Closure, right: Closure, *, going_on: bool) -> Closure:
    """`&&` goes on while true, `||` while false; the other value answers without looking right."""
    stops = not going_on

    def junction(scene: Scene) -> Any:
        first = left(scene)
        if first is stops:
            return stops
        second = right(scene) if first is going_on else err("a bool expected")
        return second if second is True or second is False else err("a bool expected")

    return junction


def _is(read: Closure, kind: str) -> Closure:
    return lambda scene: bool(expect(Uid, read(scene)).type == kind)


def _short_way(node: pst.Expr, general: Closure) -> Closure:
    """`context.a.b.c` in one step where every part is a record; whatever else it is, `general` knows."""
    path: list[str] = []
    while isinstance(node, pst.GetAttr):
        path.insert(0, node.attr)
        node = node.base
    if not isinstance(node, pst.Var) or node.name != "context" or len(path) > len(_STEPS):
        return general
    return _STEPS[len(path) - 1](general, *path)


def _one_step(general: Closure, first: str) -> Closure:
    def read(scene: Scene) -> Any:
        try:
            return scene.request.context[first]
        except (KeyError, TypeError):
            return general(scene)

    return read


def _two_steps(general: Closure, first: str, second: str) -> Closure:
    def read(scene: Scene) -> Any:
        try:
            return scene.request.context[first][second]  # type: ignore[index]  # Then it is no record.
        except (KeyError, TypeError):
            return general(scene)

    return read


def _three_steps(general: Closure, first: str, second: str, third: str) -> Closure:
    def read(scene: Scene) -> Any:
        try:
            return scene.request.context[first][second][third]  # type: ignore[index]  # Then it is no record.
        except (KeyError, TypeError):
            return general(scene)

    return read


_STEPS: tuple[Callable[..., Closure], ...] = (_one_step, _two_steps, _three_steps)


def _members(scene: Scene, value: Any) -> Mapping[str, Any]:
    """Of an entity, which without a place in the store has none, or of a record."""
    if type(value) is Uid:
        return scene.store.get(value, _NOBODY).attributes
    return value if isinstance(value, Mapping) else err("a record or entity expected")


def _attribute(read: Closure, name: str) -> Closure:
    def attribute(scene: Scene) -> Any:
        members = _members(scene, read(scene))
        return members[name] if name in members else err("attribute missing")

    return attribute


def _has(read: Closure, names: tuple[str, ...]) -> Closure:
    def has(scene: Scene) -> bool:
        value = read(scene)
        for name in names:
            members = _members(scene, value)
            if name not in members:
                return False
            value = members[name]
        return True

    return has


def _in(scene: Scene, entity: Any, target: Any) -> bool:
    uid = expect(Uid, entity)
    targets = target.elements if type(target) is SetValue else (target,)
    if not all(type(each) is Uid for each in targets):
        err("an entity expected")
    ancestors = scene.store.get(uid, _NOBODY).ancestors
    return any(uid == each or each in ancestors for each in targets)


def _compared(
    compare: Callable[[int, int], bool], otherwise: Callable[[Any, Any], bool], left: Closure, right: Closure
) -> Closure:
    """Integers are nearly all that is compared; `otherwise` knows the rest."""

    def compared(scene: Scene) -> bool:
        first, second = left(scene), right(scene)
        if type(first) is int and type(second) is int:
            return compare(first, second)
        return otherwise(first, second)

    return compared


def _computed(combine: Callable[[int, int], int], left: Closure, right: Closure) -> Closure:
    def computed(scene: Scene) -> int:
        first, second = left(scene), right(scene)
        if type(first) is int and type(second) is int:
            value = combine(first, second)
            return value if LONG_MIN <= value <= LONG_MAX else err("integer overflow")
        return err("a Long expected")

    return computed


def _tagged(scene: Scene, entity: Any, key: Any) -> tuple[bool, Any]:
    tags = scene.store.get(expect(Uid, entity), _NOBODY).tags
    return expect(str, key) in tags, tags.get(key)


_NOBODY = Entity()
_NOTHING = Uid("", "")
NOWHERE = Scene(Request(principal=_NOTHING, action=_NOTHING, resource=_NOTHING, context={}), {})
"""What is the same everywhere, a literal, is the same here."""
_VARIABLES: dict[str, Closure] = {
    "principal": lambda scene: scene.request.principal,
    "action": lambda scene: scene.request.action,
    "resource": lambda scene: scene.request.resource,
    "context": lambda scene: scene.request.context,
}
