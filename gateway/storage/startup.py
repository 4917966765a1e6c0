"""The start-up check: a role that could bypass the ledger's rules, or a server that could lose it, is refused by name.

What is safe is decided here a second time, apart from the migrations: the tables, the columns in which state moves and
the tables that are evidence. An injected `set_config` can still name any tenant: row-level security stops
mistakes, grants and triggers stop rewriting, and neither replaces parameters in every statement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from gateway.storage import connections
from gateway.storage.connections import Connection, DatabaseUnavailable

REVISION = "0008"
"""
The schema that this release needs. An older one is refused. What a newer one has besides is that release's to check:
tables that are not known here, under row-level security like all, and columns of tables that hold state.
"""

SERVER_VERSION_MIN = 170000

EVIDENCE = (
    *("entries", "checkpoints", "approvals", "approval_uses", "activations", "certificates", "log_keys"),
    *("strikes", "lowerings"),
)

MOVING: Mapping[str, tuple[str, ...]] = {
    "heads": ("size", "hash", "frontier", "signer", "at_ms"),
    "payloads": ("salt", "body"),
    "calls": (
        *("request", "correlation", "state", "fence", "lease_until", "intent_seq", "outcome_seq", "parked_seq"),
        *("status", "answer", "reservations", "expires_at", "keep_until"),
    ),
    "budgets": ("reserved", "spent"),
    "holds": ("amount", "state", "settled_at"),
    "kills": ("engaged", "reason", "seq"),
    "autonomy": ("level", "seq"),
    "person_keys": ("revoked_seq",),
    "people": ("roles", "token_iat"),
    "tools": ("seq", "verdict"),
    "bundles": ("verdict", "published_seq"),
    "rates": ("span", "taken", "given"),
    "token_places": ("subject", "tool", "arguments", "member"),
}
"""The only columns that the application may update; a table that is not here holds evidence."""

# As PostgreSQL 17 and 18 print the condition that the migrations wrote.
_POLICY = (
    r"^\(tenant = ANY \(\( SELECT \(current_setting\('app\.tenants'::text\)\)::text\[\]"
    r" AS current_setting\)::text\[\]\)\)$"
)
_REFUSAL = r"^\s*begin\s+raise exception\s"

_GRANT_STEP = "revoke it"
_ROLE_STEP = "log in as a role without it"
_SETTING_STEP = "reset it, for the server, the database and the role"
_MIGRATE_STEP = "run the migrations"

_SAID: Mapping[str, tuple[str, str]] = {
    "role_superuser": ("is a superuser", _ROLE_STEP),
    "role_bypasses_rls": ("may bypass row-level security", "alter the role to nobypassrls"),
    "role_creates_roles": ("may create roles", "alter the role to nocreaterole"),
    "role_creates_databases": ("may create databases", "alter the role to nocreatedb"),
    "role_replicates": ("may replicate, and so read every row", "alter the role to noreplication"),
    "role_predefined": ("is a predefined role with rights over the whole server", "revoke the membership"),
    "owns_table": ("belongs to this login, which could drop it", "give it to lockgate_owner"),
    "owns_schema": ("belongs to this login, which could drop it", "give it to lockgate_owner"),
    "owns_database": ("belongs to this login, which could drop it", "give it to another role"),
    "owns_function": ("belongs to this login, which could replace it", "give it to lockgate_owner"),
    "table_missing": ("is missing", _MIGRATE_STEP),
    "table_unknown": ("is no table of this release, and nothing guards it", "drop it, or move it to another schema"),
    "table_unlogged": ("is emptied by a crash", "alter the table to logged"),
    "rls_disabled": ("has row-level security disabled", "enable it"),
    "rls_not_forced": ("does not force row-level security on its owner", "force it"),
    "rls_policy_missing": ("has no policy that admits only the tenants named", "create the policy of the migrations"),
    "rls_policy_foreign": ("is a policy that is not ours, and may admit other rows", "drop it"),
    "table_rule": ("is a rule that could turn a statement into another", "drop it"),
    "evidence_unguarded": ("lacks its trigger against changes, or has it disabled or altered", "restore the trigger"),
    "table_trigger": ("is a trigger that is not ours, and may alter rows", "drop it"),
    "grant_delete": ("may delete", _GRANT_STEP),
    "grant_truncate": ("may truncate", _GRANT_STEP),
    "grant_trigger": ("may create triggers", _GRANT_STEP),
    "grant_maintain": ("may lock and rewrite the table", _GRANT_STEP),
    "grant_references": ("may block changes by foreign keys", _GRANT_STEP),
    "grant_insert": ("may insert", _GRANT_STEP),
    "grant_update": ("may update", _GRANT_STEP),
    "grant_create_in_schema": ("may create objects that shadow others", _GRANT_STEP),
    "grant_create_in_database": ("may create schemas", _GRANT_STEP),
    "grant_temporary": (
        "may create temporary tables, which shadow others",
        "revoke temporary on the database from public",
    ),
    "grant_missing": ("cannot use the ledger", "grant it lockgate_app or lockgate_auditor, with inherit"),
    "definer_function": ("runs with its owner's rights, and this login may execute it", "revoke execute from public"),
    "setting_fsync": ("is `fsync`: commits do not survive a crash", _SETTING_STEP),
    "setting_full_page_writes": ("is `full_page_writes`: a crash may tear pages", _SETTING_STEP),
    "setting_synchronous_commit": ("is `synchronous_commit`: commits are acknowledged too early", _SETTING_STEP),
    "setting_row_security": ("is `row_security`: every read would fail", _SETTING_STEP),
    "setting_zero_damaged_pages": ("is `zero_damaged_pages`: damage would be erased", _SETTING_STEP),
    "setting_ignore_checksum_failure": ("is `ignore_checksum_failure`: damage would be read", _SETTING_STEP),
    "setting_transaction_read_only": ("is `default_transaction_read_only`: nothing could be recorded", _SETTING_STEP),
    "setting_session_replication_role": ("is `session_replication_role`: triggers would not run", _SETTING_STEP),
    "standby_missing": (
        "is `synchronous_standby_names`: a fail-over would lose what was acknowledged",
        "name the standby there, or set LOCKGATE_STANDBY to `none`",
    ),
    "server_in_recovery": ("is a standby", "connect to the primary"),
    "server_too_old": ("is older than PostgreSQL 17", "upgrade the server"),
    "server_encoding": ("is not UTF8", "create the database with encoding UTF8"),
    "schema_behind": ("is an older schema than this release needs", _MIGRATE_STEP),
    "same_role": ("is the login of both application and auditor", "give the auditor a login of its own"),
    "other_database": ("is another database than the application's", "point both URLs to one database"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that makes start-up unsafe."""

    name: str
    """Stable, for tests and operators."""
    login: str
    """`app` or `auditor`: whose connection showed it."""
    subject: str
    """The role, table, function or value concerned; never a row."""

    def __str__(self) -> str:
        said, step = _SAID[self.name]
        return f"{self.login}: `{self.subject}` {said}: {step}"


class UnsafeDatabase(Exception):
    """The gateway must not run on this database as these roles."""

    def __init__(self, findings: list[Finding]) -> None:
        lines = "\n".join(f"- {finding}" for finding in findings)
        super().__init__(f"unsafe database: refused to start:\n{lines}")
        self.findings = findings


def require(app_url: str, auditor_url: str, *, needs_standby: bool = False) -> None:
    """Raise `UnsafeDatabase` with every finding, or return. `needs_standby`: commits must wait for one."""
    findings = check(app_url, auditor_url)
    if needs_standby:
        findings += _alone(app_url)
    if findings:
        raise UnsafeDatabase(findings)


def check(app_url: str, auditor_url: str) -> list[Finding]:
    """
    Everything unsafe about the two logins, the schema and the server; an empty list is the only good answer.

    What a login could do *outside* this database is checked only as far as its attributes tell, and whether the server
    asks for passwords not at all. Raises `DatabaseUnavailable`.
    """
    with connections.inspect(app_url) as app, connections.inspect(auditor_url) as auditor:
        try:
            findings = [*_of(app, "app"), *_of(auditor, "auditor")]
            findings += _between(_identity(app), _identity(auditor))
        except psycopg.Error as error:
            raise DatabaseUnavailable(f"start-up check: {connections.reason(error)}") from error
    return findings


def _alone(app_url: str) -> list[Finding]:
    """A server that acknowledges commits before any other has them."""
    with connections.inspect(app_url) as app:
        ((names,),) = app.execute("show synchronous_standby_names").fetchall()
    return [] if names else [Finding(name="standby_missing", login="app", subject=names)]


def _of(connection: Connection, login: str) -> list[Finding]:
    if connection.info.server_version < SERVER_VERSION_MIN:
        # Neither the privileges nor the time limits that we rely on exist there.
        return [Finding(name="server_too_old", login=login, subject=str(connection.info.server_version))]
    is_app = login == "app"
    parameters = {
        "inserts": is_app,
        "tables": [*EVIDENCE, *MOVING],
        "evidence": list(EVIDENCE),
        "moving": [f"{table}.{column}" for table, columns in MOVING.items() for column in columns] if is_app else [],
        "is_later": _revision(connection) > REVISION,
        "policy": _POLICY,
        "refusal": _REFUSAL,
    }
    rows = connection.execute(_SQL, parameters).fetchall()
    findings = [Finding(name=name, login=login, subject=subject) for name, subject in rows]
    if is_app and not findings:
        # Only now is it certain that the table can be read.
        revision = _revision(connection)
        if revision < REVISION:
            findings.append(Finding(name="schema_behind", login=login, subject=revision or "none"))
    return findings


def _revision(connection: Connection) -> str:
    """The schema's; empty where it cannot be read."""
    try:
        found = connection.execute("select max(version_num) from lockgate.alembic_version").fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return ""
    return "" if found is None or found[0] is None else str(found[0])


def _identity(connection: Connection) -> tuple[str, str]:
    rows = connection.execute(
        "select current_user::text, system_identifier::text || '/' || current_database() from pg_control_system()"
    ).fetchall()
    return rows[0][0], rows[0][1]


def _between(app: tuple[str, str], auditor: tuple[str, str]) -> list[Finding]:
    found = []
    if app[0] == auditor[0]:
        found.append(Finding(name="same_role", login="auditor", subject=auditor[0]))
    if app[1] != auditor[1]:
        found.append(Finding(name="other_database", login="auditor", subject=auditor[1]))
    return found


_SQL = Path(__file__).with_suffix(".sql").read_bytes()
