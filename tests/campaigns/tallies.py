"""What a campaign of attacks or faults gives: how often something was tried, and how often it went wrong.

A campaign is a module of this folder with

    PARTS: int                                       how many parts the full form has; the short form is one of them
    def run(part: Part) -> Iterable[Tally]           one part, on a world of its own, from a seed

Each part runs in a process of its own (`python -m tests.campaigns`), so parts run side by side and a run that was
interrupted goes on with the parts that are missing. Tallies of the same guarantee and title are added up over parts.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

WORST = "worst_"
"""Figures whose name begins so are the greatest of all parts; others are added up."""
FAILURES_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A share of a campaign."""

    number: int
    """From 0."""
    seed: int
    is_short: bool = False
    """The form that runs with the tests: every class of case, few times."""

    def chance(self) -> random.Random:
        """The one source of chance of this part: same seed and number, same cases."""
        return random.Random(f"{self.seed}/{self.number}")

    def size(self, full: int, short: int) -> int:
        """How much of something: all of this part's share, or a little."""
        return short if self.is_short else full

    def tell(self, message: str) -> None:
        """Progress, for whoever waits."""
        print(f"part {self.number}: {message}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One line of the table, or a part's share in it."""

    guarantee: str
    """`P1` to `P12` of the catalogue."""
    tried: str
    """What was tried, in words that do not change from part to part."""
    times: int
    failures: tuple[str, ...] = ()
    """One sentence each. Empty: it held every time."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What else was counted or measured, by name."""


def add_up(tallies: Iterable[Tally]) -> list[Tally]:
    """One tally per guarantee and title, in the order of their first part."""
    sums: dict[tuple[str, str], Tally] = {}
    for each in tallies:
        name = (each.guarantee, each.tried)
        before = sums.get(name)
        sums[name] = each if before is None else _sum(before, each)
    return list(sums.values())


def _sum(one: Tally, other: Tally) -> Tally:
    figures = dict(one.figures)
    for name, figure in other.figures.items():
        figures[name] = (
            max(figures.get(name, figure), figure) if name.startswith(WORST) else figures.get(name, 0) + figure
        )
    return replace(one, times=one.times + other.times, failures=(*one.failures, *other.failures), figures=figures)
