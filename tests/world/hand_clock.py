"""A clock for tests in which time passes only when they say so."""

from __future__ import annotations


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def now_ms(self) -> int:
        """Nobody who is given this clock asks for it."""
        raise AssertionError("wall time has no part in it")

    def monotonic(self) -> float:
        """Seconds, as they were set."""
        return self.now
