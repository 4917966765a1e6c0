"""What is asked about mutants, as terms: one type of request is translated once, and of each mutant its one rule.

Equal terms are one object, so a mutant that does to a type of request what the bundle does is seen without a solver.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from invariants import declared, tool_requests
from invariants.declared import Invariant
from invariants.errors import Unsupported
from invariants.jobs import Job
from invariants.meaning import compiler, schemas
from invariants.solving.terms import Term
from invariants.strength.trials import Trial
from invariants.tool_requests import ToolRequests
from policies import cedar
from policies.cedar import PRINCIPAL_TYPES, PrincipalType, Rule
from policies.schema import ActionType


@dataclass(frozen=True, slots=True)
class Claims:
    """What is asked about one mutant for one type of request. A claim that need not be asked is false."""

    trial: Trial
    permitted: Term
    """Some request is permitted."""
    breaks: Term
    """And violates an invariant."""
    errs: Term
    """The rule is a forbid and errs."""
    lives: Term
    """The rule is satisfied."""
    differs: Term
    """Permitted, or erring, under one of bundle and mutant only."""
    is_open: bool
    """Some permit may be satisfied, so somebody is meant to use the tool."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """All that may be asked."""
        return self.permitted, self.breaks, self.errs, self.lives, self.differs


class Writer:
    """One type of request."""

    __slots__ = ("_satisfied", "_terms", "_violated", "permitted", "requests")

    def __init__(self, requests: ToolRequests, covering: Iterable[Invariant]) -> None:
        """`covering`: the invariants about the tool. Raises `Unsupported`."""
        self.requests = requests
        self.permitted = requests.permitted
        self._terms = requests.universe.terms
        self._violated = self._terms.disjunction(
            requests.violated(each.policy, f"invariant `{each.id}`") for each in covering
        )
        self._satisfied = {rule.id: requests.satisfied(rule) for rule in requests.rules}

    def claims(self, each: Trial) -> Claims | None:
        """None: the mutant does as the bundle does. Raises `Unsupported`."""
        terms, requests, base = self._terms, self.requests, each.base
        was_covering = base.id in requests.outcomes
        ok, satisfied = terms.true, terms.false
        if each.rule is not None:
            outcome = compiler.policy(each.rule.node, requests.universe, f"rule `{base.id}`")
            ok, satisfied = outcome.ok, compiler.satisfied(outcome, requests.universe)
        ok_before = requests.outcomes[base.id].ok if was_covering else terms.true
        possible, permitted = self._permitted_with(each, satisfied)
        lives = terms.false if each.lives else satisfied
        if permitted is self.permitted and ok is ok_before and lives is terms.false:
            return None
        is_forbid = each.rule is not None and each.rule.effect == "forbid"
        return Claims(
            trial=each,
            permitted=permitted,
            breaks=terms.false if permitted is self.permitted else terms.both(permitted, self._violated),
            errs=terms.negation(ok) if is_forbid and ok is not ok_before else terms.false,
            lives=lives,
            is_open=possible is not terms.false,
            differs=terms.either(self._other(permitted, self.permitted), self._other(ok, ok_before)),
        )

    def _permitted_with(self, each: Trial, satisfied: Term) -> tuple[Term, Term]:
        """Where some permit is satisfied, and where Cedar allows."""
        terms = self._terms
        by_effect: dict[str, list[Term]] = {"permit": [], "forbid": []}
        for rule in self.requests.rules:
            if rule.id != each.base.id:
                by_effect[rule.effect].append(self._satisfied[rule.id])
            elif each.rule is not None:
                by_effect[each.rule.effect].append(satisfied)
        if each.rule is not None and each.base.id not in self._satisfied:
            by_effect[each.rule.effect].append(satisfied)
        possible, forbidden = (terms.disjunction(by_effect[effect]) for effect in ("permit", "forbid"))
        return possible, terms.both(possible, terms.negation(forbidden))

    def _other(self, one: Term, two: Term) -> Term:
        return self._terms.negation(self._terms.equal(one, two))


@dataclass(frozen=True, slots=True)
class Refused:
    """A type of request about which nothing can be asked."""

    action: ActionType
    principal: PrincipalType
    reason: str


def written(rules: tuple[Rule, ...], job: Job) -> Iterator[Writer | Refused]:
    """Every type of request of a job, by tool and type of principal. Raises `Unreadable`."""
    read, general = declared.read(job.invariants, job.schema.typed), schemas.of_tools(job.schema.typed)
    for action in job.schema.typed.actions.values():
        covering = tuple(each for each in read if action.name in each.actions)
        for principal in PRINCIPAL_TYPES:
            argument = job.resource_arguments.get(action.name)
            try:
                yield Writer(tool_requests.encode_type(rules, general, action, argument, principal), covering)
            except Unsupported as refused:
                yield Refused(action, principal, refused.reason_code)


def concerns(each: Trial, action: ActionType, principal: PrincipalType) -> bool:
    """Whether the rule or its mutant can match such a request."""
    return any(cedar.covers(rule, action, principal) for rule in (each.base, each.rule) if rule is not None)
