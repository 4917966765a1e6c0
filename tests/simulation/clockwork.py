"""Time that passes only when nobody has anything to do: an event loop for simulations, and clocks on it."""

from __future__ import annotations

import asyncio
import selectors
from dataclasses import dataclass
from typing import Any

START_MS = 1_780_000_000_000
"""When every simulation begins: some day in 2026."""


class _Nothing(selectors.SelectSelector):
    """A simulation waits for nothing outside."""

    def select(self, timeout: float | None = None) -> list[Any]:
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    Runs what is ready; when nothing is, the clock jumps to the next timer.

    The order of what is ready is the order in which it became so, so a run is the same each time. What waits for
    neither a timer nor another task would wait for ever: that is an error here, not a hang.
    """

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Nothing())

    def time(self) -> float:
        """Seconds since the simulation began."""
        return self._now

    def _run_once(self) -> None:
        ready: Any = vars(self)["_ready"]
        scheduled: Any = vars(self)["_scheduled"]
        if not ready:
            if not scheduled:
                raise Stuck("every task waits for something that nobody will do")
            # A timer that was cancelled wakes nobody; that the clock stood there for a moment is not seen either.
            self._now = max(self._now, scheduled[0].when())
        super()._run_once()  # type: ignore[misc]  # of the standard library, where it is not public


class Stuck(Exception):
    """A simulation in which nothing can happen any more."""


@dataclass(slots=True)
class VirtualClock:
    """A gateway's clocks: the wall clock may be wrong by `skew_ms`, the monotonic one is the loop's."""

    loop: VirtualLoop
    skew_ms: int = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970, as this machine believes."""
        return START_MS + int(self.loop.time() * 1000) + self.skew_ms

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return self.loop.time()
