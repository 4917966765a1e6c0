"""Places for requests: a tenant's quota, and a capacity that shrinks while the event loop is late."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import pytest

from gateway.capacity import CALM_SECONDS, CROWD, CROWD_SECONDS, LATE_SECONDS, TICK_SECONDS, Capacity
from gateway.clock import SystemClock
from gateway.errors import Fault, RateExceeded, Unavailable
from gateway.identity import Principal, PrincipalKind
from tests.world.hand_clock import HandClock

LATE = 2 * LATE_SECONDS
IN_TIME = LATE_SECONDS / 2


def principal(tenant: str = "acme", *, kind: PrincipalKind = PrincipalKind.PERSON) -> Principal:
    """Somebody who asks."""
    return Principal(
        tenant=tenant, kind=kind, id="p", subject=None, subject_person=None, delegates=(), roles=(), tools=frozenset(),
        issued_at=0, expires_at=0,
    )  # fmt: skip


class Story:
    """A capacity, its clock, and who is in it."""

    def __init__(self, stack: ExitStack, *, in_all: int = 512, per_tenant: int = 512) -> None:
        self.clock = HandClock()
        self.capacity = Capacity(self.clock, in_all=in_all, per_tenant=per_tenant)
        self._stack = stack

    def enter(self, count: int = 1, tenant: str = "acme", *, kind: PrincipalKind = PrincipalKind.PERSON) -> list[str]:
        """So many more requests of a tenant; why those that found no place were refused."""
        refused = []
        for _ in range(count):
            try:
                self._stack.enter_context(self.capacity.place(principal(tenant, kind=kind)))
            except Fault as fault:
                refused.append(fault.reason)
        return refused

    def passes(self, seconds: float, late: float) -> float:
        """Let time pass, in which the loop is so late; the size of the capacity then."""
        for _ in range(round(seconds / TICK_SECONDS)):
            self.clock.now += TICK_SECONDS
            self.capacity.turn(self.clock.now, late, TICK_SECONDS)
        return self.capacity.size


def test_a_tenant_has_its_places_and_no_more() -> None:
    """
    B06: a tenant that has its quota of requests under way gets 429 for more, and another tenant its places all the
    same; a place that is left is free at once.
    """
    with ExitStack() as inside:
        story = Story(inside, per_tenant=10)

        with ExitStack() as first:
            story._stack = first
            refused = story.enter(12)
            story._stack = inside
            of_others = story.enter(10, "globex")
        again = story.enter(10)

    assert (refused, of_others, again) == (["quota_exceeded"] * 2, [], [])


def test_agents_leave_places_to_people() -> None:
    """
    However many requests of agents are under way, whoever must stop them gets in.
    """
    with ExitStack() as inside:
        story = Story(inside, per_tenant=20)

        agents = story.enter(30, kind=PrincipalKind.AGENT)
        people = story.enter(3)

    assert (agents, people) == (["quota_exceeded"] * 12, ["quota_exceeded"])


def test_a_burst_is_let_in_whole() -> None:
    """
    Hundreds at once are no flood as long as they are gone soon: nothing shrinks, however late the loop is meanwhile.
    """
    with ExitStack() as inside:
        story = Story(inside)

        for _ in range(5):
            with ExitStack() as burst:
                story._stack = burst
                assert story.enter(500) == []
                size = story.passes(CROWD_SECONDS * 0.9, LATE)
            story.passes(TICK_SECONDS, IN_TIME)

    assert size == 512


def test_a_crowd_that_stays_while_the_loop_is_late_shrinks_the_capacity() -> None:
    """
    L01: the capacity shrinks to what is under way and below, down to the least that is always let in; whoever finds no
    place is told 503.
    """
    with ExitStack() as inside:
        story = Story(inside)

        story.enter(100)
        before = story.passes(CROWD_SECONDS, LATE)
        soon = story.passes(0.3, LATE)
        at_last = story.passes(10, LATE)
        refused = story.enter(3)

    assert before == 512
    assert CROWD < soon < 100
    assert at_last == CROWD
    assert refused == ["overloaded"] * 3


def test_a_crowd_that_waits_for_its_tools_is_no_overload() -> None:
    """
    The loop is in time: the capacity stays as large as it is.
    """
    with ExitStack() as inside:
        story = Story(inside)

        story.enter(400)

        assert story.passes(60, IN_TIME) == 512
        assert story.enter(100) == []


def test_the_capacity_grows_again() -> None:
    """
    L01: while the loop is in time, by places a second; and it is whole soon after the last crowd and the last refusal.
    """
    with ExitStack() as inside:
        story = Story(inside)
        with ExitStack() as crowd:
            story._stack = crowd
            story.enter(100)
            story.passes(CROWD_SECONDS + 10, LATE)

            grown = story.passes(1, IN_TIME)
            refused = story.enter(1)
        not_yet = story.passes(CALM_SECONDS * 0.8, LATE)
        whole = story.passes(CALM_SECONDS * 0.4, LATE)

    assert grown == pytest.approx(CROWD + 40, abs=1)
    assert refused == ["overloaded"]
    assert not_yet < 100
    assert whole == 512


def test_who_has_less_than_its_share_is_let_in_all_the_same() -> None:
    """
    B06: in a capacity that is full of one tenant's requests another finds places up to its equal share, and then none.
    """
    with ExitStack() as inside:
        story = Story(inside)
        story.enter(100)
        story.passes(CROWD_SECONDS + 10, LATE)

        of_the_flood = story.enter(1)
        of_others = story.enter(200, "globex")

    assert of_the_flood == ["overloaded"]
    assert of_others == ["overloaded"] * 100


def test_faults_say_when_to_come_back() -> None:
    """
    L01: both refusals carry Retry-After.
    """
    with ExitStack() as inside:
        story = Story(inside, per_tenant=100)
        story.enter(99)
        story.passes(CROWD_SECONDS + 10, LATE)
        with pytest.raises(Unavailable) as capacity, story.capacity.place(principal()):
            pass
        story.passes(5, IN_TIME)
        story.enter(1)
        with pytest.raises(RateExceeded) as quota, story.capacity.place(principal()):
            pass

    assert [each.value.headers["Retry-After"] for each in (quota, capacity)] == ["1", "1"]


def test_lateness_is_seen_by_the_watch() -> None:
    """
    L01: a loop that is kept from its work while a crowd is there shrinks the capacity.
    """

    async def run(block_seconds: float) -> float:
        capacity = Capacity(SystemClock(), in_all=512, per_tenant=512)
        watching = asyncio.create_task(capacity.watch())
        with ExitStack() as inside:
            for _ in range(CROWD + 8):
                inside.enter_context(capacity.place(principal()))
            until = time.monotonic() + CROWD_SECONDS + 1.5
            while time.monotonic() < until:
                time.sleep(block_seconds)  # noqa: ASYNC251 - this is the work that keeps the loop
                await asyncio.sleep(0.001)
            size = capacity.size
        watching.cancel()
        return size

    assert asyncio.run(run(0.2)) < 512
