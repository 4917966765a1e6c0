"""Every campaign of attacks and faults, in one table: guarantee, what was tried, how often, failures, seed, duration.

`python -m tests.campaigns [NAME …] [--seed N] [--again] [--side-by-side N]` runs the parts that are not done yet, each
in a process of its own, and writes `build/faults.json`; parts lie in `build/faults/`. `--again` forgets them first. A
part counts for the commit and the seed that it was run with, and for one run where files differ from the commit.

Seconds of a line are those since the line before it in the same part, over all parts: what one part tells together
stands with the first of it. Those of the whole are the time during which any part ran, in however many runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from deploy.demo.world import ROOT
from tests.campaigns.tallies import FAILURES_SHOWN, Part, Tally, add_up

FOLDER = ROOT / "build" / "faults"
FILE = ROOT / "build" / "faults.json"
SEED = 20_26
NAMES = tuple(
    sorted(
        path.stem
        for path in Path(__file__).parent.glob("*.py")
        if path.stem not in ("__main__", "tallies") and "def run(part: Part)" in path.read_text()
    )
)
PART_SECONDS_MAX = 1800
CHANGED = "+"
"""Behind the commit when files differ from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One part of one campaign, and the file that holds what it gave."""

    campaign: str
    number: int
    seed: int
    commit: str

    @property
    def file(self) -> Path:
        return FOLDER / f"{self.campaign}-{self.number}.json"

    def done(self) -> dict[str, Any] | None:
        """What it gave, when it was run at this commit from this seed."""
        if not self.file.exists():
            return None
        kept: dict[str, Any] = json.loads(self.file.read_text())
        return kept if (kept["seed"], kept["commit"]) == (self.seed, self.commit) else None

    def forget(self) -> None:
        """As if it had not been run."""
        self.file.unlink(missing_ok=True)

    def carry_out(self) -> str:
        """Run it in a process of its own; what went wrong with the run itself, or nothing."""
        command = [sys.executable, "-m", "tests.campaigns", "--part", self.campaign, str(self.number)]
        command += ["--seed", str(self.seed), "--commit", self.commit, "--began", str(time.time())]
        log = self.file.with_suffix(".log")
        with log.open("wb") as told:
            try:
                code = subprocess.run(
                    command, cwd=ROOT, stdout=told, stderr=told, check=False, timeout=PART_SECONDS_MAX
                ).returncode
            except subprocess.TimeoutExpired:
                return f"{self.campaign} part {self.number}: not done after {PART_SECONDS_MAX} s; see {log.name}"
        return "" if code == 0 else f"{self.campaign} part {self.number}: exit {code}; see {log.name}"


def main() -> int:
    """0: everything was tried and held. 1: something did not. 2: a part could not be carried out."""
    options = _options()
    if options.part:
        _carry_out(options)
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    commit, names = _commit(), options.names or list(NAMES)
    shares = [
        Share(campaign=name, number=number, seed=options.seed, commit=commit)
        for name in names
        for number in range(import_module(f"tests.campaigns.{name}").PARTS)
    ]
    # Of files that differ from the commit nobody knows what they were when a part was run.
    missing = [share for share in shares if options.again or commit.endswith(CHANGED) or share.done() is None]
    missing.sort(key=lambda share: share.number)  # Campaigns that wait run beside campaigns that compute.
    for share in missing:
        share.forget()
    broken = _carry_out_all(missing, options.side_by_side)
    table = told([kept for kept in (share.done() for share in shares) if kept is not None])
    _print(table, options.seed)
    _write(table, options.seed, commit)
    print("\n".join(broken), file=sys.stderr)
    return 2 if broken else int(any(tally.failures for tally in table.tallies))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--again", action="store_true", help="forget the parts that are done")
    parser.add_argument("--side-by-side", type=int, default=3, help="parts at once (3)")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--commit", default="", help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, default=time.time(), help=argparse.SUPPRESS)
    return parser.parse_args()


def _carry_out_all(missing: Sequence[Share], side_by_side: int) -> list[str]:
    broken = []
    with ThreadPoolExecutor(max_workers=side_by_side) as pool:
        for place, told in enumerate(pool.map(Share.carry_out, missing), start=1):
            share = missing[place - 1]
            print(f"{place} of {len(missing)}: {told or f'{share.campaign} part {share.number}'}", file=sys.stderr)
            if told:
                broken.append(told)
    return broken


def _carry_out(options: argparse.Namespace) -> None:
    """One part, in this process; its file appears whole or not at all."""
    name, number = options.part
    part = Part(number=int(number), seed=options.seed)
    tallies = list(timed(import_module(f"tests.campaigns.{name}").run(part), options.began))
    kept = {
        "seed": options.seed,
        "commit": options.commit,
        "began": options.began,
        "seconds": round(time.time() - options.began, 1),
        "tallies": [{**written(tally), "seconds": round(seconds, 1)} for tally, seconds in tallies],
    }
    file = FOLDER / f"{name}-{number}.json"
    half = file.with_suffix(".half")
    half.write_text(json.dumps(kept, indent=1))
    half.rename(file)


def timed(tallies: Iterable[Tally], began: float) -> Iterator[tuple[Tally, float]]:
    """Each with the seconds since the one before it: a second of a part is counted once."""
    for tally in tallies:
        now = time.time()
        yield tally, now - began
        began = now


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What parts gave together."""

    tallies: Sequence[Tally]
    seconds: Mapping[tuple[str, str], float]
    """Of each tally, by guarantee and title."""
    wall_seconds: float
    """During which some part ran."""
    parts: int
    parts_seconds: float
    """Of all of them, one after the other."""


def told(parts: Sequence[Mapping[str, Any]]) -> Table:
    """The tallies of these parts added up, and how long they took."""
    seconds: Counter[tuple[str, str]] = Counter()
    tallies: list[Tally] = []
    for each in (each for part in parts for each in part["tallies"]):
        tallies.append(read(each))
        seconds[each["guarantee"], each["tried"]] += each["seconds"]
    return Table(
        tallies=sorted(add_up(tallies), key=lambda tally: int(tally.guarantee[1:])),
        seconds=seconds,
        wall_seconds=covered((part["began"], part["began"] + part["seconds"]) for part in parts),
        parts=len(parts),
        parts_seconds=sum(part["seconds"] for part in parts),
    )


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """How long at least one of these spans of time lasts."""
    total, until = 0.0, 0.0
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def written(tally: Tally) -> dict[str, Any]:
    """As a file holds it. Not `asdict`, which would count the items of a `Counter`."""
    return {**{each.name: getattr(tally, each.name) for each in fields(tally)}, "figures": dict(tally.figures)}


def read(document: Mapping[str, Any]) -> Tally:
    """As it was before it was written; what else the file says of it is left out."""
    known = {each.name: document[each.name] for each in fields(Tally)}
    return Tally(**{**known, "failures": tuple(known["failures"])})


def _print(table: Table, seed: int) -> None:
    print(f"{'':<5}{'tried':<74}{'times':>9}{'failures':>10}{'seed':>8}{'seconds':>9}")
    for tally in table.tallies:
        took = table.seconds[tally.guarantee, tally.tried]
        print(f"{tally.guarantee:<5}{tally.tried:<74}{tally.times:>9,}{len(tally.failures):>10}{seed:>8}{took:>9,.0f}")
        for name, figure in tally.figures.items():
            print(f"{'':<7}{name.replace('_', ' ')}: {figure:,.10g}")
        for failure in tally.failures[:FAILURES_SHOWN]:
            print(f"{'':<7}! {failure}")
    print(f"{table.parts} parts of {table.parts_seconds:,.0f} s together, done in {table.wall_seconds:,.0f} s")


def _write(table: Table, seed: int, commit: str) -> None:
    rows = [
        {**written(tally), "seconds": round(table.seconds[tally.guarantee, tally.tried], 1)} for tally in table.tallies
    ]
    whole = {
        "seed": seed,
        "commit": commit,
        "python": platform.python_version(),
        "wall_seconds": round(table.wall_seconds),
        "parts": table.parts,
        "parts_seconds": round(table.parts_seconds),
        "rows": rows,
    }
    FILE.write_text(json.dumps(whole, indent=1))


def _commit() -> str:
    """What is measured: the commit, and `+` when files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", f"--dirty={CHANGED}", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
