"""Rates: how often a principal may ask, per process.

A window of one minute per principal over all routes, and one per principal and tool from the contract. Kept in memory:
over several processes the bound is the setting times their number (said in `docs/guarantees.md`).
"""

from __future__ import annotations

import time
from math import ceil

from limits import RateLimitItemPerMinute
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from gateway.errors import RateExceeded
from gateway.identity import Principal

_SWEEP_SECONDS = 60
_NAMES_MAX = 16_384  # Principals, and their tools.


class Rates:
    """Counts requests and refuses those above the rate."""

    def __init__(self, requests_per_minute: int) -> None:
        self._windows = _Windows()
        self._limiter = FixedWindowRateLimiter(self._windows)
        self._names: dict[tuple[int, tuple[str, ...]], str] = {}
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
        # As the limiter's own `hit` does, but for the name of the window, which it would put together each time.
        name = self._names.get((item.amount, key))
        if name is None:
            if len(self._names) >= _NAMES_MAX:
                self._names.clear()
            name = self._names[item.amount, key] = item.key_for(*key)
        if self._windows.incr(name, item.get_expiry()) > item.amount:
            window = self._limiter.get_window_stats(item, *key)
            raise RateExceeded("rate_exceeded", ceil(window.reset_time - time.time()))


class _Windows(Storage):
    """
    Counters of one event loop.

    The memory storage of `limits` keeps starting threads to forget what has expired; here whoever asks once a minute
    does it.
    """

    STORAGE_SCHEME = None  # Not reached by a URL.

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[str, tuple[int, float]] = {}
        """Key -> hits so far, and when they are forgotten."""
        self._sweep_at = time.time() + _SWEEP_SECONDS

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count, and return the count of the window."""
        now = time.time()
        if now >= self._sweep_at:
            self._sweep(now)
        count, ends = self._counts.get(key, (0, 0.0))
        if ends <= now:
            count, ends = 0, now + expiry
        self._counts[key] = (count + amount, ends)
        return count + amount

    def get(self, key: str) -> int:
        """The count of the window; 0 when there is none."""
        count, ends = self._counts.get(key, (0, 0.0))
        return count if ends > time.time() else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends, in seconds since 1970; now when there is none."""
        now = time.time()
        return max(now, self._counts.get(key, (0, now))[1])

    def check(self) -> bool:
        """Whether the storage can be used."""
        return True

    def reset(self) -> int:
        """Forget every window, and return how many there were."""
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget a window."""
        self._counts.pop(key, None)

    def _sweep(self, now: float) -> None:
        self._sweep_at = now + _SWEEP_SECONDS
        self._counts = {key: kept for key, kept in self._counts.items() if kept[1] > now}
