"""P1 at every boundary: kill -9 before and after each stage, and around COMMIT, and connections cut around COMMIT.

A part visits every kill point a few times on one ground (`tests/faults/kill_points`). Then a gateway that lives on
loses its connection to the database around the COMMIT of intend and of settle: it reads back what became of it, and its
client gets the true answer.

`python -m tests.campaigns.kill_points --rounds 50` is the long form of F01: every kill point so many times, the four
around COMMIT among them. It takes an hour or more, prints a line for each, and writes `build/kill-points.json`.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

from deploy.demo.client import Answer, Client
from deploy.demo.world import ROOT
from gateway.opening import DATABASE
from tests.campaigns.tallies import FAILURES_SHOWN, Part, Tally
from tests.faults.kill_points import COMMIT_POINTS, POINTS, STAGE_POINTS, Kill, expected, round_of
from tests.world import proxy
from tests.world.ground import Ground, ground

PARTS = 7
ROUNDS = 3
"""3 rounds in each of 7 parts: 504 kills at the boundaries of stages. The first of each goes around COMMIT as well."""
CUTS = 8
"""Of each of the four kinds, in each part: 56 of each in all."""
SHORT = ("intend:after", "execute:after", "settle:landed")
LONG_ROUNDS = 50
ROUNDS_OF_A_GROUND = 5
"""Of the long form: what each round reads, exports and verifies grows with every round before."""


def run(part: Part) -> Iterable[Tally]:
    """One part on a world of its own."""
    chance = part.chance()
    with ground() as broken:
        kills = []
        for number in range(part.size(ROUNDS, 1)):
            kills += _round(broken, SHORT if part.is_short else STAGE_POINTS if number else POINTS, chance)
            part.tell(f"round {number + 1}: {len(kills)} kills")
        cut = list(_cuts(broken, part.size(CUTS, 1)))
        found = broken.reconcile()
    for tried, chosen in (
        ("kill -9 before and after each of the twelve stages", STAGE_POINTS),
        ("kill -9 with the COMMIT of intend or settle under way", COMMIT_POINTS),
    ):
        these = [kill for kill in kills if kill.point in chosen]
        left = Counter(f"left_{kill.recovered}" for kill in these)
        failures = tuple(dict.fromkeys(each for kill in these for each in _failures(kill)))
        yield Tally(guarantee="P1", tried=tried, times=len(these), failures=failures, figures=left)
    failures = (*(f"{how}: {told}" for how, told in cut if told != (200, "executed", 1)), *found.wrong)
    yield Tally(
        guarantee="P1",
        tried="connection cut with the COMMIT of intend or settle under way",
        times=len(cut),
        failures=failures,
    )


def _round(broken: Ground, points: Sequence[str], chance: Random) -> list[Kill]:
    """Each of these points once, in any order."""
    return round_of(broken, chance.sample(points, len(points)))


def _failures(kill: Kill) -> Iterator[str]:
    if not kill.died:
        yield f"{kill.point}: the gateway lives"
    if (kill.final, kill.effects) != (200, 1):
        yield f"{kill.point}: the key ended with {kill.final} and {kill.effects} effects"
    if kill.recovered != expected(kill.point):
        yield f"{kill.point}: left {kill.recovered}, expected {expected(kill.point)}"
    yield from kill.wrong


def _cuts(broken: Ground, count: int) -> Iterator[tuple[str, tuple[int, str, int]]]:
    """How each cut went: the last answer to its key, and the number of its effects."""
    urls = broken.world.cluster.urls(DATABASE)
    with proxy.before(urls.app) as through:
        gateway = broken.restart(settings={"LOCKGATE_DATABASE_URL": through.url, "LOCKGATE_AUDITOR_URL": urls.auditor})
        client, answers = Client(gateway.url), []
        for how in COMMIT_POINTS * count:
            broken.settled()
            stage, _, end = how.partition(":")
            through.cut_next(landed=end == "landed", passing=int(stage == "settle"))
            key = secrets.token_hex(16)
            _refund(broken, key, client)
            answers.append((how, broken.finally_answered(partial(_refund, broken, key))))
        if through.is_armed:
            raise AssertionError("a cut did not happen")
        broken.settled()
    broken.restart()
    effects = broken.oracle.effects()
    for how, answer in answers:
        yield how, (answer.status, str(answer.document.get("status")), effects[str(answer.document.get("call"))])


def _refund(broken: Ground, key: str, client: Client) -> Answer:
    arguments = {"order_id": "ord_1003", "amount_cents": 7}
    return client.call(broken.person("finance").token, "issue_refund", arguments, reason="damaged_item", key=key)


def main() -> int:
    """F01: the long form. Exit status 1: something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.kill_points")
    parser.add_argument("--rounds", type=int, default=LONG_ROUNDS, help=f"kills at each point ({LONG_ROUNDS})")
    parser.add_argument("--seed", type=int, default=20_26)
    options = parser.parse_args()
    began, kills = time.monotonic(), list[Kill]()
    for first in range(0, options.rounds, ROUNDS_OF_A_GROUND):
        kills += _on_a_ground(options.seed, range(first, min(first + ROUNDS_OF_A_GROUND, options.rounds)))
    seconds = round(time.monotonic() - began)
    rows = [_row(point, [kill for kill in kills if kill.point == point]) for point in POINTS]
    document = {"rounds": options.rounds, "seed": options.seed, "seconds": seconds, "rows": rows}
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "kill-points.json").write_text(json.dumps(document, indent=1))
    _print(rows, f"{len(kills):,} kills, seed {options.seed}, {seconds:,} s")
    return int(any(row["failures"] for row in rows))


def _on_a_ground(seed: int, rounds: range) -> Iterator[Kill]:
    """Some rounds on a new world; each has its own chance, whatever ran before."""
    with ground() as broken:
        for number in rounds:
            part = Part(number=number, seed=seed)
            kills = _round(broken, POINTS, part.chance())
            part.tell(f"{len(kills)} kills, {sum(bool(list(_failures(kill))) for kill in kills)} with failures")
            yield from kills


def _row(point: str, kills: Sequence[Kill]) -> dict[str, Any]:
    """What became of the calls that were killed at one point."""
    return {
        "point": point,
        "kills": len(kills),
        "left": dict(Counter(kill.recovered for kill in kills)),
        "effects": sum(kill.effects for kill in kills),
        "failures": list(dict.fromkeys(each for kill in kills for each in _failures(kill))),
    }


def _print(rows: Sequence[dict[str, Any]], whole: str) -> None:
    print(f"{'killed at':<20}{'kills':>8}{'effects':>9}{'failures':>10}  left by the fall")
    for row in rows:
        left = ", ".join(f"{count} {state}" for state, count in row["left"].items())
        print(f"{row['point']:<20}{row['kills']:>8,}{row['effects']:>9,}{len(row['failures']):>10}  {left}")
        for failure in row["failures"][:FAILURES_SHOWN]:
            print(f"  ! {failure}")
    print(whole)


if __name__ == "__main__":
    raise SystemExit(main())
