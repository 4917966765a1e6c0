"""What a user can meet is documented: reasons, settings, commands, links."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.architecture.tree import ROOT, name, parsed, python_files, tracked

FAULTS_ROOT = "Fault"


def fault_classes() -> set[str]:
    """`Fault` and everything derived from it: their first argument, or `reason`, is a stable name."""
    classes = {FAULTS_ROOT, "Refusal", "ActRefused"}
    for node in ast.walk(parsed(ROOT / "gateway" / "errors.py")):
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id in classes for b in node.bases):
            classes.add(node.name)
    return classes


def reasons_of(path: Path, classes: set[str]) -> Iterator[str]:
    """Every reason that a source can answer with."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [*node.args[:1], *(each.value for each in node.keywords if each.arg == "reason")]
            if called in {*classes, "__init__"}:  # A fault may pass its reason to the class above.
                yield from (value for each in given for value in constants(each))
        elif isinstance(node, ast.FunctionDef) and re.search(r"(^|_)reason(_|$)", node.name):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield from constants(inner.value)


def constants(node: ast.expr) -> Iterator[str]:
    """Text constants that an expression may come out as."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)


def reasons() -> set[str]:
    """Every reason of the gateway."""
    classes = fault_classes()
    found = {reason for path in python_files("gateway") for reason in reasons_of(path, classes)}
    return {reason for reason in found if re.fullmatch(r"[a-z][a-z0-9_]{2,}", reason)}


def documented() -> set[str]:
    """Every reason that docs/errors.md has a row for."""
    return set(re.findall(r"^\| `([a-z0-9_]+)` \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))


def test_every_reason_is_documented() -> None:
    """
    A client that meets a reason finds its cause and its next step in docs/errors.md.
    """
    assert reasons() - documented() == set()


def test_no_documented_reason_has_gone() -> None:
    """
    docs/errors.md names no reason that no source can answer with.
    """
    sources = "\n".join(path.read_text(encoding="utf-8") for path in python_files("gateway", "policies", "invariants"))
    composed = {"bundle_refused"}  # f"{kind}_refused" of gateway/uploads.py; the other one has its own source.

    assert {reason for reason in documented() if f'"{reason}"' not in sources and reason not in composed} == set()


def fields_of_settings() -> set[str]:
    """Every field of Settings."""
    (settings,) = (
        node
        for node in parsed(ROOT / "gateway" / "settings.py").body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    return {
        node.target.id
        for node in settings.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def test_every_setting_is_documented() -> None:
    """
    docs/settings.md has a row for every field of Settings, and for nothing else.
    """
    fields = {"LOCKGATE_" + field.upper() for field in fields_of_settings()}

    rows = set(re.findall(r"^\| `(LOCKGATE_[A-Z_]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))
    assert rows == fields


def test_every_setting_does_something() -> None:
    """
    Each field of Settings is read somewhere in the gateway: one that nobody reads promises what nobody does.
    """
    read = set(literals(r"\.([a-z][a-z0-9_]*)", but="settings.py"))

    assert {field for field in fields_of_settings() if field not in read} == set()


def test_every_relative_link_leads_somewhere() -> None:
    """
    No page of the documentation points at a file that is not there.
    """
    broken = []
    for path in tracked():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if not (path.parent / target).exists():
                broken.append(f"{name(path)}: {target}")
    assert broken == []


def test_every_command_is_documented() -> None:
    """
    docs/command-line.md names every command of `lockgate`.
    """
    page = (ROOT / "docs" / "command-line.md").read_text()

    commands = set()
    for path in python_files("admin"):
        for node in parsed(path).body:
            if isinstance(node, ast.FunctionDef) and any("command" in ast.unparse(d) for d in node.decorator_list):
                commands.add(node.name.rstrip("_"))
    assert {command for command in commands if not re.search(rf"`[^`]*\b{command}\b", page)} == set()


def test_every_tool_is_in_the_catalogue_page() -> None:
    """
    docs/tools.md has a row for every declared tool.
    """
    page = (ROOT / "docs" / "tools.md").read_text()

    declared = {path.stem for path in (ROOT / "tool_registry" / "catalogue").glob("*.yaml")}
    assert {tool for tool in declared if f"`{tool}`" not in page} == set()


def literals(pattern: str, *, but: str = "") -> set[str]:
    """Text in the gateway's sources, all files `but` one, that matches, by its first group."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in python_files("gateway") if path.name != but)
    return set(re.findall(pattern, sources))


def test_every_metric_is_documented() -> None:
    """
    docs/operations.md says what each figure of /metrics means.
    """
    page = (ROOT / "docs" / "operations.md").read_text()

    assert {metric for metric in literals(r'"(lockgate_[a-z_]+)",') if f"`{metric}`" not in page} == set()


def test_every_log_event_is_documented() -> None:
    """
    docs/operations.md says what each event of the log means.
    """
    page = (ROOT / "docs" / "operations.md").read_text()

    events = literals(r'log\(\)\.(?:debug|info|warning|error|exception)\(\s*"([a-z_]+)"')
    assert {event for event in events if f"`{event}`" not in page} == set()


def test_every_route_is_documented() -> None:
    """
    docs/http.md has a row for every route.
    """
    page = (ROOT / "docs" / "http.md").read_text()

    routes = literals(r'"(/v1/[a-z_/{}]+|/healthz|/readyz|/metrics)"')
    assert {route for route in routes if route not in page} == set()


def autonomy_rules() -> dict[str, dict[str, Any]]:
    """The rules of the base bundle that lower an agent, by id."""
    document = json.loads((ROOT / "policies" / "base" / "autonomy.json").read_text(encoding="utf-8"))
    return {rule["id"]: rule for rule in document["rules"]}


def test_the_policies_page_gives_the_numbers_of_the_autonomy_rules() -> None:
    """
    docs/policies.md says of each rule of the base bundle how often is too often.
    """
    page = " ".join((ROOT / "docs" / "policies.md").read_text(encoding="utf-8").split())
    said = {
        "denied-again-and-again": "after {} refusals by rules within ten minutes",
        "outcomes-unknown": "{} unknown outcomes",
        "refused-by-the-tool": "{} refusals by the tool",
        "rejected-by-people": "{} rejections by people within a day",
        "effects-contradicted": "after {} contradicted effects within an hour",
        "denied-everywhere": "after {} refusals whatever was asked for",
    }

    counting = {name: rule["times"] for name, rule in autonomy_rules().items() if "times" in rule}
    assert counting.keys() == said.keys()
    assert [said[name] for name, times in counting.items() if f" {said[name].format(times)}" not in page] == []


def test_the_autonomy_page_shows_a_rule_as_it_is() -> None:
    """
    The rule that docs/autonomy.md prints is the base bundle's, member for member.
    """
    page = (ROOT / "docs" / "autonomy.md").read_text(encoding="utf-8")
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]

    (rule,) = (each for each in shown if "id" in each)
    assert rule == autonomy_rules()[rule["id"]]
