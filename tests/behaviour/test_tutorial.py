"""The tutorial's pages are true: every command on them is typed, and prints what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "tutorial").glob("*.md"))
LEFT_OUT = "…"
CHANGING = (
    (r"sha256:[0-9a-f]{64}", "sha256:…"),
    (r" {2,}", "  "),  # How wide a column is depends on what else stands in it.
)


def sessions(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each block's commands as one script, and what it prints as the page has it."""
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        lines = block.splitlines()
        commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        yield "\n".join(commands), [line for line in lines if not line.startswith("$ ")]


def typed(script: str) -> list[str]:
    """What a shell at the root prints, in a virtual environment made for the clone."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["sh", "-c", script], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in result.stderr
    return result.stdout.splitlines()


def plain(line: str) -> str:
    for pattern, word in CHANGING:
        line = re.sub(pattern, word, line)
    return line.rstrip()


def is_shown(expected: list[str], printed: list[str]) -> bool:
    """Whether the page shows what was printed, where a line of `…` stands for any lines."""
    pattern = "".join("(?:.*\n)*?" if line == LEFT_OUT else re.escape(plain(line) + "\n") for line in expected)
    return re.fullmatch(pattern, "".join(plain(line) + "\n" for line in printed)) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_print_what_the_page_says(page: Path) -> None:
    """
    Typed in order at the root of a clone, every block of a page prints exactly what stands below its commands.
    """
    found = list(sessions(page))

    assert len(found) > 1
    for script, expected in found:
        printed = typed(script)
        assert is_shown(expected, printed), "\n".join([script, *printed])


@pytest.mark.parametrize("printed", [[], ["b"], ["a", "c"], ["a", "x", "b", "c"], ["a", "b"]])
def test_page_that_says_something_else_is_found(printed: list[str]) -> None:
    """
    A line too few, too many or another is no match; only what is left out may be anything.
    """
    assert is_shown(["a", LEFT_OUT, "c"], ["a", "b", "c"])
    assert is_shown(["a", "b"], printed) is (printed == ["a", "b"])
