"""The questions by name, over one bundle laid open once. `difference` is about two bundles and stands apart.

It loads the solvers: `asking` has it run in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from invariants.analyses import always, decisive, difference, lockout, never_errs, persons, surveys, tenants
from invariants.analyses.asking import Inquiry
from invariants.analyses.results import Analysis, Result
from invariants.analyses.surveys import Survey
from invariants.jobs import Job
from invariants.solving import z3_backend

QUESTIONS: Mapping[Analysis, Callable[[Survey], Iterator[Result]]] = {
    Analysis.NEVER_ERRS: never_errs.run,
    Analysis.DECISIVE: decisive.run,
    Analysis.ALWAYS: always.run,
    Analysis.IRREVERSIBLE_APPROVED: persons.irreversible_approved,
    Analysis.DUTIES_SEPARATED: persons.duties_separated,
    Analysis.TENANTS_ISOLATED: tenants.run,
    Analysis.NOBODY_LOCKED_OUT: lockout.run,
}
"""All but `difference`, in order."""


def run(job: Job, names: Iterable[Analysis] = tuple(QUESTIONS)) -> Iterator[Result]:
    """Answer some questions, one after the other. Raises `PolicyFault` when the policies cannot be read at all."""
    laid_open = surveys.survey(job)
    for name in names:
        yield from QUESTIONS[name](laid_open)


def answers(inquiry: Inquiry, memory_bytes: int) -> Iterator[dict[str, Any]]:
    """What the worker says: every result, and how many there were."""
    # The solver gives up before the address space ends, so that most memory bombs are an answer and not a death.
    z3_backend.limit_memory(memory_bytes * 3 // 4)
    count = 0
    for result in _answered(inquiry):
        count += 1
        yield result.document()
    yield {"done": count}


def _answered(inquiry: Inquiry) -> Iterator[Result]:
    yield from run(inquiry.job, [name for name in inquiry.questions if name in QUESTIONS])
    if inquiry.old is not None and Analysis.DIFFERENCE in inquiry.questions:
        yield from difference.run(inquiry.old, inquiry.job)
