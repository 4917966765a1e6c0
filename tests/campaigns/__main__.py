"""Every campaign of attacks and faults, in one table: guarantee, what was tried, how often, failures, seed, duration.

`python -m tests.campaigns [NAME …] [--seed N] [--again] [--side-by-side N]` runs the parts that are not done yet, each
in a process of its own, and writes `build/faults.json`; parts lie in `build/faults/`. `--again` forgets them first. A
part counts only for the commit and the seed that it was run with.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path

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

    def done(self) -> dict[str, object] | None:
        """What it gave, when it was run at this commit from this seed."""
        if not self.file.exists():
            return None
        kept: dict[str, object] = json.loads(self.file.read_text())
        return kept if (kept["seed"], kept["commit"]) == (self.seed, self.commit) else None

    def carry_out(self) -> str:
        """Run it in a process of its own; what went wrong with the run itself, or nothing."""
        command = [sys.executable, "-m", "tests.campaigns", "--part", self.campaign, str(self.number)]
        log = self.file.with_suffix(".log")
        with log.open("wb") as told:
            try:
                code = subprocess.run(
                    [*command, "--seed", str(self.seed), "--commit", self.commit],
                    cwd=ROOT, stdout=told, stderr=told, check=False, timeout=PART_SECONDS_MAX,
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                return f"{self.campaign} part {self.number}: not done after {PART_SECONDS_MAX} s; see {log.name}"
        return "" if code == 0 else f"{self.campaign} part {self.number}: exit {code}; see {log.name}"


def main() -> int:
    """0: everything was tried and held. 1: something did not. 2: a part could not be carried out."""
    options = _options()
    if options.part:
        _carry_out(options.part[0], int(options.part[1]), options.seed, options.commit)
        return 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    commit, names = _commit(), options.names or list(NAMES)
    shares = [
        Share(campaign=name, number=number, seed=options.seed, commit=commit)
        for name in names
        for number in range(import_module(f"tests.campaigns.{name}").PARTS)
    ]
    missing = [share for share in shares if options.again or share.done() is None]
    missing.sort(key=lambda share: share.number)  # Campaigns that wait run beside campaigns that compute.
    broken = _carry_out_all(missing, options.side_by_side)
    tallies, seconds = _told(shares)
    _print(tallies, seconds, options.seed)
    _write(tallies, seconds, options.seed, commit)
    print("\n".join(broken), file=sys.stderr)
    return 2 if broken else int(any(tally.failures for tally in tallies))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--again", action="store_true", help="forget the parts that are done")
    parser.add_argument("--side-by-side", type=int, default=3, help="parts at once (3)")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--commit", default="", help=argparse.SUPPRESS)
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


def _carry_out(name: str, number: int, seed: int, commit: str) -> None:
    """One part, in this process; its file appears whole or not at all."""
    started = time.monotonic()
    tallies = list(import_module(f"tests.campaigns.{name}").run(Part(number=number, seed=seed)))
    kept = {
        "seed": seed,
        "commit": commit,
        "seconds": round(time.monotonic() - started, 1),
        "tallies": [_written(tally) for tally in tallies],
    }
    file = FOLDER / f"{name}-{number}.json"
    half = file.with_suffix(".half")
    half.write_text(json.dumps(kept, indent=1))
    half.rename(file)


def _told(shares: Sequence[Share]) -> tuple[list[Tally], dict[tuple[str, str], float]]:
    """The tallies added up, and how long the parts of each ran."""
    tallies: list[Tally] = []
    seconds: dict[tuple[str, str], float] = {}
    for kept in filter(None, (share.done() for share in shares)):
        for tally in _tallies(kept):
            tallies.append(tally)
            name = (tally.guarantee, tally.tried)
            seconds[name] = seconds.get(name, 0) + float(str(kept["seconds"]))
    return sorted(add_up(tallies), key=lambda tally: int(tally.guarantee[1:])), seconds


def _written(tally: Tally) -> dict[str, object]:
    # Not `asdict`, which would count the items of a `Counter`.
    return {**{each.name: getattr(tally, each.name) for each in fields(tally)}, "figures": dict(tally.figures)}


def _tallies(kept: dict[str, object]) -> Iterator[Tally]:
    written = kept["tallies"]
    assert isinstance(written, list)
    for each in written:
        yield Tally(**{**each, "failures": tuple(each["failures"])})


def _print(tallies: Sequence[Tally], seconds: dict[tuple[str, str], float], seed: int) -> None:
    print(f"{'':<5}{'tried':<74}{'times':>9}{'failures':>10}{'seed':>8}{'seconds':>9}")
    for tally in tallies:
        took = seconds[tally.guarantee, tally.tried]
        print(f"{tally.guarantee:<5}{tally.tried:<74}{tally.times:>9,}{len(tally.failures):>10}{seed:>8}{took:>9,.0f}")
        for name, figure in tally.figures.items():
            print(f"{'':<7}{name.replace('_', ' ')}: {figure:,.10g}")
        for failure in tally.failures[:FAILURES_SHOWN]:
            print(f"{'':<7}! {failure}")


def _write(tallies: Sequence[Tally], seconds: dict[tuple[str, str], float], seed: int, commit: str) -> None:
    rows = [{**_written(tally), "seconds": round(seconds[tally.guarantee, tally.tried], 1)} for tally in tallies]
    FILE.write_text(
        json.dumps({"seed": seed, "commit": commit, "python": platform.python_version(), "rows": rows}, indent=1)
    )


def _commit() -> str:
    """What is measured: the commit, and `+` when files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
