"""Typed nodes as Cedar text, with no more brackets than needed: what `cedar_syntax` reads, written again.

Reading the text gives the same nodes, but for a chained `has`, which the parser reads as a conjunction. Comments and
line breaks are not in the nodes, so they are lost.
"""

from __future__ import annotations

import re
from typing import assert_never

from policies.cedar_syntax import nodes as pst

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar"})
_INFIX = {
    "or": "||",
    "and": "&&",
    "eq": "==",
    "not_eq": "!=",
    "less": "<",
    "less_eq": "<=",
    "greater": ">",
    "greater_eq": ">=",
    "in": "in",
    "add": "+",
    "sub": "-",
    "mul": "*",
}
_NAMES = {
    "decimal_less_than": "lessThan",
    "decimal_less_eq": "lessThanOrEqual",
    "decimal_greater": "greaterThan",
    "decimal_greater_eq": "greaterThanOrEqual",
}
_FUNCTIONS = frozenset({"decimal", "datetime", "duration", "ip"})

# How tightly a form binds: an operand that binds less tightly than its place asks for stands in brackets.
_IF, _OR, _AND, _RELATION, _SUM, _PRODUCT, _UNARY, _MEMBER = range(8)
_BINDING = {"or": _OR, "and": _AND, "add": _SUM, "sub": _SUM, "mul": _PRODUCT}


def policy(template: pst.Template) -> str:
    """A whole policy, annotations included."""
    annotations = "".join(f"@{name}({_quoted(value)})\n" for name, value in sorted(template.annotations.items()))
    scope = ", ".join(
        (
            _entities("principal", template.principal),
            _actions(template.action),
            _entities("resource", template.resource),
        )
    )
    clauses = "".join(
        f"\n{'when' if isinstance(clause, pst.When) else 'unless'} {{ {expression(clause.expr)} }}"
        for clause in template.clauses
    )
    return f"{annotations}{template.effect} ({scope}){clauses};\n"


def expression(node: pst.Expr) -> str:
    """One expression."""
    return _written(node)[0]


def _entities(name: str, scope: pst.PrincipalOrResourceConstraint) -> str:
    match scope:
        case pst.ScopeAny():
            return name
        case pst.ScopeEq(entity=entity):
            return f"{name} == {_entity(entity)}"
        case pst.ScopeIn(entity=entity):
            return f"{name} in {_entity(entity)}"
        case pst.ScopeIs(entity_type=kind):
            return f"{name} is {kind}"
        case pst.ScopeIsIn(entity_type=kind, entity=entity):
            return f"{name} is {kind} in {_entity(entity)}"
        case _:
            assert_never(scope)


def _actions(scope: pst.ActionConstraint) -> str:
    match scope:
        case pst.ScopeAny():
            return "action"
        case pst.ActionEq(entity=entity):
            return f"action == {_entity(entity)}"
        case pst.ActionIn(entities=(entity,)):
            return f"action in {_entity(entity)}"
        case pst.ActionIn(entities=entities):
            return f"action in [{', '.join(map(_entity, entities))}]"
        case _:
            assert_never(scope)


def _entity(entity: pst.EntityUid | pst.Slot) -> str:
    return f"?{entity.name}" if isinstance(entity, pst.Slot) else f"{entity.type}::{_quoted(entity.id)}"


def _written(node: pst.Expr) -> tuple[str, int]:
    """The text, and how tightly it binds."""
    match node:
        case pst.GetAttr(base=base, attr=name):
            return f"{_at(base, _MEMBER)}{f'.{name}' if _is_plain(name) else f'[{_quoted(name)}]'}", _MEMBER
        case pst.HasAttr(base=base, attrs=names):
            path = ".".join(names) if all(map(_is_plain, names)) else _quoted(names[0])
            return f"{_at(base, _SUM)} has {path}", _RELATION
        case pst.Like(base=base, pattern=pattern):
            return f"{_at(base, _SUM)} like {_pattern(pattern)}", _RELATION
        case pst.Is(base=base, entity_type=kind, in_expr=target):
            within = "" if target is None else f" in {_at(target, _SUM)}"
            return f"{_at(base, _SUM)} is {kind}{within}", _RELATION
        case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
            return f"if {expression(cond)} then {expression(then)} else {expression(other)}", _IF
        case pst.Set(elements=elements):
            return f"[{', '.join(map(expression, elements))}]", _MEMBER
        case pst.Record(fields=fields):
            members = ", ".join(f"{_quoted(name)}: {expression(value)}" for name, value in fields.items())
            return f"{{{members}}}", _MEMBER
        case pst.UnaryOp(op=op, arg=arg):
            return _unary(op, arg)
        case pst.BinaryOp(op=op, left=left, right=right):
            return _binary(op, left, right)
        case _:
            return _leaf(node)


def _leaf(node: pst.Var | pst.Slot | pst.Lit) -> tuple[str, int]:
    match node:
        case pst.Var(name=name):
            return name, _MEMBER
        case pst.Slot(name=name):
            return f"?{name}", _MEMBER
        case pst.BoolLit(value=value):
            return str(value).lower(), _MEMBER
        case pst.LongLit(value=number):
            return str(number), _MEMBER if number >= 0 else _UNARY
        case pst.StringLit(value=text):
            return _quoted(text), _MEMBER
        case pst.EntityLit(value=entity):
            return _entity(entity), _MEMBER
        case _:
            assert_never(node)


def _unary(op: pst.UnaryOpName, arg: pst.Expr) -> tuple[str, int]:
    if op == "not":
        # Four in a row are as many as the grammar admits.
        return f"!{_at(arg, _MEMBER)}", _UNARY
    if op == "neg":
        # A bare `-5` is the literal, which can be one smaller than any number that is negated.
        return f"-{f'({expression(arg)})' if isinstance(arg, pst.LongLit) else _at(arg, _MEMBER)}", _UNARY
    if op in _FUNCTIONS:
        return f"{op}({expression(arg)})", _MEMBER
    return f"{_at(arg, _MEMBER)}.{_method(op)}()", _MEMBER


def _binary(op: pst.BinaryOpName, left: pst.Expr, right: pst.Expr) -> tuple[str, int]:
    if op not in _INFIX:
        return f"{_at(left, _MEMBER)}.{_method(op)}({expression(right)})", _MEMBER
    binding = _BINDING.get(op, _RELATION)
    # Relations do not chain; everything else is read from the left.
    first, second = (_SUM, _SUM) if binding == _RELATION else (binding, binding + 1)
    return f"{_at(left, first)} {_INFIX[op]} {_at(right, second)}", binding


def _at(node: pst.Expr, binding: int) -> str:
    text, own = _written(node)
    return text if own >= binding else f"({text})"


def _method(op: str) -> str:
    """`contains_all` is called `containsAll`."""
    first, *rest = op.split("_")
    return _NAMES.get(op) or first + "".join(word.capitalize() for word in rest)


def _is_plain(name: str) -> bool:
    return bool(_IDENTIFIER.fullmatch(name)) and name not in _RESERVED


def _pattern(pattern: tuple[pst.PatternElem, ...]) -> str:
    written = "".join("*" if isinstance(piece, pst.Wildcard) else _character(piece.value) for piece in pattern)
    return f'"{written}"'


def _character(value: str) -> str:
    return "\\*" if value == "*" else _escaped(value)


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return "".join(
        f"\\{character}"
        if character in '"\\'
        else character
        if character.isprintable()
        else f"\\u{{{ord(character):x}}}"
        for character in text
    )
