"""P1 and P2 when a gateway stands still for a minute: SIGSTOP in the middle of three calls, then SIGCONT.

Another gateway takes over what the first holds, finishes each call, and is not disturbed when the first goes on
(`tests/faults/pauses`).
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.campaigns.tallies import Part, Tally
from tests.faults.pauses import pause
from tests.world.ground import ground
from tests.world.tools import running

PARTS = 1
PAUSES = 2
SECONDS = 60
SHORT_SECONDS = 6


def run(part: Part) -> Iterable[Tally]:
    """A pause or two on a world of its own."""
    wrong: list[str] = []
    pauses = part.size(PAUSES, 1)
    with running() as tool, ground(loopback_origins=(tool.origin,)) as broken:
        for number in range(pauses):
            calls = pause(broken, tool, seconds=part.size(SECONDS, SHORT_SECONDS))
            wrong += [each for call in calls for each in call.wrong()]
            part.tell(f"pause {number + 1} is over")
        broken.settled()
        wrong += broken.reconcile().wrong
    yield Tally(
        guarantee="P2",
        tried=f"gateway stopped for {SECONDS} s with calls before, at and after their intent",
        times=pauses * len(calls),
        failures=tuple(wrong),
        figures={"pauses": pauses},
    )
