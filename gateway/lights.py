"""Light entries: reads, dry runs and attempts that never became a call, recorded without being waited for.

Each tenant may leave so many a second; what comes above is counted and recorded as one NOTE, so that a flood is itself
visible and cannot fill the log. A crash loses the light entries of the last moments, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from gateway.clock import Clock
from gateway.entries import note
from gateway.ledger import Append, Draft, Ledger, LedgerUnavailable
from gateway.logs import log

PER_SECOND_MAX = 200  # Entries of one tenant and second; about 60 kB of log.


class Lights:
    """Records what need not be waited for."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._second = 0
        self._left: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._running: set[asyncio.Task[None]] = set()

    def note(self, entry: Draft) -> None:
        """Record an entry soon, or count it."""
        second = self._clock.now_ms() // 1000
        if second != self._second:
            self._turn(second)
        self._left[entry.tenant] += 1
        if self._left[entry.tenant] > PER_SECOND_MAX:
            self._dropped[entry.tenant] += 1
            return
        self._send(entry)

    async def drain(self) -> None:
        """Wait for what was sent; used before the ledger closes."""
        self._turn(0)
        await asyncio.gather(*self._running)

    def _turn(self, second: int) -> None:
        self._second = second
        self._left.clear()
        dropped, self._dropped = self._dropped, Counter()
        for tenant, count in dropped.items():
            self._send(note(tenant, "rate_capped", count=count))

    def _send(self, entry: Draft) -> None:
        task = asyncio.get_running_loop().create_task(self._commit(entry))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _commit(self, entry: Draft) -> None:
        try:
            await self._ledger.commit(Append(entry=entry))
        except LedgerUnavailable:
            log().warning("light_entry_lost", tenant=entry.tenant, kind=entry.kind)
