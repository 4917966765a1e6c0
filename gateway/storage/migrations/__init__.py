"""Migrations: the schema `lockgate`, its roles, grants, row-level security and triggers.

`upgrade` is safe to call at every start: it is one transaction behind an advisory lock, bounded in lock and statement
time, and does nothing where nothing is missing. A revision must be correct while the previous release is still running.
"""

from __future__ import annotations

from pathlib import Path

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.pool import NullPool

from gateway.storage import connections

LOCK_SECONDS = 5
STATEMENT_SECONDS = 60
MIGRATION_LOCK = 0x6C6F636B67617465  # `lockgate` in ASCII: one upgrade of a database at a time.


class MigrationFailed(Exception):
    """The schema stayed as it was; the message says what the database refused."""


def upgrade(migrator_url: str) -> None:
    """
    Bring the database to the newest revision, creating roles and schema where they are missing. A schema of a later
    release is left as it is: releases run side by side while one replaces the other.

    The login of `migrator_url` must be a member of `lockgate_owner`, or be allowed to create roles, and may create a
    schema in the database. On a server of your own, grant `lockgate_app` and `lockgate_auditor` to the two other
    logins. Raises `MigrationFailed` or `connections.DatabaseUnavailable`.
    """
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: _connect(migrator_url), poolclass=NullPool
    )
    configuration = Config()
    # Alembic reads `%` as the start of a substitution.
    configuration.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    try:
        with engine.begin() as connection:
            _prepare(connection)
            if _is_later(connection, configuration):
                return
            configuration.attributes["connection"] = connection
            command.upgrade(configuration, "head")
    except sqlalchemy.exc.DBAPIError as error:
        raise MigrationFailed(_explain(error.orig)) from error
    except psycopg.Error as error:
        raise MigrationFailed(_explain(error)) from error


def run(connection: sqlalchemy.Connection, script: str) -> None:
    """Execute a file of statements in this directory, in the caller's transaction."""
    text = Path(__file__).parent.joinpath(script).read_text(encoding="utf-8")
    raw = connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)  # noqa: S101 - for the type checker: we made it ourselves
    raw.execute(text.encode())


def _connect(url: str) -> connections.Connection:
    connection = connections.connect(url)
    connection.autocommit = False
    return connection


def _prepare(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql(f"set local lock_timeout = '{LOCK_SECONDS}s'")
    connection.exec_driver_sql(f"set local statement_timeout = '{STATEMENT_SECONDS}s'")
    connection.exec_driver_sql(f"select pg_advisory_xact_lock({MIGRATION_LOCK})")
    run(connection, "prepare.sql")


def _is_later(connection: sqlalchemy.Connection, configuration: Config) -> bool:
    ours = ScriptDirectory.from_config(configuration).get_current_head() or ""
    is_there = connection.exec_driver_sql("select to_regclass('lockgate.alembic_version') is not null").scalar()
    found = connection.exec_driver_sql("select max(version_num) from lockgate.alembic_version") if is_there else None
    return found is not None and (found.scalar() or "") > ours


def _explain(error: BaseException | None) -> str:
    told = connections.reason(error) if isinstance(error, psycopg.Error) else "unknown"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return (
            f"migration: {told}: let an administrator run `create role lockgate_owner nologin;"
            " create role lockgate_app nologin; create role lockgate_auditor nologin;"
            " grant lockgate_owner to <migrator>; alter database <database> owner to lockgate_owner`"
        )
    return f"migration: {told}"
