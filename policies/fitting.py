"""Whether a question fits the schema: every member there, of its type, each integer within its declared range.

Engines and proofs rely on it: outside the ranges an addition could overflow, a rule could err, and a `forbid` that errs
is dropped. So a question that does not fit is never asked.
"""

from __future__ import annotations

from typing import Any

from policies.questions import Question
from policies.schema import BoolType, LongType, RecordType, StringType, TypedSchema, ValueType


def misfit(question: Question, schema: TypedSchema) -> str | None:
    """The path of the first member that does not fit, or `action`, `principal`, `resource`. None when all fit."""
    action = schema.actions.get(question.action)
    if action is None:
        return "action"
    if question.principal.type not in ("Agent", "Person") or (question.principal.type == "Agent" and question.roles):
        return "principal"
    if question.resource.type != action.resource_type:
        return "resource"
    return _misfit(question.context, action.context, "context")


def _misfit(value: Any, expected: ValueType, path: str) -> str | None:
    match expected:
        case RecordType(attributes=attributes):
            if not isinstance(value, dict):
                return path
            present = 0
            for each in attributes:
                if each.name in value:
                    present += 1
                    found = _misfit(value[each.name], each.type, f"{path}.{each.name}")
                    if found is not None:
                        return found
                elif each.is_required:
                    return f"{path}.{each.name}"
            return path if present != len(value) else None
        case LongType(minimum=minimum, maximum=maximum):
            return None if type(value) is int and minimum <= value <= maximum else path
        case BoolType():
            return None if type(value) is bool else path
        case StringType(choices=choices):
            return None if type(value) is str and (not choices or value in choices) else path
