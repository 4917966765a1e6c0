"""Time, passed in wherever it is needed, so that tests and replays can hold it still.

Wall time stamps entries and bounds facts; expiry of leases is decided by the database's clock, deadlines by the
monotonic one.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall and monotonic time. Two implementations: `SystemClock`, and the tests' clock that stands still."""

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


def rfc3339(at_ms: int) -> str:
    """Milliseconds as RFC 3339 UTC seconds, the form of every time in an answer or a statement."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> int:
    """RFC 3339 UTC seconds as milliseconds. Raises `ValueError` for any other form."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()) * 1000
