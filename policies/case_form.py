"""The form of a case: a question in short, and what must be decided, by which rules.

A case says what matters to it. Members of the context that it leaves out are quiet: counts and flags are 0 and false,
an integer is 0 or the nearest to it in its range, a choice is its first. An agent is registered and at L3; a write is
R1; `now` is the first second of 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from policies.errors import PolicyFault
from policies.questions import APPROVALS_MAX, APPROVER_ROLES, ROLES, Entity, Question
from policies.schema import ActionType, BoolType, LongType, RecordType, StringType, ValueType
from proofs import shapes
from tool_registry.contracts import Contract, Effect

CASES_MAX = 2000
NOW = 1767225600  # 2026-01-01T00:00:00Z
_ACTION = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NAME = re.compile(r"[^\n]{1,200}")
_CONTEXT = frozenset(
    {"arguments", "facts", "approvals", "risk", "autonomy", "registered", "reason_code", "environment", "tenant", "now"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a case says must be decided."""

    decision: Literal["permit", "deny", "error"]
    rules: tuple[str, ...] | None
    """Ids of exactly the determining rules, sorted: the permits, or every forbid and Rego deny. None: any."""
    obligations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One expectation that a bundle carries about itself."""

    name: str
    principal: Entity
    roles: tuple[str, ...]
    action: str
    context: Mapping[str, Any]
    """Only what the case says; see `question`."""
    expect: Expectation


def read_cases(document: Any) -> tuple[Case, ...]:
    """Read all cases. Raises `PolicyFault` or `proofs.errors.Misshapen` for a form that is not exactly this one."""
    if not isinstance(document, list) or len(document) > CASES_MAX:
        raise PolicyFault(f"cases.json: expected a list of at most {CASES_MAX} cases")
    cases = tuple(_case(each) for each in document)
    names = [case.name for case in cases]
    if len(set(names)) != len(names):
        raise PolicyFault("cases.json: two cases have one name")
    return cases


def question(case: Case, action: ActionType, contract: Contract) -> Question:
    """The whole question that the case asks in short. It may still not fit the schema: see `fitting`."""
    is_agent = case.principal.type == "Agent"
    context = {
        **_quiet_record(action.context),
        "risk": 0 if contract.effect is Effect.READ else 1,
        "autonomy": 3 if is_agent else 0,
        "registered": is_agent,
        "environment": "dev",
        "tenant": "acme",
        "now": NOW,
    }
    counts = case.context.get("approvals", {})
    persons = {"persons": min(sum(counts.values()), APPROVALS_MAX)}
    for name, said in case.context.items():
        context[name] = _merged(context[name], {**persons, **said} if name == "approvals" else said)
    argument = contract.resource_argument
    named = context["tenant"] if argument is None else context["arguments"].get(argument, "")
    return Question(
        principal=case.principal,
        roles=case.roles,
        action=case.action,
        resource=Entity(type=action.resource_type, id=str(named)),
        context=context,
    )


def kept(name: str, document: Mapping[str, Any], decision: str) -> dict[str, Any]:
    """
    A case that asks a recorded question (`Question.document`) again and expects `decision`, whichever rules decide.

    For a counter-example, which must never pass again.
    """
    principal = document["principal"]
    asked = {
        "principal": f"{principal['type'].lower()}/{principal['id']}",
        "roles": principal["roles"],
        "action": document["action"],
        "context": document["context"],
    }
    return {"name": name, "question": asked, "expect": {"decision": decision}}


def _case(document: Any) -> Case:
    members = shapes.members(document, required={"name", "question", "expect"}, form="case")
    name = shapes.text(members, "name", _NAME)
    asked = shapes.members(
        members["question"], required={"principal", "action"}, optional={"roles", "context"}, form="question"
    )
    kind, _, identity = shapes.text(asked, "principal", shapes.PRINCIPAL).partition("/")
    context = shapes.members(asked.get("context", {}), required=frozenset(), optional=_CONTEXT, form="context")
    counts = context.get("approvals", {})
    if not isinstance(counts, dict) or not all(
        name in ("persons", *APPROVER_ROLES) and type(count) is int for name, count in counts.items()
    ):
        raise PolicyFault("cases.json: expected counts of persons by role under `approvals`")
    return Case(
        name=name,
        principal=Entity(type="Agent" if kind == "agent" else "Person", id=identity),
        roles=tuple(sorted(_strings(asked.get("roles", []), ROLES))),
        action=shapes.text(asked, "action", _ACTION),
        context=context,
        expect=_expectation(members["expect"]),
    )


def _expectation(document: Any) -> Expectation:
    members = shapes.members(document, required={"decision"}, optional={"rules", "obligations"}, form="expect")
    decision = members["decision"]
    if decision not in ("permit", "deny", "error"):
        raise PolicyFault("cases.json: expected `decision` permit, deny or error")
    return Expectation(
        decision=decision,
        rules=tuple(sorted(_strings(members["rules"]))) if "rules" in members else None,
        obligations=tuple(sorted(_strings(members.get("obligations", [])))),
    )


def _strings(document: Any, known: tuple[str, ...] | None = None) -> list[str]:
    if not isinstance(document, list) or not all(isinstance(each, str) for each in document):
        raise PolicyFault("cases.json: expected a list of strings")
    if known is not None and not set(document) <= set(known):
        raise PolicyFault("cases.json: expected roles of the table")
    return document


def _quiet(expected: ValueType) -> Any:
    match expected:
        case RecordType():
            return _quiet_record(expected)
        case LongType(minimum=minimum, maximum=maximum):
            return min(max(0, minimum), maximum)
        case BoolType():
            return False
        case StringType(choices=choices):
            return choices[0] if choices else "x"


def _quiet_record(record: RecordType) -> dict[str, Any]:
    return {each.name: _quiet(each.type) for each in record.attributes if each.is_required}


def _merged(quiet: Any, said: Any) -> Any:
    if not (isinstance(quiet, dict) and isinstance(said, dict)):
        return said
    return {**quiet, **{name: _merged(quiet.get(name), value) for name, value in said.items()}}
