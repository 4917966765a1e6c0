"""A gateway on a machine whose wall clock is wrong: `python -m tests.world.other_clock FILE`.

FILE holds milliseconds to add to the time, or `still`: from the first look on, the time does not move. It is read at
each look at the clock, so the clock jumps whenever a test writes it. The monotonic clock and the database's are right.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gateway import __main__ as process
from gateway.clock import SystemClock


class OtherClock:
    """What the file says of the time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stands_at_ms: int | None = None

    def now_ms(self) -> int:
        """The machine's time, as it is shifted at present."""
        said, now_ms = self._file.read_text(), time.time_ns() // 1_000_000
        if said == "still":
            self._stands_at_ms = self._stands_at_ms or now_ms
            return self._stands_at_ms
        self._stands_at_ms = None
        return now_ms + int(said)


if __name__ == "__main__":
    clock = OtherClock(Path(sys.argv[1]))
    SystemClock.now_ms = clock.now_ms  # type: ignore[method-assign, assignment]
    sys.exit(process.main())
