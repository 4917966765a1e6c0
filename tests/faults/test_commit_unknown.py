"""What if COMMIT fails, and what if it fails after taking effect."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.ledger import Act, Answer, Intended, LedgerUnavailable, Look, Settled, State
from gateway.storage.cluster import Cluster
from gateway.storage.connections import Connection, DatabaseUnavailable, Urls, connect, transaction
from tests.world import acts, proxy
from tests.world.acts import ACME, GLOBEX

ANSWER_SECONDS_MAX = 2.0

END_OTHERS = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where datname = current_database() and usename = current_user and pid <> pg_backend_pid()"
)

landed = pytest.mark.parametrize("landed", [False, True], ids=["lost", "landed"])


async def _connected(database: Urls) -> Connection:
    """A connection as soon as there can be one: a killed database takes a moment to recover."""
    for _ in range(100):
        with suppress(DatabaseUnavailable):
            return connect(database.app)
        await asyncio.sleep(0.1)
    raise AssertionError("the database did not come back")


@landed
def test_lost_answer_to_commit_is_read_back(database: Urls, landed: bool) -> None:
    """
    F04: a connection cut around COMMIT, at intend and at settle, gives the true answer, one intent and one outcome.
    """

    async def story(through: proxy.Proxy) -> list[Answer]:
        async with acts.books(through.url) as ledger:
            rows = [acts.call(f"{i}", tenant=(ACME, GLOBEX)[i % 2]) for i in range(8)]
            through.cut_next(landed=landed)
            spending = [acts.intend(row, budgets=[acts.budget(1, 8, name=row.tenant)]) for row in rows]
            intended = await asyncio.gather(*(ledger.commit(act) for act in spending))
            assert not through.is_armed
            through.cut_next(landed=landed)
            settled = await asyncio.gather(*(ledger.commit(acts.settle(row)) for row in rows))
            assert not through.is_armed
            return [*intended, *settled]

    with proxy.before(database.app) as through:
        answers = asyncio.run(story(through))

    assert [type(each) for each in answers] == [Intended] * 8 + [Settled] * 8
    assert {each.fence for each in answers[:8]} == {1}
    for tenant in (ACME, GLOBEX):
        verdict = acts.verified(database.app, tenant)
        assert verdict.findings == ()
        assert (verdict.size, verdict.effects) == (8, 4)
    assert acts.counter(database.app, ACME) == (0, 4)


@landed
def test_commit_that_cannot_be_read_back_is_unknown(database: Urls, landed: bool) -> None:
    """
    When no connection can be made after a lost COMMIT, the answer says that the outcome is unknown, in time.
    """

    async def story(through: proxy.Proxy) -> tuple[LedgerUnavailable, float]:
        async with acts.books(through.url) as ledger:
            await ledger.commit(acts.intend(acts.call("warm")))
            through.cut_next(landed=landed)
            through.is_refusing = True
            began = time.monotonic()
            with pytest.raises(LedgerUnavailable) as raised:
                await ledger.commit(acts.intend(acts.call("lost")))
            waited = time.monotonic() - began
            through.is_refusing = False
            await ledger.commit(acts.intend(acts.call("after")))
            return raised.value, waited

    with proxy.before(database.app) as through:
        unavailable, waited = asyncio.run(story(through))

    assert not unavailable.is_known
    assert waited < ANSWER_SECONDS_MAX
    assert len(acts.query(database.app, "select from lockgate.calls")) == (3 if landed else 2)


def test_ledger_refuses_quickly_while_the_database_is_away(database: Urls) -> None:
    """
    G08: without a database acts and looks are refused within two seconds, nothing happened, and both come back alone.
    """

    async def story(through: proxy.Proxy) -> list[tuple[bool, float]]:
        async with acts.books(through.url) as ledger:
            await ledger.commit(acts.intend(acts.call("before")))
            await ledger.look(Look(tenant=ACME))
            through.is_refusing = True
            with connect(database.app) as connection:
                connection.execute(END_OTHERS)
            refusals = []
            for attempt in (
                ledger.commit(acts.intend(acts.call("during"))),
                ledger.look(Look(tenant=ACME, claim=acts.key("during"))),
            ):
                began = time.monotonic()
                with pytest.raises(LedgerUnavailable) as raised:
                    await attempt
                refusals.append((raised.value.is_known, time.monotonic() - began))
            through.is_refusing = False
            await ledger.commit(acts.intend(acts.call("during")))
            await ledger.look(Look(tenant=ACME, claim=acts.key("during")))
            return refusals

    with proxy.before(database.app) as through:
        refusals = asyncio.run(story(through))

    for is_known, waited in refusals:
        assert is_known
        assert waited < ANSWER_SECONDS_MAX
    assert len(acts.query(database.app, "select from lockgate.calls")) == 2


def test_act_told_as_unavailable_is_not_carried_out_later(database: Urls) -> None:
    """
    While another session holds the head, askers hear in time that nothing happened, and nothing happens afterwards.
    """

    async def story() -> list[Any]:
        async with acts.books(database.app) as ledger:
            await ledger.commit(acts.intend(acts.call("first")))
            with connect(database.app) as connection, transaction(connection, [ACME]) as cursor:
                cursor.execute("select from lockgate.heads where tenant = 'acme' for update")
                began = time.monotonic()
                sent = [ledger.commit(acts.intend(acts.call(f"{i}"))) for i in range(3)]
                answers = await asyncio.gather(*sent, return_exceptions=True)
                waited = time.monotonic() - began
            await ledger.commit(acts.intend(acts.call("last")))
            return [*answers, waited]

    *answers, waited = asyncio.run(story())

    assert [each.is_known for each in answers] == [True] * 3
    assert waited < ANSWER_SECONDS_MAX
    assert len(acts.query(database.app, "select from lockgate.calls")) == 2
    assert acts.verified(database.app).findings == ()


@pytest.mark.parametrize("victim", ["backends", "postmaster"])
def test_killed_database_loses_and_doubles_nothing(cluster: Cluster, database: Urls, victim: str) -> None:
    """
    F03: with PostgreSQL killed under load, every answered act is on the log, and what was refused as known is not.
    """
    intended: set[bytes] = set()
    refused: set[bytes] = set()

    async def spend(ledger: Any, client: int) -> None:
        for number in range(40):
            row = acts.call(f"{client}/{number}")
            act: Act = acts.intend(row, budgets=[acts.budget(1, None)])
            try:
                await ledger.commit(act)
            except LedgerUnavailable as unavailable:
                if unavailable.is_known:
                    refused.add(row.claim)
                await asyncio.sleep(0.05)
            else:
                intended.add(row.claim)
                await asyncio.sleep(0.005)

    async def kill() -> None:
        for _ in range(3):
            await asyncio.sleep(0.1)
            connection = await _connected(database)
            if victim == "postmaster" and cluster.postmaster_id is not None:
                os.kill(cluster.postmaster_id, signal.SIGKILL)
            else:
                connection.execute(END_OTHERS)
            connection.close()

    async def story() -> None:
        async with acts.books(database.app) as ledger:
            await asyncio.gather(kill(), *(spend(ledger, client) for client in range(16)))

    asyncio.run(story())
    asyncio.run(_connected(database)).close()

    stored = {claim for (claim,) in acts.query(database.app, "select claim from lockgate.calls")}
    assert intended <= stored
    assert not refused & stored
    assert acts.counter(database.app) == (len(stored), 0)
    assert acts.verified(database.app).findings == ()


def test_moved_fence_is_seen_by_a_settlement_already_under_way(database: Urls) -> None:
    """
    A sweeper that takes a call over while its settlement is being written makes that settlement late.
    """

    async def story() -> list[Answer]:
        async with acts.books(database.app) as ledger:
            row = acts.call("contested")
            await ledger.commit(acts.intend(row))
            with connect(database.app) as connection:
                # Governance settlements run their act between reading the row and writing it.
                def take_over(cursor: Any, seq: int) -> dict[str, Any]:
                    with transaction(connection, [ACME]) as own:
                        own.execute(
                            "update lockgate.calls set fence = fence + 1 where state = 'executing' and fence = 1"
                        )
                    return {}

                finished = (State.EXECUTED, 200, b"{}", acts.entry("OUTCOME", row, state="executed"))
                act = replace(acts.settle(row), act=take_over, finish=lambda _: finished)
                return [await ledger.commit(act), await ledger.commit(acts.settle(row, fence=2))]

    late, settled = asyncio.run(story())

    assert late.state is State.EXECUTING
    assert isinstance(settled, Settled)
    assert acts.verified(database.app).findings == ()
