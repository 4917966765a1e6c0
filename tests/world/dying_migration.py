"""A migration that is killed before its first statement, then before its second, and so on, until it comes through.

`python -m tests.world.dying_migration URL SUPERUSER_URL [later]` prints how often it was killed, and how often that
left anything behind.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from itertools import count
from typing import Any

import psycopg

from gateway.storage import connections, migrations
from tests.world import later_schema


def main(url: str, superuser: str) -> None:
    """Each attempt is a process of its own."""
    before, left_behind = schema(superuser), 0
    for number in count(1):
        child = os.fork()
        if child == 0:
            _die_before(number)
            migrations.upgrade(url)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            break
        left_behind += schema(superuser) != before
    grown = schema(superuser) != before
    print(json.dumps({"status": status, "kills": number - 1, "left_behind": left_behind, "grown": grown}))


def schema(superuser: str) -> list[tuple[object, ...]]:
    """Every column of the ledger, and its revision; nothing where there is no schema."""
    with connections.connect(superuser) as connection:
        columns = connection.execute(
            """select relname, attname, atttypid::int from pg_attribute join pg_class on pg_class.oid = attrelid
            where relnamespace = to_regnamespace('lockgate') and attnum > 0 order by 1, 2"""
        ).fetchall()
        is_there = ("alembic_version", "version_num") in {row[:2] for row in columns}
        return [*columns, *(connection.execute("select version_num from lockgate.alembic_version") if is_there else ())]


def _die_before(last: int) -> None:
    number, execute = count(1), psycopg.Cursor.execute

    def dies(self: Any, *arguments: Any, **options: Any) -> Any:
        """As the driver's own, until it is time."""
        if next(number) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, *arguments, **options)

    psycopg.Cursor.execute = dies  # type: ignore[method-assign]


if __name__ == "__main__":
    if "later" in sys.argv:
        later_schema.extend()
    main(sys.argv[1], sys.argv[2])
