"""The short form of every campaign of `make faults`: each class of case, few times."""

from __future__ import annotations

import json
from collections import Counter
from importlib import import_module

import pytest

from tests.campaigns.__main__ import NAMES, _tallies, _written
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

    (read,) = _tallies({"tallies": json.loads(json.dumps([_written(tally)]))})

    assert read == tally


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
