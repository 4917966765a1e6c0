"""Rates: how often a principal may ask, per process.

A moving window per principal over all routes, and one per principal and tool from the contract. Kept in memory: over
several processes the bound is the setting times their number (said in `docs/guarantees.md`).
"""

from __future__ import annotations

import time
from math import ceil

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from gateway.errors import RateExceeded
from gateway.identity import Principal


class Rates:
    """Counts requests and refuses those above the rate."""

    def __init__(self, requests_per_minute: int) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._all = RateLimitItemPerMinute(requests_per_minute)
        self._tools: dict[int, RateLimitItemPerMinute] = {}

    def take(self, principal: Principal) -> None:
        """Count one request of a principal. Raises `RateExceeded` with the seconds until the window ends."""
        self._hit(self._all, principal.tenant, principal.reference)

    def take_tool(self, principal: Principal, tool: str, calls_per_minute: int) -> None:
        """Count one call to a tool."""
        item = self._tools.setdefault(calls_per_minute, RateLimitItemPerMinute(calls_per_minute))
        self._hit(item, principal.tenant, principal.reference, tool)

    def _hit(self, item: RateLimitItemPerMinute, *key: str) -> None:
        if not self._limiter.hit(item, *key):
            window = self._limiter.get_window_stats(item, *key)
            raise RateExceeded("rate_exceeded", ceil(window.reset_time - time.time()))
