"""`python -m tests.load.differential`: random Cedar until so many obligations have been put to both solvers.

For every random schema with policies, entities and a request: the engine's answer against the closures', the closures'
answer against what the solver finds possible, and Z3 against cvc5 on each obligation, universal and ground. Prints the
counts and writes build/differential.json; ends with 1 at the first sign that two of them differ.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from invariants.errors import Unsupported
from invariants.solving import cvc5_backend, z3_backend
from invariants.solving.answers import Verdict
from tests.properties import meanings

BUILD = Path(__file__).resolve().parents[2] / "build"
CHUNK = 50


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until enough obligations are settled and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.differential", description=__doc__)
    parser.add_argument("--obligations", type=int, default=10_000, help="settled by both solvers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    chosen = parser.parse_args(arguments)
    started = time.monotonic()
    counts: Counter[str] = Counter()
    conflicts: list[str] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(chosen.jobs, mp_context=context, initializer=os.nice, initargs=(10,)) as pool:
        seed = chosen.seed
        while counts["both solvers"] < chosen.obligations and not conflicts:
            starts = range(seed, seed + 10 * CHUNK, CHUNK)
            seed = starts.stop
            for found, differing in pool.map(chunk, starts):
                counts += found
                conflicts += differing
            print(f"{counts['both solvers']}/{chosen.obligations} obligations", file=sys.stderr, flush=True)
    seconds = round(time.monotonic() - started, 1)
    solvers = [z3_backend.SOLVER_VERSION, cvc5_backend.SOLVER_VERSION]
    report = {"counts": dict(counts), "conflicts": conflicts, "seconds": seconds, "solvers": solvers}
    BUILD.mkdir(exist_ok=True)
    (BUILD / "differential.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, count in sorted(counts.items()):
        print(f"{name:40}{count:9,}")
    print(f"{len(conflicts)} conflicts in {seconds} s with {' and '.join(solvers)}")
    print("\n".join(conflicts))
    return 1 if conflicts else 0


def chunk(start: int) -> tuple[Counter[str], list[str]]:
    """Judge some seeds."""
    counts: Counter[str] = Counter()
    conflicts: list[str] = []
    for seed in range(start, start + CHUNK):
        conflicts += [f"seed {seed}: {what}" for what in judge(seed, counts)]
    return counts, conflicts


def judge(seed: int, counts: Counter[str]) -> list[str]:
    """What differs in one random situation."""
    given = meanings.drawn(seed)
    answer = meanings.by_closures(given)
    counts["situations"] += 1
    counts["policies satisfied"] += len(answer.satisfied)
    counts["policies erring"] += len(answer.erring)
    if meanings.decided(given, answer) != meanings.by_engine(given):
        return ["closures and engine"]
    try:
        if not meanings.is_only_answer(given, answer):
            return ["solver and engine"]
        for assertions in meanings.obligations(given):
            one, two = meanings.by_both_solvers(assertions)
            if Verdict.UNKNOWN in (one, two):
                counts[f"unknown to {'z3' if one is Verdict.UNKNOWN else 'cvc5'}"] += 1
            elif one is two:
                counts["both solvers"] += 1
                counts[f"both solvers: {one}"] += 1
            else:
                return [f"z3 {one}, cvc5 {two}"]
    except Unsupported as refused:
        counts[f"refused {refused.reason_code}"] += 1
    return []


if __name__ == "__main__":
    sys.exit(main())
