"""Kill the gateway before and after each of the twelve stages, and see what recovery makes of it.

`python -m tests.faults.kill_points` prints a table and writes `build/faults.json`. A round visits every kill
point once: one start recovers from the last kill and is the host of the next, and at the end of a round a gateway
without a kill point takes every key again until its state is final.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import httpx2

from deploy.demo.client import Answer, Client
from deploy.demo.world import ROOT
from gateway.killpoints import STAGES
from tests.world.ground import Ground, ground

POINTS = tuple(f"{stage}:{side}" for stage in STAGES for side in ("before", "after"))
ROUNDS_VARIABLE = "FAULT_ROUNDS"
FILE = ROOT / "build" / "faults.json"

TRIES = 3
"""A busy machine may answer 503 before the call reaches its kill point."""
NOTHING = "nothing"
"""No entry and no effect: the call never was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill and what became of its call."""

    round: int
    point: str
    key: str
    died: bool
    recovered: str = NOTHING
    """What the next start made of the call by itself: `nothing`, or the state that its entries give."""
    recovery_ms: int = 0
    """From the moment that the next gateway listens until no outcome was open."""
    final: int = 0
    """Status of the last answer to the same key."""
    effects: int = 0
    wrong: tuple[str, ...] = ()
    """What the oracle found after the recovery, and after the end of the round."""


@dataclass(slots=True)
class Campaign:
    """Rounds on one ground."""

    ground: Ground
    kills: list[Kill] = field(default_factory=list)
    _calls_before: set[str] = field(default_factory=set)

    def round(self, points: Sequence[str] = POINTS) -> list[Kill]:
        """Visit these kill points; every call is final at the end."""
        number, fallen = 1 + max((kill.round for kill in self.kills), default=0), list[Kill]()
        self._calls_before |= set(self.ground.reconcile(chains=()).stories)
        for point in points:
            self.ground.restart(crash=point)
            fallen[-1:] = [self._recovered(kill) for kill in fallen[-1:]]
            fallen.append(self._kill(number, point))
        self.ground.restart()
        fallen[-1:] = [self._recovered(kill) for kill in fallen[-1:]]

        answers = [self._finally(kill.key) for kill in fallen]
        self.ground.settled()
        found = self.ground.reconcile()
        self._calls_before |= set(found.stories)
        done = [
            replace(
                kill,
                final=answer.status,
                effects=found.effects[str(answer.document.get("call", ""))],
                wrong=(*kill.wrong, *found.wrong),
            )
            for kill, answer in zip(fallen, answers, strict=True)
        ]
        self.kills += done
        return done

    def _kill(self, number: int, point: str) -> Kill:
        """Have the gateway killed by a call."""
        gateway = self.ground.gateway()
        kill = Kill(round=number, point=point, key=secrets.token_hex(16), died=False)
        told: list[str] = []
        for _ in range(TRIES):
            try:
                answer = self._refund(Client(gateway.url), kill.key)
            except httpx2.TransportError:
                return replace(kill, died=gateway.died())
            told.append(f"{answer.status} {answer.reason}")
        raise AssertionError(f"{point}: answered {', '.join(told)} instead of dying; {self.ground.last_words()}")

    def _recovered(self, kill: Kill) -> Kill:
        """Wait until the new gateway has settled what the last one left, and ask the oracle."""
        started = time.monotonic()
        self.ground.settled()
        took_ms = int((time.monotonic() - started) * 1000)
        found = self.ground.reconcile(chains=("acme",))
        states = [story.closings[-1] for call, story in found.stories.items() if call not in self._calls_before]
        self._calls_before |= set(found.stories)
        return replace(
            kill,
            recovered=states[0] if states else NOTHING,
            recovery_ms=took_ms,
            wrong=(*kill.wrong, *found.wrong),
        )

    def _finally(self, key: str) -> Answer:
        return self.ground.finally_answered(lambda client: self._refund(client, key))

    def _refund(self, client: Client, key: str) -> Answer:
        token = self.ground.person("finance").token
        arguments = {"order_id": "ord_1003", "amount_cents": 7}
        return client.call(token, "issue_refund", arguments, reason="damaged_item", key=key)


def rounds() -> int:
    """How many rounds the environment asks for; 1 unless told."""
    return int(os.environ.get(ROUNDS_VARIABLE, "1"))


def main() -> int:
    """Run the rounds, print and write what became of every kill. 1: something did not hold."""
    with ground() as broken:
        campaign = Campaign(broken)
        for number in range(rounds()):
            print(f"round {number + 1} of {rounds()}: {len(POINTS)} kills", file=sys.stderr, flush=True)
            campaign.round()
    lines = [_line(point, [kill for kill in campaign.kills if kill.point == point]) for point in POINTS]
    print(f"{'kill -9':<18}{'kills':>6}  {'left by itself':<24}{'retried':>8}{'effects':>9}{'recovery ms':>13}  wrong")
    for line in lines:
        left = ", ".join(sorted({kill.recovered for kill in campaign.kills if kill.point == line["point"]}))
        print(
            f"{line['point']:<18}{line['kills']:>6}  {left:<24}{line['executed']:>8}{line['effects']:>9}"
            f"{line['recovery_ms_worst']:>13}  {line['wrong']}"
        )
    wrong = sorted({each for kill in campaign.kills for each in kill.wrong})
    print("\n".join(wrong) or "E1-E4 hold after every kill: every effect intended, none twice, every log whole")
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(
        json.dumps(
            {
                "rounds": rounds(),
                "python": platform.python_version(),
                "points": lines,
                "kills": [{**asdict(kill), "key": ""} for kill in campaign.kills],
                "wrong": wrong,
            },
            indent=1,
        )
    )
    is_good = not wrong and all(kill.died and kill.final == 200 and kill.effects == 1 for kill in campaign.kills)
    return 0 if is_good else 1


def _line(point: str, kills: Sequence[Kill]) -> dict[str, object]:
    return {
        "point": point,
        "kills": sum(kill.died for kill in kills),
        "recovered": sorted({kill.recovered for kill in kills}),
        "executed": sum(kill.final == 200 for kill in kills),
        "effects": sum(kill.effects for kill in kills),
        "recovery_ms_worst": max(kill.recovery_ms for kill in kills),
        "wrong": sum(bool(kill.wrong) for kill in kills),
    }


if __name__ == "__main__":
    sys.exit(main())
