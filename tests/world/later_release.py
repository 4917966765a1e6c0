"""A gateway of a later release: its encoder has another version, and it proves nothing before a file says that it may.

`python -m tests.world.later_release FILE`. Everything else is the gateway's own: engine, solvers, database, routes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from invariants import obligations
from invariants.reports import ProofReport
from invariants.supervisor import Prover

VERSION = f"{obligations.ENCODER_VERSION}, of a later release"
POLL_SECONDS = 0.05


def wait_for(file: Path) -> None:
    """Return when the file is there."""
    while not file.exists():
        time.sleep(POLL_SECONDS)


def main() -> int:
    """Serve as `python -m gateway` does."""
    obligations.ENCODER_VERSION = VERSION  # Before whoever reads it is imported.
    from gateway import __main__ as process  # noqa: PLC0415

    prove = Prover.prove

    async def waits(self: Prover, *bundle: Any) -> ProofReport:
        await asyncio.to_thread(wait_for, Path(sys.argv[1]))
        return await prove(self, *bundle)

    Prover.prove = waits  # type: ignore[method-assign, assignment]
    return process.main()


if __name__ == "__main__":
    sys.exit(main())
