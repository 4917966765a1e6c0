"""What if the primary is lost, and what if it comes back; and what if a commit waits for a standby for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.demo.world import GatewayFailed
from gateway.ledger import LedgerUnavailable
from gateway.opening import DATABASE
from gateway.storage import startup
from gateway.storage.connections import Urls
from gateway.storage.desk import CONNECTIONS_MAX, Desk
from tests.load import replicas
from tests.world import replicas as replication
from tests.world.ground import SETTINGS, Ground

PATIENCE_SECONDS = 0.3
LONG_SECONDS = 30
STRAYS = 3


@pytest.mark.timeout(180)
def test_nothing_told_is_lost_by_a_fail_over_and_the_old_primary_does_nothing() -> None:
    """
    F05, F06: under load the primary is killed, its synchronous standby promoted: what was told is there, once. The old
    primary comes back: a gateway that is left with it answers 503, and no tool hears of its calls.
    """
    found = replicas.fail_over(seed=7, strays=STRAYS)

    assert found.wrong == []
    assert found.told_after > 0
    assert found.strays == {"503 ledger_unavailable": STRAYS}


def test_a_server_without_a_standby_is_refused_where_one_is_needed(database: Urls) -> None:
    """
    F05: with `LOCKGATE_STANDBY=synchronous` a server whose commits wait for nobody is unsafe.
    """
    startup.require(database.app, database.auditor)

    with pytest.raises(startup.UnsafeDatabase) as raised:
        startup.require(database.app, database.auditor, needs_standby=True)

    assert [finding.name for finding in raised.value.findings] == ["standby_missing"]


def test_a_gateway_that_needs_a_standby_does_not_start_behind_one_that_nobody_waits_for(
    field: Ground, tmp_path: Path
) -> None:
    """
    F05: a standby follows, but the server waits for none: with `LOCKGATE_STANDBY=synchronous` a gateway ends before it
    listens, and says why; without it the same server is taken.
    """
    urls = field.world.cluster.urls(DATABASE)
    settings = {**SETTINGS, "LOCKGATE_DATABASE_URL": urls.app, "LOCKGATE_AUDITOR_URL": urls.auditor}

    with replication.follower(field.world.cluster, tmp_path) as state:
        with pytest.raises(GatewayFailed) as failed:
            field.world.gateway(settings={**settings, "LOCKGATE_STANDBY": "synchronous"}, port=0)
        taken = field.world.gateway(settings=settings, port=0)
        taken.stop()

    assert state == "async"
    assert "synchronous_standby_names" in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_a_desk_cuts_what_nobody_waits_for(database: Urls) -> None:
    """
    F05, L03: a statement that hangs loses its connection when its asker's patience ends, so neither a thread nor a
    place at the desk is lost to it; at the desk's end as well.
    """

    async def story() -> tuple[Sequence[BaseException], float]:
        desk, began = Desk(database.app), time.monotonic()
        hanging = [desk.ask(["acme"], _sleep, patience_seconds=PATIENCE_SECONDS) for _ in range(2 * CONNECTIONS_MAX)]
        failed = await asyncio.gather(*hanging, return_exceptions=True)
        (alive,) = await desk.ask(["acme"], lambda cursor: cursor.execute("select 1").fetchall())
        assert alive == (1,)
        left = asyncio.ensure_future(desk.ask(["acme"], _sleep, patience_seconds=LONG_SECONDS))
        await asyncio.sleep(PATIENCE_SECONDS)
        desk.close()
        failed += await asyncio.gather(left, return_exceptions=True)
        return failed, time.monotonic() - began

    failed, seconds = asyncio.run(story())

    assert {type(each) for each in failed} == {LedgerUnavailable}
    assert seconds < LONG_SECONDS / 2


def _sleep(cursor: object) -> None:
    cursor.execute("set local statement_timeout = 0")  # type: ignore[attr-defined]
    cursor.execute(f"select pg_sleep({LONG_SECONDS})")  # type: ignore[attr-defined]
