"""Does a rule ever err? One answer for each rule and type of request.

Cedar drops a rule that errs: a `forbid` that errs forbids nothing, and the engine may answer Allow without it. At run
time any error denies, so a permit that errs refuses calls that nobody meant to refuse.
"""

from __future__ import annotations

from collections.abc import Iterator

from invariants.analyses.results import Analysis, Result
from invariants.analyses.surveys import Survey
from policies.questions import Question


def run(survey: Survey) -> Iterator[Result]:
    """Every rule over every type of request of the tools that it covers; `fails` with a question that makes it err."""
    for requests in survey.types:
        goals = survey.goals(requests, {("errs", rule.id): requests.errs(rule) for rule in requests.rules})
        for rule in requests.rules:

            def errs(question: Question, identity: str = rule.id) -> bool:
                return identity in survey.engine.decide(question).errors

            yield goals.never(goals.blank(Analysis.NEVER_ERRS, rule.id), ("errs", rule.id), "errs", errs)
    yield from survey.unknown(Analysis.NEVER_ERRS)
