"""Analyses for a program that must stay alive: asked in a process of its own, with limits on memory and time.

What the process did not answer is missing, with a reason, and never a yes. No solver is loaded here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from invariants import processes
from invariants.analyses import results
from invariants.analyses.results import Analysis, Result
from invariants.errors import InvariantError
from invariants.jobs import Job
from policies import cedar

Progress = Callable[[Result], None]
"""Told of each result as it comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What is asked of a bundle, in the order in which it is answered."""

    job: Job
    questions: tuple[Analysis, ...] = tuple(Analysis)
    """Without `old`, `difference` is left out: there is nothing to compare with."""
    old: Job | None = None
    """The bundle that went before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What was found out."""

    results: tuple[Result, ...]
    missing: str
    """Why results are missing: `worker_died`, `out_of_memory`, `out_of_time`. Empty: every question is answered."""


async def ask(inquiry: Inquiry, progress: Progress | None = None) -> Answers:
    """
    Have every question answered.

    Raises `PolicyFault` when the rules of a bundle cannot be read at all. Cancelled, it leaves no process behind.
    """
    for job in (inquiry.job, inquiry.old):
        if job is not None:
            cedar.parse(job.policies)
    heard = _Heard(progress)
    reason = await processes.converse("analyse", inquiry, inquiry.job.limits, heard.hear)
    return Answers(results=tuple(heard.results), missing=reason or ("" if heard.is_done else "worker_died"))


@dataclass(slots=True)
class _Heard:
    """What the process has said so far."""

    progress: Progress | None
    results: list[Result] = field(default_factory=list)
    is_done: bool = False

    def hear(self, document: dict[str, Any]) -> None:
        if self.is_done:
            raise InvariantError("nothing after the end expected")
        if "done" in document:
            self.is_done = document["done"] == len(self.results)
            return
        self.results.append(results.read(document))
        if self.progress is not None:
            self.progress(self.results[-1])
