"""One logical value, one byte string: RFC 8785 in a narrow profile.

Inside the profile a value has exactly one encoding, and every JSON library orders and writes it alike:

- keys match `[A-Za-z_][A-Za-z0-9_]{0,63}` and never repeat, so code point order and UTF-16 order agree;
- numbers are integers with |n| < 2^53; no fractions, no exponents, no `-0`;
- strings are in NFC, without NUL, surrogates, noncharacters, bidi controls and zero-width characters.

`parse` reads bytes of strangers. `encode` is the reference encoder: the gateway may pass a faster one to the functions
that take `encode`, equal to this one byte for byte (by property test).
"""

from __future__ import annotations

import hashlib
import json
import re
from codecs import BOM_UTF8
from typing import Any, TypeAlias, cast
from unicodedata import is_normalized

from proofs.errors import Malformed, NotCanonical, OutsideProfile

__all__ = [
    "DEPTH_MAX",
    "ENCODED_DEPTH_MAX",
    "INTEGER_MAX",
    "Malformed",
    "NotCanonical",
    "OutsideProfile",
    "Value",
    "check",
    "digest",
    "encode",
    "parse",
    "parse_exact",
]

Value: TypeAlias = "bool | int | str | list[Value] | dict[str, Value] | None"

INTEGER_MAX = 2**53 - 1  # Beyond it a JSON number is not one number everywhere.
DEPTH_MAX = 64  # No contract nests deeper than 3; what does is an attack on somebody's stack.
ENCODED_DEPTH_MAX = 128  # What we write wraps what a client sent, so it may be deeper.

# Bidi controls, zero-width characters and tag characters: text that a person does not see as it is.
_HIDDEN = "\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
# RFC 8785 builds on I-JSON, which has no noncharacters.
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000)
)
_REFUSED = re.compile(f"[\0\ud800-\udfff{_NONCHARACTERS}{_HIDDEN}]")
_FAULTS_OF_BYTES = frozenset({"nul", "surrogate", "depth"})
"""Faults that make a client's document malformed; the other ones put it outside the profile."""


def parse(raw: bytes, *, depth_max: int = DEPTH_MAX) -> Value:
    """
    Read one JSON document strictly and return it as plain Python values.

    Where a document has several faults, which of them is named is not promised. The document need not be in
    canonical form: see `parse_exact`.

    Raises `Malformed` (encoding, syntax, trailing_bytes, duplicate_key, number, depth, surrogate, nul,
    byte_order_mark) or `OutsideProfile` (key, not_nfc, hidden_character, noncharacter). Neither carries the input.
    """
    text = _decode(raw)
    value = _read(text)
    # Plain ASCII without escapes cannot hold a refused character, and few brackets cannot nest deeply.
    if text.isascii() and "\\" not in text and text.count("{") + text.count("[") <= depth_max:
        return value
    fault = _fault(value, depth_max)
    if fault:
        raise Malformed(fault) if fault in _FAULTS_OF_BYTES else OutsideProfile(fault)
    return value


def parse_exact(raw: bytes, *, depth_max: int = DEPTH_MAX) -> Value:
    """
    Read a document that must already be in canonical form.

    Raises `Malformed` with `not_canonical` where `encode` would have written other bytes.
    """
    value = parse(raw, depth_max=depth_max)
    if encode(value) != raw:
        raise Malformed("not_canonical")
    return value


def encode(value: Any) -> bytes:
    """
    Return the canonical bytes of `value`.

    Tuples are written as lists and members of a `StrEnum` as their text; nothing else is converted.

    Raises `OutsideProfile` with the fault as its reason.
    """
    check(value)
    return _ENCODER.encode(value).encode()


def check(value: Any) -> None:
    """Raise `OutsideProfile` unless `value` has a canonical form. A faster encoder needs this before it."""
    fault = _fault(value, ENCODED_DEPTH_MAX)
    if fault:
        raise OutsideProfile(fault)


def digest(data: bytes) -> str:
    """Return the digest of `data` as text: `sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _decode(raw: bytes) -> str:
    if raw.startswith(BOM_UTF8):
        raise Malformed("byte_order_mark")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    # Raised outside the handler: the decoder's exception carries the input.
    raise Malformed("encoding")


def _read(text: str) -> Value:
    try:
        return cast(Value, _DECODER.decode(text))
    except RecursionError:
        fault = "depth"
    except json.JSONDecodeError as error:
        fault = "trailing_bytes" if error.msg == "Extra data" else "syntax"
    # Raised outside the handler: the decoder's exception carries the input.
    raise Malformed(fault)


def _object(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("duplicate_key")
    for key in members:
        if not _is_key(key):
            raise OutsideProfile("key")
    return members


def _integer(digits: str) -> int:
    # 17: a sign and the 16 digits of 2^53. Longer ones are refused unread, as converting them takes quadratic time.
    if digits == "-0" or len(digits) > 17:
        raise Malformed("number")
    value = int(digits)
    if not -INTEGER_MAX <= value <= INTEGER_MAX:
        raise Malformed("number")
    return value


def _refuse_number(digits: str) -> Value:
    raise Malformed("number")


def _is_key(key: Any) -> bool:
    # An ASCII identifier is exactly `[A-Za-z_][A-Za-z0-9_]*`, at a third of the price of the expression.
    return isinstance(key, str) and key.isascii() and key.isidentifier() and len(key) <= 64


def _fault(value: Any, depth_left: int) -> str:
    """Name what keeps `value` outside the profile, or return the empty string."""
    kind = type(value)
    if kind is str:
        return _text_fault(value)
    if kind is int:
        return "" if -INTEGER_MAX <= value <= INTEGER_MAX else "number"
    if value is None or kind is bool:
        return ""
    if kind is dict or kind is list or kind is tuple:
        return _container_fault(value, depth_left)
    if isinstance(value, str):
        return _text_fault(str.__str__(value))
    return "number" if isinstance(value, float) else "type"


def _container_fault(value: Any, depth_left: int) -> str:
    if depth_left == 0:
        return "depth"
    items = value
    if type(value) is dict:
        for key in value:
            if not _is_key(key):
                return "key"
        items = value.values()
    for item in items:
        fault = _fault(item, depth_left - 1)
        if fault:
            return fault
    return ""


def _text_fault(text: str) -> str:
    if text.isascii():
        return "nul" if "\0" in text else ""
    found = _REFUSED.search(text)
    if found:
        character = found.group()
        if character == "\0":
            return "nul"
        if "\ud800" <= character <= "\udfff":
            return "surrogate"
        return "hidden_character" if re.match(f"[{_HIDDEN}]", character) else "noncharacter"
    return "" if is_normalized("NFC", text) else "not_nfc"


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_refuse_number, parse_constant=_refuse_number
)
# Inside the profile these settings give RFC 8785: shortest escapes, lower-case hexadecimal, ASCII keys in order.
_ENCODER = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
)
