"""The second opinion: every obligation written anew from the bundle, and settled by cvc5 from its text alone.

Runs inside a worker process of its own. It says what the solver answers to each obligation, by the digest of its text;
what that means is for `supervisor`, which holds it against the prover's verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from invariants.jobs import Job
from invariants.obligations import Refused, sheets
from invariants.solving import cvc5_backend


def answers(job: Job, _memory_bytes: int) -> Iterator[dict[str, Any]]:
    """What the worker says: who it is, then for each type of request digest and answer of every obligation."""
    resources = job.limits.resources
    yield {"solver": cvc5_backend.used(resources)}
    for sheet in sheets(job):
        if not isinstance(sheet, Refused):
            found = cvc5_backend.settle_goals(sheet.script, resources)
            yield {sheet.digest(place): answer.value for place, answer in enumerate(found)}
