"""The business and its journal agree, whatever is killed, cut or lost: the oracle of all other fault tests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import psycopg
import pytest

from deploy.demo.backoffice import launch, startup
from deploy.demo.backoffice.connections import APPLICATION, CommitUnknown, Cursor, Pool
from deploy.demo.backoffice.effects import Answer, Applied, Effects, Instruction, Unavailable
from deploy.demo.backoffice.journal import Journal
from deploy.demo.backoffice.operations import OPERATIONS
from gateway.storage.cluster import Cluster
from tests.world.backoffice import DEADLINE_MS, Client, Grounds, applied_ids, journal_ids, new_grounds


@pytest.fixture
def grounds(cluster: Cluster, tmp_path: Path) -> Grounds:
    """Nothing running yet."""
    return new_grounds(cluster, tmp_path)


def test_killed_under_load_loses_and_doubles_nothing(grounds: Grounds) -> None:
    """
    Killed three times under eight clients who retry: journal and effects name the same ids, each once, and every
    acknowledged effect is among them.
    """
    acknowledged: set[str] = set()
    stop = threading.Event()
    live = [grounds.start()]

    def refund_for_ever(worker: int) -> None:
        http = httpx2.Client(timeout=5)
        for number in itertools.count():
            effect = f"load-{worker}-{number}"
            while not stop.is_set():
                with contextlib.suppress(httpx2.HTTPError):
                    order_id = f"ord_{1001 + number % 50}"
                    if Client(live[0], http=http).refund(order_id, 1, effect=effect).status_code == 200:
                        acknowledged.add(effect)
                        break
                    if live[0].process.poll() is None:
                        break  # A definite no: this order is refunded whole.
            if stop.is_set():
                return

    with ThreadPoolExecutor(8) as pool:
        workers = [pool.submit(refund_for_ever, worker) for worker in range(8)]
        for _ in range(3):
            time.sleep(0.4)
            live[0].kill()
            live[0] = grounds.start()
        stop.set()
        for worker in workers:
            worker.result()

    with live[0], psycopg.connect(grounds.url) as connection:
        written = journal_ids(grounds.journal)
        rows = connection.execute("select effect_id from business.refunds where effect_id is not null").fetchall()
    assert len(acknowledged) > 50
    assert set(written.values()) == {1}
    assert acknowledged <= set(written)
    assert written == Counter(effect_id for (effect_id,) in rows)


def test_cut_database_connections_lose_and_double_nothing(grounds: Grounds) -> None:
    """
    Connections are cut every 20 ms, also while a commit is under way: a request is answered 200 or 503, never 500, and
    retried until it succeeds; then rows, effects and journal agree.
    """
    statuses: Counter[int] = Counter()
    done = threading.Event()

    def cut_for_ever() -> int:
        cuts = 0
        with psycopg.connect(grounds.url, autocommit=True) as connection:
            while not done.wait(0.02):
                cuts += connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where application_name = %s and (query like 'COMMIT%%' or query like 'update effects%%')",
                    (APPLICATION,),
                ).rowcount
        return cuts

    def refund_until_done(effect: str) -> None:
        status = 0
        while status != 200:
            status = client.refund("ord_1002", 1, effect=effect).status_code
            statuses[status] += 1

    with grounds.start() as running, ThreadPoolExecutor(9) as pool:
        client = Client(running)
        cutter = pool.submit(cut_for_ever)
        list(pool.map(refund_until_done, (f"cut-{number}" for number in range(300))))
        done.set()
        cuts = cutter.result()
        refunded_cents = client.order(1)["refunded_cents"]
        effects = applied_ids(client)

    assert cuts > 0
    assert set(statuses) <= {200, 503}
    assert refunded_cents == 300
    assert journal_ids(grounds.journal) == Counter(effects)


class ForgetfulPool(Pool):
    """Loses the answer to one commit, which has landed or not."""

    def __init__(self, url: str, *, landed: bool) -> None:
        super().__init__(url)
        self.landed = landed
        self.is_armed = False

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Cursor]:
        async with super().transaction() as cursor:
            yield cursor
            if self.is_armed and not self.landed:
                self.is_armed = False
                raise CommitUnknown("lost on the way there")
        if self.is_armed:
            self.is_armed = False
            raise CommitUnknown("lost on the way back")


@pytest.mark.parametrize("landed", [False, True], ids=["lost", "landed"])
def test_lost_answer_to_commit_is_read_back(grounds: Grounds, landed: bool) -> None:
    """
    When nobody knows whether the commit landed, the row decides: an answer and one journal line, or neither.
    """

    async def lose_one() -> Answer | None:
        pool, journal = ForgetfulPool(grounds.url, landed=landed), Journal(grounds.journal)
        await startup.prepare(pool, journal, reset=False)
        effects = Effects(pool=pool, journal=journal, operations=OPERATIONS)
        pool.is_armed = True
        answer = None
        with contextlib.suppress(Unavailable):
            answer = await effects.apply(
                Instruction(
                    effect_id="lost",
                    tenant="acme",
                    tool="issue_refund",
                    arguments={"order_id": "ord_1001", "amount_cents": 1},
                    reason_code="test",
                    fence=1,
                    deadline_ms=int(time.time() * 1000) + DEADLINE_MS,
                    correlation=None,
                )
            )
        await pool.close()
        journal.close()
        return answer

    answer = asyncio.run(lose_one())

    assert isinstance(answer, Applied) == landed
    assert journal_ids(grounds.journal)["lost"] == int(landed)


@pytest.mark.parametrize("lost_bytes", [1, 40, 10_000], ids=["newline", "torn line", "all lines"])
def test_journal_is_completed_at_start(grounds: Grounds, lost_bytes: int) -> None:
    """
    Killed after the commit, before or within the journal's line: the next start writes exactly what is missing.
    """
    with grounds.start() as running:
        client = Client(running)
        answers = [client.refund("ord_1001", cents, effect=f"effect-{cents}").json() for cents in (1, 2, 3)]
        running.kill()
    before = grounds.journal.read_bytes()
    grounds.journal.write_bytes(before[: max(0, len(before) - lost_bytes)])

    with grounds.start() as running:
        again = Client(running).refund("ord_1001", 3, effect="effect-3").json()

    assert grounds.journal.read_bytes() == before
    assert again == answers[-1]


def test_journal_of_another_database_is_refused(grounds: Grounds, capfd: pytest.CaptureFixture[str]) -> None:
    """
    A journal with effects that the database never saw stops the start, and the message says what to do.
    """
    grounds.journal.write_text('{"effect_id":"call_0","tool":"x","arguments":{},"at":"2026-01-01T00:00:00.000Z"}\n')

    with pytest.raises(launch.StartFailed):
        grounds.start()

    assert "--reset" in capfd.readouterr().err


def test_one_process_owns_a_database(grounds: Grounds, capfd: pytest.CaptureFixture[str]) -> None:
    """
    A second back office on a database that is in use does not start, and the first goes on.
    """
    with grounds.start() as running:
        with pytest.raises(launch.StartFailed):
            launch.start(
                grounds.url, journal=grounds.directory / "other.jsonl", ready_file=grounds.directory / "other.json"
            )

        assert Client(running).refund("ord_1001", 1).status_code == 200
    assert "another back office" in capfd.readouterr().err


def test_state_survives_a_restart_and_reset_starts_anew(grounds: Grounds) -> None:
    """
    Rows outlive the process; `--reset` brings back the first day and an empty journal.
    """
    with grounds.start() as running:
        Client(running).refund("ord_1001", 999)

    with grounds.start() as running:
        kept = Client(running).order(0)["refunded_cents"]
    with grounds.start(reset=True) as running:
        fresh = Client(running).order(0)["refunded_cents"]

    assert (kept, fresh) == (999, 0)
    assert grounds.journal.read_bytes() == b""


def test_ends_cleanly_when_asked(grounds: Grounds) -> None:
    """
    SIGTERM ends it with status 0, even while a request hangs.
    """
    running = grounds.start(faults=True)
    client = Client(running)
    client.post("/faults", {"tool": "issue_refund", "mode": "hang_after"})

    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(client.refund, "ord_1001", 1)
        time.sleep(0.3)
        status = running.stop()

    assert status == 0
    assert hanging.exception() is not None or hanging.result().status_code >= 500


def test_ends_with_its_parent(grounds: Grounds) -> None:
    """
    When the process that started it is killed, it goes too, and the database is free again.
    """
    script = (
        "import sys, time; from pathlib import Path; from deploy.demo.backoffice import launch\n"
        "launch.start(sys.argv[1], journal=Path(sys.argv[2]), ready_file=Path(sys.argv[3])); time.sleep(60)"
    )
    ready_file = grounds.directory / "ready.json"
    arguments = [sys.executable, "-c", script, grounds.url, str(grounds.journal), str(ready_file)]
    parent = subprocess.Popen(arguments, cwd=launch.ROOT)
    while not ready_file.exists():
        time.sleep(0.02)
    url = json.loads(ready_file.read_text())["url"]

    parent.kill()
    parent.wait()

    with grounds.start(), pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{url}/healthz")
