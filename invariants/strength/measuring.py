"""The mutation score of a bundle, measured in worker processes: bounded, killable, side by side.

No solver is loaded in this process. Half a score says nothing, so a worker that dies leaves none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from invariants.errors import InvariantError
from invariants.jobs import Job
from invariants.processes import converse
from invariants.strength import scores
from invariants.strength.scores import Judgement, Score
from invariants.strength.trials import Asked
from policies import cedar

WORKERS = 2  # As many as a proof run has.


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One part of the mutants: those of every so manieth rule."""

    place: int = 0
    of: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one worker is given."""

    job: Job
    cases: tuple[Asked, ...]
    share: Share


async def measure(job: Job, cases: Sequence[Asked], workers: int = WORKERS) -> Score:
    """
    What becomes of every mutant of a bundle that is proved and passes its cases, in the order of the rules.

    Raises `InvariantError`, which says why, when a worker did not get to its end, and `PolicyFault` for policies that
    cannot be read. Cancelled, it leaves no process behind.
    """
    places = {rule.id: place for place, rule in enumerate(cedar.parse(job.policies))}
    heard = [_Heard() for _ in range(workers)]
    tasks = [Task(job=job, cases=tuple(cases), share=Share(place=place, of=workers)) for place in range(workers)]
    reasons = await asyncio.gather(
        *(converse("score", task, job.limits, each.hear) for task, each in zip(tasks, heard, strict=True))
    )
    if any(reasons) or not all(each.is_whole for each in heard):
        raise InvariantError(f"mutants not judged: {next(filter(None, reasons), 'worker_died')}")
    judgements = [judgement for each in heard for judgement in each.judgements]
    return Score(
        judgements=tuple(sorted(judgements, key=lambda each: places[each.mutant.rule])),
        ill_typed=sum(each.ill_typed for each in heard),
    )


@dataclass(slots=True)
class _Heard:
    """What one worker has said so far."""

    judgements: list[Judgement] = field(default_factory=list)
    ill_typed: int = 0
    judged: int | None = None

    @property
    def is_whole(self) -> bool:
        return self.judged == len(self.judgements)

    def hear(self, document: dict[str, Any]) -> None:
        """Take one line. Raises `InvariantError` for anything but the next answer."""
        if self.judged is not None:
            self.judgements.append(scores.judgement(document))
            return
        ill_typed, judged = document.get("ill_typed"), document.get("judged")
        if type(ill_typed) is not int or type(judged) is not int:
            raise InvariantError("the counts of a share expected")
        self.ill_typed, self.judged = ill_typed, judged
