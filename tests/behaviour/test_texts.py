"""Templates against banned patterns, as somebody with a file at a terminal meets them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from invariants.__main__ import main
from invariants.reports import Verdict
from invariants.texts import documents, proving
from invariants.texts.findings import TextFinding

MODE = {"dialect": "python", "ignores_case": True, "dot_is_all": True}
LISTING = "{name} - {count} pieces, ships in {days} days"
NAME = {"letters": 40}
NUMBERS = {"count": {"integer": [1, 99]}, "days": {"integer": [1, 30]}}
KELVIN, LONG_S = "\u212a", "\u017f"


def document(pattern: str, text: str, slots: dict[str, Any], **mode: Any) -> bytes:
    """A file of one template and one banned pattern."""
    return json.dumps(
        {
            "lockgate_texts": 1,
            "mode": {**MODE, **mode},
            "banned": [{"id": "claim", "pattern": pattern}],
            "templates": [{"id": "listing", "text": text, "slots": slots}],
        }
    ).encode()


def settled(pattern: str, text: str = LISTING, slots: dict[str, Any] | None = None, **mode: Any) -> TextFinding:
    """What is found about the one obligation of such a file."""
    (finding,) = proving.prove(
        documents.read(document(pattern, text, {"name": NAME, **NUMBERS} if slots is None else slots, **mode))
    )
    return finding


@pytest.mark.parametrize(
    "pattern", [r"risk[\s\-]free", r"100\s?% safe", r"clinically\s+proven", r"\b[0-9]{3,} pieces", r"days [0-9]"]
)
def test_what_no_text_of_a_template_contains_is_proved_by_both_solvers(pattern: str) -> None:
    """
    Letters and numbers in a listing make no claim with a space, a sign or another number.
    """
    finding = settled(pattern)

    assert (finding.verdict, dict(finding.answers)) == (Verdict.PROVED, {"z3": "unsat", "cvc5": "unsat"})


def test_a_name_of_letters_alone_still_makes_a_claim() -> None:
    """
    What has no hyphen is found: the text is the shortest, with its slots and the place of the claim.
    """
    finding = settled(r"risk-?free")

    assert finding.verdict is Verdict.REFUTED
    assert finding.example is not None
    assert finding.example.text == "riskfree - 1 pieces, ships in 1 days"
    assert finding.example.values == {"name": "riskfree", "count": "1", "days": "1"}
    assert (finding.example.start, finding.example.end) == (0, 8)
    assert re.search(r"risk-?free", finding.example.text, re.IGNORECASE) is not None


def test_letters_that_only_fold_to_others_are_found() -> None:
    """
    Where k and s are kept out of a name, the Kelvin sign and the long s still make the claim; by ASCII they do not.
    """
    name = {"pattern": "[A-JL-RT-Za-jl-rt-z\\u212a\\u017f]{1,40}"}

    by_unicode = settled("risk-?free", "{name}", {"name": name})
    by_ascii = settled("risk-?free", "{name}", {"name": name}, dialect="python_ascii")

    assert by_unicode.verdict is Verdict.REFUTED
    assert by_unicode.example is not None
    assert by_unicode.example.text == f"ri{LONG_S}{KELVIN}free"
    assert by_ascii.verdict is Verdict.PROVED


def test_the_capital_claim_with_one_small_letter_is_one() -> None:
    """
    `RISkFREE`: capitals but for a k, which a search that heeds case misses and one that does not finds.
    """
    slots = {"name": {"choice": ["RISkFREE"]}}

    assert settled("RISKFREE", "{name}", slots, ignores_case=False).verdict is Verdict.PROVED
    assert settled("RISKFREE", "{name}", slots).verdict is Verdict.REFUTED


def test_a_claim_across_slots_and_text_is_found() -> None:
    """
    Each piece is harmless: together they are a claim.
    """
    slots = {"left": {"integer": [1, 100]}, "right": {"choice": ["safe harbour", "sure"]}}

    finding = settled("100% safe", "{left}% {right}", slots)

    assert finding.example is not None
    assert finding.example.values == {"left": "100", "right": "safe harbour"}


def test_checked_text_and_a_template_make_no_claim_that_was_not_there() -> None:
    """
    Free text is checked when it is filled in; what a proof adds is that the template makes nothing new of it.
    """
    slots = {"body": {"free_of": [r"\bmiracle\b"]}}

    safe = settled(r"\bmiracle\b", "{body} Ships today.", slots)
    joined = settled(r"\bmiracle\b", "{body}acle", slots)

    assert safe.verdict is Verdict.PROVED
    assert joined.example is not None
    assert joined.example.text == "miracle"


@pytest.mark.parametrize(
    ("pattern", "text", "slots", "reason"),
    [
        ("a", "{name}", {"name": {"pattern": "a$b"}}, "no_text"),
        ("a$b", "{name}", {"name": NAME}, "matches_nothing"),
    ],
)
def test_what_holds_of_nothing_is_not_proved(pattern: str, text: str, slots: dict[str, Any], reason: str) -> None:
    """
    A template without a text, and a pattern that is found in none, say so.
    """
    finding = settled(pattern, text, slots)

    assert (finding.verdict, finding.reason) == (Verdict.VACUOUS, reason)


def test_the_command_shows_text_and_place_and_exits_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    `python -m invariants text FILE`: 0 proved, 1 refuted with a counter-example, 3 unreadable.
    """
    file = tmp_path / "texts.json"
    codes = []
    for raw in (document("risk free", "{name}", {"name": NAME}), document("risk", "{name}", {"name": NAME}), b"{}"):
        file.write_bytes(raw)
        codes.append(main(["text", str(file)]))

    shown = capsys.readouterr()
    assert codes == [0, 1, 3]
    assert '"risk" contains "risk"' in shown.out
    assert "member" in shown.err


def test_a_solver_that_gives_up_is_no_yes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    With next to no resources, or no time, the verdict is unknown and the exit code 2.
    """
    file = tmp_path / "texts.json"
    file.write_bytes(document(r"clinically\s+proven", LISTING, {"name": NAME, **NUMBERS}))

    codes = [main(["text", str(file), "--json", *limit]) for limit in (["--resources", "1"], ["--seconds", "0.01"])]

    reasons = re.findall(r'"reason": "(\w+)"', capsys.readouterr().out)
    assert codes == [2, 2]
    assert reasons == ["solver_limit", "out_of_time"]
