"""Patience: how long a call may wait, in all, for what it needs before it is decided.

Each thing that is waited for has a bound of its own, but one after the other they would add up. A call that is not
decided within its patience is told so; nothing was done. What reads a client's body, and what waits for the tool, is
not part of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.errors import Unavailable

SECONDS = 1.6
"""Every call that cannot be decided is answered within two seconds, on a machine that is busy too."""
LEAST_SECONDS = 0.2
"""What is left, at the least, for making the intent durable: less would refuse calls that were decided."""


class Patience:
    """Of one call."""

    __slots__ = ("_left",)

    def __init__(self, seconds: float = SECONDS) -> None:
        self._left = seconds

    @property
    def left(self) -> float:
        """Seconds for what comes next."""
        return max(self._left, LEAST_SECONDS)

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """
        Wait within what is left. Not for what cannot be taken back: whoever loses patience leaves in the middle.

        Raises `Unavailable`.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._left):
                yield
        except TimeoutError as error:
            raise Unavailable("too_slow", "what the call needs does not answer in time") from error
        finally:
            self._left -= loop.time() - started
