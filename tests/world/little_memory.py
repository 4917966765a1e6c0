"""A gateway whose solvers have an eighth of the memory that they have in production, so that a bomb is over sooner.

`python -m tests.world.little_memory`. Everything else is the gateway's own.
"""

from __future__ import annotations

import sys
from functools import partial

from invariants import supervisor
from invariants.jobs import ProofLimits

MEMORY_BYTES = 128 * 1024 * 1024  # The base bundle needs 90 MB of it.


def main() -> int:
    """Serve as `python -m gateway` does."""
    supervisor.ProofLimits = partial(ProofLimits, memory_bytes=MEMORY_BYTES)  # type: ignore[misc, assignment]
    from gateway import __main__ as process  # noqa: PLC0415 - after what it reads was changed

    return process.main()


if __name__ == "__main__":
    sys.exit(main())
