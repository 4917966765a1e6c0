"""The twelve stages by name, timed, and the points at which a test may kill the process.

`LOCKGATE_TEST_CRASH=intend:after` ends the process with SIGKILL when the next write has passed that stage: what is left
behind is what a power cut would leave. `settings` refuses the variable outside `dev`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import TracebackType

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
    """Runs each stage between its two kill points and reports how long it took."""

    def __init__(self, crash: str, observe: Callable[[str, float], None]) -> None:
        points = {f"{stage}:{side}" for stage in STAGES for side in ("before", "after")}
        if crash and crash not in points:
            raise Misconfigured(f"LOCKGATE_TEST_CRASH names no kill point: expected one of {', '.join(sorted(points))}")
        self._crash = crash
        self._observe = observe

    def __call__(self, stage: str) -> Stage:
        """One stage. The crash point `after` is reached only when the stage went on."""
        return Stage(stage, self._crash, self._observe)


class Stage:
    """One stage of one call. A class and not a generator: there are twelve of them in every call."""

    __slots__ = ("_crash", "_name", "_observe", "_started")

    def __init__(self, name: str, crash: str, observe: Callable[[str, float], None]) -> None:
        self._name = name
        self._crash = crash
        self._observe = observe

    def __enter__(self) -> None:
        if self._crash and self._crash == self._name + ":before":
            _die()
        self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        self._observe(self._name, time.perf_counter() - self._started)
        if self._crash and self._crash == self._name + ":after":
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
