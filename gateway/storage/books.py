"""The ledger that the gateway is wired with: one writer and one reader over the same database."""

from __future__ import annotations

import asyncio

from gateway.ledger import Act, Answer, Look, Seen
from gateway.storage.lookups import Lookups
from gateway.storage.sequencer import Sequencer


class Books:
    """Implements `gateway.ledger.Ledger`. Entered once, on the loop that uses it."""

    def __init__(self, sequencer: Sequencer, lookups: Lookups) -> None:
        self._sequencer = sequencer
        self._lookups = lookups

    async def __aenter__(self) -> Books:
        self._sequencer.start()
        self._lookups.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        # What waits is carried out first, and its answers need this loop: it must not be blocked meanwhile.
        await asyncio.gather(asyncio.to_thread(self._sequencer.stop), asyncio.to_thread(self._lookups.stop))

    @property
    def is_refusing(self) -> bool:
        """Whether nothing is written until a person has acted (see `Writer`)."""
        return self._sequencer.is_refusing

    async def commit(self, act: Act) -> Answer:
        """Make an act durable (see `Sequencer.commit`)."""
        return await self._sequencer.commit(act)

    async def look(self, look: Look) -> Seen:
        """Read before deciding (see `Lookups`)."""
        return await self._lookups.ask(look)
