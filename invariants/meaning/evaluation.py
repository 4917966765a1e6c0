"""All of Cedar as compiled Python closures, over any request and any entities.

`expressions` is its fast sister for the gateway's own questions. A closure takes a `Scene` and returns the value that
Cedar would compute, or raises `EvaluationError` where Cedar would err. `&&`, `||` and `if` skip what Cedar skips.

Written apart from the symbolic compiler, on purpose: the two meanings and the engine are tested against one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from invariants.errors import EvaluationError, Unsupported
from invariants.meaning.entities import Entity, Request, SetValue, Store, same, set_of
from invariants.meaning.extensions import (
    CONSTRUCTORS,
    DAY_MS,
    LOOPBACK,
    MULTICAST,
    UNIT_MS,
    Address,
    Datetime,
    Decimal,
    Duration,
    fits,
)
from invariants.meaning.schemas import Uid
from invariants.solving.terms import Pattern, matches
from policies.cedar_syntax import nodes as pst


@dataclass(frozen=True, slots=True)
class Scene:
    """What closures read."""

    request: Request
    store: Store


Closure = Callable[[Scene], Any]


def policy(template: pst.Template, where: str) -> Callable[[Scene], bool]:
    """Compile a policy: whether it is satisfied. The scope comes before the clauses and hides their errors."""
    scopes = (
        _scope(template.principal, lambda scene: scene.request.principal, where),
        _actions(template.action),
        _scope(template.resource, lambda scene: scene.request.resource, where),
    )
    clauses = tuple((isinstance(clause, pst.When), compile(clause.expr, where)) for clause in template.clauses)

    def satisfied(scene: Scene) -> bool:
        if not all(matches(scene) for matches in scopes):
            return False
        return all(_truth(condition(scene)) is wanted for wanted, condition in clauses)

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
            return lambda scene: getattr(scene.request, name)
        case pst.BinaryOp(op="and" | "or" as op, left=left, right=right):
            return _junction(compile(left, where), compile(right, where), going_on=op == "and")
        case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
            test, positive, negative = compile(cond, where), compile(then, where), compile(other, where)
            return lambda scene: positive(scene) if _truth(test(scene)) else negative(scene)
        case pst.Is(base=base, entity_type=kind, in_expr=target):
            is_kind = _is(compile(base, where), str(kind))
            if target is None:
                return is_kind
            return _junction(is_kind, compile(pst.BinaryOp("in", base, target), where), going_on=True)
        case pst.GetAttr(base=base, attr=name):
            return _attribute(compile(base, where), name)
        case pst.HasAttr(base=base, attrs=names):
            return _has(compile(base, where), names)
        case _:
            return _strict(node, where)


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


def _strict(node: pst.Expr, where: str) -> Closure:
    """Forms that evaluate all their parts first."""
    match node:
        case pst.UnaryOp(op=op, arg=arg):
            return _unary(op, compile(arg, where))
        case pst.BinaryOp(op=op, left=left, right=right):
            return _binary(op, compile(left, where), compile(right, where))
        case pst.Like(base=base, pattern=elements):
            read, pattern = compile(base, where), pattern_of(elements)
            return lambda scene: matches(_as(str, read(scene)), pattern)
        case pst.Set(elements=parts):
            each = tuple(compile(part, where) for part in parts)
            return lambda scene: set_of([part(scene) for part in each])
        case pst.Record(fields=fields):
            members = tuple((name, compile(part, where)) for name, part in fields.items())
            return lambda scene: {name: part(scene) for name, part in members}
        case _:
            raise Unsupported(f"form_{type(node).__name__.lower()}", where)


def _unary(op: str, read: Closure) -> Closure:
    if op in _CONSTRUCTOR_NAMES:
        construct = CONSTRUCTORS[op]

        def built(scene: Scene) -> Any:
            found = construct(_as(str, read(scene)))
            return _err("no literal of the type") if found is None else found

        return built
    compute = _UNARY[op]
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
                return value if is_there else _err("tag missing")

            return tag
        case _:
            compute = _BINARY[op]
            return lambda scene: compute(left(scene), right(scene))


def _scope(scope: pst.PrincipalOrResourceConstraint, read: Closure, where: str) -> Closure:
    match scope:
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
    def junction(scene: Scene) -> bool:
        return _truth(right(scene)) if _truth(left(scene)) is going_on else not going_on

    return junction


def _is(read: Closure, kind: str) -> Closure:
    return lambda scene: bool(_as(Uid, read(scene)).type == kind)


_NOBODY = Entity()


def _attribute(read: Closure, name: str) -> Closure:
    def attribute(scene: Scene) -> Any:
        value = read(scene)
        members = scene.store.get(value, _NOBODY).attributes if type(value) is Uid else _as(dict, value)
        return members[name] if name in members else _err("attribute missing")

    return attribute


def _has(read: Closure, names: tuple[str, ...]) -> Closure:
    def has(scene: Scene) -> bool:
        value = read(scene)
        for name in names:
            members = scene.store.get(value, _NOBODY).attributes if type(value) is Uid else _as(dict, value)
            if name not in members:
                return False
            value = members[name]
        return True

    return has


def _in(scene: Scene, entity: Any, target: Any) -> bool:
    uid = _as(Uid, entity)
    targets = [_as(Uid, each) for each in target.elements] if type(target) is SetValue else [_as(Uid, target)]
    ancestors = scene.store.get(uid, _NOBODY).ancestors
    return any(uid == each or each in ancestors for each in targets)


def _tagged(scene: Scene, entity: Any, key: Any) -> tuple[bool, Any]:
    tags = scene.store.get(_as(Uid, entity), _NOBODY).tags
    return _as(str, key) in tags, tags.get(key)


def _truth(value: Any) -> bool:
    return bool(_as(bool, value))


def _as(kind: type, value: Any) -> Any:
    return value if type(value) is kind else _err(f"a {kind.__name__} expected")


def _err(what: str) -> NoReturn:
    raise EvaluationError(what)


def _long(value: int) -> int:
    return value if fits(value) else _err("integer overflow")


def _ordered(left: Any, right: Any) -> tuple[int, int]:
    """Longs, datetimes and durations have an order, each among themselves."""
    kind = type(left)
    if kind is not type(right) or kind not in (int, Datetime, Duration):
        _err("two values with an order expected")
    return (left, right) if kind is int else (left.number, right.number)


def _compared(compare: Callable[[int, int], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: compare(*_ordered(left, right))


def _decimals(compare: Callable[[int, int], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: compare(_as(Decimal, left).number, _as(Decimal, right).number)


def _longs(combine: Callable[[int, int], int]) -> Callable[[Any, Any], int]:
    return lambda left, right: _long(combine(_as(int, left), _as(int, right)))


def _sets(compare: Callable[[SetValue, SetValue], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: compare(_as(SetValue, left), _as(SetValue, right))


def _to_unit(unit_ms: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        number: int = _as(Duration, value).number
        return number // unit_ms if number >= 0 else -(-number // unit_ms)

    return convert


def _within(value: Any, ranges: tuple[Address, ...]) -> bool:
    return any(_as(Address, value).is_in_range(each) for each in ranges)


def _to_date(value: Any) -> Datetime:
    return Datetime(_long(_as(Datetime, value).number // DAY_MS * DAY_MS))


_CONSTRUCTOR_NAMES = frozenset(CONSTRUCTORS)
_UNARY: dict[str, Callable[[Any], Any]] = {
    "not": lambda value: not _truth(value),
    "neg": lambda value: _long(-_as(int, value)),
    "is_empty": lambda value: not _as(SetValue, value).elements,
    "is_ipv4": lambda value: not _as(Address, value).is_v6,
    "is_ipv6": lambda value: _as(Address, value).is_v6,
    "is_loopback": lambda value: _within(value, LOOPBACK),
    "is_multicast": lambda value: _within(value, MULTICAST),
    "to_date": _to_date,
    "to_time": lambda value: Duration(_as(Datetime, value).number % DAY_MS),
    **{name: _to_unit(unit_ms) for name, unit_ms in UNIT_MS.items()},
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "eq": same,
    "not_eq": lambda left, right: not same(left, right),
    "less": _compared(int.__lt__),
    "less_eq": _compared(int.__le__),
    "greater": _compared(int.__gt__),
    "greater_eq": _compared(int.__ge__),
    "add": _longs(int.__add__),
    "sub": _longs(int.__sub__),
    "mul": _longs(int.__mul__),
    "contains": lambda left, right: _as(SetValue, left).holds(right),
    "contains_all": _sets(lambda left, right: all(map(left.holds, right.elements))),
    "contains_any": _sets(lambda left, right: any(map(left.holds, right.elements))),
    "is_in_range": lambda left, right: _as(Address, left).is_in_range(_as(Address, right)),
    "offset": lambda left, right: Datetime(_long(_as(Datetime, left).number + _as(Duration, right).number)),
    "duration_since": lambda left, right: Duration(_long(_as(Datetime, left).number - _as(Datetime, right).number)),
    "decimal_less_than": _decimals(int.__lt__),
    "decimal_less_eq": _decimals(int.__le__),
    "decimal_greater": _decimals(int.__gt__),
    "decimal_greater_eq": _decimals(int.__ge__),
}
