"""The canonical form, for every value that Hypothesis can find."""

from __future__ import annotations

import json
from typing import Any
from unicodedata import normalize

import orjson
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from proofs import canonical

KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,63}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(
    lambda text: normalize("NFC", text)
)
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)


def is_inside(text: str) -> bool:
    """Whether the profile has this text."""
    try:
        canonical.check(text)
    except canonical.OutsideProfile:
        return False
    return True


VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS.filter(is_inside),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@given(VALUES)
def test_canonical_bytes_are_those_of_rfc_8785(value: Any) -> None:
    """
    Inside the profile our encoder and the published implementation of RFC 8785 write the same bytes.
    """
    assert canonical.encode(value) == rfc8785.dumps(value)


@given(VALUES)
def test_fast_encoder_writes_the_same_bytes(value: Any) -> None:
    """
    Inside the profile orjson with sorted keys may stand in for our encoder.
    """
    assert orjson.dumps(value, option=orjson.OPT_SORT_KEYS) == canonical.encode(value)


@given(VALUES)
def test_what_is_written_reads_back(value: Any) -> None:
    """
    Encoding and parsing gives the same value, and the bytes pass as canonical.
    """
    assert canonical.parse_exact(canonical.encode(value)) == value


@given(VALUES, st.sampled_from([None, 0, 2]), st.booleans())
def test_every_spelling_reads_as_one_value(value: Any, indent: int | None, is_ascii: bool) -> None:
    """
    Escapes and white space of another encoder change nothing.
    """
    raw = json.dumps(value, indent=indent, ensure_ascii=is_ascii).encode()

    assert canonical.encode(canonical.parse(raw)) == canonical.encode(value)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    """
    Whatever comes in is read, or refused in one of the two ways.
    """
    try:
        value = canonical.parse(raw)
    except canonical.NotCanonical:
        return
    assert canonical.parse_exact(canonical.encode(value)) == value
