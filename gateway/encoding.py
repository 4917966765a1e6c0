"""Canonical bytes, fast: orjson where its output is provably the canonical one, `proofs.canonical` everywhere else.

`encode` equals `proofs.canonical.encode` byte for byte, refusals included (property test). orjson sorts and escapes as
the profile does for ASCII; a value that is not made of plain JSON types under keys of the profile, and text that needs
NFC, takes the slow way, which decides.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import orjson

from proofs import canonical

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER  # Strict: not beyond 53 bits.
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_KEYS_MAX = 4096
_DEPTH_SURE = 32
"""Within the depth that `canonical` admits; deeper values are its business."""

_NEVER = -(2**40)
"""No document has as many members, so adding to it never gives a count."""

_good_keys: set[str] = set()
"""Keys of the profile that were met already: nearly every key of a running gateway."""


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`. Raises `canonical.OutsideProfile` as `canonical.encode` does."""
    if not _is_plain(value, _DEPTH_SURE):
        return canonical.encode(value)
    try:
        data = orjson.dumps(value, option=_OPTIONS)
    except TypeError:  # orjson's one exception: a lone surrogate, or an integer out of range.
        return canonical.encode(value)
    if not data.isascii() or b"\\u0000" in data:
        return canonical.encode(value)
    return data


def encode_own(value: Any) -> bytes:
    """As `encode`, for what this program put together itself: kinds and keys are not looked at again."""
    data = orjson.dumps(value, option=_OPTIONS)
    return data if data.isascii() and b"\\u0000" not in data else canonical.encode(value)


def parse(raw: bytes) -> canonical.Value:
    """
    As `canonical.parse`, refusals included (property test), at a third of the price for what clients send.

    orjson keeps the last of two members with one name. In text without escapes each member has one colon, so where
    there are as many members as colons, none was dropped; everything else, and every doubt, takes the slow way.
    """
    if raw.isascii() and b"\\" not in raw and b"-0" not in raw and raw.count(b"{") + raw.count(b"[") <= _DEPTH_SURE:
        try:
            value: canonical.Value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return canonical.parse(raw)  # It knows what to call the fault.
        if _members(value) == raw.count(b":"):
            return value
    return canonical.parse(raw)


def _members(value: Any) -> int:
    """How many members all objects in `value` have; less than none where a key or number is outside the profile."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return 0
    if kind is int:
        return 0 if -canonical.INTEGER_MAX <= value <= canonical.INTEGER_MAX else _NEVER
    if kind is list:
        return sum(map(_members, value))
    if kind is not dict:
        return _NEVER
    count = len(value)
    for key, item in value.items():
        if key not in _good_keys and not _is_good(key):
            return _NEVER
        if type(item) is not str:
            count += _members(item)
    return count


def _is_plain(value: Any, depth_left: int) -> bool:
    """Whether the value holds nothing but what JSON and the profile's keys have in common with orjson."""
    kind = type(value)
    if kind is dict:
        for key in value:
            if key not in _good_keys and not _is_good(key):
                return False
        items = value.values()
    elif kind is list or kind is tuple:
        items = value
    else:
        return kind is str or kind is int or kind is bool or value is None
    for item in items:
        kind = type(item)
        if kind is str or kind is int or kind is bool or item is None:
            continue
        if depth_left == 0 or not _is_plain(item, depth_left - 1):
            return False
    return True


def _is_good(key: Any) -> bool:
    if type(key) is not str or not _KEY.fullmatch(key):
        return False
    if len(_good_keys) < _KEYS_MAX:
        _good_keys.add(key)
    return True


def sha256(value: Any) -> bytes:
    """SHA-256 of the canonical bytes: the form of every digest inside the gateway."""
    return hashlib.sha256(encode(value)).digest()
