"""Patience: how long a call may wait, in all, for what it needs before it is decided.

Each thing that is waited for has a bound of its own, but one after the other they would add up. A call that is not
decided within its patience is told so; nothing was done. Reading a client's body, and waiting for the tool, is not
part of it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from gateway.errors import Unavailable

SECONDS = 1.6
"""Every call that cannot be decided is answered within two seconds, on a machine that is busy too."""
LEAST_SECONDS = 0.2
"""What is left, at the least, for making the intent durable: less would refuse calls that were decided."""


class Patience:
    """
    Of one call: `async with patience:` waits within what is left, as often as it takes, and raises `Unavailable`.

    Not for what cannot be taken back: whoever loses patience leaves in the middle.
    """

    __slots__ = ("_left", "_loop", "_started", "_timeout")

    def __init__(self, seconds: float = SECONDS) -> None:
        self._left = seconds
        self._loop = asyncio.get_running_loop()
        self._started = 0.0
        self._timeout: asyncio.Timeout | None = None

    @property
    def left(self) -> float:
        """Seconds for what comes next."""
        return max(self._left, LEAST_SECONDS)

    async def __aenter__(self) -> None:
        self._started = self._loop.time()
        self._timeout = asyncio.timeout(self._left)
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        timeout, self._timeout = self._timeout, None
        self._left -= self._loop.time() - self._started
        if timeout is None:
            return
        try:
            await timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise Unavailable("too_slow", "what the call needs does not answer in time") from late
