"""Attack: every class of statement against every table that the schema has, by the application's own login.

The tables and columns are read from the catalogue of the database, so a table of a later migration is tried as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import psycopg
import pytest

from gateway.storage import connections, startup
from gateway.storage.cluster import SUPERUSER, Cluster
from gateway.storage.connections import Connection
from gateway.storage.migrations import MIGRATION_LOCK
from tests.attacks.test_database_roles import attacked

AGAINST_A_TABLE = (
    "delete from {t}",
    "delete from only {t} where false",
    "truncate {t}",
    "truncate {t} cascade",
    "drop table {t}",
    "drop table {t} cascade",
    "alter table {t} add column mine int",
    "alter table {t} drop column {c} cascade",
    "alter table {t} alter column {c} type text",
    "alter table {t} alter column {c} set default null",
    "alter table {t} rename to mine",
    "alter table {t} rename column {c} to mine",
    "alter table {t} set schema public",
    "alter table {t} owner to current_user",
    "alter table {t} disable trigger all",
    "alter table {t} disable trigger user",
    "alter table {t} disable row level security",
    "alter table {t} no force row level security",
    "alter table {t} set unlogged",
    "alter table {t} set (autovacuum_enabled = off)",
    "alter table {t} replica identity full",
    "alter table {t} add constraint mine check (false) not valid",
    "alter table {t} inherit lockgate.entries",
    "create policy mine on {t} using (true)",
    "create rule mine as on insert to {t} do instead nothing",
    "create rule mine as on select to {t} do instead select 1",
    "create trigger mine before insert on {t} execute function lockgate.refuse_change()",
    "create index mine on {t} ({c})",
    "create unique index mine on {t} ((1))",
    "create statistics mine on {c}, ctid from {t}",
    "create view lockgate.mine as select * from {t}",
    "create view public.mine as select * from {t}",
    "create materialized view public.mine as select * from {t}",
    "create table public.mine () inherits ({t})",
    "create table public.mine (like {t})",
    "create table public.mine as select * from {t}",
    "create temporary table mine as select * from {t}",
    "select * into public.mine from {t}",
    "create publication mine for table {t}",
    "create foreign table public.mine (x int) server nowhere",
    "comment on table {t} is 'mine'",
    "comment on column {t}.{c} is 'mine'",
    "security label on table {t} is 'mine'",
    "reindex table {t}",
    "cluster {t}",
    "begin; lock table {t} in access exclusive mode",
    "begin; lock table {t} in exclusive mode",
    "begin; lock table {t} in share mode",
    "begin; lock table {t} in share row exclusive mode",
    "copy {t} to '/tmp/mine'",
    "copy {t} to program 'cat'",
    "copy {t} from '/dev/null'",
    "copy {t} from program 'true'",
    "update {t} set ctid = ctid",
    "insert into {t} overriding system value select * from {t} where false returning tableoid, mine",
    "merge into {t} e using (values (1)) v on true when matched then delete",
    "do $$ begin delete from {t}; end $$",
    "do $$ begin execute 'truncate {t}'; end $$",
    "with gone as (delete from {t} returning 1) select * from gone",
    "prepare mine as delete from {t}; execute mine",
    "explain analyze delete from {t}",
)
AGAINST_EVIDENCE = (
    "select * from {t} for update",
    "select * from {t} for no key update",
    "select * from {t} for share",
    "select * from {t} for key share",
    "merge into {t} e using (values (1)) v on true when matched then update set {c} = e.{c}",
)
AGAINST_THE_DATABASE = (
    "create function public.mine() returns int language sql as 'select 1'",
    "create procedure public.mine() language sql as 'select 1'",
    "create function pg_temp.mine() returns int language sql as 'select 1'",
    "create aggregate public.mine (int) (sfunc = int4pl, stype = int)",
    "create operator public.=== (leftarg = text, rightarg = text, function = texteq)",
    "create cast (text as int) with inout as implicit",
    "create type public.mine as (x int)",
    "create domain public.mine as int",
    "create sequence public.mine",
    'create collation public.mine from "C"',
    "create text search dictionary public.mine (template = simple)",
    "create extension plpython3u",
    "create language plpython3u",
    "create server mine foreign data wrapper postgres_fdw",
    "create event trigger mine on ddl_command_start execute function lockgate.refuse_change()",
    "create subscription mine connection 'host=nowhere' publication mine",
    "create tablespace mine location '/tmp'",
    "create database mine",
    "create access method mine type table handler heap_tableam_handler",
    "alter function lockgate.refuse_change() owner to current_user",
    "alter function lockgate.refuse_change() rename to mine",
    "alter schema lockgate rename to mine",
    "alter database {d} set app.tenants = '{{acme}}'",
    "alter role lockgate_app set app.tenants = '{{acme}}'",
    "alter role current_user superuser",
    "reassign owned by lockgate_owner to current_user",
    "drop owned by lockgate_owner",
    "set role lockgate_owner",
    "set local session authorization postgres",
    "set session_replication_role = replica",
    "set zero_damaged_pages = on",
    "set ignore_checksum_failure = on",
    "set allow_system_table_mods = on",
    "load 'auto_explain'",
    "select lo_create(1)",
    "select lo_from_bytea(0, 'x')",
    "select lo_import('/etc/passwd')",
    "select pg_read_file('PG_VERSION')",
    "select pg_ls_dir('.')",
    "select pg_stat_file('PG_VERSION')",
    "select pg_reload_conf()",
    "select pg_rotate_logfile()",
    "select pg_promote()",
    "select pg_switch_wal()",
    "select pg_create_restore_point('mine')",
    "select pg_create_physical_replication_slot('mine')",
    "select pg_replication_origin_create('mine')",
    "select pg_backup_start('mine')",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres' and pid <> pg_backend_pid()",
    "begin; prepare transaction 'mine'",
    "checkpoint",
    "update pg_catalog.pg_trigger set tgenabled = 'D'",
    "delete from pg_catalog.pg_policy",
    "update pg_catalog.pg_authid set rolsuper = true",
    "insert into pg_catalog.pg_largeobject values (1, 1, '')",
)
LEFT = (
    # It owns no table, and can make none, that its own defaults would be of.
    "alter default privileges in schema lockgate grant delete on tables to public",
    # What is left is to be in the way: of a migration, or of the disk. The threat model says so.
    f"select pg_advisory_lock({MIGRATION_LOCK})",
    "select pg_logical_emit_message(true, 'mine', 'x')",
    "notify mine, 'x'",
    "select tenant from lockgate.heads for update",
)
REFUSED = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.SyntaxError,  # Of a statement that this server does not know, or not for this kind of table.
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFile,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.WrongObjectType,
    psycopg.errors.InvalidParameterValue,
    psycopg.errors.CantChangeRuntimeParam,
)


@pytest.fixture(scope="module", name="attacked")
def a_database_to_attack(cluster: Cluster) -> Iterator[str]:
    """A database with a row in every table."""
    with attacked(cluster, "attacked_whole") as name:
        yield name


@pytest.fixture(scope="module")
def superuser(cluster: Cluster, attacked: str) -> Iterator[Connection]:
    """Who sees everything."""
    with connections.connect(cluster.url(attacked, SUPERUSER)) as connection:
        yield connection


@pytest.fixture(scope="module")
def tables(superuser: Connection) -> dict[str, list[str]]:
    """Every relation of the schema, with its columns."""
    found = superuser.execute(
        """select relname, array_agg(attname order by attnum) from pg_class
        join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
        where relnamespace = 'lockgate'::regnamespace and relkind not in ('i', 'I', 'c') group by relname"""
    ).fetchall()
    return {name: columns for name, columns in found}  # noqa: C416 - the driver's rows are tuples of no known length


def test_no_statement_changes_a_table(
    cluster: Cluster, attacked: str, superuser: Connection, tables: dict[str, list[str]]
) -> None:
    """
    G09: every class of statement, against every table: refused by the database, and rows and definitions are as before.
    """
    before, passed = state(superuser, tables), []

    with connections.connect(cluster.urls(attacked).app) as app:
        app.prepare_threshold = None  # Prepared statements are among what is tried.
        app.execute("select set_config('app.tenants', '{acme}', false)")
        for table, columns in tables.items():
            more = AGAINST_EVIDENCE if table in startup.EVIDENCE else ()
            for attack in (*AGAINST_A_TABLE, *more):
                statement = attack.format(t=f"lockgate.{table}", c=columns[0])
                if not is_refused(app, statement):
                    passed.append(statement)
        for attack in AGAINST_THE_DATABASE:
            statement = attack.format(d=attacked)
            if not is_refused(app, statement):
                passed.append(statement)

    assert passed == []
    assert state(superuser, tables) == before


def test_what_is_left_changes_no_row(
    cluster: Cluster, attacked: str, superuser: Connection, tables: dict[str, list[str]]
) -> None:
    """
    G09: what the login may do besides reading and recording is be in the way, and no longer than its session lasts.
    """
    before = state(superuser, tables)

    with connections.connect(cluster.urls(attacked).app) as app:
        app.prepare_threshold = None
        passed = [statement for statement in LEFT if not is_refused(app, f"begin; {statement}")]

    assert passed == list(LEFT)
    assert state(superuser, tables) == before


def test_no_column_moves_but_those_that_hold_state(
    cluster: Cluster, attacked: str, superuser: Connection, tables: dict[str, list[str]]
) -> None:
    """
    G09: of every column of every table, exactly those that the start-up check lists may be updated.
    """
    with connections.connect(cluster.urls(attacked).app) as app:
        app.prepare_threshold = None  # Prepared statements are among what is tried.
        app.execute("select set_config('app.tenants', '{acme}', false)")
        moved = {
            (table, column)
            for table, columns in tables.items()
            for column in columns
            if not is_refused(app, f"begin; update lockgate.{table} set {column} = {column}")
        }

    assert moved == {(table, column) for table, columns in startup.MOVING.items() for column in columns}


def test_every_table_is_in_the_start_up_check(tables: dict[str, list[str]]) -> None:
    """
    G09, B03: no table of the schema is guarded by nobody.
    """
    assert set(tables) == {*startup.EVIDENCE, *startup.MOVING, "alembic_version"}


def is_refused(app: Connection, statement: str) -> bool:
    """Whether the database refuses it; whatever it did is undone."""
    try:
        app.execute(statement.encode())
    except REFUSED:
        return True
    finally:
        app.rollback()
        app.execute("deallocate all")
        app.execute("reset all")
        app.execute("select set_config('app.tenants', '{acme}', false)")
    return False


def state(superuser: Connection, tables: dict[str, list[str]]) -> dict[str, str]:
    """Digests of every row and of every definition."""
    catalogues = ("pg_class", "pg_attribute", "pg_trigger", "pg_policy", "pg_proc", "pg_rewrite", "pg_largeobject",
                  "pg_constraint", "pg_authid", "pg_namespace", "pg_default_acl", "pg_db_role_setting")  # fmt: skip
    ignored = "array['reltuples', 'relpages', 'relallvisible', 'relallfrozen', 'relfrozenxid', 'relminmxid']"
    found = {}
    superuser.execute("select set_config('app.tenants', '{acme}', false)")
    for table in (*(f"lockgate.{name}" for name in tables), *catalogues):
        rows = superuser.execute(
            f"select (to_jsonb(t) - {ignored})::text from {table} t order by 1".encode()
        ).fetchall()
        found[table] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return found
