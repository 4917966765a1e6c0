"""The desk: a few connections for readers, which no tenant has all of."""

from __future__ import annotations

import asyncio
import time

from gateway.ledger import LedgerUnavailable
from gateway.storage.connections import Cursor, Urls
from gateway.storage.desk import CONNECTIONS_MAX, OF_A_TENANT_MAX, Desk

SLOW_SECONDS = 0.4


def slow(cursor: Cursor) -> str:
    """A list that takes its time."""
    cursor.execute("select pg_sleep(%s)", (SLOW_SECONDS,))
    return "slow"


def quick(cursor: Cursor) -> str:
    """Whom the cursor admits."""
    cursor.execute("select current_setting('app.tenants')")
    return str(cursor.fetchall()[0][0])


def test_a_tenant_that_reads_all_it_can_keeps_no_other_waiting(database: Urls) -> None:
    """
    B06: dozens of slow lists of one tenant wait for each other; what another asks for meanwhile is there before the
    second of them have begun.
    """

    async def story() -> tuple[list[str], int]:
        desk = Desk(database.app, patience_seconds=30)
        lists = [asyncio.create_task(desk.ask(["acme"], slow)) for _ in range(4 * CONNECTIONS_MAX)]
        await asyncio.sleep(SLOW_SECONDS / 4)
        others = [await desk.ask(["globex"], quick) for _ in range(3)]
        done = sum(each.done() for each in lists)
        await asyncio.gather(*lists)
        desk.close()
        return others, done

    others, done = asyncio.run(story())

    assert others == ["{globex}"] * 3
    assert done <= 2 * OF_A_TENANT_MAX


def test_whoever_gives_up_leaves_a_place(database: Urls) -> None:
    """
    Askers whose patience ends, before or while they are served, take no place along.
    """

    async def story() -> tuple[int, str]:
        desk = Desk(database.app, patience_seconds=SLOW_SECONDS * 1.5)
        told = await asyncio.gather(
            *(desk.ask(["acme"], slow) for _ in range(4 * CONNECTIONS_MAX)), return_exceptions=True
        )
        await asyncio.sleep(SLOW_SECONDS)
        began = time.monotonic()
        again = await desk.ask(["acme"], quick)
        assert time.monotonic() - began < SLOW_SECONDS * 1.5
        desk.close()
        return sum(isinstance(each, LedgerUnavailable) for each in told), again

    refused, again = asyncio.run(story())

    assert refused >= CONNECTIONS_MAX
    assert again == "{acme}"
