"""A gateway that reaches everything it leans on over lines that can go bad, and the ways in which each can fail."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from deploy.demo.client import Answer
from gateway.issuer_keys import LOOK_SECONDS, UNREADABLE_SECONDS_MAX
from gateway.opening import DATABASE
from gateway.storage import roles
from gateway.storage.cluster import SUPERUSER
from gateway.storage.connections import connect
from policies import bundles
from policies.bundles import Manifest
from tests.world import lines, log_sinks, opa
from tests.world.ground import Ground, ground
from tests.world.lines import Line, Trouble

POLL_SECONDS = 0.005
STORM_SECONDS = 0.05


@dataclass(slots=True)
class Rig:
    """One world, its gateway, and the lines between."""

    field: Ground
    database: Line
    business: Line
    settings: dict[str, str]
    engine: Line | None = None
    """Before the OPA server, where the gateway has one."""
    server: opa.Server | None = None

    def start(self, program: Sequence[str] = ("gateway",)) -> None:
        """Start the gateway anew; `program` is another module that serves one."""
        self.field.kill()
        self.field.current = self.field.world.gateway(settings=self.settings, program=program)


Breaks = Callable[[Rig], AbstractContextManager[None]]
"""Something is broken while this is entered, and mended after."""


@contextmanager
def rig(settings: Mapping[str, str], *, with_server: bool) -> Iterator[Rig]:
    """A rig whose gateway runs, with an OPA server or with a worker of its own."""
    with ExitStack() as stack:
        field = stack.enter_context(ground())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lg-line-", dir="/tmp")))
        urls = field.world.cluster.urls(DATABASE)
        # The gateway makes a database of its own only where it has a cluster of its own.
        field.world.cluster.create_database(DATABASE)
        parameters = conninfo_to_dict(urls.app)
        target = Path(str(parameters["host"])) / f".s.PGSQL.{parameters.get('port', 5432)}"
        database = stack.enter_context(lines.before(target, folder / ".s.PGSQL.5432"))
        origin = urlsplit(field.world.business.url)
        business = stack.enter_context(lines.before((str(origin.hostname), int(origin.port or 0))))
        made = Rig(field, database, business, {**settings, "LOCKGATE_MIGRATOR_URL": urls.migrator})
        for name, url in (("DATABASE", urls.app), ("AUDITOR", urls.auditor)):
            through = make_conninfo("", **{**conninfo_to_dict(url), "host": str(folder), "port": "5432"})
            made.settings[f"LOCKGATE_{name}_URL"] = through
        made.settings["LOCKGATE_ORIGINS"] = f'{{"backoffice": "http://127.0.0.1:{business.port}"}}'
        if with_server:
            made.server = stack.enter_context(opa.running())
            made.engine = stack.enter_context(lines.before(("127.0.0.1", made.server.port)))
            made.settings["LOCKGATE_OPA_URL"] = f"http://127.0.0.1:{made.engine.port}"
            made.settings["LOCKGATE_OPA_TOKEN"] = opa.TOKEN
        made.start()
        yield made


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Processes that stand still: they hold their connections, and answer nothing."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def postmaster(rig: Rig) -> int:
    """The database server's first process."""
    found = rig.field.world.cluster.postmaster_id
    assert found is not None, "the database server is down"
    return found


def children(pid: int) -> list[int]:
    """The children of a process, by /proc."""
    return [each for each in _processes() if _parent(each) == pid]


def workers(rig: Rig) -> list[int]:
    """The gateway's Rego workers."""
    return _running(rig, b"rego_worker")


@contextmanager
def database_frozen(rig: Rig) -> Iterator[None]:
    """All of the server stands still."""
    first = postmaster(rig)
    with frozen(first, *children(first)):
        yield


@contextmanager
def database_down(rig: Rig) -> Iterator[None]:
    """The server is killed, and nobody starts it again."""
    first = postmaster(rig)
    with frozen(_parent(first)):
        os.kill(first, signal.SIGKILL)
        yield


def statement(before: str, after: str, *, ends_sessions: bool = True) -> Breaks:
    """What an operator, or a mistake, does to the gateway's database, and how it is taken back."""

    @contextmanager
    def done(rig: Rig) -> Iterator[None]:
        with connect(rig.field.world.cluster.url(DATABASE, SUPERUSER)) as superuser:
            superuser.execute("set statement_timeout = '10s'")
            superuser.execute(before.encode())
            if ends_sessions:
                superuser.execute(_END_SESSIONS.encode())
            try:
                yield
            finally:
                superuser.execute(after.encode())

    return done


def locked(statement: str) -> Breaks:
    """Somebody holds what the gateway needs."""

    @contextmanager
    def done(rig: Rig) -> Iterator[None]:
        with connect(rig.field.world.cluster.url(DATABASE, SUPERUSER)) as superuser, superuser.transaction():
            superuser.execute("set local idle_in_transaction_session_timeout = 0")
            superuser.execute(statement.encode())
            yield

    return done


@contextmanager
def sessions_ended(rig: Rig) -> Iterator[None]:
    """The gateway's sessions are ended again and again."""
    with (
        connect(rig.field.world.cluster.url("postgres", SUPERUSER)) as superuser,
        _again(lambda: superuser.execute(_END_SESSIONS.encode()), STORM_SECONDS),
    ):
        yield


@contextmanager
def workers_killed(rig: Rig) -> Iterator[None]:
    """Every Rego worker is killed as soon as it is seen."""
    with _again(lambda: _signal_all(workers(rig), signal.SIGKILL), POLL_SECONDS):
        yield


@contextmanager
def workers_frozen(rig: Rig) -> Iterator[None]:
    """Every Rego worker stands still as soon as it is seen."""
    with _again(lambda: _signal_all(workers(rig), signal.SIGSTOP), POLL_SECONDS):
        yield
    _signal_all(workers(rig), signal.SIGCONT)


@contextmanager
def business_frozen(rig: Rig) -> Iterator[None]:
    """The business stands still."""
    with frozen(rig.field.world.business.pid):
        yield


@contextmanager
def server_frozen(rig: Rig) -> Iterator[None]:
    """The OPA server stands still."""
    assert rig.server is not None
    assert rig.server.process is not None
    with frozen(rig.server.process.pid):
        yield


def server_restarted(*more: str, token: str = opa.TOKEN) -> Breaks:
    """Another OPA server in the place of the first, empty; `more` goes to its command line."""

    @contextmanager
    def done(rig: Rig) -> Iterator[None]:
        assert rig.server is not None
        rig.server.kill()
        rig.server.start(*more, token=token)
        yield
        rig.server.kill()
        rig.server.start()

    return done


@contextmanager
def server_down(rig: Rig) -> Iterator[None]:
    """The OPA server is killed, and comes back empty."""
    assert rig.server is not None
    rig.server.kill()
    yield
    rig.server.start()


def on(choose: Callable[[Rig], Line | None], trouble: Trouble | bytes) -> Breaks:
    """A line that goes bad."""

    @contextmanager
    def done(rig: Rig) -> Iterator[None]:
        line = choose(rig)
        assert line is not None
        with line.troubled(trouble):
            yield

    return done


def business(mode: str, tool: str = "facts/order", seconds: int = 30) -> Breaks:
    """The business misbehaves by itself."""

    @contextmanager
    def done(rig: Rig) -> Iterator[None]:
        rig.field.fault(tool, mode, count=100_000, seconds=seconds)
        yield
        rig.field.business_is_well()

    return done


def logs_to(sink: signal.Signals) -> Breaks:
    """Standard error leads elsewhere, in a gateway of `log_sinks`."""

    @contextmanager
    def done(rig: Rig) -> Iterator[None]:
        process = rig.field.gateway().process
        process.send_signal(sink)
        yield
        process.send_signal(log_sinks.WELL)

    return done


@contextmanager
def checkpoints_without_a_place(rig: Rig) -> Iterator[None]:
    """The directory of checkpoint files is none."""
    place = rig.field.world.home / "checkpoints"
    kept = place.rename(place.with_name("checkpoints.kept"))
    place.write_bytes(b"")
    yield
    place.unlink()
    kept.rename(place)


def half_written(name: str) -> Breaks:
    """A file of the world is cut in the middle."""

    @contextmanager
    def done(rig: Rig) -> Iterator[None]:
        file = rig.field.world.home / name
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        yield
        file.write_bytes(whole)

    return done


@contextmanager
def solvers_killed(rig: Rig) -> Iterator[None]:
    """A bundle is uploaded, and whatever begins to prove it is killed. It must not pass."""
    told: list[int] = []

    def upload() -> None:
        told.append(_uploaded(rig, revision=2).status)

    uploading = threading.Thread(target=upload)
    with _again(lambda: _signal_all(_running(rig, b"invariants"), signal.SIGKILL), POLL_SECONDS):
        uploading.start()
        yield
        uploading.join()
    assert told[0] in (422, 503), told


def newer_bundle(rig: Rig, *, revision: int) -> None:
    """The base bundle again, as the tenant's own: uploaded, proved, published and in force."""
    client, cast = rig.field.client(), rig.field.world.cast
    digest = {"digest": _uploaded(rig, revision=revision).document["digest"]}
    people = [cast.person("acme", "security", 2), cast.person("acme", "founder")]
    for tool in ("publish_bundle", "activate_bundle"):
        done = client.governed(cast.person("acme", "security"), people, tool, digest, "policy_change")
        assert done.document.get("status") == "executed", done.document


def _uploaded(rig: Rig, *, revision: int) -> Answer:
    now, cast = datetime.now(UTC).replace(microsecond=0), rig.field.world.cast
    manifest = Manifest(
        tenant="acme", environment="dev", revision=revision, created_at=now, not_after=now + timedelta(days=1)
    )
    raw = bundles.sign(bundles.compose(bundles.base(), manifest), cast.bundle_key).raw
    return rig.field.client().request("POST", "/v1/bundles", cast.person("acme", "security").token, body=raw)


@contextmanager
def issuers_gone(rig: Rig) -> Iterator[None]:
    """The file of the issuers is gone, for longer than what it had said counts."""
    place = rig.field.world.home / "dev" / "cast" / "issuers.json"
    kept = place.rename(place.with_name("issuers.kept"))
    until = time.monotonic() + UNREADABLE_SECONDS_MAX + 2 * LOOK_SECONDS
    token = rig.field.person("finance").token
    while time.monotonic() < until:  # It is missed only when somebody comes.
        rig.field.client().get("/v1/calls", token)
        time.sleep(LOOK_SECONDS)
    yield
    kept.rename(place)


@contextmanager
def unproved(rig: Rig) -> Iterator[None]:
    """A gateway of a later release, for which no certificate counts; it may prove again when this ends."""
    file = rig.field.world.home / "may-prove"
    rig.start(("tests.world.later_release", str(file)))
    rig.field.client().get("/v1/calls", rig.field.person("finance").token)  # What it does at its first request.
    yield
    file.touch()


_END_SESSIONS = f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{roles.APP}'"


@contextmanager
def _again(act: Callable[[], object], pause_seconds: float) -> Iterator[None]:
    """Do something again and again, beside."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(pause_seconds):
            act()

    thread = threading.Thread(target=run)
    act()
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _running(rig: Rig, words: bytes) -> list[int]:
    """The gateway's children whose command has these words."""
    found = []
    for pid in children(rig.field.gateway().process.pid):
        with suppress(OSError):
            if words in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def _processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").glob("[0-9]*")]


def _parent(pid: int) -> int:
    """0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def now_ms() -> int:
    return time.time_ns() // 1_000_000
