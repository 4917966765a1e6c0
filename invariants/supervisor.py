"""Proof runs for a process that must stay alive and responsive: each in a worker of its own, bounded and killable.

Whatever becomes of the worker (killed, out of memory, out of time, talking nonsense), the answer is a report in which
the obligations it did not answer are unknown. Never a yes, and never an exception. No solver is loaded in this
process.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from invariants import jobs, obligations, reports, statements, symbolic
from invariants.errors import InvariantError
from invariants.jobs import Job, ProofLimits
from invariants.reports import Finding, ProofReport, Verdict
from invariants.worker import EXIT_OUT_OF_MEMORY
from policies import cedar_syntax
from policies.cedar import parse
from policies.schema import CedarSchema
from tool_registry.contracts import Contract

_ROOT = Path(__file__).resolve().parent.parent
_LINE_BYTES_MAX = 1024 * 1024  # A counter-example is a question, some kilobytes.
_ENVIRONMENT = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")  # The worker needs no setting and no secret.

Progress = Callable[[Finding, int, int], None]
"""Told of each verdict, its place from 1, and how many there will be."""


class Prover:
    """Starts workers, one at a time: a second upload waits rather than share the machine with the first."""

    def __init__(self, limits: ProofLimits | None = None) -> None:
        self._limits = limits or ProofLimits()
        self._turn = asyncio.Semaphore(1)

    async def prove(
        self,
        files: Mapping[str, str],
        schema: CedarSchema,
        contracts: Iterable[Contract],
        progress: Progress | None = None,
    ) -> ProofReport:
        """
        Prove every invariant of `files["invariants.cedar"]` over `files["policies.cedar"]`.

        Raises `Unreadable` and `policies.errors.PolicyFault` when there is nothing that could be proved. Every other
        fault is an unknown in the report. Cancelled, it leaves no process behind.
        """
        job = jobs.job(files, schema, contracts, self._limits)
        read = statements.read(job.invariants, schema.typed)
        parse(job.policies)
        run = _Run([_unanswered(statement, action) for statement, action in jobs.planned(read)], progress)
        async with self._turn:
            reason = await _converse(job, run)
        return ProofReport(
            findings=tuple(run.findings(reason)),
            solver=run.solver,
            engine=cedar_syntax.ENGINE_VERSION,
            encoder=symbolic.ENCODER_VERSION,
            assumptions=obligations.ASSUMPTIONS,
        )


@dataclass(slots=True)
class _Run:
    """What the worker has said so far, held against what it was asked."""

    asked: list[Finding]
    progress: Progress | None
    answered: list[Finding] = field(default_factory=list)
    solver: str = ""
    is_done: bool = False

    def hear(self, line: bytes) -> None:
        """Take one line. Raises `InvariantError` for anything but the next answer."""
        try:
            document: Any = json.loads(line)
        except ValueError as error:
            raise InvariantError("not JSON") from error
        if not isinstance(document, dict) or self.is_done:
            raise InvariantError("an object expected")
        if not self.solver:
            self.solver = str(document.get("solver", ""))
            if not self.solver:
                raise InvariantError("the solver's name expected")
        elif "done" in document:
            self.is_done = document["done"] == len(self.asked) == len(self.answered)
        else:
            self._answer(reports.finding(document))

    def findings(self, reason: str) -> list[Finding]:
        """Every answer, and unknown for what is missing."""
        missing = self.asked[len(self.answered) :]
        return [*self.answered, *(replace(finding, reason=reason) for finding in missing)]

    def _answer(self, finding: Finding) -> None:
        if len(self.answered) >= len(self.asked):
            raise InvariantError("more answers than questions")
        asked = self.asked[len(self.answered)]
        if (finding.invariant, finding.action) != (asked.invariant, asked.action):
            raise InvariantError("the answer to another question")
        self.answered.append(finding)
        if self.progress is not None:
            self.progress(finding, len(self.answered), len(self.asked))


async def _converse(job: Job, run: _Run) -> str:
    """Run one worker to its end. Returns why answers may be missing."""
    limits = job.limits
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "invariants.worker",
        str(limits.memory_bytes),
        str(math.ceil(limits.seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=_ROOT,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        limit=_LINE_BYTES_MAX,
    )
    try:
        async with asyncio.timeout(limits.seconds):
            await _exchange(process, job, run)
            code = await process.wait()
    except TimeoutError:
        return "out_of_time"
    except (InvariantError, ValueError, OSError):
        # A broken pipe, a line without end, or an answer that was not asked for.
        return "worker_died"
    finally:
        await _end(process)
    return "out_of_memory" if code == EXIT_OUT_OF_MEMORY else "worker_died"


async def _exchange(process: asyncio.subprocess.Process, job: Job, run: _Run) -> None:
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise InvariantError("pipes expected")
    stdin.write(pickle.dumps(job))
    await stdin.drain()
    stdin.close()
    while line := await stdout.readline():
        run.hear(line)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            process.kill()
        except ProcessLookupError:
            return
        await process.wait()


def _unanswered(statement: statements.Statement, action: str) -> Finding:
    return Finding(
        invariant=statement.id,
        sentence=statement.sentence,
        action=action,
        verdict=Verdict.UNKNOWN,
        reason="worker_died",
    )
