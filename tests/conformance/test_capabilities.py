"""The list of what a module may use, held against the OPA server's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.opa import capabilities
from policies import bundles, rego_source
from tests.world import opa
from tests.world.rego_reference import MODULE

HEAD = 'package lockgate\n\nimport rego.v1\n\ndecision := {"deny": [], "obligations": []}\n'


def accepts(module: str, folder: Path) -> bool:
    """Whether OPA takes the module under the file of capabilities."""
    path = folder / "module.rego"
    path.write_text(module)
    command = [opa.program(), "check", "--capabilities", str(capabilities.FILE), str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_file_is_made_of_the_list() -> None:
    """
    C14: deploy/opa/capabilities.json is the list of `rego_source`, as the pinned OPA declares each built-in.
    """
    found = capabilities.current(opa.program())

    assert capabilities.FILE.read_text() == capabilities.text(found)
    assert {each["name"] for each in found["builtins"]} >= rego_source.BUILT_INS


def test_nothing_on_the_list_depends_on_more_than_its_operands() -> None:
    """
    C14: OPA marks what reaches network, clock, randomness or its environment; none of that is on the list.
    """
    found = capabilities.current(opa.program())["builtins"]
    marked = {each["name"] for each in found if each.get("nondeterministic")}

    assert marked >= {"http.send", "net.lookup_ip_addr", "opa.runtime", "rand.intn", "time.now_ns"}
    assert marked & rego_source.BUILT_INS == set()


@pytest.mark.parametrize("module", [bundles.base()["rego"], MODULE], ids=["base bundle", "every built-in"])
def test_what_is_published_fits_the_file(module: str, tmp_path: Path) -> None:
    """
    What we take, OPA takes under the same capabilities.
    """
    assert rego_source.faults(module) == ()
    assert accepts(module, tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        'x := http.send({"method": "get", "url": "http://127.0.0.1"})',
        "x := opa.runtime()",
        "x := time.now_ns()",
        'x := rand.intn("x", 10)',
        'x := net.lookup_ip_addr("localhost")',
        'x := regex.match("(a+)+$", input.action)',
        "x := numbers.range(1, 1000000000)",
        "x := walk(input)",
        'x := $"{input.action}"',
        "x := max([5, 10])",
        "x := input.now % 7",
    ],
)
def test_what_is_refused_here_is_refused_by_opa_too(body: str, tmp_path: Path) -> None:
    """
    C14: two programs agree that a module may not use it.
    """
    assert rego_source.faults(HEAD + body + "\n") != ()
    assert not accepts(HEAD + body + "\n", tmp_path)
