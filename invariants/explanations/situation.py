"""A recorded question in terms: what may change is free, all else has its recorded value.

What has to hold for the call to pass is a list of requirements, each with the rule, invariant or limit that it comes
from. Nothing is asked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from invariants import declared
from invariants.errors import Unsupported
from invariants.explanations.alternatives import APPROVALS, ARGUMENTS, REASON_CODE, Asked, Kind, Obstacle, Scalar
from invariants.meaning import compiler
from invariants.meaning.universe import Unknown
from invariants.meaning.values import Long
from invariants.solving.terms import Op, Sort, Term, Terms, applications, graph
from invariants.tool_requests import ToolRequests
from policies import cedar_syntax
from policies.questions import APPROVALS_MAX, APPROVER_ROLES
from policies.schema import BoolType, LongType, StringType
from tool_registry import shapes
from tool_registry.contracts import Field, Limit
from tool_registry.contracts import Kind as FieldKind

_NAMED = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
_ROLE = ("above", "Person", "Role")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One thing that has to hold, and what it comes from."""

    source: Obstacle
    term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Something that the requester can change."""

    name: str
    now: Scalar
    term: Term
    """Of approvals, which are counts by name: how many persons."""
    pin: Term
    """That it stays as it is."""
    range: tuple[int, int] | None = None
    """Of an integer."""
    choices: tuple[Scalar, ...] = ()
    """Of all else: the other values that it may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One refused call of one type of principal."""

    requests: ToolRequests
    requirements: tuple[Requirement, ...]
    members: Mapping[str, Member]
    """What may change and matters, in the order in which it is better changed."""
    given: tuple[Term, ...]
    """Assumptions, axioms and all that stays."""
    counts: Mapping[str, Term]
    """Approvals by name."""
    risk: Term
    roles: Mapping[str, Term]
    """Whether the principal has a role, for every role that a rule names. Left open for people who did not ask."""

    def facts(self, term: Term) -> tuple[str, ...]:
        """The facts that a term reads, also by way of the risk, as `GROUP.MEMBER`."""
        unknowns = self.requests.universe.unknowns
        paths = (unknowns[each.payload or 0].path for each in applications(self._roots(term)))
        return tuple(sorted({".".join(path[2:]) for path in paths if path[:2] == ("context", "facts")}))

    def looks_at(self, term: Term, member: Term) -> bool:
        """Whether a term depends on a member, also by way of the risk."""
        return any(each is member for each in graph(self._roots(term)))

    def _roots(self, term: Term) -> tuple[Term, ...]:
        """The term, with the definition of the risk if it reads that."""
        if not any(each is self.risk for each in graph((term,))):
            return (term,)
        return (
            term,
            *(each for each in self.requests.assumptions if any(part is self.risk for part in graph((each,)))),
        )


def of(asked: Asked, requests: ToolRequests, *, is_asker: bool) -> Situation:
    """
    The question as it was recorded, in the terms of `requests`.

    With `is_asker` false, of somebody else: a person of whom only the type is known. Raises `Unsupported`.
    """
    requirements = tuple(_requirements(asked, requests))
    terms = requests.universe.terms
    reader = _Reader(asked, requests)
    counts = {name: reader.symbol(APPROVALS, name) for name in ("persons", *APPROVER_ROLES)}
    risk = reader.symbol("risk")
    # Last: what has been looked at is known now, and nothing is added to it any more.
    given = requests.given()
    roots = (*given, *(each.term for each in requirements))
    members, fixed = reader.sorted(roots, is_asker=is_asker)
    roles = {
        text: term
        for term in applications(roots)
        if requests.universe.unknowns[term.payload or 0].path == _ROLE
        and term.operands[1].op is Op.CONSTANT
        and (text := terms.original(term.operands[1].detail[0] or ""))
    }
    if is_asker:
        held = set(asked.question.roles)
        fixed += [term if role in held else terms.negation(term) for role, term in roles.items()]
    fixed += _more_approvals(asked, requests, counts)
    return Situation(
        requests=requests,
        requirements=requirements,
        members=members,
        given=(*given, *fixed),
        counts=counts,
        risk=risk,
        roles=roles,
    )


def equals(terms: Terms, term: Term, value: Scalar) -> Term:
    """That a term has a value of its sort."""
    match term.sort:
        case Sort.BOOL:
            return term if value else terms.negation(term)
        case Sort.INTEGER:
            return terms.equal(term, terms.integer(int(value)))
        case _:
            return terms.equal(term, terms.text(str(value)))


def _requirements(asked: Asked, requests: ToolRequests) -> Iterator[Requirement]:
    """Rules first, then invariants, then limits."""
    terms = requests.universe.terms
    permits = terms.disjunction(requests.satisfied(rule) for rule in requests.rules if rule.effect == "permit")
    yield Requirement(source=Obstacle(kind=Kind.NO_PERMIT), term=permits)
    for rule in requests.rules:
        # At run time a rule that errs refuses, whatever its effect.
        errs, refuses = requests.errs(rule), terms.false
        if rule.effect == "forbid":
            refuses = requests.satisfied(rule)
        holds = terms.negation(terms.either(errs, refuses))
        if holds is not terms.true:
            yield Requirement(source=Obstacle(kind=Kind.RULE, id=rule.id), term=holds)
    for each in declared.read(asked.invariants, asked.schema.typed):
        if requests.action.name in each.actions:
            violated = requests.violated(each.policy, f"invariant `{each.id}`")
            if violated is not terms.false:
                source = Obstacle(kind=Kind.INVARIANT, id=each.id)
                yield Requirement(source=source, term=terms.negation(violated))
    for limit in asked.contract.limits:
        if not limit.soft and (requests.principal == "Agent" or not limit.agents_only):
            yield Requirement(source=Obstacle(kind=Kind.LIMIT, id=limit.name), term=_within(limit, requests))


def _within(limit: Limit, requests: ToolRequests) -> Term:
    """That a limit leaves room. A reading that no fact shows is taken as 0: then the ledger has the last word."""
    terms, universe = requests.universe.terms, requests.universe
    ok_amount, amount = _long(limit.amount, requests, limit.name)
    ok_ceiling, ceiling = _long(limit.ceiling, requests, limit.name)
    total = amount
    if limit.shows is not None:
        shown = compiler.expression(
            cedar_syntax.parse_expression(f"context.facts.{limit.shows}"), universe, f"limit `{limit.name}`"
        )
        value = shown.cases[0].value
        if isinstance(value, Long):
            total = terms.add(value.term, amount)
    is_nothing = terms.less_equal(amount, terms.integer(0))
    return terms.conjunction(
        (ok_amount, terms.either(is_nothing, terms.both(ok_ceiling, terms.less_equal(total, ceiling))))
    )


def _long(text: str, requests: ToolRequests, name: str) -> tuple[Term, Term]:
    where = f"limit `{name}`"
    try:
        outcome = compiler.expression(cedar_syntax.parse_expression(text), requests.universe, where)
    except cedar_syntax.SyntaxRefused as error:
        raise Unsupported("other_type", where) from error
    if len(outcome.cases) != 1 or not isinstance(outcome.cases[0].value, Long):
        raise Unsupported("other_type", where)
    return outcome.ok, outcome.cases[0].value.term


def _more_approvals(asked: Asked, requests: ToolRequests, counts: Mapping[str, Term]) -> list[Term]:
    """Approvals are only added, and no more than a call can ever have."""
    terms = requests.universe.terms
    recorded: Mapping[str, int] = asked.question.context["approvals"]
    total = terms.integer(0)
    for role in APPROVER_ROLES:
        total = terms.add(total, counts[role])
    most = max(APPROVALS_MAX, sum(recorded[role] for role in APPROVER_ROLES))
    fewest = [terms.less_equal(terms.integer(recorded[name]), term) for name, term in counts.items()]
    return [*fewest, terms.less_equal(total, terms.integer(most))]


class _Reader:
    """The recorded question, member by member."""

    __slots__ = ("_asked", "_changing", "_requests", "_universe")

    def __init__(self, asked: Asked, requests: ToolRequests) -> None:
        self._asked = asked
        self._requests = requests
        self._universe = requests.universe
        self._changing = {field.name: field for field in _changing(asked)}

    def symbol(self, *path: str) -> Term:
        """A required integer of the context."""
        outcome = compiler.expression(
            cedar_syntax.parse_expression(".".join(("context", *path))), self._universe, "context"
        )
        value = outcome.cases[0].value
        if not isinstance(value, Long):
            raise Unsupported("other_type", "context")
        return value.term

    def sorted(self, roots: Iterable[Term], *, is_asker: bool) -> tuple[dict[str, Member], list[Term]]:
        """What may change, by name, and that all else stays."""
        roots = tuple(roots)
        terms = self._universe.terms
        members: dict[str, Member] = {}
        fixed: list[Term] = []
        approvals: list[Term] = []
        for unknown in self._universe.unknowns:
            value = self._recorded(unknown, is_asker=is_asker)
            if value is None:
                continue
            symbol = terms.symbol(unknown.sort, unknown.number)
            pin = equals(terms, symbol, value)
            match unknown.path:
                case ("context", "approvals", _):
                    approvals.append(pin)
                case ("context", "reason_code"):
                    members[REASON_CODE] = self._member(REASON_CODE, unknown, symbol, value, roots)
                case ("context", "arguments", name) if name in self._changing:
                    members[ARGUMENTS + name] = self._member(ARGUMENTS + name, unknown, symbol, value, roots)
                case _:
                    fixed.append(pin)
        for member in members.values():
            if member.range is None:
                fixed.append(
                    terms.disjunction((member.pin, *(equals(terms, member.term, each) for each in member.choices)))
                )
        persons = self.symbol(APPROVALS, "persons")
        first = Member(
            name=APPROVALS,
            now=int(self._asked.question.context[APPROVALS]["persons"]),
            term=persons,
            pin=terms.conjunction(approvals),
        )
        order = [REASON_CODE, *(ARGUMENTS + name for name in self._changing)]
        free = {
            name: members[name] for name in order if name in members and (members[name].range or members[name].choices)
        }
        return {APPROVALS: first, **free}, fixed

    def _recorded(self, unknown: Unknown, *, is_asker: bool) -> Scalar | None:
        """What the question says of an unknown. None: nothing, or it is not the question that says it."""
        question = self._asked.question
        match unknown.path:
            case ("context", "risk"):
                return None
            case ("context", "autonomy" | "registered") | ("principal",) if not is_asker:
                return None
            case ("context", *path):
                return _scalar(_lookup(question.context, path))
            case ("present", "context", *path):
                return _lookup(question.context, path) is not None
            case ("principal",):
                return question.principal.id
            case ("resource",):
                return question.resource.id
            case _:
                return None

    def _member(self, name: str, unknown: Unknown, symbol: Term, now: Scalar, roots: tuple[Term, ...]) -> Member:
        bounds: tuple[int, int] | None = None
        choices: tuple[Scalar, ...] = ()
        match unknown.type:
            case LongType(minimum=minimum, maximum=maximum):
                bounds = (minimum, maximum)
            case BoolType():
                choices = (not now,)
            case StringType(choices=known) if known:
                choices = tuple(each for each in known if each not in (now, ""))
            case _:
                field = self._changing[name.removeprefix(ARGUMENTS)]
                choices = tuple(each for each in self._named(symbol, roots) if each != now and _fits(field, each))
        return Member(
            name=name,
            now=now,
            term=symbol,
            pin=equals(self._universe.terms, symbol, now),
            range=bounds,
            choices=choices,
        )

    def _named(self, symbol: Term, roots: tuple[Term, ...]) -> list[str]:
        """The texts with which a rule compares an identifier: another than these no rule could ask for."""
        found: dict[str, None] = {}
        for term in graph(roots):
            if term.op is Op.EQUAL and symbol in term.operands:
                for operand in term.operands:
                    if operand.op is Op.CONSTANT:
                        found[self._universe.terms.original(operand.detail[0] or "")] = None
        return sorted(found)


def _changing(asked: Asked) -> Iterator[Field]:
    """The arguments that can change while the facts stay what they are."""
    contract = asked.contract
    if any(source.method == "POST" for source in contract.facts):
        return  # Such facts were computed from the arguments themselves.
    keys = [source.path for source in contract.facts] + [limit.key for limit in contract.limits]
    held = asked.fixed | {name for key in keys for name in _NAMED.findall(key)} | {contract.resource_argument}
    for field in contract.arguments:
        if field.name not in held and not field.optional and field.kind in _CHANGING:
            yield field


_CHANGING = frozenset({FieldKind.INTEGER, FieldKind.TIMESTAMP, FieldKind.CHOICE, FieldKind.FLAG, FieldKind.IDENTIFIER})


def _fits(field: Field, value: str) -> bool:
    try:
        shapes.compile_shape((field,)).check({field.name: value})
    except shapes.ContractViolation:
        return False
    return True


def _scalar(value: Any) -> Scalar | None:
    return value if isinstance(value, int | str) else None


def _lookup(context: Mapping[str, Any], path: Iterable[str]) -> Any:
    found: Any = context
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found
