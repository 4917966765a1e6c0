"""P3, C05: every failure of something that the gateway leans on denies.

A hundred calls, 25 at once, during each fault of the database, the policy engine, the sources of facts, the tool and
the gateway's own parts. No call has an effect unless its answer says so, none is answered 500 or later than two
seconds, `/healthz` answers throughout, and once the fault is over the same key runs without a restart.

Counted apart are faults in which calls reach a tool that is late, or whose record is: what may have been done there is
told by the tool's own deadline, and whatever did not reach it within the two seconds all the same. So are faults that
the gateway need not feel: there every call passes.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from deploy.demo.client import Answer, Client
from tests.campaigns.tallies import Part, Tally
from tests.world.crowd import Ask
from tests.world.dependency_faults import GROUPS, RECOVERY_SECONDS_MAX, Fault, Group, refund, revoke
from tests.world.rigs import Rig, rig

PARTS = len(GROUPS)
CALLS = 100
AT_ONCE = 25
SHORT_CALLS = 4
HEALTH_SECONDS = 0.1
HEALTH_MS_MAX, HEALTH_MS_MEDIAN_MAX = 500.0, 100.0
"""C05. The median says how it is; the worst is of machines that do other things too."""
LOST_SECONDS = 30.0
TOO_SLOW = {(503, "too_slow")}
SETTINGS = {"LOCKGATE_LEASE_GRACE_MS": "800", "LOCKGATE_SWEEP_SECONDS": "0.2"}


@dataclass(slots=True)
class Count:
    """What one group of faults gave."""

    times: int = 0
    faults: int = 0
    failures: list[str] = field(default_factory=list)
    worst_seconds: float = 0
    worst_recovery_seconds: float = 0
    worst_health_ms: float = 0
    worst_median_health_ms: float = 0

    def tally(self, tried: str) -> Tally:
        figures = {
            "faults": float(self.faults),
            "worst_answer_seconds": round(self.worst_seconds, 2),
            "worst_recovery_seconds": round(self.worst_recovery_seconds, 2),
            "worst_health_ms": round(self.worst_health_ms, 1),
            "worst_median_health_ms": round(self.worst_median_health_ms, 1),
        }
        return Tally(guarantee="P3", tried=tried, times=self.times, failures=tuple(self.failures), figures=figures)


def run(part: Part) -> Iterable[Tally]:
    """One group of faults; the short form takes one fault of every kind, all on one gateway."""
    if not part.is_short:
        yield from _group(part, GROUPS[part.number], CALLS)
        return
    shortest = tuple(fault for group in GROUPS for fault in group.faults if fault.is_shown_briefly)
    yield from _group(part, Group(name="each kind", faults=shortest, has_server=True), SHORT_CALLS)


def _group(part: Part, group: Group, calls: int) -> Iterator[Tally]:
    denied, late, unfelt = Count(), Count(), Count()
    with rig(SETTINGS, with_server=group.has_server) as made:
        made.start(group.program(made))
        for ask in (refund(made, 0), revoke(made, 0)):  # Chains and counters are there before anything fails.
            if (first := again(made.field.client(), ask, RECOVERY_SECONDS_MAX)).status != 200:
                denied.failures.append(f"without any fault: {first.status} {first.reason}")
        for fault in group.faults:
            count = unfelt if fault.is_unfelt else late if fault.is_late else denied
            _try(made, fault, calls, count)
            part.tell(f"{fault.name}: worst {count.worst_seconds:.2f} s, {len(count.failures)} failures")
        made.field.settled()
        denied.failures += made.field.reconcile().wrong
    if denied.faults:
        yield denied.tally("calls while something that they lean on fails")
    if late.faults:
        yield late.tally("calls that reach a tool which is late, or whose record is")
    if unfelt.faults:
        yield unfelt.tally("calls while something fails that they can do without")


def _try(made: Rig, fault: Fault, calls: int, count: Count) -> None:
    """One fault: calls while it lasts, then one of them again."""
    before = made.field.oracle.effects()
    asks = [fault.ask(made, number) for number in range(calls)]
    with fault.breaks(made), _watched(made, fault, count):
        told = asyncio.run(volley(made.field.gateway().url, asks))
        during = made.field.oracle.effects()
    started = time.monotonic()
    final = again(made.field.client(), asks[-1], fault.recovery_seconds_max)
    count.worst_recovery_seconds = max(count.worst_recovery_seconds, time.monotonic() - started)
    after = made.field.oracle.effects()
    count.faults += 1
    count.times += calls
    count.worst_seconds = max(count.worst_seconds, *(seconds for _, seconds in told))
    count.failures += _wrong(fault, told)
    if final.status != 200:
        count.failures.append(f"{fault.name}: afterwards {final.status} {final.reason}")
    if fault.has_no_effect and during != before:
        count.failures.append(f"{fault.name}: {sum((during - before).values())} effects")
    for answer, _ in told[:-1]:
        call = str(answer.document.get("call", ""))
        if answer.status not in (200, 504) and after[call]:
            count.failures.append(f"{fault.name}: {answer.status} {answer.reason}, and an effect")
        if answer.status == 200 and after[call] != 1:
            count.failures.append(f"{fault.name}: 200, and {after[call]} effects")


def _wrong(fault: Fault, told: Sequence[tuple[Answer, float]]) -> Iterator[str]:
    # What is slow in two places may also be too slow in all.
    expected = fault.expected if fault.is_unfelt else fault.expected | TOO_SLOW
    for answer, seconds in told:
        if (answer.status, answer.reason) not in expected:
            yield f"{fault.name}: {answer.status} {answer.reason}"
        if seconds > fault.seconds_max(answer.status):
            yield f"{fault.name}: {answer.status} {answer.reason} after {seconds:.2f} s"


@contextmanager
def _watched(made: Rig, fault: Fault, count: Count) -> Iterator[None]:
    """C05: asked for its health all the while."""
    client, ended, took = Client(made.field.gateway().url), threading.Event(), list[float]()

    def watch() -> None:
        while not ended.wait(HEALTH_SECONDS):
            started = time.monotonic()
            status = client.get("/healthz").status
            took.append((time.monotonic() - started) * 1000)
            if status != 200:
                count.failures.append(f"{fault.name}: /healthz {status}")

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    worst, median = max(took, default=0.0), statistics.median(took or [0.0])
    if worst > HEALTH_MS_MAX or median > HEALTH_MS_MEDIAN_MAX:
        count.failures.append(f"{fault.name}: /healthz after {median:.0f} ms, at worst {worst:.0f} ms")
    count.worst_health_ms = max(count.worst_health_ms, worst)
    count.worst_median_health_ms = max(count.worst_median_health_ms, median)


async def volley(url: str, asks: Sequence[Ask]) -> list[tuple[Answer, float]]:
    """All of them, some at once; each answer with the seconds that it took. No answer at all is status 0."""
    room = asyncio.Semaphore(AT_ONCE)
    limits = httpx2.Limits(max_connections=AT_ONCE)
    async with httpx2.AsyncClient(trust_env=False, verify=False, limits=limits, timeout=LOST_SECONDS) as client:

        async def send(ask: Ask) -> tuple[Answer, float]:
            async with room:
                started = time.monotonic()
                try:
                    response = await client.send(ask.request(url))
                except httpx2.TransportError:
                    return Answer(0, {}, {}), time.monotonic() - started
                return Answer(response.status_code, response.json(), response.headers), time.monotonic() - started

        return list(await asyncio.gather(*map(send, asks)))


def again(client: Client, ask: Ask, seconds_max: float) -> Answer:
    """The same call until it has run: what a careful client does after a fault."""
    until = time.monotonic() + seconds_max
    while True:
        answer = client.call(ask.token, ask.tool, ask.arguments, reason=ask.reason, key=ask.key)
        if answer.status == 200 or time.monotonic() > until:
            return answer
        time.sleep(0.1)
