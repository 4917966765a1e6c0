"""The short form of every campaign of `make faults`: each class of case, few times."""

from __future__ import annotations

import json
import time
from collections import Counter
from importlib import import_module

import pytest

from tests.campaigns.__main__ import NAMES, read, timed, told, written
from tests.campaigns.overload import in_time
from tests.campaigns.tallies import Part, Tally, add_up

SEED = 4


@pytest.mark.parametrize("name", NAMES)
def test_the_short_form_of_a_campaign_holds(name: str) -> None:
    """
    B06, F01 to F04, F09 to F11, F13, F19 to F21, I01, I04, I06, L01: what `make faults` tries ten thousand times is
    tried a few times with every run of the tests.
    """
    tallies = list(import_module(f"tests.campaigns.{name}").run(Part(number=0, seed=SEED, is_short=True)))

    assert {tally.tried: tally.failures for tally in tallies if tally.failures} == {}
    assert [tally.tried for tally in tallies if tally.times == 0] == []


def test_what_a_part_gave_is_read_back_as_it_was() -> None:
    """
    The file of a part holds its tallies whole, whatever kind of mapping the figures are.
    """
    tally = Tally(guarantee="P1", tried="kills", times=3, failures=("lost",), figures=Counter(kills=2))

    kept = json.loads(json.dumps({**written(tally), "seconds": 3.0}))

    assert read(kept) == tally


def test_parts_are_added_up() -> None:
    """
    Counts and figures of parts are sums, but the worst of each is the worst of all; every failure is kept.
    """
    one = Tally(guarantee="P1", tried="kills", times=3, failures=("lost",), figures={"kills": 2, "worst_ms": 9})
    other = Tally(guarantee="P1", tried="kills", times=4, failures=("twice",), figures={"kills": 5, "worst_ms": 7})

    (both,) = add_up([one, other])

    assert both == Tally(
        guarantee="P1", tried="kills", times=7, failures=("lost", "twice"), figures={"kills": 7, "worst_ms": 9}
    )


def test_a_second_of_a_part_is_counted_once() -> None:
    """
    Each line has the time since the one before it; the whole took as long as any part ran, side by side or not.
    """
    lines = [Tally(guarantee="P1", tried=tried, times=1) for tried in ("kills", "cuts")]

    began = time.time() - 5
    took = [seconds for _, seconds in timed(lines, began)]
    parts = [
        {"began": 100.0, "seconds": 10.0, "tallies": [{**written(line), "seconds": 4.0} for line in lines]},
        {"began": 105.0, "seconds": 10.0, "tallies": [{**written(lines[0]), "seconds": 9.0}]},
        {"began": 300.0, "seconds": 2.0, "tallies": []},
    ]
    table = told(parts)

    assert 5 <= sum(took) <= time.time() - began
    assert took[1] < 1
    assert table.seconds == {("P1", "kills"): 13.0, ("P1", "cuts"): 4.0}
    assert (table.parts_seconds, table.wall_seconds) == (22.0, 17.0)


@pytest.mark.parametrize(("then", "failures"), [(79, 0), (80, 1)])
def test_the_long_form_of_overload_fails_where_answers_take_twice_as_long(then: float, failures: int) -> None:
    """
    L01, B06: what a figure says elsewhere is a failure there.
    """
    figures = {"worst_p99_ms_in_quiet": 40.0, "worst_p99_ms_then": then}

    judged = in_time(Tally(guarantee="P12", tried="requests", times=1, figures=figures))

    assert len(judged.failures) == failures
