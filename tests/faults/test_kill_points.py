"""What if the process dies, before or after any stage of a governed write."""

from __future__ import annotations

import pytest

from tests.faults.kill_points import NOTHING, POINTS, Campaign, rounds
from tests.world.ground import Ground

# What the next start makes of the call before its client comes back.
_NOT_SENT = ("intend:after", "execute:before")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(1, rounds() + 1))
def test_kill_at_any_stage_leaves_every_effect_explained_and_every_key_final(field: Ground, number: int) -> None:
    """
    F01, I04: kill -9 before and after each of the twelve stages; the books agree after every restart, and the same key
    ends in one executed call with one effect.
    """
    kills = Campaign(field).round()

    assert [kill.point for kill in kills if not kill.died] == []
    assert {each for kill in kills for each in kill.wrong} == set()
    assert [(kill.point, kill.final, kill.effects) for kill in kills] == [(point, 200, 1) for point in POINTS]
    assert {kill.point: kill.recovered for kill in kills} == {point: _expected(point) for point in POINTS}


def _expected(point: str) -> str:
    if point in _NOT_SENT:
        return "not_done"
    return NOTHING if POINTS.index(point) < POINTS.index("intend:after") else "executed"
