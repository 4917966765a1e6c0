"""What free text holds: found as it stands and in disguise, with the rest of the text left as it was."""

from __future__ import annotations

import base64
import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import disguises, findings
from gateway.redaction import Redactor
from tests.outside.redactor import FORMS, is_hidden
from tool_registry.contracts import TOKEN_PATTERN

VALUES = {
    "secret": "sk_live_51HxCanaryCanary99",
    "link": "https://www.canary.example/people/7",
    "email": "josé.canary@mail.example",
    "iban": "DE89 3704 0044 0532 0130 00",
    "card": "4111 1111 1111 1111",
    "ip": "2001:db8::8a2e:370:7334",
    "document": "606-75-8359",
    "phone": "+49 (0)30 901820-77",
}
FREE = ["the order of 2026-11-20 is late", "25/12/1965 at 09:31:31", "1.0.3 of 12,500.75 EUR", "ord_1001 ref 20261120"]
PIECES = [
    *VALUES.values(),
    *FREE,
    " ",
    "%",
    "%40",
    "&#",
    "&#64;",
    "\\ud800",
    "\\u0040",
    "DE89 3704 0044 0532 0130 0\u212a",
]
SEEN = [name for name in FORMS if name != "in two halves"]
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n7bq8\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize("form", SEEN)
@pytest.mark.parametrize("kind", VALUES)
def test_what_is_disguised_is_found(kind: str, form: str) -> None:
    """
    H02: each kind of value in each form that is seen through, every character of it.
    """
    assert is_hidden(VALUES[kind], FORMS[form](VALUES[kind]))


@given(
    token=st.from_regex(TOKEN_PATTERN, fullmatch=True), kind=st.sampled_from([kind for kind, _, _ in findings.SHAPES])
)
def test_a_mark_reads_as_nothing_in_either_direction(token: str, kind: str) -> None:
    """
    H04: what stands in place of a finding is found no second time, from left to right or from right to left.
    """
    assert findings.find(f"[{kind} {token}] and [{kind} {token}]") == []


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_has_its_own_kind(kind: str) -> None:
    """
    H01: found once, from its first character to its last, as what it is.
    """
    found = findings.find(VALUES[kind])

    assert [(each.kind, each.start, each.end) for each in found] == [(kind, 0, len(VALUES[kind]))]


@pytest.mark.parametrize("text", FREE)
def test_what_leads_to_nobody_is_left(text: str) -> None:
    """
    Dates, times, versions, amounts and our own names are no findings.
    """
    assert findings.find(text) == []


@pytest.mark.parametrize("before", ["12 ", "123 456 ", "2026-11-20 "])
@pytest.mark.parametrize("after", [" 12/28", " 123", " 1 2 3 4 5 6 7 8"])
def test_a_card_among_other_digits_is_found(before: str, after: str) -> None:
    """
    H01: digits beside a card are no reason to keep it.
    """
    text = f"{before}4111 1111 1111 1111{after}"

    left = "".join(Redactor(b"k").text(text, tenant="acme").partition("[")[::2])

    assert "1111" not in left


def test_numbers_side_by_side_are_found_whole() -> None:
    """
    H01: two telephone numbers that could be read as one long one.
    """
    for between in (" / ", " ", ", ", "; "):
        text = Redactor(b"k").text(f"call 040 123 45 67{between}040 765 43 21 at once", tenant="acme")

        assert not any(digits in text.split() for digits in ("040", "123", "45", "67", "765", "43", "21"))


def test_the_whole_of_a_private_key_is_found() -> None:
    """
    H01: not its first line alone, and not less when the last line is missing.
    """
    for text in (KEY, KEY.partition("-----END")[0]):
        assert [(each.start, each.end) for each in findings.find(text)] == [(0, len(text))]


def test_equal_values_have_one_token_however_they_are_written() -> None:
    """
    H04: a mark says that two values are the same, also when one of them was disguised.
    """
    redactor = Redactor(b"k")

    marks = {
        redactor.text(FORMS[form]("canary@mail.example"), tenant="acme") for form in ("as it is", "percent", "base64")
    }

    assert len(marks) == 1


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.lists(st.sampled_from(PIECES)).map("".join)
)
@settings(deadline=None)
def test_findings_are_apart_in_order_and_of_the_text(text: str) -> None:
    """
    Whatever the text, its redaction is the text with its findings replaced and nothing else changed.
    """
    found = findings.find(text)

    places = [place for each in found for place in (each.start, each.end)]
    assert places == sorted(places)
    assert all(0 <= each.start < each.end <= len(text) for each in found)
    redacted, at = Redactor(b"k").text(text, tenant="acme"), 0
    for begin, end in zip([0, *places[1::2]], [*places[::2], len(text)], strict=True):
        at = redacted.index(text[begin:end], at) + end - begin


def test_a_bomb_is_opened_no_further_than_text_would_be() -> None:
    """
    J08: what comes out of a compressed run is bounded by the length of the run.
    """
    run = base64.b64encode(gzip.compress(b" " * 10_000_000)).decode()

    contents = [content for content, _, _ in disguises.packed(run)]

    assert zlib.decompress(base64.b64decode(run), wbits=31) == b" " * 10_000_000
    assert sum(map(len, contents)) <= 4 * len(run)
