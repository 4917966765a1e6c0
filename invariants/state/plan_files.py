"""A plan as a document: calls in order, each value given exactly or as an interval.

```json
{
  "calls": [
    {"tool": "issue_refund", "principal": "agent/triage-7",
     "arguments": {"order_id": "ord_1001", "amount_cents": [1, 5000]},
     "facts": {"order": {"paid_cents": 20000, "refunded_cents": [0, 2500]}}}
  ],
  "standing": [{"counter": "issue_refund.tenant_daily_refunds tenant", "amount": 4000000}]
}
```

An integer may be `[least, greatest]`, both inclusive. A fact or argument that is left out is anything that its
declaration allows; one that a counter's key needs must be there. `standing` says what is reserved and spent already, by
the counter's name as reports show it; a counter that is not named starts empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from invariants.errors import InvariantError
from proofs import canonical, shapes
from proofs.errors import EvidenceError
from tool_registry.contracts import INTEGER_MAX, Contract, Field, Kind, Limit
from tool_registry.shapes import accepts, epoch_seconds, expectation

CALLS_MAX = 100
"""Each call is settled in every scenario of those before it; nobody plans more by hand."""

Given = int | bool | str | tuple[int, int]
"""A value, or an interval of integers."""

_PLACEHOLDER = re.compile(r"\{([a-z0-9_]+)\}")


class PlanUnreadable(InvariantError):
    """The document is not a plan over the registered tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """One call of a plan."""

    contract: Contract
    principal: str
    arguments: Mapping[str, Given]
    facts: Mapping[str, Mapping[str, Given]]

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Those that apply to the principal."""
        is_agent = self.principal.startswith("agent/")
        return tuple(each for each in self.contract.limits if is_agent or not each.agents_only)

    def counter(self, limit: Limit) -> str:
        """The counter that a limit counts on, by a name for people: calls share it exactly if they share the name."""
        of_tool = f"{self.contract.name}." if limit.window else ""
        filled = _PLACEHOLDER.sub(lambda match: str(self.arguments[match[1]]), limit.key)
        return f"{of_tool}{limit.name} {self.principal if limit.key == 'principal' else filled}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Calls in order, and what stands on their counters before."""

    calls: tuple[PlannedCall, ...]
    standing: Mapping[str, Given]


def read(raw: bytes, contracts: Iterable[Contract]) -> Plan:
    """Read a plan. Raises `PlanUnreadable`, which says where."""
    known: dict[str, Contract] = {contract.name: contract for contract in contracts}
    try:
        document = canonical.parse(raw)
    except EvidenceError as error:
        raise PlanUnreadable(f"plan: not JSON of the profile: `{error.reason}`") from error
    try:
        members = shapes.members(document, required={"calls"}, optional={"standing"}, form="plan")
    except EvidenceError as error:
        raise PlanUnreadable(str(error)) from error
    listed = members["calls"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= CALLS_MAX:
        raise PlanUnreadable(f"plan: member `calls`: expected a list of 1 to {CALLS_MAX} calls")
    calls = tuple(_call(each, known, f"call {place}") for place, each in enumerate(listed, 1))
    counters = {call.counter(limit) for call in calls for limit in call.limits}
    return Plan(calls=calls, standing=dict(_standing(members.get("standing", []), counters)))


def _call(document: Any, known: Mapping[str, Contract], where: str) -> PlannedCall:
    try:
        members = shapes.members(document, required={"tool", "principal"}, optional={"arguments", "facts"}, form=where)
        principal = shapes.text(members, "principal", shapes.PRINCIPAL)
    except EvidenceError as error:
        raise PlanUnreadable(str(error) if str(error).startswith(where) else f"{where}: {error}") from error
    contract = known.get(members["tool"]) if isinstance(members["tool"], str) else None
    if contract is None:
        raise PlanUnreadable(f"{where}: member `tool`: expected a registered tool")
    arguments = dict(_given(members.get("arguments", {}), contract.arguments, f"{where}: arguments"))
    sources = {source.name: source.fields for source in contract.facts}
    groups = members.get("facts", {})
    if not isinstance(groups, Mapping) or not groups.keys() <= sources.keys():
        raise PlanUnreadable(f"{where}: member `facts`: expected an object over {', '.join(sources) or 'nothing'}")
    facts = {name: dict(_given(group, sources[name], f"{where}: facts.{name}")) for name, group in groups.items()}
    call = PlannedCall(contract=contract, principal=principal, arguments=arguments, facts=facts)
    for limit in call.limits:
        for name in _PLACEHOLDER.findall(limit.key):
            if not isinstance(arguments.get(name), str | int):
                raise PlanUnreadable(f"{where}: argument `{name}`: expected one value: counter `{limit.name}` needs it")
    return call


def _given(document: Any, fields: Iterable[Field], where: str) -> Iterator[tuple[str, Given]]:
    known = {field.name: field for field in fields}
    if not isinstance(document, Mapping) or not document.keys() <= known.keys():
        raise PlanUnreadable(f"{where}: expected an object over {', '.join(known) or 'nothing'}")
    for name, value in document.items():
        field = known[name]
        interval = _interval(value)
        if interval is not None and field.kind is Kind.INTEGER:
            if not field.minimum <= interval[0] <= interval[1] <= field.maximum:
                raise PlanUnreadable(
                    f"{where}.{name}: expected {field.minimum} <= least <= greatest <= {field.maximum}"
                )
            yield name, interval
        elif accepts(field, value):
            # As questions carry it, and so as amounts and ceilings read it.
            yield name, epoch_seconds(value) if field.kind is Kind.TIMESTAMP else value
        else:
            raise PlanUnreadable(f"{where}.{name}: expected {expectation(field)}")


def _standing(document: Any, counters: Set[str]) -> Iterator[tuple[str, Given]]:
    if not isinstance(document, list):
        raise PlanUnreadable("plan: member `standing`: expected a list")
    for place, each in enumerate(document, 1):
        where = f"standing {place}"
        try:
            members = shapes.members(each, required={"counter", "amount"}, form=where)
        except EvidenceError as error:
            raise PlanUnreadable(str(error)) from error
        if members["counter"] not in counters:
            listing = ", ".join(f"`{name}`" for name in sorted(counters)) or "no call counts anything"
            raise PlanUnreadable(f"{where}: member `counter`: expected a counter of the plan: {listing}")
        low, high = _interval(members["amount"]) or (members["amount"], members["amount"])
        if type(low) is not int or not 0 <= low <= high <= INTEGER_MAX:
            raise PlanUnreadable(f"{where}: member `amount`: expected an integer of at least 0, or an interval of such")
        yield members["counter"], (low, high)


def _interval(value: Any) -> tuple[int, int] | None:
    if isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value):
        return (value[0], value[1])
    return None
