"""Is anybody locked out? Whether each act that governs the gateway stays possible for people.

For a tool of the governance family: some person's request is permitted, no rule errs there, and the approvals that it
takes are counts that a question can have. Facts count as attainable; that the persons exist is for the tenant to see
to. Approving, rejecting and cancelling are no tool calls: no rule is asked, so none can be in the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from invariants.analyses.results import Analysis, Result, Verdict
from invariants.analyses.surveys import Survey
from invariants.solving.answers import Verdict as Answer
from policies.questions import Question

NEEDED = ("activate_bundle", "engage_kill", "publish_bundle", "release_kill")
"""Without these a mistake in a bundle, or a fault of an agent, can no longer be mended through the gateway."""

ACTS = ("approve", "cancel", "reject")
"""Recorded acts on parked calls."""


def run(survey: Survey) -> Iterator[Result]:
    """`holds` with the plainest question that passes, `fails` where there is none, `outside` for acts."""
    blank = Result(analysis=Analysis.NOBODY_LOCKED_OUT, principal="Person", verdict=Verdict.FAILS)
    for requests in survey.types:
        if requests.principal != "Person" or "governance" not in requests.action.groups:
            continue
        terms = requests.universe.terms
        fault = terms.disjunction(requests.errs(rule) for rule in requests.rules)
        goals = survey.goals(requests, {("permitted", ""): terms.both(requests.permitted, terms.negation(fault))})
        found = replace(blank, action=requests.action.name)
        match goals.answer("permitted", ""):
            case Answer.SATISFIABLE:
                holds = replace(found, verdict=Verdict.HOLDS)

                def passes(question: Question) -> bool:
                    return survey.engine.decide(question).allowed

                yield goals.shown(holds, ("permitted", ""), "permitted", passes)
            case Answer.UNSATISFIABLE:
                yield goals.resting(replace(found, reason="never_permitted"))
            case Answer.UNKNOWN:
                yield goals.unknown(found)
    for action in NEEDED:
        if action not in survey.job.schema.typed.actions:
            yield replace(blank, action=action, reason="not_registered")
    yield from (replace(blank, action=act, verdict=Verdict.OUTSIDE, reason="not_a_tool") for act in ACTS)
    unknown = survey.unknown(Analysis.NOBODY_LOCKED_OUT, "governance")
    yield from (each for each in unknown if each.principal == "Person")
