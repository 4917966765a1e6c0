"""The digest of a tool: over the canonical bytes of its whole contract, whatever YAML said it.

An approval binds this digest, so that whoever changes any member of a contract voids the approvals given under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

from proofs import canonical
from tool_registry.contracts import Contract, ToolDigest
from tool_registry.documents import DeclarationError

_LATER = frozenset({"resolves"})
"""Members since the first release, left out where false: a contract that does not use them keeps its digest."""


def document(contract: Contract) -> dict[str, Any]:
    """The contract as canonical JSON members, without its digest. Members that are None are left out."""
    members: dict[str, Any] = _plain(contract)
    del members["digest"]
    return members


def seal(contract: Contract) -> Contract:
    """
    The same contract with its digest filled in.

    Raises `DeclarationError` for text without a canonical form: not NFC, or with characters that nobody sees.
    """
    try:
        encoded = canonical.encode(document(contract))
    except canonical.OutsideProfile as error:
        raise DeclarationError("", f"text in canonical form ({error.reason})") from error
    return replace(contract, digest=ToolDigest(canonical.digest(encoded)))


def of_all(contracts: Mapping[str, Contract]) -> str:
    """One digest over a set of tools by name."""
    return canonical.digest(canonical.encode({name: str(each.digest) for name, each in contracts.items()}))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        members = {each.name: getattr(value, each.name) for each in fields(value)}
        return {
            name: _plain(member)
            for name, member in members.items()
            if member is not None and not (name in _LATER and member is False)
        }
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value
