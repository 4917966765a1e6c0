"""Simulate millions of calls: `python -m tests.simulation --calls N [--seed N]`, or `--episode SEED` for one again.

Episodes run one after another in so many processes, each from a seed of its own. One that goes wrong prints its seed;
`--episode` plays exactly that one again. Writes `build/simulation.json`. 1: something was wrong.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count

import structlog

from deploy.demo.world import ROOT
from tests.simulation.episodes import Episode, Report

FILE = ROOT / "build" / "simulation.json"
WRITES = 300
"""Of an episode; with what is sent again about a thousand requests."""
BATCH = 16
SHOWN = 5


def play(seed: str, writes: int = WRITES) -> Report:
    """One episode, without the log lines that its faults cause."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return Episode(seed, calls=writes).run()


def main() -> int:
    """Simulate until so many calls were made."""
    options = _options()
    if options.episode:
        return _tell([play(options.episode)], time.monotonic())
    started, reports, calls = time.monotonic(), list[Report](), 0
    with ProcessPoolExecutor(max_workers=options.processes) as pool:
        numbers = count()
        while calls < options.calls:
            seeds = [f"{options.seed}/{next(numbers)}" for _ in range(BATCH * options.processes)]
            for report in pool.map(play, seeds, chunksize=BATCH):
                reports.append(report)
                calls += report.calls
                _complain(report)
            print(f"{calls:,} of {options.calls:,} calls", file=sys.stderr, flush=True)
    return _tell(reports, started)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--episode", metavar="SEED", help="play this episode alone")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def _complain(report: Report) -> None:
    for wrong in report.wrong[:SHOWN]:
        print(f"--episode {report.seed}: {wrong}", flush=True)


def _tell(reports: Iterable[Report], started: float) -> int:
    kept = list(reports)
    answers: Counter[int] = sum((report.answers for report in kept), Counter())
    wrong = [report.seed for report in kept if report.wrong]
    figures = {
        "episodes": len(kept),
        "calls": sum(report.calls for report in kept),
        "effects": sum(report.effects for report in kept),
        "kills": sum(report.kills for report in kept),
        "faults of storage and engine": sum(report.faults for report in kept),
        **{f"answers {status}": number for status, number in sorted(answers.items())},
        "episodes that went wrong": len(wrong),
        "seconds": round(time.monotonic() - started),
    }
    for name, figure in figures.items():
        print(f"{name:<32}{figure:>12,}")
    if len(kept) == 1:
        print("\n".join(_lines(kept)), end="")
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps({**figures, "wrong": wrong}, indent=1))
    return int(bool(wrong))


def _lines(kept: Iterable[Report]) -> Iterator[str]:
    for report in kept:
        yield from report.wrong


if __name__ == "__main__":
    sys.exit(main())
