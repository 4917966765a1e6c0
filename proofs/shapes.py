"""Strict reading of JSON members: exactly the members that a form names, each of its kind.

Every function raises `Misshapen`, names the member, and never shows its value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

from proofs.errors import Misshapen

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
"""Tenants, environments and ids."""
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
KEY_ID = re.compile(r"key_[0-9a-f]{16}")
PERSON = re.compile(r"person/[a-z][a-z0-9_-]{0,62}")
PRINCIPAL = re.compile(r"(?:person|agent)/[a-z][a-z0-9_-]{0,62}")
KIND = re.compile(r"[A-Z][A-Z_]{0,31}")
LABEL = re.compile(r"[!-~](?:[ -~]{0,198}[!-~])?")
"""Short text for people and programs: printable ASCII."""
SIGNATURE = re.compile(r"[A-Za-z0-9_-]{86}")
_HASH = re.compile(r"[0-9a-f]{64}")


def members(document: Any, *, required: Set[str], optional: Set[str] = frozenset(), form: str) -> Mapping[str, Any]:
    """Return `document` if it is an object with all `required` members and none beyond the `optional` ones."""
    if not isinstance(document, Mapping):
        raise Misshapen("form", f"{form}: expected an object")
    lacking = sorted(required - document.keys())
    if lacking:
        raise Misshapen("member_missing", f"{form}: member `{lacking[0]}` is missing")
    if not document.keys() <= required | optional:
        # The name of a member we do not know is a stranger's text: it is not repeated.
        raise Misshapen("member_unexpected", f"{form}: has a member that the form does not have")
    return document


def text(document: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    """Return the member `name`, a string that `pattern` matches whole."""
    value = document[name]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Misshapen("member", f"member `{name}`: expected a string of the form `{pattern.pattern}`")
    return value


def natural(document: Mapping[str, Any], name: str) -> int:
    """Return the member `name`, an integer of at least 0."""
    value = document[name]
    if type(value) is not int or value < 0:
        raise Misshapen("member", f"member `{name}`: expected an integer of at least 0")
    return value


def hash_bytes(value: Any, name: str) -> bytes:
    """Return the 32 bytes of a hash written as 64 lower-case hexadecimal digits."""
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise Misshapen("member", f"member `{name}`: expected 64 lower-case hexadecimal digits")
    return bytes.fromhex(value)


def mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the member `name`, an object."""
    value = document[name]
    if not isinstance(value, Mapping):
        raise Misshapen("member", f"member `{name}`: expected an object")
    return value


def listed(document: Mapping[str, Any], name: str) -> list[Any]:
    """Return the member `name`, a list."""
    value = document[name]
    if not isinstance(value, list):
        raise Misshapen("member", f"member `{name}`: expected a list")
    return value


def texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the member `name`, a list of strings."""
    values = listed(document, name)
    if not all(isinstance(each, str) for each in values):
        raise Misshapen("member", f"member `{name}`: expected a list of strings")
    return tuple(values)
