"""Attack: the application's own login turns against the ledger, or was given more than it needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from gateway.storage import connections, startup
from gateway.storage.cluster import SUPERUSER, Cluster
from gateway.storage.connections import Connection, Cursor, DatabaseUnavailable, Urls
from gateway.storage.startup import UnsafeDatabase

ENTRY = """
    insert into lockgate.entries (tenant, seq, kind, body, leaf, path, checkpoint)
    values (%s, %s, 'NOTE', 'as written', decode(repeat('00', 32), 'hex'), '', 1)
"""
CALL = """
    insert into lockgate.calls (claim, tenant, call_id, principal, tool, request_digest, request, call_salt, requester,
                                state, fence, created_at, keep_until)
    values ('c', 'acme', gen_random_uuid(), 'agent/a', 't', 'd', 'r', 's', '{}', 'executing', 1, now(), now())
"""

VALUES = {
    "text": "'x'",
    "bytea": "decode(repeat('00', 32), 'hex')",
    "bigint": "1",
    "integer": "1",
    "boolean": "true",
    "uuid": "gen_random_uuid()",
    "text[]": "'{}'",
    "timestamp with time zone": "now()",
}
CONSTRAINED = {
    "tenant": "'acme'",
    "entries.body": "'as written'",
    "calls.state": "'executing'",
    "holds.state": "'reserved'",
    "kills.scope": "'tool'",
}

EVERY_EVIDENCE_ATTACK = [
    attack
    for table in startup.EVIDENCE
    for attack in (
        f"update lockgate.{table} set tenant = 'evil'",
        f"delete from lockgate.{table}",
        f"truncate lockgate.{table}",
        f"drop table lockgate.{table}",
        f"alter table lockgate.{table} disable trigger append_only",
        f"alter table lockgate.{table} disable row level security",
        f"drop trigger append_only on lockgate.{table}",
        f"drop policy tenants on lockgate.{table}",
        f"select * from lockgate.{table} for update",
        f"begin; lock table lockgate.{table} in access exclusive mode",
    )
]

EVERY_OTHER_ATTACK = [
    "update lockgate.entries set body = 'x'",
    "update lockgate.checkpoints set signature = 'x'",
    "update lockgate.approvals set not_after = now() + interval '1 year'",
    "update lockgate.approval_uses set call_id = gen_random_uuid()",
    (
        "insert into lockgate.entries (tenant, seq, kind, body, leaf, path, checkpoint)"
        " values ('acme', 1, 'NOTE', 'x', '', '', 1) on conflict (tenant, seq) do update set body = 'x'"
    ),
    "merge into lockgate.entries e using (values (1)) v(seq) on e.seq = v.seq when matched then update set body = 'x'",
    "merge into lockgate.entries e using (values (1)) v(seq) on e.seq = v.seq when matched then delete",
    "alter table lockgate.entries disable trigger all",
    "alter table lockgate.entries add column x int",
    "alter table lockgate.entries owner to lockgate_app",
    "alter table lockgate.entries no force row level security",
    "alter table lockgate.entries set unlogged",
    "create policy mine on lockgate.entries using (true)",
    "create rule mine as on insert to lockgate.entries do instead nothing",
    "create trigger mine before insert on lockgate.entries execute function lockgate.refuse_change()",
    "create index mine on lockgate.entries (body)",
    "create or replace function lockgate.refuse_change() returns trigger language plpgsql as 'begin return null; end'",
    "drop function lockgate.refuse_change() cascade",
    "drop schema lockgate cascade",
    "create table lockgate.mine (x int)",
    "create table public.mine (x int)",
    "create temporary table entries (x int)",
    "create schema mine",
    "create extension vector",
    "create role mine",
    "alter role lockgate_app bypassrls",
    "alter role lockgate_app superuser",
    "alter role lockgate_owner login password 'mine'",
    "grant lockgate_owner to lockgate_app",
    "grant pg_write_all_data to lockgate_app",
    "set role lockgate_owner",
    "set role postgres",
    "set session authorization lockgate_owner",
    "set session_replication_role = replica",
    "alter system set fsync = off",
    "copy lockgate.entries to '/tmp/stolen'",
    "copy lockgate.entries to program 'cat'",
    "copy lockgate.entries from program 'cat'",
    "select pg_read_file('postgresql.conf')",
    "select lo_create(4711)",
    "select lo_from_bytea(0, 'x')",
    "select lo_creat(-1)",
    "update pg_catalog.pg_class set relforcerowsecurity = false",
    "set row_security = off; select * from lockgate.entries",
    "update lockgate.calls set request_digest = 'x'",
    "update lockgate.calls set call_salt = 'x'",
    "update lockgate.calls set tenant = 'evil'",
    "update lockgate.heads set tenant = 'evil'",
    "update lockgate.payloads set subject = 'x'",
    "update lockgate.person_keys set public_key = 'x'",
    "update lockgate.person_keys set person = 'x'",
    "update lockgate.bundles set content = 'x'",
    "update lockgate.tools set document = 'x'",
    "update lockgate.alembic_version set version_num = '0000'",
    *(f"delete from lockgate.{table}" for table in startup.MOVING),
    *(f"truncate lockgate.{table}" for table in startup.MOVING),
]

# The finding expected, what makes the database unsafe, and what undoes it where the database of the test is not enough.
EVERY_WEAKNESS = [
    ("role_superuser", "alter role lockgate_app superuser", "alter role lockgate_app nosuperuser"),
    ("role_bypasses_rls", "alter role lockgate_app bypassrls", "alter role lockgate_app nobypassrls"),
    ("role_bypasses_rls", "alter role lockgate_auditor bypassrls", "alter role lockgate_auditor nobypassrls"),
    ("role_creates_roles", "alter role lockgate_app createrole", "alter role lockgate_app nocreaterole"),
    ("role_creates_databases", "alter role lockgate_app createdb", "alter role lockgate_app nocreatedb"),
    ("role_replicates", "alter role lockgate_app replication", "alter role lockgate_app noreplication"),
    ("role_predefined", "grant pg_write_all_data to lockgate_app", "revoke pg_write_all_data from lockgate_app"),
    (
        "role_predefined",
        "grant pg_execute_server_program to lockgate_app",
        "revoke pg_execute_server_program from lockgate_app",
    ),
    ("role_predefined", "grant pg_read_all_data to lockgate_auditor", "revoke pg_read_all_data from lockgate_auditor"),
    ("owns_table", "grant lockgate_owner to lockgate_app", "revoke lockgate_owner from lockgate_app"),
    (
        "owns_table",
        "grant lockgate_owner to lockgate_app with inherit false, set true",
        "revoke lockgate_owner from lockgate_app",
    ),
    ("owns_table", "alter table lockgate.heads owner to lockgate_app", None),
    ("owns_schema", "alter schema lockgate owner to lockgate_app", None),
    ("owns_function", "alter function lockgate.refuse_change() owner to lockgate_app", None),
    ("table_missing", "drop table lockgate.activations", None),
    ("table_unknown", "create table lockgate.extra (x int)", None),
    ("table_unknown", "create view lockgate.entries_of_all as select * from lockgate.entries", None),
    ("table_unlogged", "alter table lockgate.entries set unlogged", None),
    ("rls_disabled", "alter table lockgate.calls disable row level security", None),
    ("rls_not_forced", "alter table lockgate.calls no force row level security", None),
    ("rls_policy_missing", "drop policy tenants on lockgate.entries", None),
    ("rls_policy_foreign", "create policy mine on lockgate.entries using (true)", None),
    (
        "rls_policy_foreign",
        (
            "alter policy tenants on lockgate.entries using (true or tenant = any"
            " ((select current_setting('app.tenants')::text[])::text[]))"
        ),
        None,
    ),
    ("rls_policy_foreign", "alter policy tenants on lockgate.entries with check (true)", None),
    ("table_rule", "create rule mine as on insert to lockgate.checkpoints do instead nothing", None),
    ("evidence_unguarded", "drop trigger append_only on lockgate.entries", None),
    ("evidence_unguarded", "alter table lockgate.entries disable trigger append_only", None),
    ("evidence_unguarded", "alter table lockgate.entries enable trigger append_only", None),
    (
        "evidence_unguarded",
        (
            "create or replace function lockgate.refuse_change() returns trigger language plpgsql"
            " as 'begin return null; end'"
        ),
        None,
    ),
    (
        "table_trigger",
        "create trigger mine before insert on lockgate.entries execute function lockgate.refuse_change()",
        None,
    ),
    ("grant_delete", "grant delete on lockgate.calls to lockgate_app", None),
    ("grant_delete", "grant delete on lockgate.calls to public", None),
    ("grant_truncate", "grant truncate on lockgate.entries to lockgate_app", None),
    ("grant_trigger", "grant trigger on lockgate.entries to lockgate_app", None),
    ("grant_maintain", "grant maintain on lockgate.entries to lockgate_app", None),
    ("grant_references", "grant references on lockgate.entries to lockgate_app", None),
    ("grant_references", "grant references (seq) on lockgate.entries to lockgate_app", None),
    ("grant_update", "grant update on lockgate.entries to lockgate_app", None),
    ("grant_update", "grant update (body) on lockgate.entries to lockgate_app", None),
    ("grant_update", "grant update on lockgate.calls to lockgate_app", None),
    ("grant_update", "grant update (public_key) on lockgate.person_keys to public", None),
    ("grant_update", "grant update (state) on lockgate.calls to lockgate_auditor", None),
    ("grant_insert", "grant insert on lockgate.entries to lockgate_auditor", None),
    ("grant_insert", "grant insert on lockgate.alembic_version to lockgate_app", None),
    ("grant_create_in_schema", "grant create on schema lockgate to lockgate_app", None),
    ("grant_create_in_schema", "grant create on schema public to public", None),
    ("grant_missing", "revoke insert on lockgate.entries from lockgate_app", None),
    ("grant_missing", "revoke usage on schema lockgate from lockgate_auditor", None),
    ("definer_function", "create function public.mine() returns int language sql security definer as 'select 1'", None),
    ("schema_behind", "update lockgate.alembic_version set version_num = '0000'", None),
]

# As above, for what belongs to the database or the server: `{database}` stands for the test's own.
EVERY_WEAK_SETTING = [
    ("grant_create_in_database", "grant create on database {database} to lockgate_app", None),
    ("grant_temporary", "grant temporary on database {database} to public", None),
    ("owns_database", "alter database {database} owner to lockgate_app", None),
    ("setting_synchronous_commit", "alter database {database} set synchronous_commit = off", None),
    (
        "setting_synchronous_commit",
        "alter role lockgate_app in database {database} set synchronous_commit = local",
        None,
    ),
    ("setting_session_replication_role", "alter database {database} set session_replication_role = replica", None),
    ("setting_row_security", "alter database {database} set row_security = off", None),
    ("setting_transaction_read_only", "alter database {database} set default_transaction_read_only = on", None),
    ("setting_fsync", "alter system set fsync = off", "alter system reset fsync"),
    ("setting_full_page_writes", "alter system set full_page_writes = off", "alter system reset full_page_writes"),
    ("setting_ignore_checksum_failure", "alter database {database} set ignore_checksum_failure = on", None),
]


@contextmanager
def administrator(cluster: Cluster, database_name: str) -> Iterator[Connection]:
    with connections.connect(cluster.url(database_name, SUPERUSER)) as connection:
        yield connection


def any_row(cursor: Cursor, table: str) -> str:
    """A statement that fills every column that must be filled."""
    columns = cursor.execute(
        "select attname, format_type(atttypid, null) from pg_attribute where attrelid = %s::regclass and attnum > 0"
        " and attnotnull and not atthasdef and not attisdropped order by attnum",
        (f"lockgate.{table}",),
    ).fetchall()
    values = {
        name: CONSTRAINED.get(name) or CONSTRAINED.get(f"{table}.{name}") or VALUES[kind] for name, kind in columns
    }
    return f"insert into lockgate.{table} ({', '.join(values)}) values ({', '.join(values.values())})"


@contextmanager
def attacked(cluster: Cluster, name: str) -> Iterator[str]:
    """A database with a row in every table, for attacks that change nothing when they fail as they must."""
    cluster.create_database(name, template="migrated")
    with connections.connect(cluster.urls(name).app) as app, connections.transaction(app, ["acme"]) as cursor:
        for table in (*startup.EVIDENCE, *startup.MOVING):
            cursor.execute(any_row(cursor, table).encode())
    yield name
    cluster.drop_database(name)


def found(database: Urls) -> set[str]:
    return {finding.name for finding in startup.check(database.app, database.auditor)}


@pytest.mark.parametrize("attack", [*EVERY_EVIDENCE_ATTACK, *EVERY_OTHER_ATTACK])
def test_application_cannot_rewrite_the_ledger(attacker: Connection, attack: str) -> None:
    """
    G09: whatever statement the application's login sends, the database refuses it and the entry stays as written.
    """
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        attacker.execute(attack.encode())

    attacker.rollback()
    attacker.execute("reset row_security")
    kept = attacker.execute("select tenant, seq, body from lockgate.entries").fetchall()
    assert kept == [("acme", 1, b"as written")]


def test_application_cannot_pass_on_what_it_has(database: Urls) -> None:
    """
    G09: granting is no error in SQL when something is held, so look at what came of it: nothing.
    """
    with connections.connect(database.app) as app:
        app.execute("grant all on lockgate.entries to lockgate_app, public")

    assert startup.check(database.app, database.auditor) == []


@pytest.mark.parametrize("silencing", ["origin", "replica"])
@pytest.mark.parametrize("login", ["owner", "superuser"])
def test_owner_and_superuser_are_stopped_by_the_trigger(
    cluster: Cluster, shared_database: str, login: str, silencing: str
) -> None:
    """
    G09: a careless owner or superuser meets the trigger, which `session_replication_role` does not silence.
    """
    with administrator(cluster, shared_database) as connection:
        connection.execute(f"set session_replication_role = {silencing}".encode())
        if login == "owner":
            connection.execute("set role lockgate_owner")
        connection.execute("select set_config('app.tenants', '{acme}', false)")

        for table in startup.EVIDENCE:
            for attack in ("update lockgate.{} set tenant = tenant", "delete from lockgate.{}", "truncate lockgate.{}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="is evidence"):
                    connection.execute(attack.format(table).encode())


def test_auditor_only_reads(database: Urls) -> None:
    """
    G09: the auditor's login reads the tenants it names, and writes nothing.
    """
    with connections.connect(database.app) as app, connections.transaction(app, ["acme"]) as cursor:
        cursor.execute(ENTRY, ("acme", 0))

    with connections.connect(database.auditor) as auditor:
        with connections.transaction(auditor, ["acme"]) as cursor:
            seen = cursor.execute("select seq from lockgate.entries").fetchall()
        for table in (*startup.EVIDENCE, *startup.MOVING):
            for attack in (f"insert into lockgate.{table} default values", f"delete from lockgate.{table}",
                           f"update lockgate.{table} set tenant = 'x'"):  # fmt: skip
                with (
                    pytest.raises(psycopg.errors.InsufficientPrivilege),
                    connections.transaction(auditor, ["acme"]) as cursor,
                ):
                    cursor.execute(attack.encode())

    assert seen == [(0,)]


@pytest.mark.parametrize("login", ["app", "auditor"])
def test_query_without_tenant_is_an_error(cluster: Cluster, shared_database: str, login: str) -> None:
    """
    B04: with no tenant set, before or after a transaction that set one, no row comes back and the query fails.
    """
    with connections.connect(getattr(cluster.urls(shared_database), login)) as connection:
        # The tables hold a row each: on an empty one the condition is never evaluated, and nothing could leak.
        for table in (*startup.EVIDENCE, *startup.MOVING):
            with pytest.raises(psycopg.errors.UndefinedObject, match=r"app\.tenants"):
                connection.execute(f"select * from lockgate.{table}".encode())
        with connections.transaction(connection, ["acme"]):
            pass

        for table in (*startup.EVIDENCE, *startup.MOVING):
            with pytest.raises(psycopg.errors.InvalidTextRepresentation, match="malformed array"):
                connection.execute(f"select * from lockgate.{table}".encode())


def test_tenants_do_not_mix(database: Urls) -> None:
    """
    B04: a transaction sees, writes and moves rows of the tenants it named, and of no other; the owner is bound as well.
    """
    with connections.connect(database.app) as app:
        for tenant in ("acme", "globex"):
            with connections.transaction(app, [tenant]) as cursor:
                cursor.execute(ENTRY, (tenant, 0))

        with connections.transaction(app, ["acme"]) as cursor:
            own = cursor.execute("select tenant from lockgate.entries").fetchall()
        with connections.transaction(app, ["acme", "globex"]) as cursor:
            both = cursor.execute("select tenant from lockgate.entries order by 1").fetchall()
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
            connections.transaction(app, ["acme"]) as cursor,
        ):
            cursor.execute(ENTRY, ("globex", 1))
        with connections.transaction(app, ["acme"]) as cursor:
            cursor.execute(CALL)
        with connections.transaction(app, ["globex"]) as cursor:
            moved = cursor.execute("update lockgate.calls set state = 'executed'").rowcount
    with connections.connect(database.migrator) as owner:
        owner.execute("set role lockgate_owner")
        with connections.transaction(owner, ["globex"]) as cursor:
            seen_by_owner = cursor.execute("select tenant from lockgate.entries").fetchall()

    assert own == [("acme",)]
    assert both == [("acme",), ("globex",)]
    assert moved == 0
    assert seen_by_owner == [("globex",)]


@pytest.mark.parametrize("name", ["", "a,b", "a}", '"a"', "A", "a b", "a'", "{", "null\x00", "a" * 64])
def test_tenant_name_cannot_widen_the_list(database: Urls, name: str) -> None:
    """
    B04: a name that is not a plain tenant name never becomes part of the setting.
    """
    with (
        connections.connect(database.app) as app,
        pytest.raises(ValueError, match="tenant"),
        connections.transaction(app, ["acme", name]),
    ):
        pass


def test_migrated_database_is_safe(database: Urls) -> None:
    """
    B03: the roles, tables and settings that the migrations make pass the start-up check.
    """
    findings = startup.check(database.app, database.auditor)

    assert findings == []
    startup.require(database.app, database.auditor)


@pytest.mark.parametrize(("expected", "weaken", "undo"), EVERY_WEAKNESS)
def test_start_up_names_every_weakness(
    cluster: Cluster, database: Urls, database_name: str, expected: str, weaken: str, undo: str | None
) -> None:
    """
    B03: each bad grant, role, table, policy or trigger is a finding with its own name, and refuses the start.
    """
    with administrator(cluster, database_name) as connection:
        connection.execute(weaken.encode())
        try:
            names = found(database)
        finally:
            connection.execute((undo or "select").encode())

    assert expected in names


@pytest.mark.parametrize(("expected", "weaken", "undo"), EVERY_WEAK_SETTING)
def test_start_up_names_every_weak_setting(
    cluster: Cluster, database: Urls, database_name: str, expected: str, weaken: str, undo: str | None
) -> None:
    """
    B03: a server that could lose commits, or a default that undoes a guard, is a finding with its own name.
    """
    with administrator(cluster, "postgres") as connection:
        connection.execute(weaken.replace("{database}", database_name).encode())
        connection.execute("select pg_reload_conf(), pg_sleep(0.1)")
        try:
            names = found(database)
        finally:
            connection.execute((undo or "select").encode())
            connection.execute("select pg_reload_conf(), pg_sleep(0.1)")

    assert expected in names


def test_refusal_lists_every_finding_with_its_next_step(cluster: Cluster, database: Urls, database_name: str) -> None:
    """
    B03: the message names each weakness, whom it concerns and what to do, all at once.
    """
    with administrator(cluster, database_name) as connection:
        connection.execute("grant delete on lockgate.calls to lockgate_app")
        connection.execute("alter table lockgate.heads no force row level security")

    with pytest.raises(UnsafeDatabase, match="refused to start") as refusal:
        startup.require(database.app, database.auditor)

    assert "- app: `lockgate_app on calls` may delete: revoke it" in str(refusal.value)
    assert "- auditor: `heads` does not force row-level security on its owner: force it" in str(refusal.value)


def test_owner_and_migrator_cannot_serve_as_application(cluster: Cluster, database: Urls, database_name: str) -> None:
    """
    B03: the migrator's or the superuser's login in place of the application's is refused, as is one login for both.
    """
    as_migrator = {finding.name for finding in startup.check(database.migrator, database.auditor)}
    as_superuser = {finding.name for finding in startup.check(cluster.url(database_name, SUPERUSER), database.auditor)}
    as_one = {finding.name for finding in startup.check(database.app, database.app)}

    assert "owns_table" in as_migrator
    assert "role_superuser" in as_superuser
    assert "same_role" in as_one


def test_auditor_of_another_database_is_noticed(cluster: Cluster, database: Urls) -> None:
    """
    B03: an auditor who would read another database than the one written is refused.
    """
    names = {finding.name for finding in startup.check(database.app, cluster.urls("migrated").auditor)}

    assert names == {"other_database"}


def test_unmigrated_database_is_refused(cluster: Cluster) -> None:
    """
    B03: a database without the schema is a finding, not an error.
    """
    cluster.create_database("unmigrated")
    try:
        urls = cluster.urls("unmigrated")
        names = {finding.name for finding in startup.check(urls.app, urls.auditor)}
    finally:
        cluster.drop_database("unmigrated")

    assert "table_missing" in names


def test_writer_commits_durably_whatever_the_defaults_say(cluster: Cluster, database: Urls, database_name: str) -> None:
    """
    G08: a default that turns `synchronous_commit` off, made after the start, does not reach the writer's connection.
    """
    with administrator(cluster, "postgres") as connection:
        connection.execute(f"alter role lockgate_app in database {database_name} set synchronous_commit = off".encode())

    with connections.connect(database.app, writer=True) as writer:
        setting = writer.execute("show synchronous_commit").fetchall()

    assert setting == [("on",)]


def test_paused_writer_loses_its_locks(database: Urls) -> None:
    """
    F20: a writer that stops inside its transaction holds the heads no longer than a second.
    """
    with connections.connect(database.app) as app, connections.transaction(app, ["acme"]) as cursor:
        cursor.execute("insert into lockgate.heads values ('acme', 0, '', '')")

    with connections.connect(database.app, writer=True) as paused, connections.connect(database.app) as other:
        paused.execute("begin")
        paused.execute("select set_config('app.tenants', '{acme}', true)")
        paused.execute("select from lockgate.heads for update")
        with connections.transaction(other, ["acme"]) as cursor:
            taken = cursor.execute("select tenant from lockgate.heads for update").fetchall()
        with pytest.raises(psycopg.errors.TransactionTimeout):
            paused.execute("commit")

    assert taken == [("acme",)]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql//lockgate_app:hunter2@localhost/lockgate",
        "host=localhost password=hunter2 nonsense",
        "postgresql://lockgate_app:hunter2@127.0.0.1:1/lockgate",
        "postgresql://lockgate_app:hunter2@/lockgate?host=/nonexistent",
    ],
)
def test_failed_connection_never_shows_the_password(url: str) -> None:
    """
    H06: neither the error, nor what caused it, nor the representation of the URLs carries a password.
    """
    with pytest.raises(DatabaseUnavailable) as failure:
        connections.connect(url)

    shown = [str(failure.value), repr(Urls(migrator=url, app=url, auditor=url))]
    if failure.value.__cause__ is not None:
        shown.append(str(failure.value.__cause__))
    assert not [text for text in shown if "hunter2" in text]


@pytest.fixture(scope="module")
def shared_database(cluster: Cluster) -> Iterator[str]:
    """One for all attacks."""
    with attacked(cluster, "attacked") as name:
        yield name


@pytest.fixture(scope="module")
def attacker(cluster: Cluster, shared_database: str) -> Iterator[Connection]:
    """The application's own login, with a tenant set for the whole session."""
    with connections.connect(cluster.urls(shared_database).app) as connection:
        connection.execute("select set_config('app.tenants', '{acme}', false)")
        yield connection
