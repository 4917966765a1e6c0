"""Intents and outcomes per second of the sequencer alone: no HTTP, no policy, no tool.

`python -m tests.load.sequencer_rate [--seconds 3] [--rounds 3]` prints a table. Each write is an intent with a claim, a
budget and a look at the kill switches, and its settlement; both are durable before the next begins.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from uuid import uuid4

import uvloop

from gateway.ledger import Intended, Settled, State
from gateway.storage import migrations
from gateway.storage.cluster import Cluster
from tests.world import acts

ARRANGEMENTS = ((1, 1), (32, 1), (32, 16), (256, 1))
"""(clients, tenants)"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One arrangement over one run."""

    pairs_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_microseconds: float
    """Of this process, for each pair; the database's own is not in it."""


async def measure(url: str, *, clients: int, tenants: int, seconds: float) -> Measured:
    """Let `clients` write one after another for a while."""
    waited: list[float] = []

    async def client(number: int) -> None:
        tenant = f"tenant{number % tenants}"
        spent = [acts.budget(1, None, name=tenant)]
        while time.perf_counter() < end:
            row = acts.call(str(uuid4()), tenant=tenant)
            began = time.perf_counter()
            intended = await ledger.commit(acts.intend(row, budgets=spent, kills=[(tenant, "tenant", "*")]))
            settled = await ledger.commit(acts.settle(row, State.EXECUTED))
            waited.append(time.perf_counter() - began)
            if not (isinstance(intended, Intended) and isinstance(settled, Settled)):
                raise AssertionError(f"unexpected: {intended} {settled}")

    async with acts.books(url) as ledger:
        end = time.perf_counter() + 0.3
        await asyncio.gather(*(client(number) for number in range(clients)))
        waited.clear()
        began, used = time.perf_counter(), time.process_time()
        end = began + seconds
        await asyncio.gather(*(client(number) for number in range(clients)))
        elapsed, used = time.perf_counter() - began, time.process_time() - used
    return Measured(
        len(waited) / elapsed, median(waited) * 1e3, quantiles(waited, n=100)[98] * 1e3, used / len(waited) * 1e6
    )


def main() -> None:
    """Measure every arrangement in interleaved rounds on one cluster and print the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="lockgate-rate-", dir="/tmp"))
    home.chmod(0o711)
    found: dict[tuple[int, int], list[Measured]] = {each: [] for each in ARRANGEMENTS}
    try:
        with Cluster.start(home / "cluster") as cluster:
            cluster.create_database("rate")
            migrations.upgrade(cluster.urls("rate").migrator)
            for _ in range(options.rounds):
                for clients, tenants in ARRANGEMENTS:
                    url = cluster.urls("rate").app
                    run = measure(url, clients=clients, tenants=tenants, seconds=options.seconds)
                    found[clients, tenants].append(uvloop.run(run))
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print("clients tenants   pairs/s (least..most)     p50 ms   p99 ms  CPU µs")
    for (clients, tenants), each in found.items():
        rates = sorted(one.pairs_per_second for one in each)
        print(
            f"{clients:7} {tenants:7} {median(rates):9.0f} ({rates[0]:.0f}..{rates[-1]:.0f})"
            f" {median(one.p50_ms for one in each):14.2f} {median(one.p99_ms for one in each):8.2f}"
            f" {median(one.cpu_microseconds for one in each):7.0f}"
        )


if __name__ == "__main__":
    main()
