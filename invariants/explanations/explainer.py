"""Explanations for a program that must stay responsive: one solver process after the other, few waiting, none for long.

No solver is loaded in this process, and nothing here is on the call path. What a process could not find out is unknown,
with the reason; never an exception, and never an alternative.
"""

from __future__ import annotations

import asyncio
from typing import Any

from invariants.errors import Busy, InvariantError
from invariants.explanations import alternatives
from invariants.explanations.alternatives import Asked, Explanation
from invariants.jobs import ProofLimits
from invariants.processes import Queue, converse

LIMITS = ProofLimits(seconds=10.0)
"""One takes about a second, most of which is to load the solver. What a check may cost is in what is asked."""
PATIENCE_SECONDS = 20.0  # Of the caller, who looks at a screen; a queue that is longer than that says so at once.


class Explainer:
    """Starts solver processes, one at a time."""

    def __init__(self, limits: ProofLimits = LIMITS, *, waiting_max: int = 8) -> None:
        self._limits = limits
        self._queue = Queue(waiting_max)

    async def explain(self, asked: Asked) -> Explanation:
        """
        What would have been permitted.

        Raises `Busy` when too many wait already, or this one waited too long.
        """
        heard: list[Explanation] = []

        def hear(document: dict[str, Any]) -> None:
            if heard:
                raise InvariantError("one answer expected")
            heard.append(alternatives.read(document))

        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._queue.turn():
                reason = await converse("explain", asked, self._limits, hear)
        except TimeoutError as error:
            raise Busy("too many explanations wait already") from error
        return heard[0] if heard and not reason else Explanation(unknown=reason or "worker_died")
