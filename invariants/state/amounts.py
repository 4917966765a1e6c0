"""The amount and the ceiling of a tool's limit as terms, over every request for the tool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from invariants.errors import Unsupported
from invariants.meaning import compiler, schemas
from invariants.meaning.schemas import RequestType, Uid
from invariants.meaning.universe import Universe
from invariants.meaning.values import Long, Outcome
from invariants.solving.terms import Term
from policies import cedar_syntax
from policies.schema import CedarSchema
from tool_registry.contracts import Contract, Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """What each limit of one tool counts, over one set of unknown requests."""

    universe: Universe
    limits: tuple[LimitTerms, ...]

    def given(self) -> tuple[Term, ...]:
        """What is said about the unknowns: their ranges."""
        return self.universe.axioms()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitTerms:
    """One limit: the amount and the ceiling, and where both can be evaluated."""

    limit: Limit
    amount: Term
    ceiling: Term
    defined: Term


def translate(contract: Contract, schema: CedarSchema) -> Amounts:
    """Every limit of a contract. Raises `Unsupported` for an expression without a meaning as a Long."""
    action = schema.typed.actions[contract.name]
    alone = schemas.of_tools(replace(schema.typed, actions={action.name: action}))
    # Whose request is all one: the expressions of a contract speak of its context.
    kind = RequestType(principal="Agent", action=Uid("Action", action.name), resource=action.resource_type)
    universe = Universe(alone, kind)
    return Amounts(universe=universe, limits=tuple(_limits(contract, universe)))


def _limits(contract: Contract, universe: Universe) -> Iterator[LimitTerms]:
    for limit in contract.limits:
        amount, ceiling = (
            _outcome(text, universe, f"limit `{limit.name}` of `{contract.name}`")
            for text in (limit.amount, limit.ceiling)
        )
        yield LimitTerms(
            limit=limit,
            amount=_long(amount),
            ceiling=_long(ceiling),
            defined=universe.terms.both(amount.ok, ceiling.ok),
        )


def _outcome(text: str, universe: Universe, where: str) -> Outcome:
    try:
        node = cedar_syntax.parse_expression(text)
    except cedar_syntax.SyntaxRefused as error:
        raise Unsupported("expression_unreadable", where) from error
    outcome = compiler.expression(node, universe, where)
    if len(outcome.cases) != 1 or not isinstance(outcome.cases[0].value, Long):
        raise Unsupported("other_type", where)
    return outcome


def _long(outcome: Outcome) -> Term:
    value = outcome.cases[0].value
    assert isinstance(value, Long)  # noqa: S101 - `_outcome` let nothing else through
    return value.term
