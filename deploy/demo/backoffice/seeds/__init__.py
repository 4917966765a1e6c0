"""The business as it stands on its first day: two tenants, the same every time.

Everything random comes from a generator seeded with the tenant's name, so ids, amounts and people are the same on
every machine; only time stamps are counted back from the moment of seeding, so that "today" has data. The tenants' ids
do not overlap where a row has an id of its own (acme counts from 1001, globex from 2001), and do where a name is
natural (flags, endpoints, queues), so that both a foreign id and a mixed-up tenant show.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from deploy.demo.backoffice.connections import Cursor
from deploy.demo.backoffice.seeds import community, money, reliability, shop
from deploy.demo.backoffice.seeds.draft import Draft

TENANTS = {"acme": 1001, "globex": 2001}


async def fill(cursor: Cursor, now: datetime) -> None:
    """Write every tenant's rows into empty tables."""
    for tenant, first_number in TENANTS.items():
        await _write(cursor, compose(tenant, first_number, now))


def compose(tenant: str, first_number: int, now: datetime) -> Draft:
    """All rows of one tenant, in an order in which foreign keys hold."""
    draft = Draft(tenant, first_number, now)
    for part in (community, shop, money, reliability):
        part.add(draft)
    return draft


async def _write(cursor: Cursor, draft: Draft) -> None:
    for table, rows in draft.tables.items():
        await _copy(cursor, table, list(rows[0]), (tuple(row.values()) for row in rows))


async def _copy(cursor: Cursor, table: str, columns: list[str], rows: Iterable[tuple[object, ...]]) -> None:
    statement = f"copy {table} ({', '.join(columns)}) from stdin"
    async with cursor.copy(statement.encode()) as copy:
        for row in rows:
            await copy.write_row(row)
