"""Cedar text as typed nodes: the syntax without the engine.

Everything that gives Cedar a meaning of its own (compiled checks, the prover) reads policies through this module, so
that the parser is the engine's. Nothing is evaluated here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import cedarpy
from cedarpy import pst

ENGINE_VERSION = f"cedarpy {version('cedarpy')}"

LONG_MIN = -(2**63)
LONG_MAX = 2**63 - 1
"""Cedar's Long: arithmetic beyond it is an error."""

Template = pst.Template
Expression = pst.Expr
nodes = pst


class SyntaxRefused(Exception):
    """The text is not Cedar, or not of the shape asked for. Says where, never quotes the text."""


def parse(text: str) -> tuple[pst.Template, ...]:
    """
    Read policy text as static policies, in file order.

    Templates with slots are refused: nothing links them here, so they would silently grant and forbid nothing.

    Raises `SyntaxRefused` when the text does not parse.
    """
    try:
        parsed = cedarpy.policies_to_pst(text)
    except ValueError as error:
        raise SyntaxRefused("policy text does not parse") from error
    if parsed.templates or parsed.template_links:
        raise SyntaxRefused("templates with slots are not accepted")
    return tuple(parsed.static_policies[name] for name in sorted(parsed.static_policies, key=_position))


def parse_set(text: str) -> pst.PolicySet:
    """
    Read policy text with its templates and links.

    A call with the wrong number of arguments, which the engine accepts and which always errs, becomes another
    expression that always errs: nodes have no place for it.

    Raises `SyntaxRefused` when the text does not parse.
    """
    try:
        return cedarpy.policies_to_pst(text)
    except ValueError as error:
        if "argument(s), got" not in str(error):
            raise SyntaxRefused("policy text does not parse") from error
    try:
        policies = json.loads(cedarpy.policies_to_json_str(text))
        errs = json.dumps(_erring_calls(policies))
        return cedarpy.PolicySet.from_json_str(errs).to_pst()
    except (ValueError, RecursionError) as error:
        raise SyntaxRefused("policy text does not parse") from error


def link(template: pst.Template, values: Mapping[str, pst.EntityUid]) -> pst.Template:
    """A template with its slots filled. A slot without a value stays one."""

    def filled(scope: pst.PrincipalOrResourceConstraint) -> pst.PrincipalOrResourceConstraint:
        match scope:
            case (
                pst.ScopeEq(entity=pst.Slot(name=name))
                | pst.ScopeIn(entity=pst.Slot(name=name))
                | pst.ScopeIsIn(entity=pst.Slot(name=name))
            ) if name in values:
                return replace(scope, entity=values[name])
            case _:
                return scope

    return replace(template, principal=filled(template.principal), resource=filled(template.resource))


def linked(policies: pst.PolicySet) -> dict[str, pst.Template]:
    """Every policy that takes part in a decision, by id: static ones, and templates with the values of their links."""
    found = dict(policies.static_policies)
    for each in policies.template_links:
        template = link(policies.templates[each.template_id], {str(slot): uid for slot, uid in each.values.items()})
        found[each.new_id] = replace(template, id=each.new_id)
    return found


def parse_expression(text: str) -> pst.Expr:
    """
    Read one Cedar expression.

    The parser knows whole policies only, so the text stands inside one; that it did not break out of its braces is
    checked on the result.
    """
    parsed = parse(f"permit (principal, action, resource) when {{\n{text}\n}};")
    if len(parsed) != 1:
        raise SyntaxRefused("one expression expected")
    policy = parsed[0]
    scopes = (policy.principal, policy.action, policy.resource)
    if len(policy.clauses) != 1 or not isinstance(policy.clauses[0], pst.When) or policy.annotations:
        raise SyntaxRefused("one expression expected")
    if policy.effect != "permit" or not all(isinstance(scope, pst.ScopeAny) for scope in scopes):
        raise SyntaxRefused("one expression expected")
    return policy.clauses[0].expr


def action_is_covered(policy: pst.Template, action: str, groups: Mapping[str, frozenset[str]]) -> bool:
    """Whether the policy's action scope admits `action`. `groups` names the groups of every action."""
    scope = policy.action
    if isinstance(scope, pst.ScopeAny):
        return True
    if isinstance(scope, pst.ActionEq):
        return scope.entity.id == action and str(scope.entity.type) == "Action"
    admitted = {action} | groups.get(action, frozenset())
    return any(str(entity.type) == "Action" and entity.id in admitted for entity in scope.entities)


def subexpressions(expression: pst.Expr) -> Iterator[pst.Expr]:
    """Every node of an expression, itself first."""
    yield expression
    match expression:
        case pst.UnaryOp(arg=inner) | pst.GetAttr(base=inner) | pst.HasAttr(base=inner) | pst.Like(base=inner):
            yield from subexpressions(inner)
        case pst.BinaryOp(left=left, right=right):
            yield from subexpressions(left)
            yield from subexpressions(right)
        case pst.Is(base=base, in_expr=target):
            yield from subexpressions(base)
            if target is not None:
                yield from subexpressions(target)
        case pst.IfThenElse(cond=cond, then_expr=then, else_expr=other):
            for part in (cond, then, other):
                yield from subexpressions(part)
        case pst.Set(elements=elements):
            for element in elements:
                yield from subexpressions(element)
        case pst.Record(fields=fields):
            for value in fields.values():
                yield from subexpressions(value)
        case _:
            return


_ARITY = {
    **dict.fromkeys(("decimal", "datetime", "duration", "ip"), 1),
    **dict.fromkeys(("isIpv4", "isIpv6", "isLoopback", "isMulticast", "toDate", "toTime"), 1),
    **dict.fromkeys(("toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays"), 1),
    **dict.fromkeys(("lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"), 2),
    **dict.fromkeys(("isInRange", "offset", "durationSince"), 2),
}
_ERRS = {"neg": {"arg": {"Value": True}}}


def _erring_calls(node: Any) -> Any:
    """Cedar's JSON with every call that has the wrong number of arguments replaced."""
    match node:
        case list():
            return [_erring_calls(each) for each in node]
        case {"Value": _}:
            return node
        case {"Record": dict(fields)}:
            return {"Record": {name: _erring_calls(each) for name, each in fields.items()}}
        case dict():
            calls = [name for name, given in node.items() if name in _ARITY and isinstance(given, list)]
            if any(len(node[name]) != _ARITY[name] for name in calls):
                return _ERRS
            return {name: _erring_calls(each) for name, each in node.items()}
        case _:
            return node


def _position(name: str) -> tuple[int, str]:
    """`policy10` stands after `policy9`."""
    digits = name.removeprefix("policy")
    return (int(digits), name) if digits.isascii() and digits.isdigit() else (0, name)
