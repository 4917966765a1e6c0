"""`make demo` as a reader of the README meets it: a process of its own, whose output is not a terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.homes import Busy, alone, fresh
from deploy.demo.world import ROOT
from gateway.storage.places import PASSABLE

MINUTE = 60
LINE = re.compile(
    r"^ +(?P<what>[a-z_, ]+?) +(?P<calls>\d+) +(?P<entries>\d+ [A-Z, \d]+?) +(?P<effects>\d+) +yes$", re.M
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demonstration leaves what an auditor takes away."""
    return tmp_path_factory.mktemp("taken")


@pytest.fixture(scope="module")
def told(folder: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    """The demonstration, run once on a home of this test's own."""
    # Not below pytest's own folder: that one is closed to the account that the database runs as under root.
    home = Path(tempfile.mkdtemp(prefix="lockgate-demo-"))
    home.chmod(PASSABLE)
    try:
        yield subprocess.run(
            [sys.executable, "-P", "-m", "deploy.demo", folder],
            cwd=ROOT,
            env={**os.environ, "LOCKGATE_DATA": str(home), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * MINUTE,
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_the_demonstration_ends_well(told: subprocess.CompletedProcess[str]) -> None:
    """
    The whole story is told and exits with 0, in plain text where nobody has a terminal.
    """
    assert told.returncode == 0, told.stdout + told.stderr
    assert "\x1b" not in told.stdout
    assert told.stdout.rstrip().splitlines()[-1].startswith("Everything agrees.")


def test_calls_entries_and_effects_agree(told: subprocess.CompletedProcess[str]) -> None:
    """
    The final table has as many intents, outcomes and effects as executed calls, for each tool of the business.
    """
    reckoning = told.stdout.split("The reckoning")[1]

    lines = {found["what"]: found for found in LINE.finditer(reckoning)}

    assert {"issue_refund, executed", "toggle_feature_flag, executed", "refused", "cancelled", "read"} <= set(lines)
    for tool in ("issue_refund, executed", "toggle_feature_flag, executed"):
        calls = lines[tool]["calls"]
        assert lines[tool]["entries"].startswith(f"{calls} INTENT, ")
        assert lines[tool]["effects"] == calls
    assert [lines[what]["effects"] for what in ("refused", "cancelled", "read")] == ["0", "0", "0"]


def test_what_the_demonstration_left_verifies_again(told: subprocess.CompletedProcess[str], folder: Path) -> None:
    """
    The command that the story shows can be repeated by its reader: the export holds, the flipped copy does not.
    """
    command = [sys.executable, "-P", "-m", "proofs", "verify", "--keys", folder / "keys.json"]

    statuses = [
        subprocess.run([*command, folder / name], env={"PYTHONPATH": str(ROOT)}, check=False).returncode
        for name in ("acme.jsonl", "flipped.jsonl")
    ]

    assert statuses == [0, 1], told.stdout


def test_a_home_is_for_one_at_a_time(short_directory: Path) -> None:
    """
    Who starts a second demonstration, or a second `make dev`, is told so, and takes nothing away from the first.
    """
    home = short_directory / "alone"

    with fresh(home):
        home.mkdir()
        with pytest.raises(Busy, match="another process holds"), alone(home):
            pass
        assert home.exists()


def test_a_home_begins_empty_and_is_kept_only_after_a_fault(short_directory: Path) -> None:
    """
    What a demonstration leaves behind is gone, unless it failed: then somebody wants to look at it.
    """
    home = short_directory / "fresh"

    def fail() -> None:
        home.mkdir()
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError), fresh(home):
        fail()
    kept = home.exists()
    with fresh(home):
        found = home.exists()
        home.mkdir()

    assert (kept, found, home.exists()) == (True, False, False)
