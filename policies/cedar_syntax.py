"""Cedar text as typed nodes: the syntax without the engine.

Everything that gives Cedar a meaning of its own (compiled checks, the prover) reads policies through this module, so
that the parser is the engine's. Nothing is evaluated here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
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


_LEXEME = re.compile(
    r'//[^\n]*|"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*|\|\||&&|==|!=|<=|>=|::|[^\sA-Za-z_]', re.DOTALL
)
# The engine's parser is recursive: deep text ends the whole process, from some 200 levels on in a thread whose stack
# has 2 MiB. It gives nodes for no more than 100 levels anyhow; here brackets that group nothing are levels too.
_LEVELS_MAX = 100
_LOOSEST_FIRST = (
    {"if"},
    {"||"},
    {"&&"},
    {"==", "!=", "<", "<=", ">", ">=", "in", "has", "like", "is"},
    {"+", "-"},
    {"*"},
    {"!"},
    {"."},
)
_BINDING = {operator: place for place, operators in enumerate(_LOOSEST_FIRST) for operator in operators}


class SyntaxRefused(Exception):
    """The text is not Cedar, or not of the shape asked for. Says where, never quotes the text."""


def parse(text: str) -> tuple[pst.Template, ...]:
    """
    Read policy text as static policies, in file order.

    Templates with slots are refused: nothing links them here, so they would silently grant and forbid nothing.

    Raises `SyntaxRefused` when the text does not parse.
    """
    _bound(text)
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
    _bound(text)
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a policy stands in its text: line and column of the policy and of each of its clauses, from 1."""

    start: tuple[int, int]
    clauses: tuple[tuple[int, int], ...]


def places(text: str) -> dict[str, Place]:
    """
    Where the policies of a text stand, by the parser's own ids, `policy0` and so on.

    The text is one that parses: nodes carry no position, so this reads strings, comments and brackets once more.
    """
    found: dict[str, Place] = {}
    start: tuple[int, int] | None = None
    clauses: list[tuple[int, int]] = []
    depth = 0
    line, line_start = 1, 0
    for match in _LEXEME.finditer(text):
        line += text.count("\n", line_start, match.start())
        line_start = max(line_start, text.rfind("\n", line_start, match.start()) + 1)
        here = (line, match.start() - line_start + 1)
        lexeme = match.group()
        if lexeme.startswith(("//", '"')):
            line += lexeme.count("\n")
            line_start = max(line_start, match.start() + lexeme.rfind("\n") + 1)
            continue
        start = start or here
        depth += (lexeme in "({[") - (lexeme in ")}]")
        if depth == 0 and lexeme in ("when", "unless") and text[match.start() - 1] not in "@.":
            clauses.append(here)
        if depth == 0 and lexeme == ";":
            found[f"policy{len(found)}"] = Place(start, tuple(clauses))
            start, clauses = None, []
    return found


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


@lru_cache(maxsize=1024)  # Risk expressions are read once for each type of request.
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


def _bound(text: str) -> None:
    """
    Refuse text that is nested beyond what the engine's parser survives, before it sees any of it.

    Levels are counted as the parser would meet them: open brackets, and chains of one operator in each.
    """
    open_levels: list[list[int]] = [[0] * len(_LOOSEST_FIRST)]
    total = 0
    previous = ""
    for match in _LEXEME.finditer(text):
        lexeme = match.group()
        if lexeme.startswith("//"):
            continue
        chains = open_levels[-1]
        binding = _BINDING.get(lexeme)
        if lexeme == "[" and (previous in ")]" or previous[:1].isalnum() or previous[:1] == "_"):
            binding = len(_LOOSEST_FIRST) - 1
        if binding is not None or lexeme in (",", ";"):
            # A looser operator, or a comma, ends the chains of all tighter ones.
            kept = 0 if binding is None else binding + 1
            total -= sum(chains[kept:])
            chains[kept:] = [0] * (len(chains) - kept)
        if binding is not None:
            chains[binding] += 1
            total += 1
        if lexeme in ("(", "[", "{"):
            open_levels.append([0] * len(_LOOSEST_FIRST))
        elif lexeme in (")", "]", "}") and len(open_levels) > 1:
            total -= sum(open_levels.pop())
        if total + len(open_levels) > _LEVELS_MAX:
            raise SyntaxRefused("policy text is nested too deeply")
        previous = lexeme


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
