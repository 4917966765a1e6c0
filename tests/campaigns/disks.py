"""P3: a disk of the database that is full, or that fails.

The disk is filled while clients write; then the n-th write or flush of the server fails, for n from 1 on. Each answer
is a result, 503 or 504, no refusal comes later than two seconds, what was answered as executed has its one effect, and
when the disk is well again the same key runs without a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial

from deploy.demo.client import Answer
from tests.campaigns.dependencies import again, volley
from tests.campaigns.tallies import Part, Tally
from tests.world import disks
from tests.world.crowd import Ask
from tests.world.disks import DiskRig

PARTS = 2
CALLS = 50
SHORT_CALLS = 8
FILLED_TIMES = 10
ANSWER_SECONDS_MAX = 2.0
RECOVERY_SECONDS_MAX = 30.0
SETTINGS = {"LOCKGATE_LEASE_GRACE_MS": "800", "LOCKGATE_SWEEP_SECONDS": "0.2"}
ALLOWED = {
    (200, ""),
    (503, "ledger_unavailable"),
    (503, "too_slow"),
    (503, "source_unreachable"),
    (504, "in_doubt"),
}

Breaks = Callable[[DiskRig], AbstractContextManager[None]]


def run(part: Part) -> Iterable[Tally]:
    """The first part fills the disk, the second has it fail; the short form does each once."""
    calls = part.size(CALLS, SHORT_CALLS)
    with disks.disk_rig(SETTINGS) as rig:
        if part.is_short or part.number == 0:
            full = [("disk full", _filled)] * part.size(FILLED_TIMES, 1)
            yield _tried(part, rig, "calls while the disk of the database is full", full, calls)
        if part.is_short or part.number == 1:
            failing = list(_failing())
            chosen = failing[: part.size(len(failing), 1)]
            yield _tried(part, rig, "calls while the n-th write or flush of the database fails", chosen, calls)


def _filled(rig: DiskRig) -> AbstractContextManager[None]:
    return disks.filled(rig.disk)


def _failing() -> Iterator[tuple[str, Breaks]]:
    """A system call of every process of the server that fails once, or from then on."""

    def breaks(what: str, rig: DiskRig) -> AbstractContextManager[None]:
        return disks.injected(rig.server(), what)

    for call in ("fdatasync", "pwrite64"):
        for error in ("EIO", "ENOSPC"):
            for nth in ("1", "2", "3", "5", "8", "1+"):
                yield f"{call} {error} at {nth}", partial(breaks, f"{call}:error={error}:when={nth}")


def _tried(part: Part, rig: DiskRig, tried: str, faults: Iterable[tuple[str, Breaks]], calls: int) -> Tally:
    failures: list[str] = []
    worst = recovery = 0.0
    times = refused = 0
    for name, breaks in faults:
        asks = [_refund(rig) for _ in range(calls)]
        with breaks(rig):
            told = asyncio.run(volley(rig.field.gateway().url, asks))
        started = time.monotonic()
        finals = [again(rig.field.client(), ask, RECOVERY_SECONDS_MAX) for ask in asks]
        recovery = max(recovery, time.monotonic() - started)
        effects = rig.field.oracle.effects()
        times += calls
        refused += sum(answer.status == 503 for answer, _ in told)
        worst = max([worst, *(seconds for answer, seconds in told if answer.status == 503)])
        failures += [f"{name}: {wrong}" for wrong in _wrong(told)]
        failures += [f"{name}: in the end {each.status} {each.reason}" for each in finals if each.status != 200]
        lost = [each.call for each in finals if each.status == 200 and effects[each.call] != 1]
        failures += [f"{name}: {call} has {effects[call]} effects" for call in lost]
        part.tell(f"{name}: {refused} refused, worst {worst:.2f} s, {len(failures)} failures")
    rig.field.settled()
    failures += rig.field.reconcile().wrong
    figures = {"refused": float(refused), "worst_answer_seconds": round(worst, 2), "worst_recovery_seconds": recovery}
    return Tally(guarantee="P3", tried=tried, times=times, failures=tuple(failures), figures=figures)


def _wrong(told: Iterable[tuple[Answer, float]]) -> Iterator[str]:
    for answer, seconds in told:
        if (answer.status, answer.reason) not in ALLOWED:
            yield f"{answer.status} {answer.reason}"
        if answer.status == 503 and seconds > ANSWER_SECONDS_MAX:
            yield f"{answer.status} {answer.reason} after {seconds:.2f} s"


def _refund(rig: DiskRig) -> Ask:
    arguments = {"order_id": "ord_1003", "amount_cents": 1}
    return Ask(token=rig.field.person("finance").token, tool="issue_refund", arguments=arguments, reason="damaged_item")
