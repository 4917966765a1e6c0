"""What rules read of the context. Reading a context costs the engine more than deciding, so it gets no more than that.

A rule reaches into the context by fixed names only, so a member that no rule of a slice names cannot change what the
slice decides; a rule that takes a record as a whole has all of it in its footprint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from policies.cedar_syntax import nodes as pst

Footprint: TypeAlias = "Mapping[str, Footprint] | None"
"""Members by name, each with what is read of it. None: all of it."""

Paths: TypeAlias = frozenset[tuple[str, ...]]


def paths(policy: pst.Template) -> Paths:
    """Where the conditions of one policy reach into the context; `()` where one takes the context as a whole."""
    return frozenset(path for clause in policy.clauses for path in _paths(clause.expr))


def reached(expression: pst.Expr) -> Paths:
    """The same of one expression."""
    return frozenset(_paths(expression))


def of(policies: Iterable[pst.Template]) -> Footprint:
    """What these policies read of `context`, all conditions taken together."""
    return joined(map(paths, policies))


def joined(each: Iterable[Paths]) -> Footprint:
    """The same from the paths of each policy, for whoever has them."""
    tree: dict[str, Any] = {}
    for path in sorted(frozenset[tuple[str, ...]]().union(*each)):
        if not path:
            return None
        _plant(tree, path)
    return tree


def cut(value: Any, footprint: Footprint) -> Any:
    """The part of `value` inside the footprint. Members that `value` lacks stay lacking."""
    if footprint is None or type(value) is not dict:
        return value
    return {
        name: value[name] if inner is None else cut(value[name], inner)
        for name, inner in footprint.items()
        if name in value
    }


def touches(footprint: Footprint, path: Iterable[str]) -> bool:
    """Whether the member at `path`, or what is inside it, may be read."""
    for name in path:
        if footprint is None:
            return True
        if name not in footprint:
            return False
        footprint = footprint[name]
    return True


def _plant(tree: dict[str, Any], path: tuple[str, ...]) -> None:
    for name in path[:-1]:
        if tree.setdefault(name, {}) is None:
            return  # All of it is read already.
        tree = tree[name]
    tree[path[-1]] = None


def _paths(expression: pst.Expr) -> Iterator[tuple[str, ...]]:
    """Where the expression reaches into the context; `()` where it takes the context as a whole."""
    match expression:
        case pst.GetAttr(base=base, attr=attribute):
            yield from _extended(base, (attribute,))
        case pst.HasAttr(base=base, attrs=attributes):
            yield from _extended(base, attributes)
        case pst.Var(name="context"):
            yield ()
        case pst.UnaryOp(arg=inner) | pst.Like(base=inner):
            yield from _paths(inner)
        case pst.BinaryOp(left=left, right=right):
            yield from _paths(left)
            yield from _paths(right)
        case pst.Is(base=base, in_expr=target):
            yield from _paths(base)
            yield from _paths(target) if target is not None else ()
        case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
            for part in (cond, then, other):
                yield from _paths(part)
        case pst.Set(elements=elements):
            for element in elements:
                yield from _paths(element)
        case pst.Record(fields=fields):
            for value in fields.values():
                yield from _paths(value)
        case pst.BoolLit() | pst.LongLit() | pst.StringLit() | pst.EntityLit() | pst.Var():
            return
        case _:
            yield ()  # A form we do not know may read anything.


def _extended(base: pst.Expr, attributes: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(base, pst.GetAttr):
        yield from _extended(base.base, (base.attr, *attributes))
    elif base == pst.Var("context"):
        yield attributes
    else:
        yield from _paths(base)
