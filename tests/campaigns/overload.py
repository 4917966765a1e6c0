"""P12: overload sheds, and does not break (B06, L01, L02). `python -m tests.campaigns.overload` is the long form.

0. five times the capacity, by the clock and not by the answers: what cannot be done is refused at once, and the rest is
   done; afterwards everything is as before; then SIGTERM in the middle of it
1. ten thousand connections that ask nothing or never end a head, beside some that ask
2. a tenant at ten times its quota, beside one that asks now and then

How long answers take is told as a figure: on a busy machine it says as much of the machine. The long form, of the first
and the last, runs alone, and there it is a failure when 99 of 100 take twice as long as in quiet.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from random import Random
from urllib.parse import urlsplit

from deploy.demo.cast import TENANTS
from deploy.demo.world import ROOT, Gateway, World
from tests.campaigns.tallies import Part, Tally
from tests.world.ground import SETTINGS, Ground, ground
from tests.world.raw_calls import BROKEN, Line, Told, encoded
from tests.world.writers import Ids, Write

PARTS = 3
SECONDS = 100.0
LONG_SECONDS = 600.0
LONG_TENANTS_SECONDS = 300.0
GROWTH_MAX = 2.0
"""How many times as long as before 99 of 100 answers may take at most, in the long form."""
GROWS = {
    "worst_p99_ms_in_quiet": "worst_p99_ms_then",
    "worst_p99_ms_alone": "worst_p99_ms_beside_it",
}
"""The figures that this is said of: before, and under the load of others."""
QUIET_SECONDS = 10.0
CLIENTS = 32
"""In quiet: as many as the bench has, and enough to find the capacity."""
TIMES = 5
LINES_MAX = 800
"""Connections of the load. More would be the client's overload, not the gateway's."""
STEADY_SECONDS = 5.0
"""Until the room has shrunk; who was let in before waits for all of them."""
RECOVERED_SECONDS_MAX = 30.0
EXIT_SECONDS_MAX = 30.0
IDLE = 10_000
DESCRIPTORS_KEPT = 1_000
QUOTA = 240
"""Requests of a tenant in a minute, for the last part."""
B_PER_SECOND = 2.0
PEOPLE = 16
"""Who ask for a tenant: each principal has its own rate for the tool."""
SHEDS = (429, 503)
_OURS = ("rate_exceeded", "quota_exceeded", "overloaded")
"""Refusals for want of room. Others are of a machine on which the business does not keep its deadlines."""


@dataclass(slots=True)
class Heard:
    """Answers of one stretch of time."""

    seconds: float
    answers: list[Told] = field(default_factory=list)
    unsent: int = 0
    """Requests for which the load had no connection left."""

    def of(self, *statuses: int) -> list[Told]:
        """Those with such a status."""
        return [told for told in self.answers if told.status in statuses]

    @property
    def per_second(self) -> float:
        return len(self.of(200)) / self.seconds

    def p99_ms(self, *statuses: int, after: float = 0.0) -> float:
        """The time that 99 of 100 of them took at most, of those that were asked after so many seconds."""
        first = min((told.began for told in self.answers), default=0.0)
        took = sorted(told.seconds for told in self.of(*statuses) if told.began >= first + after)
        return took[len(took) * 99 // 100] * 1000 if took else 0.0

    def wrong(self, allowed: Sequence[int]) -> list[str]:
        """Answers that nobody should ever get, and refusals that do not say when to come back."""
        others = Counter((told.status, told.reason) for told in self.answers if told.status not in allowed)
        wrong = [f"{count} answers of {status} {reason}" for (status, reason), count in others.items()]
        silent = sum(not told.retry_after for told in self.of(*SHEDS))
        return wrong + ([f"{silent} refusals without Retry-After"] if silent else [])


class Load:
    """Refunds of a few cents by many people of a tenant."""

    def __init__(self, world: World, chance: Random, *tenants: str) -> None:
        self._ids = Ids(world)
        self._chance = chance
        self._tenants = tenants
        self._people = {
            tenant: [world.cast.issuer.person(tenant, f"per_load_{number}", ["finance"]) for number in range(PEOPLE)]
            for tenant in tenants
        }

    def request(self) -> bytes:
        """One more refund, under a key of its own."""
        tenant = self._chance.choice(self._tenants)
        write: Write = self._ids.refund(self._chance, tenant)
        asked = encoded(write.ask)
        return asked.replace(write.token.encode(), self._chance.choice(self._people[tenant]).encode())

    async def steadily(self, url: str, clients: int, seconds: float) -> Heard:
        """So many clients, each of whom asks when it was answered."""
        heard = Heard(seconds)
        until = time.monotonic() + seconds

        async def one() -> None:
            with Line() as line:
                while time.monotonic() < until:
                    heard.answers.append(await line.ask(url, self.request()))

        await asyncio.gather(*(one() for _ in range(clients)))
        return heard

    async def by_the_clock(self, url: str, per_second: float, seconds: float) -> Heard:
        """So many requests a second, whatever becomes of those before."""
        heard, idle, running = Heard(seconds), [Line() for _ in range(LINES_MAX)], set[asyncio.Task[None]]()

        async def one(line: Line) -> None:
            heard.answers.append(await line.ask(url, self.request()))
            idle.append(line)

        began, sent = time.monotonic(), 0
        while (now := time.monotonic() - began) < seconds:
            for _ in range(int(now * per_second) - sent):
                if idle:
                    task = asyncio.create_task(one(idle.pop()))
                    running.add(task)
                    task.add_done_callback(running.discard)
                else:
                    heard.unsent += 1
                sent += 1
            await asyncio.sleep(0.005)
        await asyncio.gather(*running)
        for line in idle:
            line.close()
        return heard


def run(part: Part) -> Iterable[Tally]:
    """One part on a world of its own. A short one is the last and the first: crowds have tests of their own."""
    seconds = part.size(int(SECONDS), 4)
    kinds: list[Callable[[Ground, Part, float], Tally]] = [_overload, _idle, _tenants]
    with ground() as field:
        for kind in (_tenants, _overload) if part.is_short else kinds[part.number : part.number + 1]:
            yield kind(field, part, seconds)


def _overload(field: Ground, part: Part, seconds: float) -> Tally:
    """L01: quiet, five times of it, quiet again, and SIGTERM in five times of it."""
    load, url = Load(field.world, part.chance(), TENANTS[0]), field.gateway().url
    quiet_seconds = min(QUIET_SECONDS, seconds / 2)
    asyncio.run(load.steadily(url, CLIENTS, quiet_seconds / 4))  # Modules, plans and connections are warm now.
    quiet = asyncio.run(load.steadily(url, CLIENTS, quiet_seconds))
    part.tell(f"in quiet {quiet.per_second:.0f} a second, p99 {quiet.p99_ms(200):.0f} ms")
    heard = asyncio.run(load.by_the_clock(url, TIMES * quiet.per_second, seconds))
    part.tell(f"at {TIMES} times that {heard.per_second:.0f} a second, p99 {heard.p99_ms(200):.0f} ms")
    recovered = _recovered(load, url, quiet)
    ended, took, last = _terminated(field, load, TIMES * quiet.per_second)
    wrong = [*quiet.wrong((200,)), *heard.wrong((200, *SHEDS)), *last.wrong((200, BROKEN, *SHEDS))]
    if not heard.of(*SHEDS):
        wrong.append("nothing was refused: it was no overload")
    if recovered > RECOVERED_SECONDS_MAX:
        wrong.append(f"not recovered after {recovered:.0f} s")
    if not ended or took > EXIT_SECONDS_MAX:
        wrong.append(f"SIGTERM under load: not ended well after {took:.0f} s")
    field.gateway()
    field.settled(TENANTS[0])
    findings = field.reconcile((TENANTS[0],))
    executed = sum(story.is_executed for story in findings.stories.values())
    told = sum(len(each.of(200)) for each in (quiet, heard, last))
    if executed < told:
        wrong.append(f"{told} were told that it was done, {executed} were")
    return Tally(
        guarantee="P12",
        tried="requests at five times the capacity, and SIGTERM among them",
        times=len(heard.answers) + len(last.answers),
        failures=(*wrong, *findings.wrong),
        figures={
            "answered": len(heard.of(200)),
            "refused": len(heard.of(*SHEDS)),
            "worst_answers_a_second_in_quiet": round(quiet.per_second),
            "worst_answers_a_second_then": round(heard.per_second),
            "worst_p99_ms_in_quiet": round(quiet.p99_ms(200)),
            "worst_p99_ms_with_the_first_seconds": round(heard.p99_ms(200)),
            "worst_p99_ms_then": round(heard.p99_ms(200, after=STEADY_SECONDS)),
            "worst_p99_ms_of_refusals_then": round(heard.p99_ms(*SHEDS, after=STEADY_SECONDS)),
            "worst_seconds_until_recovered": round(recovered, 1),
            "worst_seconds_from_sigterm_to_exit": round(took, 1),
            "requests_that_the_load_could_not_send": heard.unsent,
        },
    )


def _recovered(load: Load, url: str, quiet: Heard) -> float:
    """How long until a second of quiet load is answered whole, and in the time it took before."""
    began = time.monotonic()
    while time.monotonic() - began <= RECOVERED_SECONDS_MAX:
        at = time.monotonic() - began
        slice_of = asyncio.run(load.steadily(url, CLIENTS, 1.0))
        if not slice_of.wrong((200,)) and slice_of.p99_ms(200) <= 2 * quiet.p99_ms(200):
            return at
    return time.monotonic() - began


def _terminated(field: Ground, load: Load, per_second: float) -> tuple[bool, float, Heard]:
    """Whether the gateway ends by itself in the middle of too much, how long that takes, and what clients heard."""
    gateway = field.gateway()

    async def story() -> tuple[float, Heard]:
        asking = asyncio.create_task(load.by_the_clock(gateway.url, per_second, 3.0))
        await asyncio.sleep(1.5)
        gateway.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        await asyncio.to_thread(gateway.died, EXIT_SECONDS_MAX)
        return time.monotonic() - began, await asking

    took, heard = asyncio.run(story())
    return gateway.process.poll() == 0, took, heard


def _idle(field: Ground, part: Part, seconds: float) -> Tally:
    """L02: others ask while a crowd is there: half of it silent, half in the middle of a head."""
    load, url = Load(field.world, part.chance(), TENANTS[0]), field.gateway().url
    share = min(seconds / 4, QUIET_SECONDS)
    asyncio.run(load.steadily(url, CLIENTS // 4, share))
    alone = asyncio.run(load.steadily(url, CLIENTS // 4, share))
    with _crowd(url, IDLE) as count:
        part.tell(f"{count} connections are there")
        beside = asyncio.run(load.steadily(url, CLIENTS // 4, share))
    wrong = [*alone.wrong((200,)), *beside.wrong((200,))]
    if count < IDLE // 2:
        wrong.append(f"only {count} connections could be opened")
    return Tally(
        guarantee="P12",
        tried="requests beside thousands of connections that ask nothing",
        times=len(beside.answers),
        failures=tuple(wrong),
        figures={
            "idle_connections": count,
            "worst_p99_ms_alone": round(alone.p99_ms(200)),
            "worst_p99_ms_beside_them": round(beside.p99_ms(200)),
        },
    )


@contextmanager
def _crowd(url: str, wanted: int) -> Iterator[int]:
    """Connections, as many as this process may open; how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    parts, opened = urlsplit(url), list[socket.socket]()
    try:
        for number in range(min(wanted, hard - DESCRIPTORS_KEPT)):
            opened.append(socket.create_connection((str(parts.hostname), parts.port or 0)))
            if number % 2:
                with suppress(OSError):  # Sent away already.
                    opened[-1].sendall(b"POST /v1/calls HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        yield len(opened)
    finally:
        for each in opened:
            each.close()


def _tenants(field: Ground, part: Part, seconds: float, *, alone_seconds: float = 20.0) -> Tally:
    """B06: B asks now and then, first alone and then beside A, who asks for ten times its quota."""
    a, b = (Load(field.world, part.chance(), tenant) for tenant in TENANTS)
    settings = {**SETTINGS, "LOCKGATE_TENANT_REQUESTS_PER_MINUTE": str(QUOTA)}
    gateway: Gateway = field.world.gateway(port=0, settings=settings)
    share = seconds / 2
    asyncio.run(b.by_the_clock(gateway.url, B_PER_SECOND, 1.0))
    alone = asyncio.run(b.by_the_clock(gateway.url, B_PER_SECOND, min(share, alone_seconds)))

    async def both() -> tuple[Heard, Heard]:
        flood: Awaitable[Heard] = a.by_the_clock(gateway.url, 10 * QUOTA / 60, share)
        return await asyncio.gather(flood, b.by_the_clock(gateway.url, B_PER_SECOND, share))

    flood, beside = asyncio.run(both())
    gateway.stop()
    passed, most = len(flood.of(200)), QUOTA // 12 * (int(share // 5) + 2)
    wrong = [*beside.wrong((200, 503)), *flood.wrong((200, *SHEDS))]
    wrong += [f"B was told `{told.reason}`" for told in beside.answers if told.reason in _OURS]
    if not flood.of(429):
        wrong.append("A was never refused")
    if passed > most:
        wrong.append(f"{passed} requests of A passed in {share:.0f} s, where {most} may")
    return Tally(
        guarantee="P12",
        tried="requests of a tenant beside another at ten times its quota",
        times=len(beside.answers),
        failures=tuple(wrong),
        figures={
            "refused_to_the_other": len(flood.of(429)),
            "answered": len(beside.of(200)),
            "worst_p99_ms_alone": round(alone.p99_ms(200)),
            "worst_p99_ms_beside_it": round(beside.p99_ms(200)),
        },
    )


def main() -> int:
    """L01 and B06: the long form of the first and the last part; prints figures and writes `build/overload.json`."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.overload")
    parser.add_argument("--seconds", type=float, default=LONG_SECONDS)
    parser.add_argument("--seed", type=int, default=20_26)
    options = parser.parse_args()
    tallies = [in_time(tally) for tally in _long(options.seed, options.seconds)]
    (ROOT / "build").mkdir(exist_ok=True)
    document = {"seconds": options.seconds, "seed": options.seed, "rows": [asdict(tally) for tally in tallies]}
    (ROOT / "build" / "overload.json").write_text(json.dumps(document, indent=1))
    for tally in tallies:
        print(f"{tally.tried}: {tally.times:,}, failures: {len(tally.failures)}")
        for name, figure in tally.figures.items():
            print(f"  {name.replace('_', ' ')}: {figure:,.10g}")
        for failure in tally.failures:
            print(f"  ! {failure}")
    return int(any(tally.failures for tally in tallies))


def _long(seed: int, seconds: float) -> Iterator[Tally]:
    """Each on a world of its own."""
    with ground() as field:
        yield _overload(field, Part(number=0, seed=seed), seconds)
    with ground() as field:
        # As long alone as beside the flood: 99 of 100 of a few answers would be the slowest of them.
        share = min(seconds, LONG_TENANTS_SECONDS) / 2
        yield _tenants(field, Part(number=2, seed=seed), 2 * share, alone_seconds=share)


def in_time(tally: Tally) -> Tally:
    """The same, and a failure where answers took too long for a gateway that sheds."""
    late = [
        f"99 of 100 took up to {tally.figures[then]:,.0f} ms, and {tally.figures[before]:,.0f} ms before"
        for before, then in GROWS.items()
        if before in tally.figures and tally.figures[then] >= GROWTH_MAX * tally.figures[before]
    ]
    return replace(tally, failures=(*tally.failures, *late))


if __name__ == "__main__":
    raise SystemExit(main())
