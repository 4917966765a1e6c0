"""The questions by name, over one bundle laid open once. `difference` is about two bundles and stands apart.

For the worker process and for commands at a terminal: it loads the solvers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from invariants.analyses import always, decisive, lockout, never_errs, persons, surveys, tenants
from invariants.analyses.results import Analysis, Result
from invariants.analyses.surveys import Survey
from invariants.jobs import Job

QUESTIONS: Mapping[Analysis, Callable[[Survey], Iterator[Result]]] = {
    Analysis.NEVER_ERRS: never_errs.run,
    Analysis.DECISIVE: decisive.run,
    Analysis.ALWAYS: always.run,
    Analysis.IRREVERSIBLE_APPROVED: persons.irreversible_approved,
    Analysis.DUTIES_SEPARATED: persons.duties_separated,
    Analysis.TENANTS_ISOLATED: tenants.run,
    Analysis.NOBODY_LOCKED_OUT: lockout.run,
}
"""In the order in which a reviewer would ask."""


def run(job: Job, names: Iterable[Analysis] = tuple(QUESTIONS)) -> Iterator[Result]:
    """Answer some questions, one after the other. Raises `PolicyFault` when the policies cannot be read at all."""
    laid_open = surveys.survey(job)
    for name in names:
        yield from QUESTIONS[name](laid_open)
