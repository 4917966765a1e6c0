"""Bundles proved, compared and measured on the command line: codes, readable calls, kept cases, and bad input.

docs/tutorial/invariant.md, which a test types as well, shows the commands as people see them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from admin import case_files, proving, questions, writing
from admin.__main__ import app
from admin.candidates import Candidate
from admin.errors import CommandError, Found
from admin.steps import Report, Status, Step
from invariants.jobs import ProofLimits
from invariants.reports import Finding, ProofReport, Verdict
from tests.architecture.tree import ROOT

TUTORIAL = ROOT / "docs" / "tutorial"
TOOLS = ("--tools", str(TUTORIAL / "tools"))
SOLVERS = ("z3", "cvc5", "regopy")
GOODWILL = '} unless { context.reason_code == "customer_goodwill" };'
HARD = """
@id("half-at-most")
@sentence("No square is three times another.")
forbid (principal, action == Action::"refund_half", resource)
unless {
  context.arguments.amount_cents * context.arguments.amount_cents
    != 3 * context.facts.order.paid_cents * context.facts.order.paid_cents
};
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tutorial's good bundle, to change."""
    return Path(shutil.copytree(TUTORIAL / "difference", tmp_path / "rules"))


def generous(folder: Path) -> Path:
    """The same folder with a mistake that its cases do not see."""
    policies = folder / "policies.cedar"
    policies.write_text(policies.read_text().replace("};", GOODWILL))
    return folder


def typed(*arguments: str, code: Found) -> Any:
    """One `bundle` command in a process of its own: the document that it prints with `--json`."""
    command = [sys.executable, "-P", "-m", "admin", "bundle", *arguments, *TOOLS, "--json"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def said(*arguments: str) -> tuple[int, str, str]:
    """One `bundle` command in this process: its code and what it prints, for what needs no solver."""
    done = CliRunner().invoke(app, ["bundle", *arguments], prog_name="lockgate", env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout, done.stderr


def test_a_kept_counter_example_is_kept_once_and_fails_the_broken_bundle(folder: Path) -> None:
    """
    `--keep` writes the call that must be denied behind the cases that are there, as they are written, and once.
    """
    path = generous(folder) / "cases.json"
    before = path.read_text()

    first = typed("prove", str(folder), "--keep", code=Found.NO)
    once = path.read_text()
    again = typed("prove", str(folder), "--keep", code=Found.NO)

    assert (first["verdict"], first["kept"]) == ("refuted", ["counter-example of half-at-most: refund_half by Person"])
    assert (again["kept"], path.read_text()) == ([], once)
    assert once.startswith(before.removesuffix("\n]\n"))
    (kept,) = json.loads(once)[len(json.loads(before)) :]
    assert kept["expect"] == {"decision": "deny"}
    assert kept["question"]["context"]["reason_code"] == "customer_goodwill"
    checked = typed("check", str(folder), "--no-proof", code=Found.NO)
    assert [step["status"] for step in checked["steps"]] == ["ok", "ok", "bad"]
    assert kept["name"] in checked["steps"][2]["details"][0]


def test_an_invariant_that_errs_is_told_so_and_makes_no_case(folder: Path) -> None:
    """
    The rule is right and the invariant overflows: the call shown may be a good one, so nobody is told to deny it.
    """
    (folder / "invariants.cedar").write_text(
        '@id("half-at-most") @sentence("At most half.") forbid (principal, action, resource)'
        " unless { context.arguments.amount_cents * 10000 <= context.facts.order.paid_cents * 5000 };"
    )
    before = (folder / "cases.json").read_bytes()

    found = typed("prove", str(folder), "--keep", code=Found.NO)

    (refuted,) = (each for each in found["obligations"] if each["verdict"] == "refuted")
    assert (refuted["invariant"], refuted["reason"]) == ("half-at-most", "invariant_errs")
    assert found["kept"] == []
    assert (folder / "cases.json").read_bytes() == before


def test_a_difference_is_shown_in_both_directions_whatever_the_texts(folder: Path, tmp_path: Path) -> None:
    """
    A bundle that allows some calls more and others less shows one of each; the same rules in other words are the same.
    """
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    text = (generous(folder) / "policies.cedar").read_text()
    (folder / "policies.cedar").write_text(text.replace('in Role::"finance"', 'in Role::"founder"'))
    policies = other / "policies.cedar"
    policies.write_text(
        policies.read_text().replace(
            "context.arguments.amount_cents > context.facts.order.paid_cents - context.arguments.amount_cents",
            "!(context.arguments.amount_cents + context.arguments.amount_cents <= context.facts.order.paid_cents)",
        )
    )

    same = typed("diff", str(TUTORIAL / "difference"), str(other), code=Found.YES)
    changed = typed("diff", str(other), str(folder), code=Found.NO)

    assert (same["verdict"], same["old"] != same["new"]) == ("equivalent", True)
    (told,) = [each for each in changed["results"] if each["verdict"] != "equivalent"]
    assert (told["verdict"], told["principal"]) == ("incomparable", "Person")
    roles = {each["shows"]: each["question"]["principal"]["roles"] for each in told["witnesses"]}
    assert roles == {"newly_permitted": ["founder"], "newly_refused": ["finance"]}


def test_survivors_are_told_with_a_question_and_written_as_cases_once(folder: Path) -> None:
    """
    Each mistake that nobody notices shows what it changes; with the cases for it, every mistake is noticed.
    """
    first = typed("mutants", str(folder), "--write-cases", code=Found.NO)

    second = typed("mutants", str(folder), "--write-cases", code=Found.YES)

    assert (first["verdict"], second["verdict"]) == ("survived", "caught")
    assert {each["question"]["action"] for each in first["survivors"]} == {"refund_half"}
    assert (len(first["written"]), second["written"], second["survivors"]) == (1, [], [])
    assert second["caught_bp"] == 10_000


def test_a_bundle_that_is_not_proved_has_no_score(folder: Path) -> None:
    """
    Mistakes in a broken bundle mean nothing, so none are made.
    """
    found = typed("mutants", str(generous(folder)), code=Found.NO)

    assert "is not proved" in found["error"]
    assert "bundle prove" in found["next_step"]


def test_nothing_permitted_is_no_proof(folder: Path) -> None:
    """
    A bundle without a rule keeps every invariant, and is told to say nothing.
    """
    (folder / "policies.cedar").write_text("")

    found = typed("prove", str(folder), code=Found.NO)

    premises = [each for each in found["obligations"] if each["kind"] == "premise"]
    assert {(each["verdict"], each["reason"]) for each in premises} == {("vacuous", "bundle_permits_nothing")}
    assert found["verdict"] == "refuted"


def test_an_invariant_that_no_solver_settles_is_unknown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What takes more than a solver is given ends with the code of its own, and is never proved.
    """
    (folder / "invariants.cedar").write_text(HARD)
    monkeypatch.setattr("invariants.supervisor.ProofLimits", lambda: ProofLimits(resources=100_000))

    code, stdout, _ = said("prove", str(folder), "--tools", str(TUTORIAL / "bounded"))

    assert code == Found.UNKNOWN
    assert stdout.startswith("UNKNOWN: ")
    assert "solver_limit" in stdout


def test_a_process_that_does_not_answer_in_time_is_no_yes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nothing found out is code 2, with the reason: no bundle is equivalent, and no mistake caught, for want of an answer.
    """
    patient = Candidate.job.fget
    hurried = property(lambda candidate: replace(patient(candidate), limits=ProofLimits(seconds=0.01)))
    monkeypatch.setattr(Candidate, "job", hurried)

    compared = said("diff", str(TUTORIAL / "product"), str(folder), *TOOLS, "--json")
    measured = said("mutants", str(folder), *TOOLS, "--json")

    assert (compared[0], measured[0]) == (Found.UNKNOWN, Found.UNKNOWN)
    found = json.loads(compared[1])
    assert (found["verdict"], found["missing"], found["results"]) == ("unknown", "out_of_time", [])
    assert "out_of_time" in json.loads(measured[1])["error"]


def test_no_solver_is_loaded_by_the_command_itself(folder: Path) -> None:
    """
    Solvers run in processes of their own: whatever becomes of them, the command ends with its code.
    """
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom admin.__main__ import app\n"
        "run = lambda command: CliRunner().invoke(app, ['bundle', command, *sys.argv[1:]]).exit_code\n"
        "codes = [run('check'), run('mutants')]\n"
        f"print(codes, [name for name in {SOLVERS} if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), *TOOLS], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == "[0, 1] []\n"


Breaking = Callable[[Path], Any]
BROKEN: dict[str, tuple[Breaking, str]] = {
    "no cases": (lambda folder: (folder / "cases.json").unlink(), "`{folder}/cases.json` cannot be read"),
    "a folder for a file": (
        lambda folder: ((folder / "cases.json").unlink(), (folder / "cases.json").mkdir()),
        "`{folder}/cases.json` is no file",
    ),
    "not UTF-8": (
        lambda folder: (folder / "policies.cedar").write_bytes(b"// \xff"),
        "`{folder}/policies.cedar` is not UTF-8 (byte 3)",
    ),
    "not JSON": (
        lambda folder: (folder / "cases.json").write_text("[{"),
        "`{folder}/cases.json` cannot be read: syntax",
    ),
    "nested": (
        lambda folder: (folder / "data.json").write_text("[" * 100_000),
        "`{folder}/data.json` cannot be read: depth",
    ),
    "a member twice": (
        lambda folder: (folder / "data.json").write_text('{"a": 1, "a": 2}'),
        "`{folder}/data.json` cannot be read: duplicate_key",
    ),
    "no list of cases": (lambda folder: (folder / "cases.json").write_text("{}"), "expected a list of at most 2000"),
    "no Cedar": (lambda folder: (folder / "policies.cedar").write_text("permit ("), "not Cedar"),
    "Cedar nested": (
        lambda folder: (folder / "policies.cedar").write_text(
            '@id("a") permit (principal, action, resource) when {' + "(" * 100_000
        ),
        "nested too deeply",
    ),
    "no invariant": (lambda folder: (folder / "invariants.cedar").write_text("// later\n"), "has no invariant"),
    "an invariant that permits": (
        lambda folder: (folder / "invariants.cedar").write_text(
            '@id("a") @sentence("b") permit (principal, action, resource);'
        ),
        "invariant `a`: a forbid expected",
    ),
    "too large": (
        lambda folder: (folder / "policies.cedar").write_text(" " * (4 * 1024 * 1024 + 1)),
        "`{folder}/policies.cedar` is larger than 4194304 bytes",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_bad_input_says_what_and_what_to_do(folder: Path, name: str) -> None:
    """
    Whatever is wrong with the folder: code 3, one sentence that names it, and a next step.
    """
    breaking, sentence = BROKEN[name]
    breaking(folder)

    code, stdout, stderr = said("prove", str(folder), *TOOLS)

    assert (code, stdout) == (Found.BAD_INPUT, "")
    assert sentence.format(folder=folder) in stderr
    assert stderr.startswith("error: ")
    assert "\nnext: " in stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("prove", "no-such-folder"), "`no-such-folder` cannot be read"),
        (("check", "/dev/null"), "`/dev/null` is no file"),
        (("check", "README.md"), "`README.md` is no bundle"),
        (("prove", "docs/tutorial/product"), 'unrecognized action `Action::"refund_half"`'),
        (("mutants", "docs/tutorial/product"), "does not fit the tools"),
        (("diff", "docs/tutorial/product", "policies/base"), "`docs/tutorial/product` does not fit the tools"),
        (("diff", "active", "policies/base", "--dev-file", "no-such-file"), "no gateway is known"),
        (("prove", "policies/base", "--tools", "README.md"), "`README.md` is no folder of tools"),
        (("mutants", "policies/base", "--tools", "docs"), "`docs` holds no tools"),
    ],
)
def test_what_cannot_be_asked_is_code_3(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    """
    A path that is none, a bundle for other tools, tools that are none: said before any solver starts.
    """
    monkeypatch.chdir(ROOT)

    code, stdout, stderr = said(*arguments)

    assert (code, stdout) == (Found.BAD_INPUT, "")
    assert sentence in stderr
    assert "\nnext: " in stderr


def test_a_bundle_for_other_tools_is_checked_to_its_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `check` lists everything that does not fit, and asks no further.
    """
    monkeypatch.chdir(ROOT)

    code, stdout, _ = said("check", "docs/tutorial/product", "--json")

    steps = json.loads(stdout)["steps"]
    assert code == Found.BAD_INPUT
    assert [(step["name"], step["status"]) for step in steps] == [("form", "ok"), ("validation", "unfit")]
    assert len(steps[1]["details"]) > 1


@pytest.mark.parametrize("arguments", [("prove",), ("diff", "policies/base"), ("mutants", "x", "--no-such-option")])
def test_a_command_line_that_is_none_is_code_3(arguments: tuple[str, ...]) -> None:
    """
    Where 2 is a solver's unknown, a missing argument or an option that there is not must not look like one.
    """
    assert said(*arguments)[0] == Found.BAD_INPUT


def test_signed_content_does_not_grow(folder: Path, tmp_path: Path) -> None:
    """
    Cases are kept in a folder; a bundle file is whole, and its signature covers it.
    """
    bundle = tmp_path / "bundle.json"
    bundle.write_bytes(_unsigned(folder))

    for command in (("prove", "--keep"), ("mutants", "--write-cases")):
        code, _, stderr = said(command[0], str(bundle), command[1], *TOOLS)
        assert code == Found.BAD_INPUT
        assert "signed content cannot grow" in stderr


def test_what_no_case_can_ask_is_not_kept(folder: Path) -> None:
    """
    A rule for a person whose id no token has is refuted by that person; the folder stays readable.
    """
    before = (folder / "cases.json").read_text()
    with (folder / "policies.cedar").open("a") as policies:
        policies.write(
            '@id("the-boss")\n@hint("Only the boss.")\n'
            'permit (principal == Person::"The Boss", action == Action::"refund_half", resource);'
        )
    (folder / "invariants.cedar").write_text(
        '@id("no-boss")\n@sentence("The boss refunds nothing.")\n'
        'forbid (principal == Person::"The Boss", action == Action::"refund_half", resource);'
    )

    code, stdout, _ = said("prove", str(folder), "--keep", *TOOLS)

    assert code == Found.NO
    assert "kept  0 in" in stdout
    assert "1 not of the form of a case" in stdout
    assert (folder / "cases.json").read_text() == before


def test_cases_are_added_under_free_names(tmp_path: Path) -> None:
    """
    Another question under a name that is taken gets a name of its own; into an empty list, too.
    """
    (tmp_path / "cases.json").write_text("[]")
    one = {"name": "a", "question": {"action": "x"}, "expect": {"decision": "deny"}}
    two = {"name": "a", "question": {"action": "y"}, "expect": {"decision": "deny"}}

    assert case_files.add(tmp_path, [one, two, one]) == ("a", "a (2)")
    assert case_files.add(tmp_path, [two, one]) == ()
    assert [each["name"] for each in json.loads((tmp_path / "cases.json").read_text())] == ["a", "a (2)"]
    (tmp_path / "cases.json").write_text("{}")
    with pytest.raises(CommandError, match="is no list of cases"):
        case_files.add(tmp_path, [one])


def test_a_no_weighs_more_than_an_unknown_and_less_than_what_cannot_be_asked() -> None:
    """
    The code of several steps is that of the worst; remarks are in nobody's way.
    """

    def code(*found: Status) -> Found:
        return Report("", tuple(Step(name=each.value, status=each, details=()) for each in found)).code

    assert code(Status.OK, Status.REMARK) is Found.YES
    assert code(Status.OK, Status.UNKNOWN, Status.REMARK) is Found.UNKNOWN
    assert code(Status.UNKNOWN, Status.BAD) is Found.NO
    assert code(Status.BAD, Status.UNFIT, Status.OK) is Found.BAD_INPUT


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((Verdict.PROVED, Verdict.PROVED), Found.YES),
        ((Verdict.PROVED, Verdict.UNKNOWN), Found.UNKNOWN),
        ((Verdict.UNKNOWN, Verdict.VACUOUS), Found.NO),
        ((Verdict.ENCODING_BUG, Verdict.UNKNOWN), Found.NO),
    ],
)
def test_a_report_is_proved_only_where_everything_is(verdicts: tuple[Verdict, ...], code: Found) -> None:
    """
    An unknown alone is 2; beside anything that is wrong it is 1; neither is ever 0.
    """
    findings = tuple(Finding(invariant="i", action="a", verdict=each) for each in verdicts)
    reachable = Finding(kind="premise", action="a", verdict=Verdict.PROVED, reason="reachable")

    report = ProofReport(findings=(reachable, *findings), solvers=(), engine="", encoder="", assumptions=())

    assert proving.verdict(report) is code


def test_a_question_reads_as_a_call() -> None:
    """
    The call as it is typed, who asks, what was known, who has signed; nobody has to read JSON.
    """
    question = {
        "principal": {"type": "Agent", "id": "triage-7", "roles": []},
        "action": "issue_refund",
        "resource": {"type": "Order", "id": "ord_1"},
        "context": {
            "arguments": {"order_id": "ord_1", "amount_cents": 9900, "note": "two words", "is_final": True},
            "facts": {"order": {"paid_cents": 10_000, "state": "x\u202ey"}},
            "approvals": {"persons": 1, "finance": 1, "founder": 1, "safety": 0},
            "risk": 2,
            "autonomy": 3,
            "registered": False,
            "reason_code": "damaged_item",
            "environment": "prod",
            "tenant": "acme",
            "now": 10**15,
        },
    }

    assert dict(questions.rows(question)) == {
        "call": 'issue_refund order_id=ord_1 amount_cents=9900 note="two words" is_final=true',
        "asked by": "an agent at L3, not registered, agent/triage-7",
        "facts": 'order.paid_cents 10000, order.state "x\u202ey"',
        "approvals": "one of finance and one of founder (one in all)",
        "risk": "R2",
        "day": f"prod of acme, reason damaged_item, {10**15} s after 1970",
    }


def _unsigned(folder: Path) -> bytes:
    now = datetime.now(UTC)
    return writing.compose(folder, tenant="acme", environment="dev", revision=1, days=1, now=now).raw
