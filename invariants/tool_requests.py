"""Requests about registered tools, over the general compiler: what is assumed of them, what permits and forbids them.

One encoding for each tool and type of principal, shared by all invariants and analyses about it. The assumptions are
those of `obligations.ASSUMPTIONS`: every question that the gateway builds keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from invariants.errors import Unsupported
from invariants.meaning import compiler, schemas
from invariants.meaning.entities import Entity, Request, Store
from invariants.meaning.schemas import RequestType, Schema, Uid
from invariants.meaning.universe import Universe
from invariants.meaning.values import Bool, Long, Outcome, Record, String, Value
from invariants.solving.terms import Term
from policies import cedar_syntax, footprint
from policies.cedar import PRINCIPAL_TYPES, PrincipalType, Rule
from policies.questions import APPROVER_ROLES, Question
from policies.schema import ActionType, TypedSchema

_READ_BY_RISK = ("arguments", "facts")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequests:
    """Every request of one type of principal for one tool, and what each rule makes of it."""

    action: ActionType
    principal: PrincipalType
    universe: Universe
    rules: tuple[Rule, ...]
    """Those whose action scope covers the tool."""
    outcomes: Mapping[str, Outcome]
    """Of the rules, by id."""
    assumptions: tuple[Term, ...]

    @property
    def permitted(self) -> Term:
        """Cedar's raw Allow: some permit is satisfied and no forbid is, so one that errs is missing."""
        terms = self.universe.terms
        return terms.both(
            terms.disjunction(self._satisfied("permit")), terms.negation(terms.disjunction(self._satisfied("forbid")))
        )

    @property
    def is_closed(self) -> bool:
        """No permit can be satisfied, whatever the request: there is no premise to reach."""
        return all(term is self.universe.terms.false for term in self._satisfied("permit"))

    @property
    def forbids_err(self) -> Term:
        """Where some forbid errs, so that the engine leaves it out."""
        return self.universe.terms.disjunction(self.errs(rule) for rule in self.rules if rule.effect == "forbid")

    def satisfied(self, rule: Rule) -> Term:
        """Where a rule is satisfied."""
        return compiler.satisfied(self.outcomes[rule.id], self.universe)

    def violated(self, invariant: cedar_syntax.Template, where: str) -> Term:
        """Where an invariant's forbid is satisfied or errs. Raises `Unsupported`."""
        outcome = compiler.policy(invariant, self.universe, where)
        terms = self.universe.terms
        return terms.either(terms.negation(outcome.ok), compiler.satisfied(outcome, self.universe))

    def errs(self, rule: Rule) -> Term:
        """Where a rule errs."""
        return self.universe.terms.negation(self.outcomes[rule.id].ok)

    def given(self) -> tuple[Term, ...]:
        """Assumptions and axioms. Take them after everything that is asked about has been translated."""
        return (*self.universe.axioms(), *self.assumptions, *self._known())

    def _known(self) -> Iterator[Term]:
        """No entity comes with a question but its principal (and actions, which the schema knows)."""
        universe, principal = self.universe, self.universe.principal()
        for entity in universe.asked():
            yield universe.terms.implication(universe.exists(entity), universe.same(entity, principal))

    def _satisfied(self, effect: str) -> Iterator[Term]:
        return (self.satisfied(rule) for rule in self.rules if rule.effect == effect)


def encode(
    rules: Iterable[Rule],
    schema: TypedSchema,
    action: ActionType,
    resource_argument: str | None,
    general: Schema | None = None,
) -> tuple[ToolRequests, ...]:
    """
    Translate every rule that covers the tool, once for each type of principal.

    `general` is `schemas.of_tools(schema)`, for callers that have it. Raises `Unsupported`.
    """
    known = general or schemas.of_tools(schema)
    listed = tuple(rules)
    return tuple(encode_type(listed, known, action, resource_argument, principal) for principal in PRINCIPAL_TYPES)


def encode_type(
    rules: Iterable[Rule],
    schema: Schema,
    action: ActionType,
    resource_argument: str | None,
    principal: PrincipalType,
) -> ToolRequests:
    """The same for one type of principal."""
    groups = {action.name: frozenset(action.groups)}
    covering = tuple(rule for rule in rules if cedar_syntax.action_is_covered(rule.node, action.name, groups))
    kind = RequestType(principal=principal, action=Uid("Action", action.name), resource=action.resource_type)
    universe = Universe(schema, kind)
    outcomes = {rule.id: compiler.policy(rule.node, universe, f"rule `{rule.id}`") for rule in covering}
    return ToolRequests(
        action=action,
        principal=principal,
        universe=universe,
        rules=covering,
        outcomes=outcomes,
        assumptions=tuple(_assumptions(universe, action, resource_argument, principal)),
    )


def request(question: Question) -> Request:
    """A question in general terms."""
    return Request(
        principal=Uid(question.principal.type, question.principal.id),
        action=Uid("Action", question.action),
        resource=Uid(question.resource.type, question.resource.id),
        context=question.context,
    )


def store(question: Question, general: Schema) -> Store:
    """The entities that come with a question: the principal with its roles, and the actions."""
    principal = Uid(question.principal.type, question.principal.id)
    roles = frozenset(Uid("Role", role) for role in question.roles)
    actions = {uid: Entity(ancestors=groups) for uid, groups in general.groups.items()}
    return {principal: Entity(ancestors=roles), **actions}


def _assumptions(
    universe: Universe, action: ActionType, resource_argument: str | None, principal: PrincipalType
) -> Iterator[Term]:
    terms = universe.terms
    yield from _risk(universe, action)
    if principal == "Person":
        autonomy, registered = _at(universe, "autonomy"), _at(universe, "registered")
        if isinstance(autonomy, Long):
            yield terms.equal(autonomy.term, terms.integer(0))
        if isinstance(registered, Bool):
            yield terms.negation(registered.term)
    yield from _resource(universe, action, resource_argument)
    yield from _approvals(universe, action)


def _risk(universe: Universe, action: ActionType) -> Iterator[Term]:
    where = f"risk of `{action.name}`"
    try:
        node = cedar_syntax.parse_expression(action.risk)
    except cedar_syntax.SyntaxRefused as error:
        raise Unsupported("risk_unreadable", where) from error
    if not all(path and path[0] in _READ_BY_RISK for path in footprint.reached(node)):
        # When the gateway evaluates it, the question has neither its approvals nor, of course, its risk.
        raise Unsupported("risk_unreadable", where)
    defined = compiler.expression(node, universe, where)
    stated = _at(universe, "risk")
    if len(defined.cases) != 1 or not isinstance(stated, Long):
        raise Unsupported("risk_not_long", where)
    value = defined.cases[0].value
    if not isinstance(value, Long):
        raise Unsupported("risk_not_long", where)
    yield defined.ok
    yield universe.terms.equal(stated.term, value.term)


def _resource(universe: Universe, action: ActionType, argument: str | None) -> Iterator[Term]:
    terms = universe.terms
    if argument is None and action.resource_type != "Tenant":
        return
    path = ("tenant",) if argument is None else ("arguments", argument)
    named = _at(universe, *path)
    if isinstance(named, String):
        is_there = _presence(universe, *path)
        yield terms.implication(is_there, terms.equal(universe.resource().id, named.term))


def _approvals(universe: Universe, action: ActionType) -> Iterator[Term]:
    terms = universe.terms
    persons = _count(universe, action, "persons")
    total = terms.integer(0)
    for role in APPROVER_ROLES:
        count = _count(universe, action, role)
        total = terms.add(total, count)
        yield terms.less_equal(count, persons)
    yield terms.less_equal(persons, total)


def _count(universe: Universe, action: ActionType, name: str) -> Term:
    found = _at(universe, "approvals", name)
    if not isinstance(found, Long):
        raise Unsupported("approvals_not_counts", f"action `{action.name}`")
    return found.term


def _at(universe: Universe, *path: str) -> Value | None:
    """A member of the context by its path, if the schema has one."""
    value: Value = universe.context()
    for name in path:
        if not isinstance(value, Record) or name not in value.names:
            return None
        value = value.read(name).cases[0].value
    return value


def _presence(universe: Universe, *path: str) -> Term:
    """Whether a member of the context is there."""
    value: Value = universe.context()
    present = universe.terms.true
    for name in path:
        if isinstance(value, Record):
            member = value.read(name)
            present = universe.terms.both(present, member.present)
            value = member.cases[0].value
    return present
