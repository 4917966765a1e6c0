"""A whole set of policies over one request type, and what one answer to one request says about it.

An answer names the policies that are satisfied and those that err; decision and determining policies follow from it.
Whether it is *the* answer is a question for a solver: the facts of the request and the store are consistent, and no
other answer is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from invariants.errors import Unsupported
from invariants.meaning import compiler
from invariants.meaning.entities import Request, Store
from invariants.meaning.grounding import Ground
from invariants.meaning.schemas import RequestType, Schema
from invariants.meaning.universe import Universe
from invariants.meaning.values import Outcome
from invariants.solving.terms import BeyondSolvers, Term
from policies.cedar_syntax import Place
from policies.cedar_syntax import nodes as pst


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a set of policies makes of one request, policy by policy."""

    satisfied: frozenset[str]
    erring: frozenset[str]

    def decided(self, policies: Mapping[str, pst.Template]) -> tuple[bool, frozenset[str]]:
        """Whether the request is allowed, and the policies that determine it."""
        by_effect = {
            effect: frozenset(name for name in self.satisfied if policies[name].effect == effect)
            for effect in ("permit", "forbid")
        }
        if by_effect["forbid"]:
            return False, by_effect["forbid"]
        return bool(by_effect["permit"]), by_effect["permit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """Policies as terms."""

    universe: Universe
    outcomes: Mapping[str, Outcome]
    axioms: tuple[Term, ...]

    def other_answer(self, answer: Answer) -> Term:
        """Where the policies make something else of a request than `answer`."""
        terms, universe = self.universe.terms, self.universe
        return terms.disjunction(
            terms.either(
                terms.equal(outcome.ok, terms.boolean(value=name in answer.erring)),
                terms.equal(compiler.satisfied(outcome, universe), terms.boolean(value=name not in answer.satisfied)),
            )
            for name, outcome in self.outcomes.items()
        )

    def facts(self, request: Request, store: Store, claim: Term) -> tuple[Term, ...]:
        """
        Axioms, and all that request and store say about the unknowns of them and of `claim`.

        Raises `Unsupported` when a string of the data has no place among the solvers' characters.
        """
        try:
            found = Ground(self.universe, request, store).facts((*self.axioms, claim))
        except BeyondSolvers as error:
            raise Unsupported("string_beyond_solvers", "data") from error
        return (*self.axioms, *found)


def encode(
    policies: Mapping[str, pst.Template],
    schema: Schema,
    request: RequestType,
    places: Mapping[str, Place] = MappingProxyType({}),
) -> Encoding:
    """Translate every policy. Raises `Unsupported`, which says where, for a form without an exact meaning."""
    universe = Universe(schema, request)
    outcomes = {
        name: compiler.policy(node, universe, f"rule `{name}`", places.get(name)) for name, node in policies.items()
    }
    try:
        axioms = universe.axioms()
    except BeyondSolvers as error:
        raise Unsupported("string_beyond_solvers", "schema") from error
    return Encoding(universe=universe, outcomes=outcomes, axioms=axioms)
