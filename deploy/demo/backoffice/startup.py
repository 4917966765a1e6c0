"""What must be true before the first request: tables, first rows, and a journal that agrees with the effects."""

from __future__ import annotations

import hashlib
from pathlib import Path

from deploy.demo.backoffice import seeds
from deploy.demo.backoffice.connections import Cursor, Pool
from deploy.demo.backoffice.effects import entry_of
from deploy.demo.backoffice.journal import Journal

SCHEMA = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
LAYOUT = hashlib.sha256(SCHEMA.encode()).hexdigest()


class Unfit(Exception):
    """The database or the journal is not one that this program can go on with."""


async def prepare(pool: Pool, journal: Journal, *, reset: bool) -> None:
    """
    Make and fill the tables where there are none (or anew with `reset`), and complete the journal.

    All of it is one transaction, so a start that is cut short leaves an empty database or a whole one.

    Raises `Unfit` when the tables are of another version, or the journal names effects that the database never saw.
    """
    async with pool.transaction() as cursor:
        if reset:
            await cursor.execute("drop schema if exists business cascade")
        await cursor.execute("select to_regclass('business.layout') is not null as present")
        row = await cursor.fetchone()
        if not (row and row["present"]):
            await _create(cursor)
        await cursor.execute("select digest from layout")
        layout = await cursor.fetchone()
        if layout is None or layout["digest"] != LAYOUT:
            raise Unfit("the tables are of another version of this program: start once with --reset")
        await _complete(cursor, journal)


async def _create(cursor: Cursor) -> None:
    await cursor.execute(SCHEMA.encode())
    await cursor.execute("create table layout (digest text not null)")
    await cursor.execute("insert into layout (digest) values (%s)", (LAYOUT,))
    await cursor.execute("select clock_timestamp() as now")
    row = await cursor.fetchone()
    assert row is not None, "a select without a table gives one row"  # noqa: S101 - states what SQL promises
    await seeds.fill(cursor, row["now"])
    await cursor.execute("analyze")


async def _complete(cursor: Cursor, journal: Journal) -> None:
    """Write the lines of effects whose process died between commit and journal."""
    await cursor.execute(
        "select effect_id, tool, arguments, at from effects where state = 'applied' order by at, effect_id"
    )
    applied = await cursor.fetchall()
    written = journal.effect_ids()
    if written - {row["effect_id"] for row in applied}:
        raise Unfit("the journal names effects that this database never saw: give another --journal, or --reset both")
    missing = [row for row in applied if row["effect_id"] not in written]
    journal.append_now([entry_of(row["effect_id"], row["tool"], row["arguments"], row["at"]) for row in missing])
