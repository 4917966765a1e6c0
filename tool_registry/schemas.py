"""JSON Schema of a tool's arguments and results, for OpenAPI 3.1 and for clients that validate before they send.

A value that a schema here admits, `shapes` admits, with one exception that JSON Schema cannot say: a time stamp must be
a day of the calendar. All numbers are integers.
"""

from __future__ import annotations

from typing import Any, assert_never

from tool_registry.contracts import Contract, Field, Kind
from tool_registry.shapes import TIMESTAMP_PATTERN, whole_pattern

Schema = dict[str, Any]


def of_arguments(contract: Contract) -> Schema:
    """The schema of what a call to the tool carries as `arguments`."""
    return _record(contract.arguments)


def of_result(contract: Contract) -> Schema:
    """The schema of what the tool answers, before redaction takes members out."""
    return _record(contract.result)


def _record(fields: tuple[Field, ...]) -> Schema:
    return {
        "type": "object",
        "properties": {each.name: _value(each) for each in fields},
        "required": [each.name for each in fields if not each.optional],
        "additionalProperties": False,
    }


def _value(field: Field) -> Schema:
    match field.kind:
        case Kind.INTEGER:
            return {"type": "integer", "minimum": field.minimum, "maximum": field.maximum}
        case Kind.FLAG:
            return {"type": "boolean"}
        case Kind.CHOICE:
            return {"type": "string", "enum": list(field.choices)}
        case Kind.TIMESTAMP:
            return {"type": "string", "format": "date-time", "pattern": f"^{TIMESTAMP_PATTERN}$"}
        case Kind.IDENTIFIER | Kind.TEXT:
            return _text(field)
        case Kind.RECORD:
            return _record(field.fields)
        case Kind.LIST:
            return {"type": "array", "items": _record(field.fields), "maxItems": field.length_max}
        case _:
            assert_never(field.kind)


def _text(field: Field) -> Schema:
    schema: Schema = {"type": "string", "maxLength": field.length_max}
    if field.resolves:
        schema["description"] = "the value, or the token (tok_…) that a read has shown in its place"
    pattern = whole_pattern(field)
    return schema if pattern is None else {**schema, "pattern": pattern}
