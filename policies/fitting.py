"""Whether a question fits the schema: every member there, of its type, each integer within its declared range.

Engines and proofs rely on it: outside the ranges an addition could overflow, a rule could err, and a `forbid` that errs
is dropped. So a question that does not fit is never asked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from policies.questions import Question
from policies.schema import ActionType, BoolType, LongType, RecordType, StringType, TypedSchema, ValueType

_Test = Callable[[Any], str | None]
_ABSENT = object()


def misfit(question: Question, schema: TypedSchema) -> str | None:
    """The path of the first member that does not fit, or `action`, `principal`, `resource`. None when all fit."""
    action = schema.actions.get(question.action)
    if action is None:
        return "action"
    if question.principal.type != "Person" and (question.principal.type != "Agent" or question.roles):
        return "principal"
    if question.resource.type != action.resource_type:
        return "resource"
    return _compiled(action)(question.context)


@lru_cache(maxsize=4096)  # Actions of every schema in use: a schema has some forty, a tenant one or two schemas.
def _compiled(action: ActionType) -> _Test:
    return _record(action.context, "context")


def _test(expected: ValueType, path: str) -> _Test:
    match expected:
        case RecordType():
            return _record(expected, path)
        case LongType(minimum=minimum, maximum=maximum):
            return lambda value: None if type(value) is int and minimum <= value <= maximum else path
        case BoolType():
            return lambda value: None if type(value) is bool else path
        case StringType(choices=()):
            return lambda value: None if type(value) is str else path
        case StringType(choices=choices):
            known = frozenset(choices)
            return lambda value: None if type(value) is str and value in known else path


def _record(record: RecordType, path: str) -> _Test:
    # Most members are numbers: their ranges are looked at here, without a function for each.
    tests = tuple(
        (each.name, isinstance(each.type, LongType), *_range(each.type), _test(each.type, f"{path}.{each.name}"))
        for each in record.attributes
    )
    optional = frozenset(each.name for each in record.attributes if not each.is_required)

    def test(value: Any) -> str | None:
        if type(value) is not dict:
            return path
        absent = 0
        for name, is_long, minimum, maximum, inner in tests:
            item = value.get(name, _ABSENT)
            if item is _ABSENT:
                if name not in optional:
                    return f"{path}.{name}"
                absent += 1
            elif not (is_long and type(item) is int and minimum <= item <= maximum):
                found = inner(item)
                if found is not None:
                    return found
        return None if len(value) == len(tests) - absent else path

    return test


def _range(expected: ValueType) -> tuple[int, int]:
    return (expected.minimum, expected.maximum) if isinstance(expected, LongType) else (0, 0)
