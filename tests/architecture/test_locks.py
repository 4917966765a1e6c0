"""The locks pin everything by hash and name no index: whoever installs chooses where from."""

from __future__ import annotations

import re

import pytest

from tests.architecture.tree import ROOT

LOCKS = ("run", "dev", "names")


def lock(which: str) -> str:
    """The text of a lock."""
    return (ROOT / "requirements" / f"{which}.txt").read_text()


def pins(which: str) -> set[str]:
    """`name==version` (with its marker) of every pin."""
    return {match.strip() for match in re.findall(r"^([A-Za-z0-9_.\[\]-]+==[^\\\n]+)", lock(which), re.MULTILINE)}


@pytest.mark.parametrize("which", LOCKS)
def test_a_lock_names_no_index_and_no_address(which: str) -> None:
    """
    M07: no option but `--hash`, no address, no link: the lock works with any index.
    """
    lines = lock(which).splitlines()

    options = [line for line in lines if re.search(r"(^|\s)--(?!hash=sha256:[0-9a-f]{64})|^-", line)]
    addresses = [line for line in lines if "://" in line or " @ " in line]
    assert options == []
    assert addresses == []


@pytest.mark.parametrize("which", LOCKS)
def test_every_pin_has_a_hash(which: str) -> None:
    """
    M07: a file with other content is not installed.
    """
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock(which), flags=re.MULTILINE)[1:]

    assert [block.splitlines()[0] for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []


def test_developing_installs_exactly_what_running_installs_and_more() -> None:
    """
    dev.txt holds every pin of run.txt, which is what lets the set-up stamp both.
    """
    assert pins("run") <= pins("dev")


@pytest.mark.parametrize("which", LOCKS)
def test_every_direct_dependency_has_its_reason(which: str) -> None:
    """
    Each line of an .in file says why it is there, or is named like what it does.
    """
    lines = (ROOT / "requirements" / f"{which}.in").read_text().splitlines()

    wanted = [line for line in lines if line and line[0] not in "#-"]
    assert [line for line in wanted if "#" not in line and line != "pytest"] == []
