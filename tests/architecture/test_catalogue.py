"""docs/catalogue.md tells the truth: what it names is there, and what tests say of themselves is in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pytest

from tests.architecture.tree import ROOT, parsed, python_files

CASES = {"A": 14, "B": 7, "C": 15, "D": 9, "E": 13, "F": 21, "G": 14, "H": 7, "I": 7, "J": 12, "K": 8, "L": 5, "M": 9}
"""How many cases each group has, so that a lost row is missed."""
IDS = [f"{group}{number:02}" for group, count in CASES.items() for number in range(1, count + 1)]
_ID = re.compile(r"\b([A-M]\d\d)\b(?: to ([A-M]\d\d)\b)?")
_TEST = re.compile(r"`([a-z]+/test_[a-z0-9_]+\.py::test_[a-z0-9_]+|campaigns/[a-z_]+\.py::[a-z_]+)`")
"""A test, or a function of a campaign of `make faults`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the page."""

    id: str
    state: str
    tests: tuple[str, ...]
    remark: str


@cache
def rows() -> tuple[Row, ...]:
    """Every line of the page that begins with an ID."""
    page = (ROOT / "docs" / "catalogue.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    found = [each for each in cells if _ID.fullmatch(each[0])]
    return tuple(Row(id, state, tuple(_TEST.findall(tests)), remark) for id, _, state, tests, remark in found)


@cache
def mentions() -> dict[str, frozenset[str]]:
    """Tests and functions of campaigns, by `folder/file.py::name`, with the IDs that they or their module name."""
    return {
        f"{path.relative_to(ROOT / 'tests').as_posix()}::{node.name}": named(parsed(path)) | named(node)
        for path in python_files("tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.name.startswith("test_") or path.parent.name == "campaigns")
    }


def named(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) -> frozenset[str]:
    """The IDs of a docstring; `J01 to J03` are three."""
    return frozenset(_spread(ast.get_docstring(node) or ""))


def _spread(text: str) -> Iterator[str]:
    for first, last in _ID.findall(text):
        for number in range(int(first[1:]), int((last or first)[1:]) + 1):
            yield f"{first[0]}{number:02}"


def test_every_case_has_one_row() -> None:
    """
    No case of the catalogue is left out, told twice or made up.
    """
    assert [row.id for row in rows()] == IDS


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.id)
def test_a_row_names_what_shows_it(row: Row) -> None:
    """
    A row names tests that exist and speak of its case, or says why there is none; what is left open is said.
    """
    assert {test for test in row.tests if row.id not in mentions().get(test, frozenset())} == set()
    assert row.state in ({"shown", "partly"} if row.tests else {"open", "not applicable"})
    assert row.state == "shown" or row.remark


def test_what_a_test_shows_is_told() -> None:
    """
    A test that claims a case claims one of the catalogue, and a case that has such a test is not called open.
    """
    without = {row.id for row in rows() if not row.tests}

    claims = {(test, id) for test, ids in mentions().items() for id in ids}
    assert {(test, id) for test, id in claims if id not in IDS or id in without} == set()
