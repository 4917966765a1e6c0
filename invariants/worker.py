"""The process that proves: reads one job, writes one line for each verdict, and may die at any point.

`python -m invariants.worker` is started by `supervisor` and by nobody else. The job comes as a pickle over a pipe
that only the parent holds; answers go back as JSON, because what a process writes whose memory ran out is not to be
believed as code. Limits are set before anything is read. Only here is a solver loaded.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys

EXIT_OUT_OF_MEMORY = 3


def main() -> int:
    """Prove one job. Exit codes: 0 all verdicts written, 3 out of memory; anything else is a death."""
    memory_bytes, seconds = int(sys.argv[1]), int(sys.argv[2])
    _limit(memory_bytes, seconds)
    try:
        _prove(memory_bytes)
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


def _prove(memory_bytes: int) -> None:
    # After the limits, so that loading is bounded too.
    from invariants import prover  # noqa: PLC0415
    from invariants.solving import z3_backend  # noqa: PLC0415

    # The solver gives up before the address space ends, so that most memory bombs are an answer and not a death.
    z3_backend.limit_memory(memory_bytes * 3 // 4)
    job = pickle.load(sys.stdin.buffer)  # noqa: S301 - same
    _write({"solver": z3_backend.SOLVER_VERSION})
    count = 0
    for finding in prover.run(job):
        _write(finding.document())
        count += 1
    _write({"done": count})


def _write(document: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
