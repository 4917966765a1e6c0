"""What if one release replaces another while both run, goes back, or dies while it migrates."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from deploy.demo.client import Answer, Client
from deploy.demo.world import ROOT
from gateway.storage import migrations, startup
from gateway.storage.cluster import SUPERUSER, Cluster
from tests.world.ground import SETTINGS, Ground, ground

LATER = ("tests.world.later_schema",)


@pytest.fixture
def plot() -> Iterator[Ground]:
    """A ground of its own: its schema changes."""
    with ground() as started:
        yield started


def test_releases_replace_each_other_under_load(plot: Ground) -> None:
    """
    M04: a later release migrates and serves beside this one, this one ends, starts again on the later schema, and the
    later one ends: every call is answered by whoever runs, and the books agree.
    """
    told: list[Answer] = []
    urls = [plot.gateway().url]
    ended = threading.Event()
    clients = [threading.Thread(target=_write, args=(plot, urls, told, ended)) for _ in range(2)]
    for client in clients:
        client.start()

    later = plot.world.gateway(settings=SETTINGS, program=LATER)
    urls.append(later.url)
    _wait_for_more(told)
    urls.remove(plot.gateway().url)
    _wait_for_more(told)
    former = plot.gateway().stop()
    plot.current = None
    urls.append(plot.gateway().url)
    _wait_for_more(told)
    urls.remove(later.url)
    _wait_for_more(told)
    stopped = later.stop()
    ended.set()
    for client in clients:
        client.join()
    plot.settled()

    assert (former, stopped) == (0, 0)
    assert {answer.status for answer in told} == {200}
    assert plot.reconcile().wrong == ()


@pytest.mark.parametrize("start", ["nothing", "this release"])
def test_a_migration_that_is_killed_runs_again(cluster: Cluster, start: str) -> None:
    """
    M04: killed before any of its statements a migration leaves the schema as it was, and the next one does the whole.
    """
    name = "dying_migration"
    cluster.create_database(name)
    urls = cluster.urls(name)
    if start == "this release":
        migrations.upgrade(urls.migrator)
    command = [sys.executable, "-m", "tests.world.dying_migration", urls.migrator, cluster.url(name, SUPERUSER)]
    later = ["later"] if start == "this release" else []

    done = subprocess.run([*command, *later], cwd=ROOT, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout or "{}")
    found = startup.check(urls.app, urls.auditor)
    cluster.drop_database(name)

    assert told, done.stderr
    assert (told["status"], told["left_behind"], told["grown"]) == (0, 0, True)
    assert told["kills"] > 5
    assert found == []


def _write(plot: Ground, urls: list[str], told: list[Answer], ended: threading.Event) -> None:
    arguments = {"order_id": "ord_1003", "amount_cents": 1}
    while not ended.is_set():
        token = plot.person("finance").token
        told.append(Client(urls[-1]).call(token, "issue_refund", arguments, reason="damaged_item"))


def _wait_for_more(told: list[Answer], more: int = 15) -> None:
    enough, until = len(told) + more, time.monotonic() + 60
    while len(told) < enough and time.monotonic() < until:
        time.sleep(0.02)
