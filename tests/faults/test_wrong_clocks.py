"""What if the gateway's machine, or the database's, has the wrong time, or its clock jumps."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.demo.client import Answer
from gateway.clock import LogClock
from gateway.ledger import Append, Draft
from gateway.storage.connections import Urls
from gateway.storage.writer import OpenGate, Writer
from proofs import verify
from proofs.keys import KeyRing
from tests.world import acts
from tests.world.ground import SETTINGS, Ground, ground

HOUR_MS = 3_600_000
BRIEF_SECONDS = 3
"""How long a token, or a parked call, lives in these tests."""


@pytest.fixture(scope="module")
def plot() -> Iterator[Ground]:
    """A ground of its own."""
    with ground() as started:
        yield started


@pytest.fixture
def clock(plot: Ground) -> Iterator[Path]:
    """The file that says how wrong the clock of the gateway is."""
    file = plot.world.home / "clock"
    file.write_text("0")
    plot.kill()
    settings = {**SETTINGS, "LOCKGATE_PARKED_SECONDS": str(BRIEF_SECONDS)}
    plot.current = plot.world.gateway(settings=settings, program=("tests.world.other_clock", str(file)))
    yield file
    file.write_text("0")
    plot.kill()


@pytest.mark.parametrize("is_restarted", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize("wrong", [str(-HOUR_MS), "still"], ids=["an hour behind", "still"])
def test_an_expired_token_stays_expired(plot: Ground, clock: Path, wrong: str, is_restarted: bool) -> None:
    """
    M05: a clock that is set back by an hour, or stands still, revives no token, before or after a restart.
    """
    token = brief_token(plot)
    if wrong == "still":
        clock.write_text(wrong)
    fresh = look(plot, token)
    time.sleep(BRIEF_SECONDS + 1)
    refund(plot)  # The log goes on.
    clock.write_text(wrong)
    if is_restarted:
        plot.kill()
        plot.current = plot.world.gateway(settings=SETTINGS, program=("tests.world.other_clock", str(clock)))

    again = look(plot, token)

    assert (fresh.status, again.status, again.reason) == (200, 401, "token_expired")


def test_an_expired_approval_stays_expired(plot: Ground, clock: Path) -> None:
    """
    M05: a parked call that has expired takes no approval from a clock that is set back.
    """
    parked = refund(plot, 6000)
    time.sleep(BRIEF_SECONDS + 1)
    clock.write_text(str(-HOUR_MS))

    late = plot.client().approve(plot.person("finance", 2), parked)

    assert parked.status == 202
    assert late.reason in ("call_closed", "approval_expired"), late
    assert plot.oracle.effects()[parked.call] == 0


def test_a_clock_that_runs_ahead_refuses_until_it_is_right_again(plot: Ground, clock: Path) -> None:
    """
    M05: an hour ahead, tokens of half an hour are refused; when the clock is right again so is the gateway, without a
    restart, and facts are as old as they are.
    """
    token = brief_token(plot, seconds=1800)
    clock.write_text(str(HOUR_MS))

    ahead = look(plot, token)
    clock.write_text("0")
    right = look(plot, token)
    refunded = refund(plot)

    assert (ahead.status, ahead.reason, right.status, refunded.status) == (401, "token_expired", 200, 200)


@pytest.mark.parametrize("jump", [HOUR_MS, -HOUR_MS], ids=["ahead", "back"])
def test_a_clock_that_jumps_during_a_call_changes_nothing(plot: Ground, clock: Path, jump: int) -> None:
    """
    M05: while a tool works the clock jumps: the call is settled once, and the log's order is that of its numbers.
    """
    plot.fault("issue_refund", "hang_after", seconds=2)
    told: list[Answer] = []
    caller = threading.Thread(target=lambda: told.append(refund(plot)))
    caller.start()
    time.sleep(1)
    clock.write_text(str(jump))
    caller.join()
    clock.write_text("0")
    plot.business_is_well()
    plot.settled()
    export = plot.client().text("/v1/audit/export", plot.world.cast.person("acme", "auditor").token)
    verdict = verify.check(io.BytesIO(export), KeyRing.parse(plot.client().text("/v1/keys")))

    assert [answer.status for answer in told] == [200]
    assert plot.oracle.effects()[told[0].call] == 1
    assert verdict.findings == ()


def test_entries_never_go_back_in_time(database: Urls) -> None:
    """
    M05: a database whose clock was set back stamps its next entries with the time of the newest one, and the log holds.
    """
    with _writer(database) as writer:
        first = writer.write([note()], OpenGate()).checkpoints[0]
        with acts.connect(database.app) as connection, acts.transaction(connection, ["acme"]) as cursor:
            # As if the newest entry were of a clock that ran an hour ahead.
            cursor.execute("update lockgate.heads set at_ms = at_ms + %s", (HOUR_MS,))
        later = [writer.write([note()], OpenGate()).checkpoints[0] for _ in range(2)]

    assert [checkpoint.at_ms for checkpoint in later] == [first.at_ms + HOUR_MS] * 2
    assert acts.verified(database.app).is_good


def test_the_clock_follows_the_log_and_goes_on_from_it() -> None:
    """
    M05: behind the newest entry, time is that entry's and what has passed since; ahead of it, the machine's.
    """
    machine = Machine(wall_ms=1_000_000, monotonic_s=50.0)
    clock = LogClock(machine)

    clock.observe(1_500_000)
    machine.monotonic_s += 2.5
    behind = clock.now_ms()
    clock.observe(1_200_000)
    unmoved = clock.now_ms()
    machine.wall_ms = 1_900_000
    ahead = clock.now_ms()
    machine.wall_ms = 0
    back = clock.now_ms()

    assert (behind, unmoved, ahead, back) == (1_502_500, 1_502_500, 1_900_000, 1_502_500)


@dataclass
class Machine:
    """Clocks that tests set."""

    wall_ms: int
    monotonic_s: float

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.monotonic_s


@contextmanager
def _writer(database: Urls) -> Iterator[Writer]:
    writer = Writer(acts.writing(database.app), acts.pen())
    try:
        yield writer
    finally:
        writer.close()


def note() -> Append:
    """An entry of its own."""
    return Append(entry=Draft(tenant="acme", kind="NOTE", members={}))


def brief_token(plot: Ground, *, seconds: int = BRIEF_SECONDS) -> str:
    """A person's token that ends soon."""
    cast = plot.world.cast
    person = cast.person("acme", "finance")
    return cast.issuer.person("acme", person.id, ["finance"], seconds=seconds)


def look(plot: Ground, token: str) -> Answer:
    """A request that needs nothing but a token."""
    return plot.client().get("/v1/tools", token)


def refund(plot: Ground, cents: int = 9) -> Answer:
    """A refund; a large one is parked."""
    arguments = {"order_id": "ord_1003", "amount_cents": cents}
    return plot.client().call(plot.person("finance").token, "issue_refund", arguments, reason="damaged_item")
