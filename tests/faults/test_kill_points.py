"""What if the process dies, before or after any stage of a governed write, or at one of its two COMMITs."""

from __future__ import annotations

import pytest

from tests.faults.kill_points import POINTS, expected, round_of, rounds
from tests.world.ground import Ground


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(1, rounds() + 1))
def test_kill_at_any_stage_leaves_every_effect_explained_and_every_key_final(field: Ground, number: int) -> None:
    """
    F01, F04, I04: kill -9 before and after each of the twelve stages, and while nobody knows whether a COMMIT took
    effect; the books agree after the restarts, and the same key ends in one executed call with one effect.
    """
    kills = round_of(field)

    assert [kill.point for kill in kills if not kill.died] == []
    assert {each for kill in kills for each in kill.wrong} == set()
    assert [(kill.point, kill.final, kill.effects) for kill in kills] == [(point, 200, 1) for point in POINTS]
    assert {kill.point: kill.recovered for kill in kills} == {point: expected(point) for point in POINTS}
