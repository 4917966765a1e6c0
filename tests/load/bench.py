"""What governing a write costs: `python -m tests.load.bench` prints a table and writes `build/bench.json`.

Rounds are interleaved: each round measures every arrangement once, in a shuffled order, on one cluster. Ratios are
taken within a round, so that a machine that slows down does so for both sides; median and worst are over the rounds.
`docs/performance.md` says what each figure means and how far it can be trusted.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from statistics import median

from deploy.demo.world import ROOT
from tests.load.arena import KNOWN_OUTSIDE, Arena, Measured, arena

OUTPUT = ROOT / "build" / "bench.json"
ROUNDS = 5
SECONDS = 2.5
WARM_SECONDS = 1.0
GOVERNED = tuple((clients, tenants) for clients in (1, 32) for tenants in (1, 16))
ONE_TENANT = ((1, 1), (32, 1))
ARRANGEMENTS = {
    "governed": GOVERNED,
    "over HTTP": (*ONE_TENANT, (32, KNOWN_OUTSIDE)),
    "one-phase": ((32, 1),),
    "ungoverned": ONE_TENANT,
    "decoding": ((32, 1),),
    "pgbench": ONE_TENANT,
}
PACKAGES = ("uvicorn", "uvloop", "httptools", "psycopg", "psycopg-pool", "orjson", "cedarpy", "regopy", "fastapi")

Key = tuple[str, int, int]
Round = Mapping[Key, Measured]

GOALS: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    "G1": (">= 0.25 (goal 0.5)", lambda value: value >= 0.25),
    "G2": (">= 0.7 (goal 1.0)", lambda value: value >= 0.7),
    "G3": ("<= 5", lambda value: value <= 5),
    "G4": ("<= 1 ms", lambda value: value <= 1),
    "G4_tail": ("<= 5", lambda value: value <= 5),
    "G5": (">= 0.6", lambda value: value >= 0.6),
    "CPU": ("no goal: all CPU of a governed write / of an ungoverned one", lambda _: True),
}
MORE_IS_BETTER = frozenset({"G1", "G2", "G5"})


def ratios(found: Round) -> dict[str, float]:
    """The ratios of one round, by the names of the notes on speed."""
    many = found["governed", 32, 1]
    return {
        "G1": best(found, "governed") / best(found, "pgbench"),
        "G2": best(found, "governed") / best(found, "ungoverned"),
        "G3": (many.process_us + many.workers_us) / found["decoding", 32, 1].process_us,
        "G4": found["governed", 1, 1].p50_ms - found["ungoverned", 1, 1].p50_ms,
        "G4_tail": many.p99_ms / many.p50_ms,
        "G5": many.rate / found["one-phase", 32, 1].rate,
        "CPU": all_cpu(many) / all_cpu(found["ungoverned", 32, 1]),
    }


def all_cpu(measured: Measured) -> float:
    """CPU of every process that had a part in a call. Neighbours on the machine change it less than a rate."""
    return measured.process_us + measured.workers_us + measured.server_us


def best(found: Round, name: str) -> float:
    """The rate at the client count that suits best."""
    return max(each.rate for (named, _, tenants), each in found.items() if named == name and tenants == 1)


def measure(running: Arena, rounds: int, seconds: float, seed: int) -> list[dict[Key, Measured]]:
    """All rounds."""
    shuffled = random.Random(seed)
    keys = [(name, *shape) for name, shapes in ARRANGEMENTS.items() for shape in shapes]
    for key in keys:
        once(running, key, WARM_SECONDS if key[0] != "pgbench" else 1)
    done = []
    for number in range(rounds):
        shuffled.shuffle(keys)
        done.append({key: once(running, key, seconds) for key in keys})
        print(f"round {number + 1} of {rounds}: " + shown(ratios(done[-1])), file=sys.stderr, flush=True)
    return done


def once(running: Arena, key: Key, seconds: float) -> Measured:
    """One arrangement."""
    name, clients, tenants = key
    return running.insert(clients, seconds) if name == "pgbench" else running.call(name, clients, tenants, seconds)


def summary(rounds: list[dict[Key, Measured]]) -> dict[str, dict[str, float]]:
    """Median and worst of each ratio."""
    each = [ratios(found) for found in rounds]
    return {
        name: {
            "median": round(median(one[name] for one in each), 3),
            "worst": round((min if name in MORE_IS_BETTER else max)(one[name] for one in each), 3),
        }
        for name in GOALS
    }


def table(rounds: list[dict[Key, Measured]]) -> list[dict[str, object]]:
    """Medians of each arrangement."""
    rows = []
    for key in sorted(rounds[0], key=lambda key: (list(ARRANGEMENTS).index(key[0]), key[1:])):
        measured = [asdict(found[key]) for found in rounds]
        medians = {name: round(median(one[name] for one in measured), 3) for name in measured[0]}
        least, most = (round(pick(one["rate"] for one in measured), 1) for pick in (min, max))
        rows.append(
            {"what": key[0], "clients": key[1], "tenants": key[2], **medians, "rate_min": least, "rate_max": most}
        )
    return rows


def shown(values: Mapping[str, float]) -> str:
    """Ratios in a line."""
    return "  ".join(f"{name} {value:.2f}" for name, value in values.items())


def report(rows: list[dict[str, object]], found: Mapping[str, Mapping[str, float]]) -> str:
    """The page that is printed."""
    lines = ["what        clients tenants   per s (least..most)     p50 ms   p99 ms  CPU µs: own  workers  database"]
    lines += [
        f"{row['what']:<12}{row['clients']:>7}{row['tenants']:>8}{row['rate']:>8.0f}"
        f" ({row['rate_min']:.0f}..{row['rate_max']:.0f})".ljust(50)
        + f"{row['p50_ms']:>8.2f}{row['p99_ms']:>9.2f}{row['process_us']:>12.0f}"
        f"{row['workers_us']:>9.0f}{row['server_us']:>10.0f}"
        for row in rows
    ]
    lines += ["", "ratio     median    worst   asked for"]
    for name, (asked, is_met) in GOALS.items():
        values = found[name]
        verdict = "" if is_met(values["median"]) else "   MISSED"
        lines.append(f"{name:<8}{values['median']:>8.2f}{values['worst']:>9.2f}   {asked}{verdict}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Measure what governing a write costs.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    with arena() as running:
        rounds = measure(running, options.rounds, options.seconds, options.seed)
    rows, found = table(rounds), summary(rounds)
    document = {
        **found,
        "rates": rows,
        "rounds": [ratios(each) for each in rounds],
        "seed": options.seed,
        "seconds": options.seconds,
        "machine": machine(),
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(document, indent=1))
    print(report(rows, found))


def machine() -> dict[str, object]:
    """What it ran on."""
    cpus = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpus": len(cpus),
        "cpu": cpus[0] if cpus else platform.processor(),
        "load_at_end": _lines("/proc/loadavg"),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main()
