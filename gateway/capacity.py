"""Capacity: how many requests are under way at once, of each tenant and in all, while the gateway keeps its time.

Two bounds, for two kinds of flood:

- A tenant has so many places, whatever it waits for. Half of all by default, so that no tenant fills the gateway.
- When more is asked than can be done, every request takes longer, and soon none is in time. What tells is the event
  loop: it comes late to everything it has to do. Then the capacity shrinks until it does not, and grows again after
  that (additive increase, multiplicative decrease; RFC 5681 §3.1 does the same to a network). Waiting for a slow tool
  costs no time of the loop: any number of such calls leaves the capacity as it is.

A burst is not a flood: the capacity shrinks only when a crowd has been there for two seconds. And a tenant that has
less than its equal share of what is under way is let in all the same, so that it is the flood which is turned away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.clock import Clock
from gateway.errors import RateExceeded, Unavailable
from gateway.identity import Principal
from gateway.rates import share

CROWD = 32
"""So many at once are always let in: fewer would leave processor and database waiting for each other."""
CROWD_SECONDS = 2.0
"""A burst of a hundred is over sooner."""
CALM_SECONDS = 1.0
"""So long after the last crowd, and the last refusal, the capacity is whole again."""
LATE_SECONDS = 0.025
"""A call is some forty turns of the loop: at this lateness it takes a second longer than alone."""
STEADY_SECONDS = 0.2
"""Lateness is an average over about so long."""
TICK_SECONDS = 0.02
SHRINKS_PER_SECOND = 2.0
"""Of itself. From 512 to the crowd in two seconds."""
GROWS_PER_SECOND = 40.0
"""Places. Slower than it shrinks: what is refused may come back, what is late is late."""


class Capacity:
    """Places for requests of one event loop."""

    def __init__(self, clock: Clock, *, in_all: int, per_tenant: int) -> None:
        self._clock = clock
        self._in_all = in_all
        self._per_tenant = per_tenant
        self._size = float(in_all)
        self._taken: dict[str, int] = {}
        """By tenants that have some."""
        self._inside = 0
        self._is_crowded = False
        self._turned_at = self._refused_at = clock.monotonic() - CALM_SECONDS
        """When the crowd came, or went; when somebody last found no place."""

    @property
    def size(self) -> float:
        """How many places there are now."""
        return self._size

    @contextmanager
    def place(self, principal: Principal) -> Iterator[None]:
        """
        A place, until the block is left.

        Raises `RateExceeded` for a tenant that has its quota, `Unavailable` for one of those who make the gateway late.
        """
        tenant = principal.tenant
        mine = self._taken.get(tenant, 0)
        if mine >= share(self._per_tenant, principal):
            raise RateExceeded("quota_exceeded", 1)
        if self._inside >= self._size and mine * len(self._taken) >= self._inside:
            self._refused_at = self._clock.monotonic()
            raise Unavailable("overloaded", "more is asked than can be answered in time")
        self._move(tenant, 1)
        try:
            yield
        finally:
            self._move(tenant, -1)

    async def watch(self) -> None:
        """Follow how late the loop is, until cancelled."""
        late = 0.0
        while True:
            before = self._clock.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            now = self._clock.monotonic()
            took = now - before
            late += (took - TICK_SECONDS - late) * min(1.0, took / STEADY_SECONDS)
            self.turn(now, late, took)

    def turn(self, now: float, late: float, took: float) -> None:
        """Shrink or grow, for so many seconds in which the loop was so late on average."""
        is_calm = now - max(self._refused_at, self._turned_at) > CALM_SECONDS
        is_standing = self._is_crowded and now - self._turned_at > CROWD_SECONDS
        if late <= LATE_SECONDS:
            self._size = min(float(self._in_all), self._size + GROWS_PER_SECOND * took)
        elif is_standing or now - self._refused_at < CALM_SECONDS:
            shrunk = min(self._size, self._inside) * (1 - min(0.5, SHRINKS_PER_SECOND * took))
            self._size = max(float(CROWD), shrunk)
        if is_calm and not self._is_crowded:
            self._size = float(self._in_all)

    def _move(self, tenant: str, places: int) -> None:
        self._inside += places
        self._taken[tenant] = self._taken.get(tenant, 0) + places
        if not self._taken[tenant]:
            del self._taken[tenant]
        if self._is_crowded != (self._inside > CROWD):
            self._is_crowded = not self._is_crowded
            self._turned_at = self._clock.monotonic()
