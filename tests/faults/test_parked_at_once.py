"""What if many calls of one principal come to wait at the same instant, over several gateways."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg
from msgspec.structs import replace

from gateway.ledger import Answer, CallRow, Crowded, Park, Placed
from gateway.storage import statements
from gateway.storage.connections import Urls, connect, transaction
from tests.world import acts

ROUNDS = 10
WAITING_MAX = 10


def test_as_many_wait_as_may_over_two_gateways(database: Urls) -> None:
    """
    E11: of 64 calls of a principal that are parked at once over two gateways exactly ten wait, every round; the same
    again are told so, and those of another principal find room.
    """

    async def story() -> list[list[Answer]]:
        async with acts.books(database.app) as one, acts.books(database.app) as other:
            rounds = []
            for number in range(ROUNDS):
                asked = [_park(acts.call(f"{each}", tenant=f"rush-{number}")) for each in range(64)]
                asked.append(_park(replace(acts.call("own", tenant=f"rush-{number}"), principal="agent/other")))
                rounds.append(await asyncio.gather(*((one, other)[at % 2].commit(act) for at, act in enumerate(asked))))
            return rounds

    rounds = asyncio.run(story())

    assert [Counter(map(type, answers[:-1])) for answers in rounds] == [{Placed: 10, Crowded: 54}] * ROUNDS
    assert {type(answers[-1]) for answers in rounds} == {Placed}
    for number in range(ROUNDS):
        kept = acts.query(
            database.app,
            "select principal, count(*), (select count(*) from lockgate.entries)"
            " from lockgate.calls group by principal order by principal",
            f"rush-{number}",
        )
        assert kept == [("agent/other", 1, 11), ("agent/triage-7", 10, 11)]


def test_one_that_waits_takes_no_further_place_and_leaves_its_own(database: Urls) -> None:
    """
    At the bound a call that waits is parked again when it needs something else; once it is taken back another may wait.
    """

    async def story() -> list[Answer]:
        rows = [acts.call(f"{each}", tenant="full") for each in range(WAITING_MAX + 1)]
        async with acts.books(database.app) as ledger:
            for row in rows[:-1]:
                await ledger.commit(_park(row))
            crowded = await ledger.commit(_park(rows[-1]))
            again = await ledger.commit(_park(rows[0]))
            await ledger.commit(acts.close(rows[0]))
            return [crowded, again, await ledger.commit(_park(rows[-1]))]

    answers = asyncio.run(story())

    assert [type(answer) for answer in answers] == [Crowded, Placed, Placed]


def test_counting_those_of_one_reads_none_of_the_others(database: Urls) -> None:
    """
    Behind the lock of the log the calls of that principal are read alone, however many of others wait.
    """
    own, tenant = acts.call("own", tenant="queue"), "queue"

    async def story() -> None:
        async with acts.books(database.app) as ledger:
            others = [acts.call(f"{each}", tenant=tenant) for each in range(500)]
            await asyncio.gather(*(ledger.commit(acts.park(row)) for row in others))
            await ledger.commit(acts.park(replace(own, principal="agent/other")))

    asyncio.run(story())
    with connect(database.app, writer=True) as connection, transaction(connection, [tenant]) as cursor:
        raw = psycopg.RawCursor(connection)
        found = raw.execute(statements.READ_WAITING, [[tenant], ["agent/other"]]).fetchall()
        cursor.execute("select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'calls'")
        read = cursor.fetchall()

    assert found == [(1, 1)]
    assert read == [(1,)]


def _park(row: CallRow) -> Park:
    return replace(acts.park(row), waiting_max=WAITING_MAX)
