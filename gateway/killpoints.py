"""The twelve stages by name, timed, and the points at which a test may kill the process.

`LOCKGATE_TEST_CRASH=intend:after` ends the process with SIGKILL when the next write has passed that stage: what is left
behind is what a power cut would leave. `settings` refuses the variable outside `dev`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from gateway.errors import Misconfigured

STAGES = (
    "identify",
    "limit",
    "admit",
    "claim",
    "gather",
    "decide",
    "check",
    "clear",
    "intend",
    "execute",
    "settle",
    "answer",
)


class Stages:
    """Makes walks: runs the stages of a call between their kill points, and reports how long each took."""

    def __init__(self, crash: str, observe: Callable[[str, float], None]) -> None:
        points = {f"{stage}:{side}" for stage in STAGES for side in ("before", "after")}
        if crash and crash not in points:
            raise Misconfigured(f"LOCKGATE_TEST_CRASH names no kill point: expected one of {', '.join(sorted(points))}")
        self._crash = crash
        self._observe = observe

    def walk(self) -> Walk:
        """For one call."""
        return Walk(self._crash, self._observe)


class Walk:
    """One call on its way through the stages. A stage that raises is not reported, nor is its point `after` reached."""

    __slots__ = ("_crash", "_observe", "_stage", "_started")

    def __init__(self, crash: str, observe: Callable[[str, float], None]) -> None:
        self._crash = crash
        self._observe = observe
        self._stage = ""
        self._started = 0.0

    def enter(self, stage: str) -> None:
        """Begin a stage; the one before it, if any is open, went on."""
        now = time.perf_counter()
        if self._stage:
            self._observe(self._stage, now - self._started)
        if self._crash and self._crash in (f"{self._stage}:after", f"{stage}:before"):
            _die()
        self._stage, self._started = stage, now

    def leave(self) -> None:
        """The open stage went on, and none follows at once."""
        self._observe(self._stage, time.perf_counter() - self._started)
        if self._crash == f"{self._stage}:after":
            _die()
        self._stage = ""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
