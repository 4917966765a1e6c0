"""The closed lists of Rego rule ids, kept under `rules` in a bundle's data: what a decision may name, and its hints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from policies.errors import PolicyFault
from proofs import shapes

RULES_MAX = 256
_ID = re.compile(r"[a-z][a-z0-9-]{0,62}")
_HINT = re.compile(r"[^\n]{1,200}")


def read_lists(data: Any) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Deny rules and obligations, each id with its hint. Raises `PolicyFault` or `proofs.errors.Misshapen`."""
    if not isinstance(data, dict) or "rules" not in data:
        raise PolicyFault("data.json: expected an object with the member `rules`")
    lists = shapes.members(data["rules"], required={"deny", "obligations"}, form="data.json: rules")
    return _list(lists["deny"]), _list(lists["obligations"])


def _list(document: Any) -> Mapping[str, str]:
    if not isinstance(document, list) or len(document) > RULES_MAX:
        raise PolicyFault(f"data.json: rules: expected lists of at most {RULES_MAX}")
    found: dict[str, str] = {}
    for each in document:
        members = shapes.members(each, required={"id", "hint"}, form="data.json: rules: rule")
        identity = shapes.text(members, "id", _ID)
        if identity in found:
            raise PolicyFault(f"rule `{identity}`: the id is given twice")
        found[identity] = shapes.text(members, "hint", _HINT)
    return found
