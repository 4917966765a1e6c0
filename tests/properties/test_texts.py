"""Patterns: our own reading, the real engines and both solvers say the same of every text."""

from __future__ import annotations

import re
from collections.abc import Callable

import re2
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from invariants.solving import languages
from invariants.texts import contexts
from invariants.texts.dialects import Dialect, Mode
from invariants.texts.errors import PatternRefused

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


def engine(pattern: str, mode: Mode) -> tuple[Callable[[str], bool], Callable[[str], bool]]:
    """Full match and search of the real engine."""
    if mode.dialect is Dialect.RE2:
        letters = "i" * mode.ignores_case + "s" * mode.dot_is_all
        compiled = re2.compile(f"(?{letters}){pattern}" if letters else pattern)
    else:
        flags = FLAGS[mode.dialect] | re.IGNORECASE * mode.ignores_case | re.DOTALL * mode.dot_is_all
        compiled = re.compile(pattern, flags)
    return (lambda text: compiled.fullmatch(text) is not None), (lambda text: compiled.search(text) is not None)


@given(pattern=PATTERNS, mode=MODES, texts=st.lists(TEXTS, min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_pattern_means_what_its_engine_makes_of_it(pattern: str, mode: Mode, texts: list[str]) -> None:
    """
    Full match and search of a language agree with the real engine, assertions and case included.
    """
    try:
        whole, found = contexts.whole(pattern, mode), contexts.found(pattern, mode)
    except PatternRefused as refused:
        assume(refused.reason_code not in BEYOND)
        raise
    matches, finds = engine(pattern, mode)

    assert [languages.contains(whole, text) for text in texts] == [matches(text) for text in texts]
    assert [languages.contains(found, text) for text in texts] == [finds(text) for text in texts]
