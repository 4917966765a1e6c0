"""A day of load, begun: one round of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.demo.world import ROOT


@pytest.mark.timeout(180)
def test_a_round_of_the_soak_leaves_nothing_reserved() -> None:
    """
    L04: while some requests to the business go wrong, every write of a round ends, and nothing is left reserved.
    """
    soak = subprocess.run(
        [sys.executable, "-m", "tests.load.soak", "--minutes", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert soak.returncode == 0, soak.stdout + soak.stderr
    assert "nothing left reserved" in soak.stdout
