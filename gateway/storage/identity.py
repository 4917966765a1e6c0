"""Which database a data home belongs to, so that a second one that claims the same chains is noticed.

`database.json` in the data home names the server (its system identifier, which a dump and restore does not carry over),
the database, and the hash of the first entry of `system`. A gateway whose home names another one does not start. Two
copies of everything, home and server, are told apart by nobody here: their logs fork, and any two checkpoints show it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from gateway.storage import connections
from gateway.storage.connections import Connection

FILE = "database.json"


class DatabaseOfAnother(Exception):
    """The data home belongs to another database than the one that it is pointed at."""


def read(connection: Connection, tenant: str) -> dict[str, str]:
    """What tells this database from others; `begins` is empty as long as the chain of `tenant` is."""
    with connections.transaction(connection, [tenant]) as cursor:
        found = cursor.execute(
            """select system_identifier::text, current_database()::text,
            coalesce((select encode(leaf, 'hex') from lockgate.entries where tenant = %s and seq = 1), '')
            from pg_control_system()""",
            (tenant,),
        ).fetchone()
    server, database, begins = found if found is not None else ("", "", "")
    return {"server": server, "database": database, "begins": begins}


def require(data: Path, present: Mapping[str, str]) -> None:
    """
    Check that the home belongs to this database, or, where it belongs to none yet, have it belong to it.

    Raises `DatabaseOfAnother`, which says what to do.
    """
    kept = remembered(data)
    if kept is None or (not kept["begins"] and kept == {**present, "begins": ""}):
        remember(data, present)
    elif kept != dict(present):
        raise DatabaseOfAnother(
            f"data home: belongs to database `{kept['database']}` of server {kept['server']}, and this is"
            f" `{present['database']}` of server {present['server']}: point the gateway at its own database, or, when"
            " the ledger was moved here, run `python -m gateway accept-database`"
        )


def remembered(data: Path) -> dict[str, str] | None:
    """What the home belongs to; None: to none yet. Raises `DatabaseOfAnother` for a file that cannot be read."""
    try:
        kept = json.loads((data / FILE).read_bytes())
        return {name: str(kept[name]) for name in ("server", "database", "begins")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatabaseOfAnother(f"data home: `{FILE}` cannot be read: restore it from a backup") from error


def remember(data: Path, present: Mapping[str, str]) -> None:
    """Have the home belong to this database; the file is whole or not there."""
    partial = data / f"{FILE}.partial"
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, json.dumps(dict(present)).encode())
        os.fsync(file)
    finally:
        os.close(file)
    partial.replace(data / FILE)
