"""Patterns and templates made to be misunderstood: each is refused by name and place, or has one meaning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from invariants.reports import Verdict
from invariants.texts import contexts, documents, proving
from invariants.texts.dialects import Dialect, Mode
from invariants.texts.errors import PatternRefused, TextsUnreadable
from tests.behaviour.test_texts import document, settled

PYTHON = Mode(dialect=Dialect.PYTHON)


@pytest.mark.parametrize(
    ("pattern", "reason", "position"),
    [
        (r"(a)\1", "back_reference", 3),
        ("(?P=a)", "back_reference", 0),
        ("a(?=b)", "look_around", 1),
        ("a(?!b)", "look_around", 1),
        ("(?<=a)b", "look_around", 0),
        ("(?<!a)b", "look_around", 0),
        ("(?>a)", "atomic_group", 0),
        ("(?(1)a|b)", "conditional_group", 0),
        ("(?R)", "recursion", 0),
        ("(?P<n>a)", "named_group", 0),
        ("(?#c)", "comment", 0),
        ("a(?i)b", "inline_flags", 1),
        ("(?x)a b", "inline_flags", 0),
        ("a++", "possessive", 2),
        ("a{1}+", "possessive", 4),
        ("a**", "repeat_of_repeat", 2),
        ("a{1000}{1000}", "repeat_of_repeat", 7),
        ("(?:a{1000}){1000}", "too_large", 17),
        ("(?:(?:a{100}){100}){100}", "too_large", 24),
        ("a{1001}", "repeat_too_large", 1),
        ("a{2,1}", "bad_repeat", 1),
        ("a{,2}", "unescaped_bracket", 1),
        ("a]", "unescaped_bracket", 1),
        ("*a", "nothing_to_repeat", 0),
        ("[]", "empty_class", 0),
        ("[^]", "empty_class", 0),
        ("[a", "unclosed_class", 0),
        ("[b-a]", "bad_range", 1),
        (r"[\d-z]", "bad_range", 1),
        ("[a-b-c]", "unescaped_hyphen", 4),
        ("[a&&b]", "set_operation", 2),
        ("[[:alpha:]]", "set_operation", 1),
        (r"\q", "unknown_escape", 0),
        ("\\", "unknown_escape", 0),
        (r"[\b]", "unknown_escape", 1),
        (r"\B", "no_edge", 0),
        (r"(?:\ba)*", "assertion_repeated", 0),
        ("(a", "unclosed_group", 0),
        ("a)", "unopened_group", 1),
        ("a\ud800", "surrogate", 1),
        (r"\ud800", "surrogate", 0),
        ("(" * 41 + ")" * 41, "too_deep", 40),
        ("a" * 4097, "too_long", 4096),
    ],
)
def test_what_is_beyond_the_syntax_is_refused_by_name_and_place(pattern: str, reason: str, position: int) -> None:
    """
    Nothing outside regular languages, and nothing that engines read differently, is given a meaning.
    """
    with pytest.raises(PatternRefused) as refused:
        contexts.found(pattern, PYTHON)

    assert (refused.value.reason_code, refused.value.position) == (reason, position)


@pytest.mark.parametrize("pattern", ["", "a*", "a|", "^", r"(?:risk)?", "(?i)"])
def test_a_pattern_that_bans_every_text_is_refused(pattern: str) -> None:
    """
    What the empty text matches is found in every text.
    """
    with pytest.raises(TextsUnreadable, match="matches_empty"):
        documents.read(document(pattern, "{name}", {"name": {"letters": 4}}))


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("{name", {"name": {"letters": 4}}),
        ("{name} {name}", {"name": {"letters": 4}}),
        ("{name}", {}),
        ("name", {"name": {"letters": 4}}),
        ("{name}", {"name": {"letters": 0}}),
        ("{name}", {"name": {"letters": True}}),
        ("{name}", {"name": {"integer": [2, 1]}}),
        ("{name}", {"name": {"integer": [-1, 1]}}),
        ("{name}", {"name": {"choice": []}}),
        ("{name}", {"name": {"pattern": "(?=a)"}}),
        ("{name}", {"name": {"letters": 4, "choice": ["a"]}}),
        ("{Name}", {"Name": {"letters": 4}}),
    ],
)
def test_a_template_that_is_not_one_is_refused(text: str, slots: dict[str, Any]) -> None:
    """
    Braces, names and kinds of slots are read strictly.
    """
    with pytest.raises(TextsUnreadable):
        documents.read(document("risk", text, slots))


@pytest.mark.parametrize(
    "character", ["\x00", '"', '""', "\\", "\\u{41}", "\u2028", "\U0002ffff", "\U00030000", "\U0010ffff", "\ue000"]
)
def test_no_character_collapses_into_another(character: str) -> None:
    """
    NUL, quotes, escapes and characters that solvers lack are found where they stand, and nowhere else.
    """
    escaped = "".join(f"\\U{ord(each):08x}" for each in character)
    slots = {"given": {"pattern": f"{escaped}|A|\\U00030001|\\ue001"}}

    itself = settled(escaped, "<{given}>", slots)
    others = settled(f"<(?:{escaped}){{2}}>|\\U00020000", "<{given}>", slots)

    assert itself.example is not None
    assert itself.example.text == f"<{character}>"
    assert others.verdict is Verdict.PROVED


def test_a_huge_alternation_ends_in_a_verdict() -> None:
    """
    Two hundred words of banned text are one pattern.
    """
    words = "|".join(f"word{number} of {number * 7919}" for number in range(200))

    finding = settled(words, "{name} of {number}", {"name": {"letters": 9}, "number": {"integer": [1, 99]}})

    assert finding.verdict is Verdict.PROVED


def test_a_walk_without_end_is_unknown() -> None:
    """
    A pattern whose states double with each character gives up, and is not proved.
    """
    slots = {"name": {"pattern": "[ab]{1,60}"}}

    finding = settled("a[ab]{14}c|b[ab]{13}ac", "{name}", slots)

    assert (finding.verdict, finding.reason) == (Verdict.UNKNOWN, "too_many_states")


def test_members_that_the_form_does_not_have_are_refused() -> None:
    """
    A misspelt member is not a default.
    """
    read = json.loads(document("risk", "{name}", {"name": {"letters": 4}}))

    for changed in ({**read, "more": 1}, {**read, "lockgate_texts": 2}, {**read, "mode": {}}, {**read, "banned": []}):
        with pytest.raises(TextsUnreadable):
            documents.read(json.dumps(changed).encode())


def test_every_reading_of_case_is_stated() -> None:
    """
    A dialect that is not known is refused; so is a mode that leaves something open.
    """
    for mode in ({"dialect": "pcre"}, {"ignores_case": 1}):
        with pytest.raises(TextsUnreadable):
            documents.read(document("risk", "{name}", {"name": {"letters": 4}}, **mode))


def test_nothing_is_proved_of_a_text_that_a_solver_was_not_asked_of() -> None:
    """
    Every finding that says proved names what both solvers were asked.
    """
    texts = documents.read(document("risk free", "{name}", {"name": {"letters": 4}}))

    findings = list(proving.prove(texts))

    assert [(finding.verdict, len(set(finding.digests))) for finding in findings] == [(Verdict.PROVED, 2)]
