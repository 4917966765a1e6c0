"""What Rego sees of a question: identifiers, choices, integers, flags. No free text.

A projection is a closed selection, made from the same question that Cedar was asked. The contract says which members
may travel, and the module which of them it reads at all. Each string must moreover be plain, because the embedded
engine reads its input as Rego text. A value that is not plain is refused, never cut or escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from policies.errors import PolicyFault
from policies.questions import APPROVER_ROLES, Question
from tool_registry.contracts import INTEGER_MAX, Contract, Field, Kind

_PLAIN = re.compile(r"[A-Za-z0-9_.:@/*+-]{0,200}")
_TRAVELS = frozenset({Kind.INTEGER, Kind.IDENTIFIER, Kind.CHOICE, Kind.FLAG, Kind.TIMESTAMP})
_APPROVALS = ("persons", *sorted(APPROVER_ROLES))
_ENTITY = ("type", "id")
_SCALARS = ("risk", "autonomy", "registered", "reason_code", "environment", "tenant", "now")
MEMBERS = frozenset({"action", "principal", "roles", "resource", "arguments", "facts", "approvals", *_SCALARS})
"""Everything that a module can read of `input`."""


class Projector:
    """Projects questions about one tool for one module."""

    def __init__(self, contract: Contract, reads: Mapping[str, frozenset[str] | None] | None) -> None:
        """`reads` as `rego_source.reads` finds it: the members to send, None for all."""
        self._reads = dict.fromkeys(MEMBERS) if reads is None else reads
        self._scalars = tuple(name for name in _SCALARS if name in self._reads)
        self._principal = self._read("principal", _ENTITY)
        self._resource = self._read("resource", _ENTITY)
        self._approvals = self._read("approvals", _APPROVALS)
        self._arguments = self._read("arguments", _names(contract.arguments))
        facts = {source.name: _names(source.fields) for source in contract.facts}
        for limit in contract.limits:
            if limit.shows is not None:
                group, _, member = limit.shows.partition(".")
                facts[group] = (*facts.get(group, ()), member)
        self._facts = {group: facts[group] for group in self._read("facts", facts)}

    def project(self, question: Question) -> dict[str, Any]:
        """
        The projection as canonical JSON members.

        Raises `PolicyFault` for a string that is not plain, or a number that is not an integer of the profile.
        """
        context, reads = question.context, self._reads
        projected: dict[str, Any] = {name: _plain(context[name]) for name in self._scalars}
        if "action" in reads:
            projected["action"] = _plain(question.action)
        if "principal" in reads:
            projected["principal"] = {name: _plain(getattr(question.principal, name)) for name in self._principal}
        if "roles" in reads:
            projected["roles"] = [_plain(role) for role in question.roles]
        if "resource" in reads:
            projected["resource"] = {name: _plain(getattr(question.resource, name)) for name in self._resource}
        if "arguments" in reads:
            projected["arguments"] = _selected(context["arguments"], self._arguments)
        if "facts" in reads:
            facts: Mapping[str, Mapping[str, Any]] = context["facts"]
            projected["facts"] = {
                group: _selected(facts[group], names) for group, names in self._facts.items() if group in facts
            }
        if "approvals" in reads:
            projected["approvals"] = _selected(context["approvals"], self._approvals)
        return projected

    def encode(self, question: Question) -> bytes:
        """The projection's canonical bytes. What is plain and sorted has one encoding, so the fast encoder gives it."""
        return orjson.dumps(self.project(question), option=orjson.OPT_SORT_KEYS)

    def _read(self, member: str, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the names within a member that the module reads."""
        inner = self._reads.get(member)
        return tuple(name for name in names if inner is None or name in inner)


def _names(fields: Iterable[Field]) -> tuple[str, ...]:
    return tuple(field.name for field in fields if field.kind in _TRAVELS)


def _selected(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: _plain(record[name]) for name in names if name in record}


def _plain(value: Any) -> str | int | bool:
    match value:
        case bool():
            return value
        case int() if abs(value) <= INTEGER_MAX:
            return value
        case str() if _PLAIN.fullmatch(value):
            return value
        case _:
            raise PolicyFault("question: a value that Rego would see is not plain")
