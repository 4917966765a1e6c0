"""Which rule alone makes another one idle? For rules that were shown to decide nothing, wherever they are satisfied.

Only a rule that determined the decision on the question shown can be one, so the engine's answer leaves few to ask
about; the solvers are asked once for each type of request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from invariants.analyses.surveys import Goals, Survey
from invariants.solving.answers import Verdict as Answer
from invariants.solving.terms import Term
from invariants.tool_requests import ToolRequests
from policies.questions import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """A rule that decides nothing."""

    rule: str
    rung: str
    """The highest one that it reaches."""
    where: tuple[Goals, ...]
    """Every type of request in which it does."""
    shown: Question
    """One question for which it does."""


def names(survey: Survey, idle: Iterable[Idle]) -> Mapping[str, tuple[str, ...]]:
    """By idle rule every other one that implies it in each type of request, sorted."""
    listed = tuple(idle)
    left = {each.rule: {hit.id for hit in survey.engine.decide(each.shown).rules} - {each.rule} for each in listed}
    types: dict[int, tuple[ToolRequests, list[tuple[str, Term]]]] = {}
    for each in listed:
        for goals in each.where:
            _, asked = types.setdefault(id(goals.requests), (goals.requests, []))
            asked.append((each.rule, goals.claim(each.rung, each.rule)))
    for requests, asked in types.values():
        goals = survey.goals(requests, _without(requests, asked, left))
        for rule, _ in asked:
            left[rule] = {other for other in left[rule] if goals.answer(rule, other) is Answer.UNSATISFIABLE}
    return {rule: tuple(sorted(others)) for rule, others in left.items()}


def _without(
    requests: ToolRequests, asked: Iterable[tuple[str, Term]], left: Mapping[str, set[str]]
) -> dict[tuple[str, str], Term]:
    """Each idle rule without each of the others that are left: impossible where the other implies it."""
    terms = requests.universe.terms
    satisfied = {rule.id: requests.satisfied(rule) for rule in requests.rules}
    return {
        (rule, other): terms.both(claim, terms.negation(satisfied.get(other, terms.false)))
        for rule, claim in asked
        for other in left[rule]
    }
