"""What if something that the gateway stands on is killed, hangs or lies: each failure is a no, told in time."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx2
import pytest

from deploy.demo.backoffice import launch
from deploy.demo.client import Answer, Client
from gateway.storage.cluster import SUPERUSER
from gateway.storage.connections import connect
from tests.world import rigs
from tests.world.crowd import Ask, rush
from tests.world.ground import Ground, wait_for
from tests.world.lines import Trouble

ANSWER_SECONDS_MAX = 2.0
HEALTH_SECONDS_MAX = 0.5
CLIENTS = 4
LOAD_SECONDS = 3.0


class Load:
    """Clients that each send one refund after another, and what each was told first."""

    def __init__(self, field: Ground) -> None:
        self._field = field
        self._url = field.gateway().url
        self._ended = threading.Event()
        self.told: dict[str, tuple[Answer, float]] = {}
        self.health: list[tuple[str, int, float]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Under load, and asked for its health all the while."""
        threads = [threading.Thread(target=self._refund) for _ in range(CLIENTS)]
        threads.append(threading.Thread(target=self._ask_for_health))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()

    def finish(self) -> set[tuple[int, str]]:
        """Present every key that has no result yet until its state is final: the statuses at the end."""
        finals = set()
        for key in [key for key, (answer, _) in self.told.items() if answer.status != 200]:
            answer = self._field.finally_answered(partial(_again, self._field, key))
            finals.add((answer.status, str(answer.document.get("status"))))
        return finals

    def slowest(self, status: int) -> float:
        """Seconds until the last of those answers."""
        return max((seconds for answer, seconds in self.told.values() if answer.status == status), default=0)

    def _refund(self) -> None:
        client = Client(self._url)
        while not self._ended.is_set():
            key, started = secrets.token_hex(16), time.monotonic()
            answer = refund(client, self._field, key)
            self.told[key] = (answer, time.monotonic() - started)
            time.sleep(0.05)

    def _ask_for_health(self) -> None:
        client = Client(self._url)
        while not self._ended.is_set():
            for path in ("/healthz", "/readyz"):
                started = time.monotonic()
                status = client.get(path).status
                self.health.append((path, status, time.monotonic() - started))
            time.sleep(0.1)


def test_database_killed_under_load_loses_and_doubles_nothing(field: Ground) -> None:
    """
    F03: kill -9 of the postmaster while clients write: 503 in time or in doubt, then everything goes on by itself, and
    each key ends in one executed call.
    """
    load = Load(field)

    with load.running():
        for _ in range(2):
            time.sleep(LOAD_SECONDS / 3)
            postmaster = field.world.cluster.postmaster_id
            if postmaster is not None:
                os.kill(postmaster, signal.SIGKILL)
        time.sleep(LOAD_SECONDS / 3)
    finals = load.finish()
    ready = field.client().get("/readyz").status

    assert {answer.status for answer, _ in load.told.values()} <= {200, 503, 504}
    assert any(answer.status == 200 for answer, _ in load.told.values())
    assert load.slowest(503) < ANSWER_SECONDS_MAX
    assert {(path, status) for path, status, _ in load.health} <= {
        ("/healthz", 200),
        ("/readyz", 200),
        ("/readyz", 503),
    }
    assert max(seconds for path, _, seconds in load.health if path == "/healthz") < HEALTH_SECONDS_MAX
    assert finals <= {(200, "executed")}
    assert ready == 200


def test_database_that_hangs_is_a_no_within_two_seconds(field: Ground) -> None:
    """
    G08, L03: a database that takes requests and answers none: 503 in time for calls, for lists and for persons that
    the gateway has not met, `/healthz` as ever, and all goes on when the database does.
    """
    client, key = field.client(), secrets.token_hex(16)
    stranger = field.world.cast.issuer.person("acme", "per_stranger", ["operator"])
    asked: dict[str, Callable[[], Answer]] = {
        "call": lambda: refund(client, field, key),
        "stranger": lambda: Client(field.gateway().url).call(stranger, "revoke_push_tokens", {"user_id": "usr_1001"}),
        "list": lambda: client.get("/v1/calls", field.person("operator").token),
        "ready": lambda: client.get("/readyz"),
        "healthy": lambda: client.get("/healthz"),
    }
    told: dict[str, tuple[int, float]] = {}

    with _stopped(field):
        for name, ask in asked.items():
            started = time.monotonic()
            told[name] = (ask().status, time.monotonic() - started)
    finals = field.finally_answered(lambda client: refund(client, field, key)).status

    assert {name: status for name, (status, _) in told.items()} == {**dict.fromkeys(asked, 503), "healthy": 200}
    assert {name: seconds for name, (_, seconds) in told.items() if seconds > ANSWER_SECONDS_MAX} == {}
    assert finals == 200


def test_database_that_may_only_be_read_is_a_no(field: Ground) -> None:
    """
    G08: a database that answers reads and refuses every write, as a standby does: writes are 503 in time without an
    effect, and once it may be written again the same key runs.
    """
    client, key, before = field.client(), secrets.token_hex(16), field.oracle.effects()

    with _read_only(field):
        started = time.monotonic()
        refused = [refund(client, field, key) for _ in range(3)]
        seconds = (time.monotonic() - started) / 3
        healthy = client.get("/healthz").status
    during = field.oracle.effects()
    final = field.finally_answered(lambda client: refund(client, field, key))

    wait_for(lambda: client.get("/readyz").status == 200, "reads did not come back")

    assert {answer.status for answer in refused} == {503}
    assert seconds < ANSWER_SECONDS_MAX
    assert healthy == 200
    assert during == before
    assert (final.status, final.document["status"]) == (200, "executed")


def test_database_whose_connections_are_all_taken_is_a_no(field: Ground) -> None:
    """
    L03: no connection is left for the gateway: 503 in time without an effect, and once there are some the key runs.
    """
    refuse, admit = (f"alter role lockgate_app connection limit {limit}" for limit in (0, -1))
    client, key, before = field.client(), secrets.token_hex(16), field.oracle.effects()

    with connect(field.world.cluster.url("postgres", SUPERUSER)) as superuser:
        superuser.execute(refuse.encode())
        superuser.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'lockgate_app'")
        try:
            started = time.monotonic()
            refused = [refund(client, field, key) for _ in range(3)]
            seconds = (time.monotonic() - started) / 3
        finally:
            superuser.execute(admit.encode())
    during = field.oracle.effects()
    final = field.finally_answered(lambda client: refund(client, field, key))

    assert {(answer.status, answer.reason) for answer in refused} == {(503, "ledger_unavailable")}
    assert seconds < ANSWER_SECONDS_MAX
    assert during == before
    assert (final.status, final.document["status"]) == (200, "executed")


def test_database_that_answers_late_is_a_no_within_two_seconds() -> None:
    """
    G08: a database that answers everything, each time a second late: what is waited for one after the other does not
    add up to more than two seconds.
    """
    with rigs.rig({}, with_server=False) as rig:
        field, client, key = rig.field, rig.field.client(), secrets.token_hex(16)
        first = refund(client, field, secrets.token_hex(16))
        effects = field.oracle.effects()

        with rig.database.troubled(Trouble.SLOW):
            started = time.monotonic()
            late = refund(client, field, key)
            seconds = time.monotonic() - started
            during = field.oracle.effects()
        final = field.finally_answered(lambda client: refund(client, field, key))

    assert first.status == 200
    assert late.status == 503
    assert late.reason in ("too_slow", "ledger_unavailable")
    assert seconds < ANSWER_SECONDS_MAX
    assert during == effects
    assert final.status == 200


def test_tool_that_cannot_be_reached_is_not_done_and_the_key_may_try_again(field: Ground) -> None:
    """
    The business is down: no byte left the gateway, so the call is `not_done`, and the same key runs later.
    """
    client, key = field.client(), secrets.token_hex(16)
    business = field.world.business
    port = int(business.url.rsplit(":", 1)[1])

    business.kill()
    down = _revoke(client, field, key)
    without_facts = refund(client, field, secrets.token_hex(16))
    ready = client.get("/readyz").status
    field.world.business = launch.start(
        field.world.cluster.url("backoffice", "backoffice"),
        journal=business.journal,
        ready_file=field.world.home / "dev" / "business.json",
        port=port,
        faults=True,
    )
    up = _revoke(client, field, key)
    entries = client.get(f"/v1/calls/{down.call}", field.person("operator").token).document["entries"]

    assert (down.status, down.reason) == (503, "tool_unreachable")
    assert (without_facts.status, without_facts.reason) == (503, "source_unreachable")
    assert ready == 200
    assert (up.status, up.call) == (200, down.call)
    assert [entry["kind"] for entry in entries][:4] == ["INTENT", "OUTCOME"] * 2


@pytest.mark.parametrize("mode", ["hang_before", "reset_after", "half_answer", "garbage_200", "error_500_after"])
def test_facts_that_do_not_come_are_a_no(field: Ground, mode: str) -> None:
    """
    P3: the fact source is slow, resets, sends half, garbage or 500: 503 in time, and nothing was done.
    """
    key, before = secrets.token_hex(16), field.oracle.effects()
    field.fault("facts/order", mode, seconds=5)

    started = time.monotonic()
    answer = refund(field.client(), field, key)
    seconds = time.monotonic() - started

    assert (answer.status, answer.reason) == (503, "source_unreachable")
    assert seconds < ANSWER_SECONDS_MAX
    assert field.oracle.effects() == before


def test_stale_facts_are_a_no(field: Ground) -> None:
    """
    D03: a fact older than its contract allows is 403, and nothing was done.
    """
    before = field.oracle.effects()
    field.fault("facts/order", "stale", seconds=60)

    answer = refund(field.client(), field, secrets.token_hex(16))

    assert (answer.status, answer.reason) == (403, "fact_stale")
    assert field.oracle.effects() == before


def test_dead_rego_worker_is_replaced_and_no_effect_goes_without_its_decision(field: Ground) -> None:
    """
    C04: kill -9 of the Rego worker under parallel calls: each is 503 or was decided by the next worker.
    """
    gateway = field.gateway()
    asks = [
        Ask(
            token=field.person("finance").token,
            tool="issue_refund",
            arguments={"order_id": "ord_1003", "amount_cents": 3},
            reason="damaged_item",
        )
        for _ in range(64)
    ]
    killer = threading.Timer(0.05, _kill_rego, [gateway.process.pid])

    killer.start()
    told = rush(gateway.url, asks)
    killer.join()
    wait_for(lambda: refund(field.client(), field, secrets.token_hex(16)).status == 200, "no new worker")
    effects = field.oracle.effects()

    assert {(each.status, each.reason) for each in told} <= {(200, ""), (503, "engine_unavailable")}
    assert {effects[str(each.document.get("call"))] for each in told if each.status == 503} <= {0}
    assert all(effects[each.call] == 1 for each in told if each.status == 200)


def refund(client: Client, field: Ground, key: str) -> Answer:
    """A small refund; status 0 when the connection broke."""
    try:
        return client.call(
            field.person("finance").token,
            "issue_refund",
            {"order_id": "ord_1003", "amount_cents": 3},
            reason="damaged_item",
            key=key,
        )
    except httpx2.TransportError:
        return Answer(0, {}, {})


def _again(field: Ground, key: str, client: Client) -> Answer:
    return refund(client, field, key)


def _revoke(client: Client, field: Ground, key: str) -> Answer:
    return client.call(
        field.person("operator").token,
        "revoke_push_tokens",
        {"user_id": "usr_1001"},
        reason="user_request",
        key=key,
    )


def _kill_rego(gateway: int) -> None:
    workers = [pid for pid in _children(gateway) if b"rego_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """The children of a process, by /proc."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = status.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == pid:
                found.append(int(status.parent.name))
    return found


@contextmanager
def _read_only(field: Ground) -> Iterator[None]:
    """The gateway's sessions are cut, and new ones may only read."""
    with connect(field.world.cluster.url("postgres", SUPERUSER)) as superuser:
        superuser.execute("alter role lockgate_app set default_transaction_read_only = on")
        superuser.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'lockgate_app'")
        try:
            yield
        finally:
            superuser.execute("alter role lockgate_app reset default_transaction_read_only")


@contextmanager
def _stopped(field: Ground) -> Iterator[None]:
    """The database's processes stand still."""
    postmaster = field.world.cluster.postmaster_id
    assert postmaster is not None
    stopped = [postmaster, *_children(postmaster)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
