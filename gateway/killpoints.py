"""The twelve stages by name, timed, and the points at which a test may kill the process.

`LOCKGATE_TEST_CRASH=intend:after` ends the process with SIGKILL when the next write has passed that stage: what is left
behind is what a power cut would leave. `settings` refuses the variable outside `dev`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """One stage. The crash point `after` is reached only when the stage went on."""
        if self._crash == stage + ":before":
            _die()
        started = time.perf_counter()
        yield
        self._observe(stage, time.perf_counter() - started)
        if self._crash == stage + ":after":
            _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
