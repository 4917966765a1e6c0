"""`name=value` pairs read by the tool's contract: `amount_cents=1250` is a number only where the contract says so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from admin.errors import CommandError

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")


def read(given: Sequence[str], contract: Mapping[str, Any]) -> dict[str, Any]:
    """
    The arguments of a call.

    Whether they are within bounds is the gateway's to say. Raises `CommandError` for a pair that is none, a name that
    the contract does not have, and a value that is not of the contract's kind.
    """
    kinds = kinds_of(contract)
    arguments: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandError(f"`{name}` is no argument", "write arguments as name=value")
        if name in arguments:
            raise CommandError(f"argument `{name}` is given twice", "leave one out")
        if kinds and name not in kinds:
            raise CommandError(f"the tool has no argument `{name}`", f"it takes: {', '.join(kinds)}")
        arguments[name] = _value(name, value, kinds.get(name, ""))
    return arguments


def kinds_of(contract: Mapping[str, Any]) -> dict[str, str]:
    """Argument name -> JSON type, from the contract's JSON Schema."""
    schema = contract.get("arguments") or {}
    properties = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    return {name: str(member.get("type", "")) for name, member in properties.items()}


def _value(name: str, text: str, kind: str) -> Any:
    if kind == "integer":
        if not _INTEGER.fullmatch(text):
            raise CommandError(f"argument `{name}` is not an integer", "money is in cents, e.g. amount_cents=1250")
        return int(text)
    if kind == "boolean":
        if text not in {"true", "false"}:
            raise CommandError(f"argument `{name}` is neither true nor false", f"write {name}=true or {name}=false")
        return text == "true"
    return text
