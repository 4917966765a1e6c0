"""Rates over several gateways: each takes rations of one count, and together they let exactly the rate pass."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import pytest

from gateway.clock import SystemClock
from gateway.errors import Fault, RateExceeded
from gateway.identity import Principal, PrincipalKind
from gateway.ledger import LedgerUnavailable
from gateway.rates import FIRST_PART, QUICK_SECONDS, Rates
from gateway.storage import rations
from gateway.storage.connections import Urls, connect, transaction
from gateway.storage.link import Link
from gateway.storage.rations import PART_MAX, Ration, Rations, Want

GATEWAYS = 4
PLENTY = 1_000_000
ROOM_SECONDS = 12
"""What is left of a minute in which a test begins, so that it ends in it too."""
SLICE_SECONDS = 5
SLICE_ROOM_SECONDS = 4

Told = Counter[str]


def principal(name: str = "p1", *, tenant: str = "acme", kind: PrincipalKind = PrincipalKind.PERSON) -> Principal:
    """Somebody who asks."""
    return Principal(
        tenant=tenant,
        kind=kind,
        id=name,
        subject=None,
        subject_person=None,
        delegates=(),
        roles=(),
        tools=frozenset(),
        issued_at=0,
        expires_at=0,
    )


def agent(name: str = "a1") -> Principal:
    """An agent that asks."""
    return principal(name, kind=PrincipalKind.AGENT)


@asynccontextmanager
async def gateways(
    url: str, count: int = GATEWAYS, *, rate: int = PLENTY, quota: int = PLENTY
) -> AsyncIterator[list[Rates]]:
    """So many gateways' worth of rates, each with a session of its own, early in a minute."""
    for span, room in ((60, ROOM_SECONDS), (SLICE_SECONDS, SLICE_ROOM_SECONDS if quota < PLENTY else 0)):
        left = span - time.time() % span
        if left < room:
            await asyncio.sleep(left + 0.05)
    clerks = [Rations(partial(connect, url, writer=True)) for _ in range(count)]
    for clerk in clerks:
        clerk.start()
    try:
        yield [Rates(clerk.ask, SystemClock(), per_principal=rate, per_tenant=quota) for clerk in clerks]
    finally:
        for clerk in clerks:
            await asyncio.to_thread(clerk.stop)


async def flood(rates: Rates, asking: Principal, count: int, *, tool: int = 0) -> Told:
    """Ask so often at once, for a tool of that rate where one is given."""

    async def ask() -> str:
        try:
            await (rates.take_tool(asking, "t", tool) if tool else rates.take(asking))
        except Fault as fault:
            return fault.reason
        return "passed"

    return Counter(await asyncio.gather(*(ask() for _ in range(count))))


async def floods(many: list[Rates], asking: Principal, count: int, *, tool: int = 0) -> Told:
    """The same through every gateway side by side."""
    return sum(await asyncio.gather(*(flood(rates, asking, count, tool=tool) for rates in many)), Counter())


@pytest.mark.parametrize("rate", [1, 2, 7, 100, 1_000])
def test_gateways_together_let_exactly_the_rate_pass(database: Urls, rate: int) -> None:
    """
    I07: four gateways are asked for more than a principal's rate, all at once and then again: the rate passes, and not
    one request more or less.
    """

    async def run() -> list[Told]:
        async with gateways(database.app, rate=rate) as many:
            return [await floods(many, principal(), rate) for _ in range(2)]

    first, again = asyncio.run(run())

    assert first == Counter(passed=rate, rate_exceeded=(GATEWAYS - 1) * rate)
    assert again == Counter(rate_exceeded=GATEWAYS * rate)


def test_requests_one_after_the_other_are_counted_alike(database: Urls) -> None:
    """
    I07: the same where each gateway has one request at a time, and so takes rations that it has not used up yet.
    """

    async def ask_in_turn(rates: Rates) -> int:
        passed = 0
        while await flood(rates, principal(), 1) == Counter(passed=1):
            passed += 1
        return passed

    async def run() -> int:
        async with gateways(database.app, rate=500) as many:
            return sum(await asyncio.gather(*map(ask_in_turn, many)))

    assert asyncio.run(run()) == 500


def test_a_tool_and_a_tenant_have_their_counts_too(database: Urls) -> None:
    """
    I07: a tool's rate for one principal, and a tenant's for all of its principals, hold over gateways as well; those of
    another principal, tool or tenant are others.
    """

    async def run() -> list[Told]:
        async with gateways(database.app, quota=60 * 12) as many:
            return [
                await floods(many, principal(), 40, tool=50),
                await floods(many, principal("p2"), 10, tool=50),
                await floods(many, principal("p3"), 10),
                await floods(many, principal("p4"), 10),
                await floods(many, principal("p3", tenant="globex"), 10),
            ]

    assert asyncio.run(run()) == [
        Counter(passed=50, rate_exceeded=110),
        Counter(passed=40),
        Counter(passed=40),
        Counter(passed=20, quota_exceeded=20),
        Counter(passed=40),
    ]


def test_agents_leave_a_tenth_of_the_quota_to_people(database: Urls) -> None:
    """
    However many requests a tenant's agents send, through whichever gateway: whoever must stop them still gets in.
    """

    async def run() -> list[Told]:
        async with gateways(database.app, quota=100 * 12) as many:
            return [await floods(many, agent(), 100), await flood(many[0], principal(), 20)]

    assert asyncio.run(run()) == [
        Counter(passed=90, quota_exceeded=310),
        Counter(passed=10, quota_exceeded=10),
    ]


def test_who_is_refused_by_their_own_rate_takes_nothing_of_the_tenants(database: Urls) -> None:
    """
    B06: a principal far above its rate leaves the tenant's quota to the others.
    """

    async def run() -> list[Told]:
        async with gateways(database.app, rate=10, quota=30 * 12) as many:
            return [await floods(many, agent(f"a{number}"), 100) for number in range(3)]

    told = asyncio.run(run())

    assert [each["passed"] for each in told] == [10, 10, 7]
    assert told[0] == Counter(passed=10, rate_exceeded=390)


def test_a_tenants_quota_is_cut_into_slices(database: Urls) -> None:
    """
    B06: a flood cannot spend a minute's quota at once: in five seconds a twelfth of it passes, and then as much again.
    """

    async def run() -> list[Told]:
        async with gateways(database.app, quota=10 * 12) as many:
            first = await floods(many, principal(), 40)
            await asyncio.sleep(SLICE_SECONDS + 0.1 - time.time() % SLICE_SECONDS)
            return [first, await floods(many, principal(), 40)]

    assert asyncio.run(run()) == [Counter(passed=10, quota_exceeded=150)] * 2


def test_what_a_dead_gateway_held_is_lost_and_nothing_more(database: Urls) -> None:
    """
    I07: a gateway that took a ration and was killed has used it up: the others get what is left, never more; at most
    the part of a first ration is lost.
    """
    rate = 4 * FIRST_PART

    async def run() -> int:
        async with gateways(database.app, 1, rate=rate) as dead:
            assert await flood(dead[0], principal(), 1) == Counter(passed=1)
        async with gateways(database.app, rate=rate) as many:
            return (await floods(many, principal(), rate))["passed"]

    passed = asyncio.run(run())

    assert rate - 2 * rate // FIRST_PART <= passed < rate


def test_a_database_that_does_not_answer_is_a_no() -> None:
    """
    Without a count nothing passes: 503, and as soon as there is one again, requests do.
    """

    async def run() -> list[Told]:
        is_up = False

        async def ask(want: Want) -> Ration:
            if not is_up:
                raise LedgerUnavailable("down", is_known=True)
            return Ration(count=want.needed, ends_ms=60_000)

        rates = Rates(ask, SystemClock(), per_principal=10, per_tenant=10 * 12)
        told = [await flood(rates, principal(), 5)]
        is_up = True
        return [*told, await flood(rates, principal(), 5)]

    assert asyncio.run(run()) == [Counter(ledger_unavailable=5), Counter(passed=5)]


def test_a_ration_ends_with_its_minute() -> None:
    """
    What was left of a minute is not used in the next.
    """
    asked: list[Want] = []

    class Still:
        now = 100.0

        def now_ms(self) -> int:
            raise AssertionError("wall time has no part in it")

        def monotonic(self) -> float:
            return self.now

    clock = Still()

    async def ask(want: Want) -> Ration:
        asked.append(want)
        return Ration(count=2, ends_ms=3_000)

    async def run() -> list[Told]:
        rates = Rates(ask, clock, per_principal=PLENTY, per_tenant=PLENTY)
        told = []
        for now, count in ((100.0, 1), (102.9, 1), (103.0, 1), (103.1, 3), (105.9, 1), (106.0, 2)):
            clock.now = now
            told.append(await flood(rates, principal(), count, tool=PLENTY))
        return told

    told = asyncio.run(run())

    assert [each["passed"] for each in told] == [1, 1, 1, 3, 1, 2]
    assert [want.needed for want in asked] == [1, 1, 2, 1, 1]


def test_what_is_used_up_is_refused_without_asking_again() -> None:
    """
    Whoever floods a rate that is used up costs the database nothing until the minute ends, and is told when it does.
    """
    asked: list[Want] = []

    async def ask(want: Want) -> Ration:
        asked.append(want)
        return Ration(count=1, ends_ms=30_000)

    async def run() -> tuple[Told, RateExceeded]:
        rates = Rates(ask, SystemClock(), per_principal=PLENTY, per_tenant=PLENTY)
        told = await flood(rates, principal(), 50, tool=1)
        with pytest.raises(RateExceeded) as refused:
            await rates.take_tool(principal(), "t", 1)
        return told, refused.value

    told, refused = asyncio.run(run())

    assert told == Counter(passed=1, rate_exceeded=49)
    assert len(asked) == 1
    assert 28 <= int(refused.headers["Retry-After"]) <= 30


@contextmanager
def link(url: str) -> Iterator[Link]:
    """A session to take rations by hand."""
    opened = Link(connect(url, writer=True))
    yield opened
    opened.close()


def want(most: int, needed: int, ahead: int, *, key: bytes = b"k") -> Want:
    """A want of the one tenant."""
    return Want(key=key, tenant="acme", span_ms=60_000, most=most, needed=needed, ahead=ahead)


def test_rations_shrink_towards_the_cap(database: Urls) -> None:
    """
    Ahead of need at most an eighth of what is left is given, so that near the cap requests are taken one by one; what
    is needed is given as long as it is there.
    """
    with link(database.app) as session:
        counts = [rations.take(session, [want(100, 1, PLENTY)])[0].count for _ in range(40)]
        needed = rations.take(session, [want(110, 20, 0)])[0]

    assert sum(counts) == 100
    assert counts[:3] == [100 // PART_MAX, 88 // PART_MAX, 78 // PART_MAX]
    assert counts == sorted(counts, reverse=True)
    assert counts.count(1) >= PART_MAX
    assert needed.count == 10


def test_two_wants_of_one_key_are_two_rations(database: Urls) -> None:
    """
    Agents and people of one tenant ask under different caps of one count, perhaps at the same moment.
    """
    with link(database.app) as session:
        given = rations.take(session, [want(9, 6, 0), want(10, 6, 0), want(10, 1, 0, key=b"other")])

    assert [each.count for each in given] == [6, 4, 1]


def test_a_clock_that_was_set_back_does_not_begin_the_minute_anew(database: Urls) -> None:
    """
    A count of the next minute is gone on with, as after a wait across the edge; one of a far minute is of a clock that
    went wrong, and does not keep everybody waiting for it.
    """
    with connect(database.app) as connection, link(database.app) as session:
        counts = []
        for ahead in (0, 1, 2, 60):
            rations.take(session, [want(10, 0, 0)])
            with transaction(connection, ["acme"]) as cursor:
                cursor.execute(
                    "update lockgate.rates set taken = 7,"
                    " span = floor(extract(epoch from clock_timestamp()) / 60) + %s",
                    (ahead,),
                )
            counts.append(rations.take(session, [want(10, 10, 0)])[0])

    assert [each.count for each in counts] == [3, 3, 10, 10]
    assert 60_000 < counts[1].ends_ms <= 120_000


def test_a_busy_rate_asks_about_once_in_a_while(database: Urls) -> None:
    """
    The more often a rate is asked for, the larger its rations: thousands of requests cost a few round trips.
    """
    trips = 0

    async def run() -> None:
        async with gateways(database.app, 1) as (rates,):
            counted = rates._ask

            async def ask(want: Want) -> Ration:
                nonlocal trips
                trips += 1
                return await counted(want)

            rates._ask = ask
            for _ in range(200):
                assert await flood(rates, principal(), 50, tool=60_000) == Counter(passed=50)

    asyncio.run(run())

    assert QUICK_SECONDS >= 1
    assert trips <= 12
