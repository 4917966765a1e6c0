"""Proof runs: the prover with z3 and the second opinion with cvc5, side by side, and the two joined.

An obligation is proved where both solvers say so of the same text. Whatever becomes of a worker, the answer is a report
in which the obligations it did not answer are unknown. Never a yes, and never an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from invariants import declared, jobs, obligations, reports
from invariants.errors import InvariantError
from invariants.jobs import Job, ProofLimits
from invariants.processes import Queue, converse
from invariants.reports import Finding, ProofReport, SolverUsed, Verdict
from policies import cedar_syntax
from policies.cedar import parse
from policies.schema import CedarSchema
from tool_registry.contracts import Contract

_BEARING_OUT = {
    "assumptions": ("sat",),
    "premise": ("sat", "unsat"),
    "never_errs": ("unsat",),
    "invariant": ("unsat",),
    "lives": ("",),
}
"""Kind -> what the prover's solver answered wherever that is proved. No second solver is asked which rules live."""

Progress = Callable[[Finding, int, int], None]
"""Told of each verdict of the prover, its place from 1, and how many there will be."""


class Prover:
    """Starts workers, for one bundle at a time."""

    def __init__(self, limits: ProofLimits | None = None, queue: Queue | None = None) -> None:
        self._limits = limits or ProofLimits()
        self._queue = queue or Queue()

    async def prove(
        self,
        files: Mapping[str, str],
        schema: CedarSchema,
        contracts: Iterable[Contract],
        progress: Progress | None = None,
    ) -> ProofReport:
        """
        Prove every invariant of `files["invariants.cedar"]` over `files["policies.cedar"]`.

        Raises `Unreadable` and `policies.errors.PolicyFault` when there is nothing that could be proved, `Busy` when
        too many wait already. Every other fault is an unknown in the report. Cancelled, it leaves no process behind.
        """
        job = jobs.job(files, schema, contracts, self._limits)
        read = declared.read(job.invariants, schema.typed)
        parse(job.policies)
        run, second = _Run(list(jobs.planned(job, read)), progress), Second()
        async with self._queue.turn():
            reason, other = await _both(job, run, second)
        return ProofReport(
            findings=reports.hollow(tuple(second.judge(finding, other) for finding in run.findings(reason))),
            solvers=tuple(each for each in (run.solver, second.solver) if each is not None),
            engine=cedar_syntax.ENGINE_VERSION,
            encoder=obligations.ENCODER_VERSION,
            assumptions=obligations.ASSUMPTIONS,
        )


async def _both(job: Job, run: _Run, second: Second) -> tuple[str, str]:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(converse("prove", job, job.limits, run.hear))
        other = group.create_task(converse("settle", job, job.limits, second.hear))
    return first.result(), other.result()


@dataclass(slots=True)
class _Run:
    """What the prover has said so far, held against what it was asked."""

    asked: list[Finding]
    progress: Progress | None
    answered: list[Finding] = field(default_factory=list)
    solver: SolverUsed | None = None

    def hear(self, document: dict[str, Any]) -> None:
        """Take one line. Raises `InvariantError` for anything but the next answer."""
        if self.solver is None:
            self.solver = _solver(document)
        else:
            self._answer(reports.finding(document))

    def findings(self, reason: str) -> list[Finding]:
        """Every answer, and unknown for what is missing."""
        missing = self.asked[len(self.answered) :]
        return [*self.answered, *(replace(finding, reason=reason or "worker_died") for finding in missing)]

    def _answer(self, finding: Finding) -> None:
        if len(self.answered) >= len(self.asked):
            raise InvariantError("more answers than questions")
        if finding.key != self.asked[len(self.answered)].key:
            raise InvariantError("the answer to another question")
        if finding.verdict is Verdict.PROVED and finding.answers.get("z3", "") not in _BEARING_OUT[finding.kind]:
            raise InvariantError("a proof that its own answer bears out expected")
        self.answered.append(finding)
        if self.progress is not None:
            self.progress(finding, len(self.answered), len(self.asked))


@dataclass(slots=True)
class Second:
    """What the second solver has said so far, by the digest of what it was asked."""

    solver: SolverUsed | None = None
    answers: dict[str, str] = field(default_factory=dict)

    def hear(self, document: dict[str, Any]) -> None:
        """Take one line. Raises `InvariantError` for anything but digests with answers."""
        if self.solver is None:
            self.solver = _solver(document)
        elif all(isinstance(answer, str) for answer in document.values()):
            self.answers |= document
        else:
            raise InvariantError("answers expected")

    def judge(self, finding: Finding, reason: str) -> Finding:
        """The prover's verdict where the second solver says the same; less where it does not."""
        first = finding.answers.get("z3", "unknown")
        if first == "unknown":
            return finding
        answer = self.answers.get(finding.digest, "unknown")
        joined = replace(finding, answers={**finding.answers, "cvc5": answer})
        if answer == first:
            return joined
        unproved = replace(joined, counter_example=None, value=None, limit=None)
        if answer != "unknown":
            return replace(unproved, verdict=Verdict.ENCODING_BUG, reason="solvers_disagree")
        if finding.verdict is Verdict.REFUTED:
            return joined  # The engine itself allows the call; no second solver is needed to refuse it.
        why = "second_solver_limit" if finding.digest in self.answers else reason or "second_solver_silent"
        return replace(unproved, verdict=Verdict.UNKNOWN, reason=why)


def _solver(document: dict[str, Any]) -> SolverUsed:
    try:
        name, version, options = (document["solver"][member] for member in ("name", "version", "options"))
        return SolverUsed(name=str(name), version=str(version), options=tuple(map(str, options)))
    except (KeyError, TypeError) as error:
        raise InvariantError("the solver's name expected") from error
