"""The process that solves: reads one task's input, writes one line for each answer, and may die at any point.

`python -m invariants.worker` is started by `processes` and by nobody else. The input comes as a pickle over a pipe
that only the parent holds; answers go back as JSON, because what a process writes whose memory ran out is not to be
believed as code. Limits are set before anything is read. Only here is a solver loaded, and in offline commands.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import resource
import sys
from collections.abc import Mapping

EXIT_OUT_OF_MEMORY = 3

TASKS: Mapping[str, str] = {
    "prove": "invariants.prover",
    "settle": "invariants.settling",
    "explain": "invariants.explanations.search",
    "score": "invariants.strength.scoring",
    "analyse": "invariants.analyses.inquiry",
    "text": "invariants.texts.proving",
    "count": "invariants.state.induction",
}
"""Task -> the module whose `answers(job)` gives one JSON object after the other."""


def main() -> int:
    """Do one task. Exit codes: 0 all answers written, 3 out of memory; anything else is a death."""
    task, memory_bytes, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _limit(memory_bytes, seconds)
    try:
        _answer(task, memory_bytes)
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)  # Nothing may be allocated now, not even for a tidy end.
    return 0


def _limit(memory_bytes: int, seconds: int) -> None:
    """The address space bounds the solver; the processor time ends a worker whose parent is gone."""
    for kind, value in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (bound, bound))
        except (ValueError, OSError):
            # macOS has no working RLIMIT_AS. The solver's own limit, below, still holds there.
            continue


def _answer(task: str, memory_bytes: int) -> None:
    # After the limits, so that loading is bounded too.
    answers = importlib.import_module(TASKS[task]).answers
    job = pickle.load(sys.stdin.buffer)  # noqa: S301 - the parent's own bytes
    for document in answers(job, memory_bytes):
        _write(document)


def _write(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
