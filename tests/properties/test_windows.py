"""Windows of counters: every moment belongs to exactly one, in UTC, whatever the machine's own time zone does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from gateway.tools import PreparedLimit
from tests.world.refusals import prepared

DAY_MS = 24 * 3600 * 1000


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns", "right/UTC"])
def _machine_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine is somewhere, or counts leap seconds."""
    monkeypatch.setenv("TZ", str(request.param))
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at_ms(text: str) -> int:
    """A moment."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def daily() -> list[PreparedLimit]:
    """The limits of a refund that count a day: by tenant, and by principal."""
    return [limit for limit in prepared("issue_refund").limits if limit.limit.window == "day"]


def keys(limit: PreparedLimit, *moments_ms: int) -> list[bytes]:
    """The counter that each moment belongs to."""
    return [
        limit.key(tenant="acme", tool="issue_refund", principal="agent/a", arguments={"order_id": "ord_1"}, now_ms=now)
        for now in moments_ms
    ]


@pytest.mark.usefixtures("_machine_in")
@pytest.mark.parametrize(
    "midnight",
    [
        "2026-11-20T00:00:00",
        "2026-03-29T00:00:00",  # The day on which Berlin has 23 hours.
        "2026-10-25T00:00:00",  # And 25.
        "2017-01-01T00:00:00",  # After the leap second of 2016.
        "2028-03-01T00:00:00",
    ],
)
def test_a_day_begins_at_midnight_utc_and_lasts_24_hours(midnight: str) -> None:
    """
    I05: 23:59:59.999 and 00:00:00.000 UTC are two days, every other neighbour within 24 hours is one, also where the
    local day is shorter or longer.
    """
    first = at_ms(midnight)

    assert len(daily()) >= 2
    for limit in daily():
        before, start, *within, end, after = keys(
            limit,
            first - 1,
            first,
            *range(first + 1, first + DAY_MS - 1, 1_799_999),
            first + DAY_MS - 1,
            first + DAY_MS,
        )
        assert {start, *within, end} == {start}
        assert len({before, start, after}) == 3


@pytest.mark.usefixtures("_machine_in")
def test_counters_of_one_window_are_apart() -> None:
    """
    I05: a window is one counter for each limit, and no two limits share one.
    """
    now = at_ms("2026-11-20T12:00:00")

    found = [key for limit in daily() for key in keys(limit, now)]

    assert len(set(found)) == len(found)
