"""Kill the gateway before and after each of the twelve stages, and at its two COMMITs; see what recovery makes of it.

A round visits every kill point once: one start recovers from the last kill and is the host of the next. Then a gateway
that nobody kills settles what was left, the oracle is asked, and every key is taken again until its state is final.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import httpx2

from deploy.demo.client import Answer, Client
from gateway.killpoints import STAGES
from gateway.opening import DATABASE
from tests.world import proxy
from tests.world.ground import Ground
from tests.world.proxy import Proxy

STAGE_POINTS = tuple(f"{stage}:{side}" for stage in STAGES for side in ("before", "after"))
COMMIT_POINTS = ("intend:lost", "intend:landed", "settle:lost", "settle:landed")
"""The COMMIT of a stage was sent: it reached the server or did not, and nobody was left to hear of it."""
POINTS = (*STAGE_POINTS, *COMMIT_POINTS)
ROUNDS_VARIABLE = "FAULT_ROUNDS"

TRIES = 3
"""A busy machine may answer 503 before the call reaches its kill point."""
NOTHING = "nothing"
"""No entry and no effect: the call never was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill and what became of its call."""

    point: str
    key: str
    died: bool = False
    recovered: str = NOTHING
    """What later starts made of the call by themselves: `nothing`, or the state that its entries give."""
    final: int = 0
    """Status of the last answer to the same key."""
    effects: int = 0
    wrong: tuple[str, ...] = ()
    """What the oracle found after the recovery, and after every key was final."""


def expected(point: str) -> str:
    """What the next starts make of a call that was killed there, before its client comes back."""
    if point in ("intend:after", "execute:before", "intend:landed"):
        return "not_done"
    if point in ("settle:lost", "settle:landed"):
        return "executed"
    return NOTHING if point == "intend:lost" or point in _BEFORE_INTENT else "executed"


def round_of(ground: Ground, points: Sequence[str] = POINTS) -> list[Kill]:
    """Visit these kill points; every call is final at the end."""
    before = set(ground.reconcile(chains=()).stories)
    with _through_a_proxy(ground) as through:
        kills = [_kill(ground, point, through) for point in points]
    ground.restart()
    ground.settled()
    left = ground.reconcile()
    answers = [ground.finally_answered(lambda client, key=kill.key: _refund(ground, client, key)) for kill in kills]  # type: ignore[misc]
    ground.settled()
    found = ground.reconcile()
    known = {call: story.closings[-1] for call, story in left.stories.items() if call not in before}
    return [
        replace(
            kill,
            recovered=known.get(str(answer.document.get("call", "")), NOTHING),
            final=answer.status,
            effects=found.effects[str(answer.document.get("call", ""))],
            wrong=(*left.wrong, *found.wrong),
        )
        for kill, answer in zip(kills, answers, strict=True)
    ]


def rounds() -> int:
    """How many rounds the environment asks for; 1 unless told."""
    return int(os.environ.get(ROUNDS_VARIABLE, "1"))


@contextmanager
def _through_a_proxy(ground: Ground) -> Iterator[Proxy]:
    with proxy.before(ground.world.cluster.urls(DATABASE).app) as through:
        yield through


def _kill(ground: Ground, point: str, through: Proxy) -> Kill:
    """Have the gateway killed by a call."""
    if point in COMMIT_POINTS:
        urls = ground.world.cluster.urls(DATABASE)
        gateway = ground.restart(settings={"LOCKGATE_DATABASE_URL": through.url, "LOCKGATE_AUDITOR_URL": urls.auditor})
        # What the starts before left has to be settled first: the next two COMMITs are to be the call's own.
        ground.settled()
        stage, _, how = point.partition(":")
        through.cut_next(landed=how == "landed", passing=int(stage == "settle"), then=gateway.process.kill)
    else:
        gateway = ground.restart(crash=point)
    kill = Kill(point=point, key=secrets.token_hex(16))
    told: list[str] = []
    for _ in range(TRIES):
        try:
            answer = _refund(ground, Client(gateway.url), kill.key)
        except httpx2.TransportError:
            return replace(kill, died=gateway.died())
        told.append(f"{answer.status} {answer.reason}")
    raise AssertionError(f"{point}: answered {', '.join(told)} instead of dying; {ground.last_words()}")


def _refund(ground: Ground, client: Client, key: str) -> Answer:
    token = ground.person("finance").token
    arguments = {"order_id": "ord_1003", "amount_cents": 7}
    return client.call(token, "issue_refund", arguments, reason="damaged_item", key=key)


_BEFORE_INTENT = STAGE_POINTS[: STAGE_POINTS.index("intend:after")]
