"""A primary and a streaming standby of one ledger, to fail over from one to the other."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg

from gateway.opening import DATABASE
from gateway.storage import connections, passwords, places, roles
from gateway.storage.cluster import PORT, SUPERUSER, Cluster

STANDBY = "standby"
WAIT_SECONDS = 30


@dataclass(slots=True)
class Pair:
    """Two servers under one name. Whoever connects reaches the one that takes writes."""

    home: Path
    primary: Cluster
    socket: Path
    """Directory of the standby's socket."""
    standby: subprocess.Popen[bytes]
    _runner: places.Account | None = None
    _revived: subprocess.Popen[bytes] | None = None

    def settings(self) -> dict[str, str]:
        """A gateway's settings, by which it finds whichever of the two is primary."""
        named = {"MIGRATOR": roles.MIGRATOR, "DATABASE": roles.APP, "AUDITOR": roles.AUDITOR}
        return {f"LOCKGATE_{name}_URL": self.url(role) for name, role in named.items()}

    def url(self, role: str, database: str = DATABASE) -> str:
        """Into the one that takes writes (libpq, `target_session_attrs`)."""
        return self._url([self.primary.socket, self.socket], role, database, "read-write")

    def synchronise(self, *, is_synchronous: bool) -> None:
        """Have commits wait for the standby, or not."""
        names = STANDBY if is_synchronous else ""
        self._on(self.primary.socket, f"alter system set synchronous_standby_names = '{names}'")
        self._on(self.primary.socket, "select pg_reload_conf()")
        if is_synchronous:
            asked = "select count(*) from pg_stat_replication where sync_state = 'sync'"
            _wait(lambda: self._on(self.primary.socket, asked) == [(1,)], "the standby is not in step")

    def lose_primary(self) -> None:
        """SIGKILL to all of the primary, as if its machine had lost power."""
        postmaster = self.primary.postmaster_id
        assert postmaster is not None
        os.kill(postmaster, signal.SIGKILL)
        self.primary.stop()

    def promote(self) -> None:
        """The standby becomes primary; nobody stands by it."""
        self._on(self.socket, "alter system set synchronous_standby_names = ''")
        self._on(self.socket, "select pg_promote()")
        _wait(lambda: self._on(self.socket, "select pg_is_in_recovery()") == [(False,)], "not promoted")

    def revive_primary(self) -> None:
        """The old primary comes back, and believes that it still is one."""
        # As it was, and not by `Cluster`: making roles would wait for the standby that follows it no more.
        self._revived = _start(self.home, self.primary.home / "pg", self.primary.socket, self._runner)
        _wait(lambda: self._on(self.primary.socket, "select pg_is_in_recovery()") == [(False,)], "no old primary")

    def stop(self) -> None:
        """End both."""
        for process in (self.standby, self._revived):
            if process is not None:
                process.send_signal(signal.SIGQUIT)
                process.wait(WAIT_SECONDS)
        self.primary.stop()
        shutil.rmtree(self.socket, ignore_errors=True)

    def _on(self, socket: Path, statement: str) -> list[tuple[object, ...]]:
        try:
            with connections.connect(self._url([socket], SUPERUSER, "postgres", "any")) as connection:
                done = connection.execute(statement.encode())
                return done.fetchall() if done.description else []
        except (connections.DatabaseUnavailable, psycopg.OperationalError):
            return []

    def _url(self, sockets: list[Path], role: str, database: str, wanted: str) -> str:
        parameters = {
            "host": ",".join(map(str, sockets)),
            "port": ",".join(str(PORT) for _ in sockets),
            "passfile": str(passwords.path(self.home / "primary")),
            "target_session_attrs": wanted,
        }
        return f"postgresql://{quote(role)}@/{quote(database)}?{urlencode(parameters, quote_via=quote, safe='')}"


@contextmanager
def pair() -> Iterator[Pair]:
    """A primary with the ledger's database, and a standby that follows it, not yet waited for."""
    home = Path(tempfile.mkdtemp(prefix="lockgate-pair-", dir="/tmp"))
    home.chmod(0o711)
    runner = places.account("nobody")
    primary = Cluster.start(home / "primary")
    primary.create_database(DATABASE)
    data = home / "standby"
    _copy(primary, data, runner)
    socket = places.own_directory(Path(tempfile.mkdtemp(prefix="lockgate-standby-", dir="/tmp")), runner)
    both = Pair(home, primary, socket, _start(home, data, socket, runner), runner)
    try:
        _wait(lambda: both._on(socket, "select pg_is_in_recovery()") == [(True,)], "the standby does not start")
        yield both
    finally:
        both.stop()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def follower(cluster: Cluster, folder: Path) -> Iterator[str]:
    """Somebody who follows a server's log, as a standby does, and for whom no commit waits; what the server says so."""
    program = places.binaries(cluster.home, places.account("nobody")) / "pg_receivewal"
    told = {**os.environ, "PGPASSFILE": str(passwords.path(cluster.home)), "PGAPPNAME": STANDBY}
    command = [program, "-D", folder, "-h", cluster.socket, "-U", SUPERUSER, "--no-password"]
    process = subprocess.Popen(command, env=told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    asked = "select sync_state from pg_stat_replication where application_name = %s and state = 'streaming'"
    found: list[str] = []

    def is_seen() -> bool:
        with connections.connect(cluster.url("postgres", SUPERUSER)) as connection:
            found.extend(str(state) for (state,) in connection.execute(asked, (STANDBY,)).fetchall())
        return bool(found)

    try:
        _wait(is_seen, "nobody follows")
        yield found[0]
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def _copy(primary: Cluster, data: Path, runner: places.Account | None) -> None:
    programs = places.binaries(data.parent, runner)
    told = {**os.environ, "PGPASSFILE": str(passwords.path(primary.home))}
    command = [
        programs / "pg_basebackup",
        "-D",
        data,
        "-h",
        primary.socket,
        "-U",
        SUPERUSER,
        "-X",
        "stream",
        "-c",
        "fast",
    ]
    subprocess.run(command, check=True, env=told, capture_output=True)
    password = passwords.keep(primary.home, SUPERUSER)
    follow = f"host={primary.socket} port={PORT} user={SUPERUSER} password={password} application_name={STANDBY}"
    with (data / "postgresql.auto.conf").open("a") as file:
        file.write(f"primary_conninfo = '{follow}'\n")
    (data / "standby.signal").touch()
    if runner is not None:
        for place in (data, *data.rglob("*")):
            os.lchown(place, runner.uid, runner.gid)


def _start(home: Path, data: Path, socket: Path, runner: places.Account | None) -> subprocess.Popen[bytes]:
    command = [places.binaries(home, runner) / "postgres", "-D", data, "-c", "listen_addresses="]
    with (home / "standby.log").open("wb") as log:
        return subprocess.Popen(
            [*command, "-c", f"unix_socket_directories={socket}", "-c", "unix_socket_permissions=0700"],
            cwd="/",
            env={"LC_ALL": "C", "TZ": "UTC"},
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=None if runner is None else runner.uid,
            group=None if runner is None else runner.gid,
            extra_groups=None if runner is None else [],
        )


def _wait(is_so: object, otherwise: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < until, otherwise
        time.sleep(0.05)
