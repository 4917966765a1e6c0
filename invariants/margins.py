"""How far the facts of a call may move: `python -m invariants robust QUESTION --bundle BUNDLE --fact NAME=LOW..HIGH`.

A fact is read at one moment from a source that may round, lag or be wrong. Here it is shown that the call stays
permitted and violates no invariant for every value between two bounds, by both solvers; or the call is shown that does
not, replayed on the real engine. Solvers are loaded here: for offline commands only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from invariants import checks, ranges
from invariants.jobs import Job
from invariants.ranges import Claim, Interval, Kind
from invariants.reports import Verdict
from invariants.solving import cvc5_backend, z3_backend
from invariants.solving.answers import Verdict as Answer
from policies.cedar import Engine
from policies.questions import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The verdict on one claim about every value between the bounds."""

    kind: Kind
    subject: str
    verdict: Verdict
    answers: Mapping[str, str]
    counter_example: Question | None = None
    """Within the bounds; the engine does not permit it, or it violates the invariant. Set exactly when refuted."""

    def document(self) -> dict[str, Any]:
        """As JSON members."""
        return {
            "kind": self.kind.value,
            "subject": self.subject,
            "verdict": self.verdict.value,
            "answers": dict(self.answers),
            "counter_example": None if self.counter_example is None else self.counter_example.document(),
        }


def settle(job: Job, question: Question, intervals: Mapping[str, Interval]) -> tuple[Finding, ...]:
    """Settle every claim. Raises as `ranges.robust` does."""
    sheet = ranges.robust(job, question, intervals)
    resources = job.limits.resources
    second = cvc5_backend.settle_goals(sheet.script, resources)
    solver = z3_backend.Solver(sheet.given, resources, [claim.goal for claim in sheet.claims])
    found = []
    for place, claim in enumerate(sheet.claims):
        answers = {"z3": solver.settle(place), "cvc5": second[place]}
        example = None
        if answers["z3"] is Answer.SATISFIABLE and claim.kind is not Kind.POSSIBLE:
            roots = (*sheet.given, *(each.goal for each in sheet.claims))
            example = ranges.moved(question, sheet, solver.model(roots))
        found.append(_finding(claim, answers, example, job))
    return tuple(found)


def _finding(claim: Claim, answers: Mapping[str, Answer], example: Question | None, job: Job) -> Finding:
    verdict = Verdict.UNKNOWN
    if set(answers.values()) == {claim.wanted}:
        verdict = Verdict.PROVED
    elif Answer.UNKNOWN not in answers.values() and len(set(answers.values())) > 1:
        verdict = Verdict.ENCODING_BUG
    elif claim.kind is Kind.POSSIBLE and Answer.UNKNOWN not in answers.values():
        verdict = Verdict.VACUOUS
    elif example is not None:
        verdict = Verdict.REFUTED if _replays(claim, example, job) else Verdict.ENCODING_BUG
    return Finding(
        kind=claim.kind,
        subject=claim.subject,
        verdict=verdict,
        answers={name: answer.value for name, answer in answers.items()},
        counter_example=example if verdict is Verdict.REFUTED else None,
    )


def _replays(claim: Claim, example: Question, job: Job) -> bool:
    """Whether the real engine, and the compiled check, say of the call what the solver says."""
    is_allowed = Engine(job.policies, job.schema).raw_allow(example)
    if claim.kind is Kind.PERMITTED:
        return not is_allowed
    evaluated = checks.compile(job.invariants, job.schema.typed).evaluate(example)
    return is_allowed and any(each.id == claim.subject and not each.holds for each in evaluated)
