"""G07 and J01 to J03: one logical record has one byte string, and what is ambiguous does not get in."""

from __future__ import annotations

import time

import pytest

from proofs import canonical
from proofs.canonical import Malformed, OutsideProfile

MALFORMED = {
    b'{"a":1,"a":1}': "duplicate_key",
    b'{"a":1,"\\u0061":2}': "duplicate_key",
    b'[{"a":{"b":1,"b":2}}]': "duplicate_key",
    b"1.0": "number",
    b"1e0": "number",
    b"1E400": "number",
    b"0.1": "number",
    b"-0": "number",
    b"9007199254740992": "number",
    b"-9007199254740992": "number",
    b"9" * 5000: "number",
    b"NaN": "number",
    b"-Infinity": "number",
    b"01": "trailing_bytes",
    b"1 2": "trailing_bytes",
    b"{}{}": "trailing_bytes",
    b"{}\0": "trailing_bytes",
    b"": "syntax",
    b"{'a':1}": "syntax",
    b'{"a":1,}': "syntax",
    b'"a\nb"': "syntax",
    b'"\\x41"': "syntax",
    b"+1": "syntax",
    b'\xef\xbb\xbf{"a":1}': "byte_order_mark",
    b'"\xff"': "encoding",
    b'"\xc0\x80"': "encoding",
    b'"\xed\xa0\x80"': "encoding",
    b'"\\ud800"': "surrogate",
    b'"\\udc00\\ud800"': "surrogate",
    b'"\\u0000"': "nul",
    '"\u00e4\\u0000"'.encode(): "nul",
    b"[" * 65 + b"]" * 65: "depth",
    b'{"a":' * 65 + b"1" + b"}" * 65: "depth",
    b"[" * 100_000: "depth",
}
OUTSIDE = {
    b'{"":1}': "key",
    b'{"a-b":1}': "key",
    b'{"1a":1}': "key",
    b'{"' + b"a" * 65 + b'":1}': "key",
    '{"ä":1}'.encode(): "key",
    b'{"a\\u0000":1}': "key",
    '"a\u0308"'.encode(): "not_nfc",
    b'"a\\u0308"': "not_nfc",
    '"\u212b"'.encode(): "not_nfc",
    '"\u202egnp.exe"'.encode(): "hidden_character",
    b'"\\u202e"': "hidden_character",
    '"\u2066"'.encode(): "hidden_character",
    '"\u061c"'.encode(): "hidden_character",
    '"pass\u200bword"'.encode(): "hidden_character",
    '"\ufeff"'.encode(): "hidden_character",
    '"\U000e0041"'.encode(): "hidden_character",
    '"\ufffe"'.encode(): "noncharacter",
    '"\U0010ffff"'.encode(): "noncharacter",
}


@pytest.mark.parametrize("raw", MALFORMED, ids=lambda raw: repr(raw[:24]))
def test_malformed_document_is_refused(raw: bytes) -> None:
    """
    J01, J02: what is not JSON as we read it is malformed, for a stable reason.
    """
    with pytest.raises(Malformed) as refused:
        canonical.parse(raw)

    assert refused.value.reason == MALFORMED[raw]


@pytest.mark.parametrize("raw", OUTSIDE, ids=lambda raw: repr(raw[:24]))
def test_document_outside_the_profile_is_refused(raw: bytes) -> None:
    """
    G07: JSON that could be written in two ways, or read as what it is not, lies outside the profile.
    """
    with pytest.raises(OutsideProfile) as refused:
        canonical.parse(raw)

    assert refused.value.reason == OUTSIDE[raw]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"b":1,"a":[1,2]}',
        b' { "a" : [ 1 , 2 ] , "b" : 1 } ',
        b'{"\\u0061":[1,2],"b":1}',
        b'{"a":[1,\t2],\r\n"b":1}',
    ],
)
def test_every_spelling_of_a_value_has_one_canonical_form(raw: bytes) -> None:
    """
    G07: order of keys, white space and escapes are spelling; the canonical bytes are the same.
    """
    assert canonical.encode(canonical.parse(raw)) == b'{"a":[1,2],"b":1}'


@pytest.mark.parametrize("raw", ['"\u2028"'.encode(), b'"\\u2028"', b'"\\u2028"'.upper().replace(b"U", b"u")])
def test_line_separator_is_text_like_any_other(raw: bytes) -> None:
    """
    G07: U+2028 is written raw, escaped or not when it came in.
    """
    assert canonical.encode(canonical.parse(raw)) == b'"\xe2\x80\xa8"'


@pytest.mark.parametrize("number", [0, 1, -1, 2**53 - 1, -(2**53) + 1])
def test_integers_up_to_the_bound_pass(number: int) -> None:
    """
    G07: every integer below 2^53 in size is read and written exactly.
    """
    raw = str(number).encode()

    assert canonical.encode(canonical.parse(raw)) == raw


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), 2**53, b"a", {1: 2}, {"a": {3}}, "\ud800", "a\0", object(), {"a-b": 1}]
)
def test_encoder_writes_nothing_outside_the_profile(value: object) -> None:
    """
    What the parser would refuse, the encoder refuses to write.
    """
    with pytest.raises(OutsideProfile):
        canonical.encode(value)


def test_depth_of_64_passes() -> None:
    """
    J03: the bound itself is inside.
    """
    raw = b"[" * 64 + b"]" * 64

    assert canonical.encode(canonical.parse(raw)) == raw


@pytest.mark.parametrize(
    "raw",
    [b"[" * 100_000, b'{"a":' * 20_000, b"9" * 65_536, b'"' + b"a\\u0308" * 9_000 + b'"'],
    ids=["brackets", "objects", "digits", "escapes"],
)
def test_hostile_document_costs_little(raw: bytes) -> None:
    """
    J03: a document made to hurt is refused in less than a tenth of a second of CPU.
    """
    start = time.process_time()

    with pytest.raises(canonical.NotCanonical):
        canonical.parse(raw)

    assert time.process_time() - start < 0.1


@pytest.mark.parametrize(
    "raw", [b'{"secret_value":1.5}', b'{"a":"secret_value\\u202e"}', b'{"secret-value":1}', b"secret_value\xff"]
)
def test_refusal_never_carries_the_input(raw: bytes) -> None:
    """
    Neither the exception nor what it came from repeats what was sent.
    """
    with pytest.raises(canonical.NotCanonical) as refused:
        canonical.parse(raw)

    error: BaseException | None = refused.value
    assert error is not None
    assert "secret" not in repr(error) + str(error.__context__) + str(error.__cause__)
    assert not any("secret" in repr(value) for value in vars(error).values())
