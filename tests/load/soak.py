"""A day of load, or as long as one likes: does memory grow, and does anything stay reserved that nobody waits for?

`python -m tests.load.soak [--minutes N] [--seed N]` has careful clients write at a steady rate, while one in a hundred
requests to the business goes wrong. It prints a table, writes `build/soak.json`, and fails when the oracle finds
anything wrong at the end. What memory does it reports: the slope of a short run says little.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

from deploy.demo.cast import TENANTS
from deploy.demo.world import ROOT
from tests.world.fleet import Fleet, fleet
from tests.world.ground import Ground, ground
from tests.world.writers import Ids, Writers

FILE = ROOT / "build" / "soak.json"
SEED = 20_26
ROUND_SECONDS = 10
ROUND_WRITES = 200
"""20 a second: for a day they stay below what the business may give back in one."""
ROUND_FAULTS = 2
MODES = ("reset_after", "half_answer", "garbage_200", "error_500_after", "hang_after")
TOOLS = ("issue_refund", "revoke_push_tokens", "apply_friction")
WARM_UP = 0.25
"""The part of the run whose memory does not count: caches fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round left."""

    seconds: float
    """Since the start."""
    resident_kb: int
    """Of the gateway's process."""
    written: int
    unknown: int
    """How often a client could not know."""


def main() -> int:
    """0: nothing is wrong at the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=24 * 60)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    with ground() as world, fleet(world, 1, {"LOCKGATE_LEASE_GRACE_MS": "2000"}) as gateways:
        rounds, wrong = _run(world, gateways, Random(options.seed), options.minutes * 60)
        world.business_is_well()
        gateways.settled(*TENANTS)
        wrong += gateways.wrong()
    figures = {
        "minutes": round(rounds[-1].seconds / 60, 1),
        "writes": sum(each.written for each in rounds),
        "unknown": sum(each.unknown for each in rounds),
        "resident_kb_first": rounds[0].resident_kb,
        "resident_kb_last": rounds[-1].resident_kb,
        "resident_kb_per_hour": _slope(rounds),
        "wrong": len(wrong),
    }
    for name, figure in figures.items():
        print(f"{name.replace('_', ' '):<24}{figure:>14,}")
    print("\n".join(wrong) or "nothing lost, nothing doubled, nothing left reserved")
    FILE.parent.mkdir(exist_ok=True)
    told = {**figures, "wrong": wrong, "seed": options.seed, "python": platform.python_version()}
    FILE.write_text(json.dumps({**told, "rounds": [asdict(each) for each in rounds]}, indent=1))
    return int(bool(wrong))


def _run(world: Ground, gateways: Fleet, chance: Random, seconds: float) -> tuple[list[Round], list[str]]:
    ids, began = Ids(world.world), time.monotonic()
    rounds: list[Round] = []
    wrong: list[str] = []
    while not rounds or time.monotonic() < began + seconds:
        until = time.monotonic() + ROUND_SECONDS
        world.fault(chance.choice(TOOLS), chance.choice(MODES), count=ROUND_FAULTS, seconds=4)
        writers = Writers(gateways.url, [ids.write(chance, cents_max=1) for _ in range(ROUND_WRITES)])
        writers.start()
        writers.join()
        wrong += writers.wrong
        rounds.append(
            Round(
                seconds=time.monotonic() - began,
                resident_kb=_resident_kb(gateways.gateways[0].process.pid),
                written=len(writers.told),
                unknown=sum(each.unknown for each in writers.told),
            )
        )
        print(f"{rounds[-1].seconds:,.0f} s: {rounds[-1].resident_kb:,} kB", file=sys.stderr, flush=True)
        time.sleep(max(0.0, until - time.monotonic()))
    return rounds, wrong


def _slope(rounds: Sequence[Round]) -> float:
    """Growth of the resident memory in kB an hour, after the warm-up."""
    late = rounds[int(len(rounds) * WARM_UP) :]
    if len(late) < 2:
        return 0.0
    line = statistics.linear_regression([each.seconds / 3600 for each in late], [each.resident_kb for each in late])
    return round(line.slope, 1)


def _resident_kb(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


if __name__ == "__main__":
    sys.exit(main())
