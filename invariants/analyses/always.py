"""Does the bundle allow, or deny, everything of a type of request?

A tool that is always denied to people and agents alike is a closed door: nobody may ever use it. One that is always
allowed is guarded by nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from invariants.analyses.results import Analysis, Result, Verdict
from invariants.analyses.surveys import Goals, Survey
from invariants.solving.answers import Verdict as Answer

_ALLOWED, _DENIED = ("permitted", ""), ("refused", "")


def run(survey: Survey) -> Iterator[Result]:
    """`always_allows`, `always_denies`, or `depends` with a question for each."""
    for requests in survey.types:
        denied = requests.universe.terms.negation(requests.permitted)
        yield _result(survey, survey.goals(requests, {_ALLOWED: requests.permitted, _DENIED: denied}))
    yield from survey.unknown(Analysis.ALWAYS)


def _result(survey: Survey, goals: Goals) -> Result:
    blank = goals.blank(Analysis.ALWAYS)
    answers = goals.answer(*_ALLOWED), goals.answer(*_DENIED)
    if Answer.UNKNOWN in answers:
        return goals.unknown(blank)
    if answers[0] is Answer.UNSATISFIABLE:
        return goals.resting(replace(blank, verdict=Verdict.ALWAYS_DENIES))
    if answers[1] is Answer.UNSATISFIABLE:
        always = replace(blank, verdict=Verdict.ALWAYS_ALLOWS)
        return goals.shown(always, _ALLOWED, "permitted", survey.engine.raw_allow)
    depends = replace(blank, verdict=Verdict.DEPENDS)
    one = goals.shown(depends, _ALLOWED, "permitted", survey.engine.raw_allow)
    if one.verdict is not Verdict.DEPENDS:
        return one
    return goals.shown(one, _DENIED, "refused", lambda question: not survey.engine.raw_allow(question))
