"""Files and functions stay readable, and names say what things are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.tree import PACKAGES, ROOT, name, parsed, python_files, tracked

FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 60
VAGUE = {"utils", "util", "helpers", "common", "core", "base", "manager", "service", "handler", "types", "models"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    """Every function of a source, nested ones too."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, Function):
            yield node


def test_no_file_is_longer_than_700_lines() -> None:
    """
    A longer file holds two nouns: split it.
    """
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}

    assert {path: lines for path, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_every_function_fits_on_a_screen() -> None:
    """
    No function has more than 60 lines.
    """
    long = [
        f"{name(path)}:{function.lineno} {function.name}"
        for path in python_files()
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert long == []


def test_modules_are_named_by_nouns_that_say_something() -> None:
    """
    No module or package of ours has a name that fits everything.
    """
    vague = [
        name(path)
        for path in python_files(*PACKAGES, "deploy", "tests")
        if VAGUE & {path.stem, *path.relative_to(ROOT).parts[:-1]}
    ]

    assert vague == []


def test_every_module_opens_with_its_promise() -> None:
    """
    Every module, tests included, has a docstring.
    """
    silent = [
        name(path)
        for path in python_files()
        if not ast.get_docstring(parsed(path)) and not (path.name == "__init__.py" and not path.read_text().strip())
    ]

    assert silent == []


def test_every_public_class_and_function_of_the_packages_has_a_docstring() -> None:
    """
    What another module may use says what it promises.
    """
    silent = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path in python_files(*PACKAGES)
        for node in parsed(path).body
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]

    assert silent == []


def test_every_test_says_the_sentence_that_it_proves() -> None:
    """
    Every test function has a docstring.
    """
    silent = [
        f"{name(path)}:{function.lineno} {function.name}"
        for path in python_files("tests")
        for function in functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]

    assert silent == []


def test_the_root_holds_only_named_folders() -> None:
    """
    Six packages, and beside them deploy, docs, tests and requirements.
    """
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}

    assert folders <= {*PACKAGES, "deploy", "docs", "tests", "requirements", ".ci"}


def test_sql_is_spoken_in_storage_alone() -> None:
    """
    Outside gateway/storage a cursor is handed on, and executes nothing.
    """
    spoken = [
        f"{name(path)}:{node.lineno}"
        for path in python_files("gateway")
        if "gateway/storage/" not in name(path)
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"cursor.execute", "connection.execute"}
    ]

    assert spoken == []
