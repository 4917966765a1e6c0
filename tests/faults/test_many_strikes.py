"""What if an agent keeps its refusals below every threshold, for months: what counts is found as fast as before."""

from __future__ import annotations

import asyncio

import orjson
import psycopg
import pytest

from gateway.ledger import Append, Draft
from gateway.storage import standings, statements
from gateway.storage.connections import Cursor, Urls, connect, transaction
from policies.autonomy import read_rules
from tests.properties.test_strikes import strike
from tests.world import acts

PACED = 20_000
TIMES = 40
WINDOW_MS = 600_000
NOW_MS = 4_000_000_000_000
RULE = read_rules(
    [
        {
            "id": "again-and-again",
            "sentence": "An agent that is refused 40 times within ten minutes asks for each call.",
            "counts": "denied",
            "reasons": ["policy_denied"],
            "tools": ["*"],
            "agents": ["*"],
            "times": TIMES,
            "within_seconds": WINDOW_MS // 1000,
            "lowers": "action",
            "to": 1,
        }
    ]
)[0]


@pytest.fixture
def paced(database: Urls) -> str:
    """A tenant, one of whose agents was refused 20,000 times, with two minutes after each."""
    tenant = "paced"
    _plant(database.app, tenant, "patient", PACED)
    return tenant


def _plant(url: str, tenant: str, agent: str, count: int) -> None:
    with connect(url) as connection, transaction(connection, [tenant]) as cursor:
        cursor.execute(
            """insert into lockgate.strikes (tenant, agent, rule, action, seq, at_ms)
            select %s, %s, %s, 'issue_refund', n, %s - (%s - n) * 120000::bigint from generate_series(1, %s) n""",
            (tenant, agent, RULE.id, NOW_MS, count, count),
        )


def test_a_refusal_reads_the_newest_strikes_alone(database: Urls, paced: str) -> None:
    """
    The count behind the lock of the log reads at most so many strikes as lower, and finds the five of the window.
    """
    columns = [[paced], ["patient"], [RULE.id], ["issue_refund"], [NOW_MS - WINDOW_MS], [TIMES]]
    with connect(database.app, writer=True) as connection, transaction(connection, [paced]) as cursor:
        raw = psycopg.RawCursor(connection)
        found = raw.execute(statements.READ_STRIKES, columns).fetchall()
        read = _rows_read(cursor)

    assert [seq for _, seq in found] == list(range(PACED, PACED - 5, -1))
    assert read <= TIMES


def test_an_agent_is_shown_without_reading_all_that_ever_counted(database: Urls, paced: str) -> None:
    """
    What counts against an agent now, that it is known at all, and the list of agents read a few rows each.
    """
    for number in range(5):
        _plant(database.app, paced, f"agent-{number}", 10)
    count = standings.Count(rule=RULE, action="issue_refund", since=0, after_ms=NOW_MS - WINDOW_MS)
    with connect(database.app) as connection, transaction(connection, [paced]) as cursor:
        told = [
            standings.strikes(cursor, paced, "patient", [count]),
            standings.is_struck(cursor, paced, "patient"),
            standings.is_struck(cursor, paced, "nobody"),
            standings.known(cursor, paced, ""),
        ]
        read = _rows_read(cursor)

    assert told == [[(count, 5, PACED)], True, False, [*(f"agent-{number}" for number in range(5)), "patient"]]
    assert read <= TIMES + 10


def test_a_lowering_names_as_many_entries_as_its_rule_counts(database: Urls) -> None:
    """
    A rule whose number was 40 is 3 from now on: with the next refusal the agent is lowered, by the newest three.
    """

    async def story() -> None:
        async with acts.books(database.app) as ledger:
            for times in [40] * 30 + [3]:
                counted = (strike("fewer", "patient", "issue_refund", RULE.id, times, 0),)
                await ledger.commit(Append(entry=Draft(tenant="fewer", kind="REFUSED", members={}, strikes=counted)))

    asyncio.run(story())

    lowered = acts.query(database.app, "select body from lockgate.entries where kind = 'LOWERED'", "fewer")
    assert [orjson.loads(body)["events"] for (body,) in lowered] == [[29, 30, 31]]


def _rows_read(cursor: Cursor) -> int:
    """Strikes that the transaction has read so far, by whatever plan."""
    cursor.execute("select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'strikes'")
    return int(cursor.fetchall()[0][0])
