"""`python -m tests.load.replicas`: a primary is lost under load, its standby is promoted, and the old one comes back.

Each round has two gateways: one that finds whichever server is primary, one that knows the old primary alone. Commits
wait for the standby. What clients were told must all be there after the fail-over, once, in a log that verifies; and
the gateway that is left with the old primary must acknowledge nothing more and send nothing to any tool. Prints a
table and writes build/replicas.json; ends with 1 when something did not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from deploy.demo.client import Client
from deploy.demo.world import ROOT, GatewayFailed, World
from gateway.storage import roles
from gateway.storage.connections import connect, transaction
from tests.world.ground import SETTINGS, wait_for
from tests.world.oracle import Oracle
from tests.world.replicas import Pair, pair

FILE = ROOT / "build" / "replicas.json"
CLIENTS = 8
LOAD_SECONDS = 3.0
STRAYS = 20
"""Writes that reach the gateway which is left with the old primary."""
STRICT = {"LOCKGATE_STANDBY": "synchronous"}


@dataclass(slots=True)
class Round:
    """What one fail-over cost."""

    told: int = 0
    """Writes that clients were told are done."""
    told_after: int = 0
    """Of these, after the fail-over."""
    away_ms: int = 0
    """From the loss of the primary to the first write that is done after it."""
    strays: dict[str, int] = field(default_factory=dict)
    """What the gateway with the old primary answered, by status and reason."""
    wrong: list[str] = field(default_factory=list)


class PairOracle(Oracle):
    """Asks the database behind the gateways, wherever it is now."""

    def __init__(self, world: World, both: Pair) -> None:
        super().__init__(world)
        self._both = both

    def _query(self, tenant: str, statement: str) -> list[tuple[Any, ...]]:
        url = self._both.url(roles.AUDITOR)
        with connect(url) as connection, transaction(connection, [tenant]) as cursor:
            return cursor.execute(statement.encode()).fetchall()


class Load:
    """Clients that present each write until they are told that it is done."""

    def __init__(self, world: World, urls: Sequence[str], seed: int) -> None:
        self._world = world
        self._urls = urls
        self._seed = seed
        self._goes_on = True
        self.done: list[tuple[float, str]] = []
        """When each write was told to be done, and its call."""
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Begin no write any more, and wait until those under way are done."""
        self._goes_on = False
        for thread in self._threads:
            thread.join(60)
            if thread.is_alive():
                self.wrong.append("a client is not told what became of its write")

    def _client(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        clients = [Client(url) for url in self._urls]
        while self._goes_on:
            key, until = secrets.token_hex(16), time.monotonic() + 50
            while time.monotonic() < until:
                call = _write(chance.choice(clients), self._world, key)
                if call is not None:
                    self.done.append((time.monotonic(), call))
                    break
                time.sleep(0.1 * chance.random())
            else:
                self.wrong.append("a write was not done within 50 s")


def _write(client: Client, world: World, key: str) -> str | None:
    """The call, once it is executed; None while nobody knows."""
    token = world.cast.person("acme", "finance").token
    arguments = {"order_id": "ord_1003", "amount_cents": 1}
    try:
        answer = client.call(token, "issue_refund", arguments, reason="damaged_item", key=key)
    except httpx2.TransportError:
        return None
    return answer.call if answer.status == 200 and answer.document["status"] == "executed" else None


def fail_over(seed: int, *, strays: int = STRAYS) -> Round:
    """One round, on two new servers."""
    found = Round()
    with pair() as both, _world() as world:
        both.synchronise(is_synchronous=True)
        settings = {**SETTINGS, **both.settings(), **STRICT}
        follower = world.gateway(settings=settings)
        left = world.gateway(settings={**settings, **_primary_alone(both)})
        oracle = PairOracle(world, both)
        load = Load(world, [follower.url, left.url], seed)
        load.start()
        time.sleep(LOAD_SECONDS)
        oracle.keep_checkpoint(Client(follower.url), "acme")
        both.lose_primary()
        lost_at = time.monotonic()
        both.promote()
        wait_for(lambda: any(at > lost_at + 0.05 for at, _ in load.done), "no write after the fail-over", 60)
        time.sleep(LOAD_SECONDS)
        load.finish()
        after = sorted(at for at, _ in load.done if at > lost_at + 0.05)
        found.told, found.told_after = len(load.done), len(after)
        found.away_ms = int((after[0] - lost_at) * 1000) if after else -1
        wait_for(lambda: oracle.open_calls("acme") == 0, "open calls were not settled", 60)

        both.revive_primary()
        found.strays = _stray(world, left.url, strays)
        findings = oracle.reconcile(follower.url)
        found.wrong += [*load.wrong, *findings.wrong]
        found.wrong += [
            f"{call}: told as done, and {findings.effects[call]} effects, {findings.stories[call].closings}"
            for _, call in load.done
            if findings.effects[call] != 1 or not findings.stories[call].is_executed
        ]
        if set(found.strays) - {"503 ledger_unavailable"}:
            found.wrong.append(f"the old primary was written to: {found.strays}")
    return found


def _stray(world: World, url: str, count: int) -> dict[str, int]:
    """Writes to the gateway that is left with the old primary, which believes that it still is one."""
    client, answers = Client(url), dict[str, int]()
    for _ in range(count):
        answer = client.call(
            world.cast.person("acme", "finance").token,
            "issue_refund",
            {"order_id": "ord_1003", "amount_cents": 1},
            reason="damaged_item",
        )
        told = f"{answer.status} {answer.reason}"
        answers[told] = answers.get(told, 0) + 1
    return answers


def refuses_alone() -> str:
    """What a gateway says that needs a standby, before a server whose commits wait for nobody."""
    with pair() as both, _world() as world:
        try:
            world.gateway(settings={**both.settings(), **STRICT})
        except GatewayFailed as failed:
            return str(failed)
    return ""


def _primary_alone(both: Pair) -> dict[str, str]:
    return {
        name: url.replace(f"%2C{str(both.socket).replace('/', '%2F')}", "").replace("%2C5432", "")
        for name, url in both.settings().items()
    }


@contextmanager
def _world() -> Iterator[World]:
    home = Path(tempfile.mkdtemp(prefix="lockgate-ground-"))
    home.chmod(0o755)
    try:
        with World.start(home / "home") as world:
            yield world
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> int:
    """Run the rounds and say what they cost."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.replicas", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    rounds = []
    for number in range(chosen.rounds):
        rounds.append(fail_over(chosen.seed + number))
        print(f"round {number + 1} of {chosen.rounds}: {rounds[-1]}", file=sys.stderr, flush=True)
    refusal = refuses_alone()
    figures = {
        "fail-overs under load": len(rounds),
        "writes told to be done": sum(each.told for each in rounds),
        "of these after the fail-over": sum(each.told_after for each in rounds),
        "lost, doubled or unaudited": sum(len(each.wrong) for each in rounds),
        "worst time without writes, ms": max(each.away_ms for each in rounds),
        "writes by way of the old primary": sum(sum(each.strays.values()) for each in rounds),
        "refused to start without a standby": int("standby_names" in refusal),
    }
    for name, figure in figures.items():
        print(f"{name:<38}{figure:>8,}")
    wrong = [each for one in rounds for each in one.wrong]
    print("\n".join(wrong[:20]), end="")
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "replicas.json").write_text(
        json.dumps({**figures, "seed": chosen.seed, "wrong": wrong}, indent=1)
    )
    return int(bool(wrong) or "standby_names" not in refusal)


if __name__ == "__main__":
    sys.exit(main())
