"""The keys file that outsiders verify with: its bytes, kept for as long as they are true.

Nobody who asks for it says who they are, so asking costs next to nothing. However many ask, one of them looks whether
a key was registered, revoked or exchanged, a few times a second at most; and only then is the file written anew, beside
the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.clock import Clock
from gateway.people import People
from gateway.storage.persons import KeysMark

LOOK_SECONDS = 0.2  # Who registers a key, or revokes one, finds it so at the next request a person makes.


class KeysFile:
    """The file of all tenants."""

    def __init__(self, people: People, clock: Clock, *, tenants: Sequence[str]) -> None:
        self._people = people
        self._clock = clock
        self._tenants = tenants
        self._mark: KeysMark | None = None
        self._content = b""
        self._look: asyncio.Task[bytes] | None = None
        self._began = 0.0
        """When the look began that everybody is answered by."""

    async def content(self) -> bytes:
        """The file, at most `LOOK_SECONDS` old. Raises `LedgerUnavailable`, all who share a look alike."""
        now = self._clock.monotonic()
        if self._look is None or (self._look.done() and now - self._began >= LOOK_SECONDS):
            self._look, self._began = asyncio.create_task(self._looked()), now
        # Whoever asked first may leave first: the others wait for the same look.
        return await asyncio.shield(self._look)

    async def _looked(self) -> bytes:
        # Read before the keys: one that comes in between is in the file already, and the next look writes it again.
        mark = await self._people.mark(self._tenants)
        if mark != self._mark:
            self._content = await self._people.keys_file(self._tenants)
            self._mark = mark
        return self._content
