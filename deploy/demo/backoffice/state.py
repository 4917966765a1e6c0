"""A look at the rows themselves, to see that they really changed. For the demonstration; no tool reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from deploy.demo.backoffice.connections import Pool
from deploy.demo.backoffice.effects import Refusal
from deploy.demo.backoffice.moments import plain

ROWS_MAX = 1_000
ROWS_UNLESS_TOLD = 100

_NAMES = """
ad_sets appeals banned_claims bans cash cash_movements content creators dashboards effects endpoints flag_audience flags
frictions invoices listings offers order_lines orders payments payouts products purchase_orders push_tokens queue_items
queues refunds sessions spend stock supplier_payments suppliers users
"""
TABLES = frozenset(_NAMES.split())


async def read(pool: Pool, *, tenant: str, table: str, wanted: Mapping[str, str]) -> dict[str, Any]:
    """
    `{table, total, rows}`: rows of one table whose columns equal what is wanted, at most `limit`, oldest id first.

    Raises `Refusal` for a table or a column that does not exist.
    """
    if table not in TABLES:
        raise Refusal("unknown_table", status=404)
    limit = wanted.get("limit", str(ROWS_UNLESS_TOLD))
    if not limit.isascii() or not limit.isdigit() or len(limit) > 4 or int(limit) > ROWS_MAX:
        raise Refusal("limit_out_of_range", status=422)
    filters = {"tenant": tenant, **{name: value for name, value in wanted.items() if name not in ("limit", "tenant")}}
    conditions = sql.SQL(" and ").join(
        sql.SQL("{}::text = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in filters.items()
    )
    statement = sql.SQL("select *, count(*) over () as total from {} where {} order by 2 limit {}").format(
        sql.Identifier(table), conditions, sql.Literal(int(limit))
    )
    try:
        async with pool.transaction() as cursor:
            await cursor.execute(statement)
            rows = await cursor.fetchall()
    except psycopg.errors.UndefinedColumn as error:
        raise Refusal("unknown_column", status=422) from error
    total = rows[0]["total"] if rows else 0
    return {
        "table": table,
        "total": total,
        "rows": [{name: plain(value) for name, value in row.items() if name != "total"} for row in rows],
    }
