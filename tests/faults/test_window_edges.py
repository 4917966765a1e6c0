"""What if a window of a budget ends while a call is under way: it counts in the one that let it in."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from deploy.demo.client import Answer, Client
from deploy.demo.dev import seed
from deploy.demo.world import Gateway
from gateway.opening import DATABASE
from gateway.storage.connections import connect, transaction
from tests.world.ground import SETTINGS, Ground, insist

HOUR_MS = 3_600_000
BEFORE_MS = 1_500
"""The gateway's clock is set to so long before a full hour: time to be asked, less than the tool takes."""
TOOL_SECONDS = 2
TENANT = "globex"
UNTIL = (datetime.now(UTC) + timedelta(hours=12)).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def nearly_an_hour(field: Ground, place: Path) -> Iterator[Gateway]:
    """A gateway whose clock will strike in a moment."""
    place.write_text("0")
    gateway = field.world.gateway(port=0, settings=SETTINGS, program=("tests.world.other_clock", str(place)))
    place.write_text(str(HOUR_MS - BEFORE_MS - time.time_ns() // 1_000_000 % HOUR_MS))
    try:
        yield gateway
    finally:
        if gateway.process.poll() is None:
            gateway.stop()


def friction(field: Ground, client: Client, key: str) -> Answer:
    """An agent slows a user down, which its budget of the hour counts."""
    return client.call(
        field.world.cast.agent(TENANT, 2).token,
        "apply_friction",
        {"target": "usr_2001", "friction_type": "captcha", "expires_at": UNTIL},
        reason="spam_suspected",
        key=key,
    )


Windows = dict[bytes, tuple[int, int]]
"""What each window of the budget holds reserved and spent."""


def windows(field: Ground) -> Windows:
    """As they are now."""
    with (
        connect(field.world.cluster.urls(DATABASE).auditor) as connection,
        transaction(connection, [TENANT]) as cursor,
    ):
        cursor.execute("select key, reserved, spent from lockgate.budgets where name = 'friction_targets'")
        return {bytes(key): (reserved, spent) for key, reserved, spent in cursor.fetchall()}


def moved(before: Windows, after: Windows) -> dict[bytes, tuple[int, int]]:
    """By how much windows have changed, those that have."""
    found = {}
    for key, (reserved, spent) in after.items():
        was_reserved, was_spent = before.get(key, (0, 0))
        if (reserved, spent) != (was_reserved, was_spent):
            found[key] = (reserved - was_reserved, spent - was_spent)
    return found


@pytest.mark.parametrize("dies", [False, True], ids=["answered", "killed"])
def test_a_call_under_way_at_the_edge_counts_in_the_window_that_let_it_in(
    field: Ground, tmp_path: Path, dies: bool
) -> None:
    """
    I05, I04: a call is let in before a full hour and settled after it, by the gateway that took it or, when that was
    killed meanwhile, by the sweeper of another: the hour that let it in has spent it, the next one knows nothing of it,
    and nothing stays reserved. The next call counts in the next hour.
    """
    seed(field.world.cast, field.gateway().url)
    before = windows(field)
    field.fault("apply_friction", "hang_after", seconds=TOOL_SECONDS)
    first, second = secrets.token_hex(16), secrets.token_hex(16)
    with nearly_an_hour(field, tmp_path / "clock") as gateway:
        asking = Thread(target=_ask, args=(field, gateway.url, first), daemon=True)
        asking.start()
        time.sleep(BEFORE_MS / 1000)
        during = windows(field)
        if dies:
            gateway.kill()
        asking.join()
        survivor = Client(field.gateway().url if dies else gateway.url)
        answer = insist(survivor, lambda client: friction(field, client, first))
        after = windows(field)
        following = 200 if dies else friction(field, survivor, second).status
        at_last = windows(field)

    (window,) = moved(before, during)
    assert moved(before, during) == {window: (1, 0)}
    assert (answer.status, answer.document["status"]) == (200, "executed")
    assert moved(before, after) == {window: (0, 1)}
    assert following == 200
    assert dies or (list(moved(after, at_last).values()) == [(0, 1)] and window not in moved(after, at_last))


def _ask(field: Ground, url: str, key: str) -> None:
    with suppress(httpx2.TransportError):
        friction(field, Client(url), key)
