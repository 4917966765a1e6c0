"""What a viewer is told of an explanation: members, values and sentences, by the rights of this moment.

A value may give away a fact that it follows from: where the viewer may not see that fact, the value is left out and the
sentence says that it follows from a fact that the viewer may not see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.clock import rfc3339
from invariants.explanations.alternatives import ARGUMENTS, REASON_CODE, Alternative, Change, Scalar
from policies.questions import APPROVER_ROLES, Question
from tool_registry.contracts import Contract, Field, Kind, Label

HIDDEN_FACT = "a fact that you may not see"
HIDDEN_ARGUMENT = "an argument that you may not see"
_NUMBERS = ("no", "one", "two", "three")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One refused call as one viewer may see it."""

    contract: Contract
    question: Question
    labels: frozenset[Label]
    """What the viewer may see."""
    is_own: bool
    """Whether the viewer made the call: its own arguments are no secret to it."""

    def alternative(self, alternative: Alternative) -> dict[str, Any]:
        """One alternative with its sentence."""
        changes = [self._change(change) for change in alternative.changes]
        counts = _added(self.question.context["approvals"], alternative.approvals)
        needs = [{"role": role, "persons": count} for role, count in counts.items()]
        persons = 0
        if alternative.approvals is not None:
            persons = alternative.approvals["persons"] - self.question.context["approvals"]["persons"]
        parts = [_told(each) for each in changes] + ([_asked(counts, persons)] if counts or persons else [])
        sentence = f"It would pass with {' and '.join(parts)}." if parts else "It would pass as it stands."
        document: dict[str, Any] = {"sentence": sentence, "changes": changes, "approvals": needs}
        return {**document, "persons": persons} if persons else document

    def _change(self, change: Change) -> dict[str, Any]:
        name = change.member.removeprefix(ARGUMENTS)
        is_reason = change.member == REASON_CODE
        field = None if is_reason else next(each for each in self.contract.arguments if each.name == name)
        # A reason code has no field of its own; it is as internal as the call.
        label = Label.INTERNAL if field is None else field.label
        if not self.is_own and label not in self.labels:
            return {"member": HIDDEN_ARGUMENT}
        now = self.question.context[name] if is_reason else self.question.context["arguments"][name]
        document: dict[str, Any] = {"member": change.member, "now": _shown(field, now)}
        if not all(self._sees_fact(fact) for fact in change.reads):
            direction = "" if field is None or change.low is None else _direction(now, change.value)
            return {**document, "follows_from": HIDDEN_FACT, **({"direction": direction} if direction else {})}
        document["would_pass"] = _shown(field, change.value)
        if change.low is not None and change.high is not None:
            document |= {"from": _shown(field, change.low), "to": _shown(field, change.high)}
            document["range"] = _range(field, change.low, change.high)
        if change.others:
            document["or"] = list(change.others)
        return document

    def _sees_fact(self, fact: str) -> bool:
        group, _, member = fact.partition(".")
        fields = (field for source in self.contract.facts if source.name == group for field in source.fields)
        # The reading of a limit has no field of its own; it is as internal as the limit.
        label = next((field.label for field in fields if field.name == member), Label.INTERNAL)
        return label in self.labels


def askers(roles: Sequence[str], *, asks_same: bool) -> str:
    """Who else could ask, in a sentence."""
    listed = f"{', '.join(roles[:-1])} or {roles[-1]}" if len(roles) > 1 else roles[0]
    return f"A person with the role {listed} could ask for {'it' if asks_same else 'it, with other arguments'}."


def _told(change: Mapping[str, Any]) -> str:
    name = str(change["member"]).removeprefix(ARGUMENTS)
    if "now" not in change:
        return f"another value of {name}"
    if "follows_from" in change:
        return f"{change.get('direction', 'another')} {name}, which follows from {change['follows_from']}"
    if "range" in change:
        return f"{name} {change['range']}"
    return f"{name} {' or '.join(str(each) for each in (change['would_pass'], *change.get('or', ())))}"


def _asked(counts: Mapping[str, int], persons: int) -> str:
    said = [
        f"{_NUMBERS[count]} {'approval' if count == 1 else 'approvals'} of {role}" for role, count in counts.items()
    ]
    if len(said) > 1 and persons:
        return f"{' and '.join(said)} ({_NUMBERS[persons]} {'person' if persons == 1 else 'persons'})"
    return " and ".join(said) or f"{_NUMBERS[persons]} more to approve"


def _added(now: Mapping[str, int], then: Mapping[str, int] | None) -> dict[str, int]:
    if then is None:
        return {}
    return {role: then[role] - now[role] for role in APPROVER_ROLES if then[role] > now[role]}


def _direction(now: Any, value: Scalar) -> str:
    return "a smaller" if int(value) < int(now) else "a larger"


def _range(field: Field | None, low: int, high: int) -> str:
    if low == high:
        return str(_shown(field, low))
    minimum, maximum = (field.minimum, field.maximum) if field is not None else (low, high)
    if low == minimum or (field is not None and field.kind is Kind.TIMESTAMP and low == 0):
        return f"{_shown(field, high)} or {'earlier' if _is_time(field) else 'less'}"
    if high == maximum:
        return f"{_shown(field, low)} or more"
    return f"from {_shown(field, low)} to {_shown(field, high)}"


def _shown(field: Field | None, value: Any) -> Any:
    """A value as a caller would send it."""
    return rfc3339(int(value) * 1000) if _is_time(field) else value


def _is_time(field: Field | None) -> bool:
    return field is not None and field.kind is Kind.TIMESTAMP
