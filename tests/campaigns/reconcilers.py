"""P1 when what reconciles is killed: calls in doubt, a status query that flaps, and a gateway that dies over and over.

Every few moments the gateway is killed and started again, new calls come into doubt, and the tool's status query is
slow, errs or answers. In every second part another gateway sweeps beside it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from random import Random

from deploy.demo.cast import TENANTS
from tests.campaigns.tallies import Part, Tally
from tests.world.crowd import rush
from tests.world.fleet import Fleet, fleet
from tests.world.ground import Ground, ground
from tests.world.writers import Ids

PARTS = 4
KILLS = 25
DOUBTS = 3
"""Calls that come into doubt after each kill."""
STATUS = "operations/status"
FLAPPING = (("none", 0), ("hang_before", 1), ("hang_before", 2), ("error_500_after", 0), ("garbage_200", 0))
"""What the status query does, and for how many seconds: the gateway waits one and a half."""
TENANT = TENANTS[0]


def run(part: Part) -> Iterable[Tally]:
    """One part on a world of its own."""
    chance, kills = part.chance(), part.size(KILLS, 3)
    doubtful: list[str] = []
    wrong: list[str] = []
    with ground() as broken, fleet(broken, 1 + part.number % 2) as gateways:
        ids = Ids(broken.world)
        for number in range(kills):
            _flap(broken, chance)
            for status, call in _doubt(gateways, ids, chance):
                doubtful.append(call)
                wrong += [] if status == 504 else [f"{call}: an unknown outcome was answered {status}"]
            time.sleep(chance.random())
            gateways.gateways[0].kill()
            gateways.replace(0)
            part.tell(f"kill {number + 1} of {kills}")
        broken.fault(STATUS, "none")
        gateways.settled(TENANT)
        found = broken.oracle.reconcile(gateways.url(0))
    settled = Counter(closing for call in doubtful for closing in found.stories[call].closings[-1:])
    wrong += [
        f"{call}: {found.effects[call]} effects, {found.stories[call]}"
        for call in doubtful
        if (found.effects[call], found.stories[call].closings.count("executed")) != (1, 1)
    ]
    yield Tally(
        guarantee="P1",
        tried="calls in doubt while the reconciler is killed and the status query flaps",
        times=len(doubtful),
        failures=(*wrong, *found.wrong),
        figures={"kills_of_the_reconciler": kills, **{f"settled_{state}": count for state, count in settled.items()}},
    )


def _flap(broken: Ground, chance: Random) -> None:
    mode, seconds = chance.choice(FLAPPING)
    broken.fault(STATUS, mode, count=chance.randint(1, 12), seconds=seconds)


def _doubt(gateways: Fleet, ids: Ids, chance: Random) -> list[tuple[int, str]]:
    """Some refunds that the tool carries out and answers with garbage: status and call id of each."""
    gateways.ground.fault("issue_refund", "garbage_200", count=DOUBTS)
    asks = [ids.refund(chance).ask for _ in range(DOUBTS)]
    return [(answer.status, str(answer.document.get("call"))) for answer in rush(gateways.url(0), asks)]
