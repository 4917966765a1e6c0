"""Patterns: our own reading, the real engines and both solvers say the same of every text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import re2
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.findings import SHAPES
from gateway.redaction import Redactor
from invariants.solving import cvc5_backend, languages, smtlib, z3_backend
from invariants.solving.answers import Verdict
from invariants.solving.terms import Sort, Terms
from invariants.texts import alphabets, contexts, dialects, documents, proving, slots, traversals
from invariants.texts.dialects import Dialect, Mode
from invariants.texts.errors import PatternRefused

RESOURCES = 20_000_000
RE2 = Mode(dialect=Dialect.RE2)
CHARACTERS = "kKsSiIßé0٣_ -.\n\t\v\u212a\u017f\u0130\u0131\u0345\u0399\U00020000\U0010ffff\x00\"'\\"
TEXTS = st.text(alphabet=CHARACTERS, max_size=6)
BEYOND = {"assertion_repeated", "too_large"}
FLAGS = {Dialect.PYTHON: 0, Dialect.PYTHON_ASCII: re.ASCII}


def plain(characters: str) -> st.SearchStrategy[str]:
    """A character as a pattern writes it, escaped where it means something."""
    return st.sampled_from(characters).map(lambda each: "\\" + each if each in "\\.-" else each)


def bracketed(negation: str, members: list[str]) -> str:
    return f"[{negation}{''.join(members)}]"


MEMBERS = st.lists(
    plain("kKsSiIßé\u03b90_ ") | st.sampled_from([r"\d", r"\w", r"\s", r"\W", r"\D", "a-k", "A-Z", "s-\u017f"]),
    min_size=1,
)
ATOMS = (
    plain("kKsSiIßé0_ -\n\\")
    | st.builds(bracketed, st.sampled_from(["", "^"]), MEMBERS)
    | st.sampled_from([".", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\b", "^", "$", r"\A"])
)


def extended(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, max_size=4).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: f"(?:{'|'.join(options)})"),
        st.builds(
            lambda each, bounds: f"(?:{each}){bounds}",
            inner,
            st.sampled_from(["?", "*", "+", "{2}", "{1,3}", "{2,}", "*?"]),
        ),
    )


PATTERNS = st.recursive(ATOMS, extended, max_leaves=8)
MODES = st.builds(Mode, dialect=st.sampled_from(Dialect), ignores_case=st.booleans(), dot_is_all=st.booleans())


def compiled(pattern: str, mode: Mode) -> Any:
    """The pattern in the real engine."""
    if mode.dialect is Dialect.RE2:
        letters = "i" * mode.ignores_case + "s" * mode.dot_is_all
        return re2.compile(f"(?{letters}){pattern}" if letters else pattern)
    return re.compile(pattern, FLAGS[mode.dialect] | re.IGNORECASE * mode.ignores_case | re.DOTALL * mode.dot_is_all)


def engine(pattern: str, mode: Mode) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    """Full match and search of the real engine."""
    real = compiled(pattern, mode)
    return (lambda text: real.fullmatch(text) is not None), (lambda text: real.search(text) is not None)


def is_regular(pattern: str, mode: Mode) -> bool:
    """Whether a generated pattern is inside the syntax. Only what `BEYOND` names may be outside."""
    try:
        contexts.found(pattern, mode)
    except PatternRefused as refused:
        assert refused.reason_code in BEYOND  # noqa: PT017 - any other reason is a failure
        return False
    return True


@given(pattern=PATTERNS, mode=MODES, texts=st.lists(TEXTS, min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_pattern_means_what_its_engine_makes_of_it(pattern: str, mode: Mode, texts: list[str]) -> None:
    """
    Full match and search of a language agree with the real engine, assertions and case included.
    """
    assume(is_regular(pattern, mode))
    whole, found = contexts.whole(pattern, mode), contexts.found(pattern, mode)
    matches, finds = engine(pattern, mode)

    assert [languages.contains(whole, text) for text in texts] == [matches(text) for text in texts]
    assert [languages.contains(found, text) for text in texts] == [finds(text) for text in texts]


@given(pattern=PATTERNS, mode=MODES, texts=st.lists(TEXTS, min_size=1, max_size=4, unique=True))
@settings(max_examples=150, deadline=None)
def test_both_solvers_find_in_a_text_what_the_engine_finds(pattern: str, mode: Mode, texts: list[str]) -> None:
    """
    Membership over the blocks of a question, as both solvers answer it, is what the real engine says.
    """
    assume(is_regular(pattern, mode))
    found = contexts.found(pattern, mode)
    _, finds = engine(pattern, mode)
    alphabet = alphabets.of((found, *map(languages.literal, texts)))
    terms = Terms()
    text = terms.symbol(Sort.TEXT, 0)
    goals = [
        terms.both(terms.in_language(text, alphabet.placed(languages.literal(each))), terms.in_language(text, placed))
        for placed in [alphabet.placed(found)]
        for each in texts
    ]

    solver = z3_backend.Solver((), RESOURCES, goals)
    answers = [solver.settle(number) for number in range(len(goals))]
    others = list(cvc5_backend.settle_goals(smtlib.scripted((), goals)))

    expected = [Verdict.SATISFIABLE if finds(each) else Verdict.UNSATISFIABLE for each in texts]
    assert answers == expected
    assert [other for other in others if other is not Verdict.UNKNOWN] == [
        answer for answer, other in zip(expected, others, strict=True) if other is not Verdict.UNKNOWN
    ]


@given(one=PATTERNS, other=PATTERNS, mode=MODES)
@settings(max_examples=150, deadline=None)
def test_a_walk_and_the_solver_agree_whether_two_patterns_share_a_text(one: str, other: str, mode: Mode) -> None:
    """
    What a traversal finds both engines find; where it finds none, neither does z3, and the traversal holds by cvc5.
    """
    assume(is_regular(one, mode) and is_regular(other, mode))
    first, second = contexts.whole(one, mode), contexts.found(other, mode)
    alphabet = alphabets.of((first, second))
    terms = Terms()
    text = terms.symbol(Sort.TEXT, 0)
    asked = [terms.in_language(text, alphabet.placed(each)) for each in (first, second)]

    traversal = traversals.traverse(first, second, alphabet)
    answer = z3_backend.Solver(asked, RESOURCES).check()

    if traversal.text is None:
        assert answer is not Verdict.SATISFIABLE
        assert set(cvc5_backend.settle_goals(traversals.questions(traversal, Terms()))) == {Verdict.UNSATISFIABLE}
    else:
        assert answer is not Verdict.UNSATISFIABLE
        assert engine(one, mode)[0](traversal.text)
        assert engine(other, mode)[1](traversal.text)


@pytest.mark.parametrize("dialect", Dialect)
def test_the_same_but_for_case_is_what_the_engine_takes_for_the_same(dialect: Dialect) -> None:
    """
    Every character that has a case, against every other one.
    """
    mode = Mode(dialect=dialect, ignores_case=True)
    cased = [chr(code) for code in range(0x110000) if chr(code).lower() != chr(code) or chr(code).upper() != chr(code)]
    everything = "".join(cased)

    differing = []
    for character in cased:
        folded = dialects.in_any_case(((ord(character), ord(character)),), dialect)
        ours = {chr(code) for first, last in folded for code in range(first, last + 1)}
        if ours != set(compiled(re.escape(character), mode).findall(everything)):
            differing.append(character)

    assert differing == []


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("escape", [r"\d", r"\w", r"\s"])
def test_a_class_holds_what_it_does_in_the_engine(dialect: Dialect, escape: str) -> None:
    """
    Every character there is.
    """
    characters = "".join(chr(code) for first, last in dialects.ANY for code in range(first, last + 1))
    named = {r"\d": dialects.digits, r"\w": dialects.words, r"\s": dialects.spaces}[escape](dialect)

    held = {chr(code) for first, last in named for code in range(first, last + 1)}

    assert held == set(compiled(escape, Mode(dialect=dialect)).findall(characters))


SECRETS = ["b@c.de", "sk_live_0123456789abc", "eyJhbGciOiJI", "-----BEGIN ", "PRIVATE KEY-----", "password", "token"]
NUMBERS = ["00", "+49", "555-123-4567", "4111 1111 1111 1111", "0123456789"]
DISGUISED = [
    "%40",
    "&#64;",
    "&#65;",
    "\u200b",
    "\uff14",
    "\\u0040",
    "YUBiLmRlIGFAYi5kZQ==",
    "https://",
    "DE89370400440532013000",
]
FRAGMENTS = [*SECRETS, *NUMBERS, "a", "@", ".", ":", "=", " ", "[", "]", "tok_", "\n", "é"]
PLAIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=4)
WRITTEN = st.lists(st.sampled_from(FRAGMENTS) | PLAIN, max_size=10).map("".join)
HIDDEN = st.lists(st.sampled_from([*FRAGMENTS, *DISGUISED]) | PLAIN, max_size=10).map("".join)
REDACTOR = Redactor(b"k" * 32)
MARK = re.compile(rf"\[(?:{'|'.join(kind for kind, _, _ in SHAPES)}) tok_[0-9a-f]{{16}}\]")


def described() -> documents.Texts:
    """The redactor's output as it is proved."""
    return documents.read((Path(proving.__file__).parent / "redactor.json").read_bytes())


def test_the_description_of_the_redactor_hides_what_the_redactor_hides() -> None:
    """
    The patterns of the description are those of the gateway, in order.
    """
    assert [banned.pattern for banned in described().banned] == [pattern.pattern for _, pattern, _ in SHAPES]


@given(value=WRITTEN | st.integers(-(2**53) + 1, 2**53 - 1) | st.booleans())
@settings(deadline=None)
def test_a_token_of_the_redactor_is_one_of_the_description(value: object) -> None:
    """
    Whatever is hidden whole stands as a text of the template `token`, and in a mark as one of `mark`.
    """
    token, mark = described().templates[:2]
    whole = [languages.sequence(*(part for _, part in each.parts(RE2))) for each in (token, mark)]

    given_ = REDACTOR.token(value, "acme")

    assert languages.contains(whole[0], given_)
    assert languages.contains(whole[1], f"[email {given_}]")


@given(text=HIDDEN)
@settings(max_examples=400, deadline=None)
def test_what_the_redactor_leaves_is_what_the_description_says(text: str) -> None:
    """
    Between its marks the redactor leaves pieces that the slots `before` and `after` of the description hold.
    """
    around = [template for template in described().templates if "before" in template.slots]

    pieces = MARK.split(REDACTOR.text(text, tenant="acme"))

    for template in around:
        *before, after = pieces
        assert all(slots.fits(template.slots["before"], piece, RE2) for piece in before)
        assert slots.fits(template.slots["after"], after, RE2)


def test_what_the_redactor_puts_in_place_matches_nothing_that_it_hides() -> None:
    """
    Tokens and marks, by both solvers, for every pattern of the gateway.
    """
    texts = described()
    short = replace(texts, templates=tuple(each for each in texts.templates if each.id in ("token", "mark")))

    findings = list(proving.prove(short))

    assert len(findings) == 2 * len(SHAPES)
    assert {finding.verdict for finding in findings} == {proving.Verdict.PROVED}
