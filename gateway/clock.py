"""Time, passed in wherever it is needed, so that tests and replays can hold it still.

The database's clock stamps entries and decides of leases, the monotonic one of deadlines. The machine's wall clock
says how old a fact is, for sources stamp facts with theirs. Whatever expires does so by the log's time (`LogClock`).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall and monotonic time. `SystemClock`, `LogClock` over another one, and the tests' clocks."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""

    def monotonic(self) -> float:
        """Seconds that never go backwards."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class LogClock:
    """
    A clock that is never behind the log: what has expired by the log's time stays expired, whatever the machine says.

    It gives the machine's time or, when that is later, the time of the newest entry seen and the monotonic time since.
    So a machine that is set back, or whose clock stands still, revives no token, approval or bundle; one that runs
    ahead is believed, which only refuses, for as long as it does. Safe to observe from another thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen = (clock.now_ms(), clock.monotonic())

    def observe(self, at_ms: int) -> None:
        """Take note of an entry's time."""
        monotonic = self._clock.monotonic()
        if at_ms > self._log_ms(monotonic):
            self._seen = (at_ms, monotonic)

    def now_ms(self) -> int:
        return max(self._clock.now_ms(), self._log_ms(self._clock.monotonic()))

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def _log_ms(self, monotonic: float) -> int:
        at_ms, seen = self._seen
        return at_ms + int((monotonic - seen) * 1000)


def rfc3339(at_ms: int) -> str:
    """Milliseconds as RFC 3339 UTC seconds, the form of every time in an answer or a statement."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> int:
    """RFC 3339 UTC seconds as milliseconds. Raises `ValueError` for any other form."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()) * 1000
