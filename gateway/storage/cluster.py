"""The embedded PostgreSQL: started by the first process that wants it, shared by the others, gone with its owner.

`start` takes the home's lock. Who gets it owns the cluster and starts a keeper (see `keeper`), which ends the server
when the owner ends, however that happens. Who does not get it attaches. Nothing listens on a network; the socket's
directory belongs to the server's account alone, and every role has a password of its own.

A server of your own needs none of this: give its URLs to `connections`, `migrations` and `startup` directly.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from gateway.storage import connections, keeper, passwords, places, roles
from gateway.storage.connections import Connection, Urls
from gateway.storage.places import Account, UnfitPlace, home_for

__all__ = ["Cluster", "ClusterFailed", "UnfitPlace", "home_for"]

SUPERUSER = "postgres"
PORT = 5432  # only part of the socket's file name
VERSION = "18"
PARTIAL = "pg.partial-"
INITIAL = "initial-"

START_SECONDS = 30.0
TICK_SECONDS = 0.01
STRAY_SECONDS = 2.0  # how long the last owner's keeper may take over a tidy stop before we cut it short.

_INITIAL = (
    f"--username={SUPERUSER}",
    "--locale=C",
    "--encoding=utf8",
    "--auth-local=scram-sha-256",
    "--auth-host=reject",
)

_SETTINGS = (
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "timezone=UTC",
    "log_timezone=UTC",
    # Rows are evidence or personal data; the server's log is neither: no statement, no parameter, no quoted row.
    "log_min_error_statement=panic",
    "log_parameter_max_length=0",
    "log_parameter_max_length_on_error=0",
    "log_error_verbosity=terse",
    "log_checkpoints=off",
)


class ClusterFailed(Exception):
    """The cluster cannot be started or reached; the message ends with what to do."""


@dataclass(slots=True)
class _Ownership:
    """What only the owner holds. Its end, tidy or not, ends the server."""

    lock: int
    process: subprocess.Popen[bytes]


class Cluster:
    """A running cluster, owned or attached to."""

    def __init__(self, home: Path, socket: Path, ownership: _Ownership | None) -> None:
        self.home = home
        self.socket = socket
        self._ownership = ownership

    @classmethod
    def start(cls, home: Path, *, account: str = "nobody") -> Cluster:
        """
        Own the cluster at `home`, or attach to it where another process owns it.

        Started as root, the server runs as `account`. Raises `UnfitPlace` or `ClusterFailed`.
        """
        runner = places.account(account)
        home = places.prepare(home, runner)
        deadline = time.monotonic() + START_SECONDS
        while (lock := _lock(home / "owner.lock")) is None:
            # The owner may still be starting, or be dying: then the lock is ours on one of the next rounds.
            if (guest := cls._attach(home)) is not None:
                return guest
            if time.monotonic() > deadline:
                owner = (home / "owner.lock").read_text().strip() or "unknown"
                raise ClusterFailed(
                    f"cluster `{home}`: process {owner} owns it and does not get it running: end that process,"
                    " or set LOCKGATE_DATA to another place"
                )
            time.sleep(TICK_SECONDS)
        try:
            return cls._own(home, runner, lock)
        except BaseException:
            os.close(lock)
            raise

    @property
    def is_owner(self) -> bool:
        """Whether the server ends with this process."""
        return self._ownership is not None

    @property
    def postmaster_id(self) -> int | None:
        """Process id of the server; None while it is down."""
        return keeper.postmaster(self.home / "pg")

    def urls(self, database: str) -> Urls:
        """The three ways into `database`. They name the password file and contain no password."""
        return Urls(
            migrator=self.url(database, roles.MIGRATOR),
            app=self.url(database, roles.APP),
            auditor=self.url(database, roles.AUDITOR),
        )

    def url(self, database: str, role: str) -> str:
        """A connection URL for libpq, psycopg and SQLAlchemy."""
        parameters = {
            "host": str(self.socket),
            "port": str(PORT),
            "passfile": str(passwords.path(self.home)),
            # Whoever took the socket's place must not be able to ask for the password in clear.
            "require_auth": "scram-sha-256",
        }
        return f"postgresql://{quote(role)}@/{quote(database)}?{urlencode(parameters, quote_via=quote, safe='')}"

    def create_database(self, name: str, *, role: str | None = None, template: str = "template1") -> None:
        """
        Create `name` unless it exists. Only its own roles may connect: ours, or `role` alone, which then owns it.

        `template` may be a migrated database; nobody may be connected to it meanwhile.
        """
        with self._superuser() as connection:
            if role is not None:
                _create_role(connection, self.home, role)
            if not connection.execute("select from pg_database where datname = %s", (name,)).rowcount:
                owner = role or roles.OWNER
                statement = sql.SQL("create database {} owner {} template {}")
                # Another process may be faster.
                with suppress(psycopg.errors.DuplicateDatabase):
                    connection.execute(statement.format(*map(sql.Identifier, (name, owner, template))))
            guests = () if role else (roles.MIGRATOR, roles.APP, roles.AUDITOR)
            connection.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(name)))
            for guest in guests:
                grant = sql.SQL("grant connect on database {} to {}")
                connection.execute(grant.format(sql.Identifier(name), sql.Identifier(guest)))

    def drop_database(self, name: str) -> None:
        """Remove `name` with everything in it, throwing out whoever is connected."""
        with self._superuser() as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def stop(self) -> None:
        """Stop the server if we own it; an attached cluster is left to its owner. Twice is once."""
        ownership, self._ownership = self._ownership, None
        if ownership is None:
            return
        _end(ownership.process)
        # Only after a keeper that was killed itself is there anything left to end.
        if (lock := _wait_for_lock(self.home / "keeper.lock", self.home / "pg")) is not None:
            keeper.quit_stray(self.home / "pg")
            os.close(lock)
        if places.is_temporary(self.socket):
            shutil.rmtree(self.socket, ignore_errors=True)
        os.close(ownership.lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @classmethod
    def _own(cls, home: Path, runner: Account | None, lock: int) -> Cluster:
        data = home / "pg"
        before = _read_connection(home)
        # Nobody may attach by what the last owner wrote.
        (home / "connection.json").unlink(missing_ok=True)
        keepers = _wait_for_lock(home / "keeper.lock", data)
        if keepers is None:
            raise ClusterFailed(f"cluster `{home}`: its last keeper does not end: see `{home / 'server.log'}`")
        try:
            if before is not None and places.is_temporary(before):
                shutil.rmtree(before, ignore_errors=True)
            programs = places.binaries(home, runner)
            if not (data / "PG_VERSION").exists():
                _initialise(home, programs, runner)
            _require_version(data)
            socket = places.socket_directory(home, runner)
            process = _start_keeper(home, programs, socket, runner, keepers)
        finally:
            # The keeper has inherited it, and frees it by ending.
            os.close(keepers)
        made = cls(home, socket, _Ownership(lock, process))
        try:
            made._create_roles()
            _write_connection(home, socket)
        except BaseException:
            _end(process)
            raise
        return made

    @classmethod
    def _attach(cls, home: Path) -> Cluster | None:
        socket = _read_connection(home)
        if socket is None:
            return None
        guest = cls(home, socket, None)
        # An owner that was just killed leaves its file behind for a moment, but answers no more.
        with suppress(connections.DatabaseUnavailable), guest._superuser():
            return guest
        return None

    def _superuser(self, database: str = "postgres") -> Connection:
        connection = connections.connect(self.url(database, SUPERUSER))
        # A database is copied or removed file by file, and a busy disk takes its time; cut short, it would stay half.
        connection.execute("set statement_timeout = '60s'")
        return connection

    def _create_roles(self) -> None:
        """Idempotent, and made anew at each start: a crash may have come between two of them."""
        with self._superuser() as connection, connection.transaction():
            if not connection.execute("select from pg_roles where rolname = %s", (roles.OWNER,)).rowcount:
                connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(roles.OWNER)))
            for role in (roles.MIGRATOR, roles.APP, roles.AUDITOR):
                _create_role(connection, self.home, role)
            connection.execute(
                sql.SQL("grant {} to {} with inherit false, set true").format(
                    sql.Identifier(roles.OWNER), sql.Identifier(roles.MIGRATOR)
                )
            )
            connection.execute("revoke all on database postgres, template1 from public")
        with self._superuser("template1") as connection:
            # Large objects belong to no table, so no grant and no row-level security would ever cover them.
            connection.execute(
                "revoke execute on function lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) from public"
            )


def _create_role(connection: Connection, home: Path, role: str) -> None:
    if connection.execute("select from pg_roles where rolname = %s", (role,)).rowcount:
        return
    # The password is durable in its file before the role exists.
    password = passwords.keep(home, role)
    statement = sql.SQL("create role {} login noinherit password {}")
    connection.execute(statement.format(sql.Identifier(role), sql.Literal(password)))


def _initialise(home: Path, programs: Path, runner: Account | None) -> None:
    """Make `pg` as a whole or not at all: a crash leaves a partial directory, which the next start removes."""
    for left in home.glob(f"{PARTIAL}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in home.glob(f"{INITIAL}*"):
        left.unlink()
    # A name of its own: the initdb of an owner that was killed may still be writing to the last one.
    partial = places.own_directory(Path(tempfile.mkdtemp(prefix=PARTIAL, dir=home)), runner)
    password = passwords.keep(home, SUPERUSER)
    with tempfile.NamedTemporaryFile("w", dir=home, prefix=INITIAL) as file:
        if runner is not None:
            os.chown(file.fileno(), runner.uid, runner.gid)
        file.write(f"{password}\n")
        file.flush()
        done = subprocess.run(  # noqa: S603 - a program of the installation that was found, without client input
            (programs / "initdb", "--pgdata", partial, "--pwfile", file.name, *_INITIAL),
            cwd="/",
            env={"LC_ALL": "C", "TZ": "UTC"},
            capture_output=True,
            text=True,
            check=False,
            umask=0o077,
            user=None if runner is None else runner.uid,
            group=None if runner is None else runner.gid,
            extra_groups=None if runner is None else [],
        )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        told = next((line for line in lines if "error" in line or "FATAL" in line), lines[-1])
        raise ClusterFailed(f"cluster `{home}`: {told}: make room there, or set LOCKGATE_DATA to another place")
    partial.rename(home / "pg")


def _require_version(data: Path) -> None:
    found = (data / "PG_VERSION").read_text().strip()
    if found != VERSION:
        raise ClusterFailed(
            f"cluster `{data}`: made by PostgreSQL {found}, expected {VERSION}: dump it with the release"
            " that made it, and restore into a new LOCKGATE_DATA"
        )
    if not passwords.path(data.parent).exists():
        raise ClusterFailed(
            f"cluster `{data.parent}`: its file `{passwords.FILE}` is lost: restore it from a copy, or"
            " remove the directory to begin anew without its data"
        )


def _start_keeper(
    home: Path, programs: Path, socket: Path, runner: Account | None, lock: int
) -> subprocess.Popen[bytes]:
    data, log = home / "pg", home / "server.log"
    settings = (*_SETTINGS, f"unix_socket_directories={socket}")
    order = keeper.Order(
        command=(
            str(programs / "postgres"),
            "-D",
            str(data),
            *(part for setting in settings for part in ("-c", setting)),
        ),
        data=str(data),
        log=str(log),
        uid=None if runner is None else runner.uid,
        gid=None if runner is None else runner.gid,
    )
    if log.exists():
        # What the last server said stays readable until the next start.
        log.replace(log.with_suffix(".last.log"))
    log.touch(mode=0o600)
    with log.open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            (sys.executable, "-I", "-S", keeper.__file__, order.to_text()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            start_new_session=True,
            pass_fds=(lock,),
        )
    assert process.stdout is not None  # noqa: S101 - for the type checker: it was asked for above
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    said = process.stdout.readline().decode().strip() if readable else "nothing"
    if said != keeper.READY:
        _end(process)
        told = [line for line in log.read_text(errors="replace").splitlines() if "FATAL" in line or "PANIC" in line]
        raise ClusterFailed(f"cluster `{home}`: {told[-1] if told else 'the server does not start'}: see `{log}`")
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Tell the keeper to stop the server; it ends by itself, after at most its own time limits."""
    # End of file alone would not do: a child that this process forked may hold the pipe open.
    process.terminate()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()


def _lock(path: Path) -> int | None:
    """The lock at `path`, or None while another process holds it. The operating system frees it with its holder."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise ClusterFailed(
            f"cluster `{path.parent}`: user id {path.stat().st_uid} owns it: work as that user, or set"
            " LOCKGATE_DATA to a place of your own"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _wait_for_lock(path: Path, data: Path) -> int | None:
    began = time.monotonic()
    is_cut_short = False
    while (waited := time.monotonic() - began) < START_SECONDS:
        if (lock := _lock(path)) is not None:
            return lock
        if waited > STRAY_SECONDS and not is_cut_short:
            is_cut_short = keeper.interrupt(data)
        time.sleep(TICK_SECONDS)
    return None


def _write_connection(home: Path, socket: Path) -> None:
    partial = home / f"connection.{secrets.token_hex(4)}"
    partial.touch(mode=0o600)
    partial.write_text(json.dumps({"owner": os.getpid(), "socket": str(socket), "port": PORT}) + "\n")
    partial.replace(home / "connection.json")


def _read_connection(home: Path) -> Path | None:
    try:
        return Path(json.loads((home / "connection.json").read_text())["socket"])
    except (OSError, ValueError, KeyError):
        return None
