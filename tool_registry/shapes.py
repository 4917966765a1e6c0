"""Shapes: the fields of a contract, compiled once into a strict validator.

Strict means that nothing is turned into something else: `true` is no integer, `"10"` is no integer, a member that is
not declared is refused. What is refused is described by what was expected, never by what came, so that a fault can be
shown to anybody. Patterns run on a linear-time engine; one that it cannot run is refused when the shape is compiled.

Text is taken as it comes: normal form and invisible characters are the business of `proofs.canonical`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, assert_never

from pydantic_core import CoreSchema, SchemaError, SchemaValidator, ValidationError, core_schema

from tool_registry.contracts import TOKEN_PATTERN, Field, Kind

FAULTS_MAX = 20  # Enough to mend a request by; a list of a thousand faults is the client's to count.

PLAIN_PATTERN = "[A-Za-z0-9][A-Za-z0-9_.:-]*"
"""Of an identifier that declares neither prefix nor pattern."""

TIMESTAMP_PATTERN = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
"""RFC 3339 in UTC and whole seconds: one instant, one text."""

_TIMESTAMP = re.compile(TIMESTAMP_PATTERN)
_EPOCH_YEAR = "1970"
_UNDECLARED = {"extra_forbidden", "invalid_key"}


class ContractViolation(ValueError):
    """A value does not have the shape that the contract declares."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("the value does not fit its contract")
        self.faults = faults
        """(JSON pointer, what was expected there). Holds nothing of the value but declared names and positions."""


class ShapeError(ValueError):
    """The fields cannot be compiled: a pattern that does not run in linear time, or is none."""


class Shape:
    """A compiled tuple of fields. Immutable, and safe to share between threads."""

    __slots__ = ("_fields", "_validator")

    def __init__(self, fields: tuple[Field, ...], validator: SchemaValidator) -> None:
        self._fields = fields
        self._validator = validator

    def check(self, value: object) -> None:
        """
        Accept `value` as it is, or say everything that is wrong with it.

        Raises `ContractViolation`.
        """
        try:
            self._validator.validate_python(value)
        except ValidationError as error:
            raise ContractViolation(_faults(self._fields, error)) from None  # The cause would hold the value.


def compile_shape(fields: tuple[Field, ...]) -> Shape:
    """
    Compile `fields` for many checks.

    Raises `ShapeError`.
    """
    try:
        return Shape(fields, SchemaValidator(_record(fields)))
    except SchemaError as error:
        raise ShapeError("a pattern is none, or cannot run in linear time") from error


def whole_pattern(field: Field) -> str | None:
    """The regular expression that a whole text or identifier matches, anchored; None where any text will do."""
    if field.kind is Kind.IDENTIFIER:
        inner = f"{field.prefix}_[A-Za-z0-9][A-Za-z0-9_-]*" if field.prefix else field.pattern or PLAIN_PATTERN
    elif field.pattern is not None:
        inner = field.pattern
    else:
        return None
    return f"^(?:{inner}|{TOKEN_PATTERN})$" if field.resolves else f"^(?:{inner})$"


def epoch_seconds(timestamp: str) -> int:
    """
    The instant of an RFC 3339 text in UTC, as questions carry it.

    Raises ValueError for another form, a day that no calendar has, a leap second, or a year before 1970.
    """
    if not _TIMESTAMP.fullmatch(timestamp) or timestamp < _EPOCH_YEAR:
        raise ValueError("not a time stamp in UTC")
    return int(datetime.fromisoformat(timestamp[:-1]).replace(tzinfo=UTC).timestamp())


def expectation(field: Field) -> str:
    """What a value of the field must be, in words."""
    match field.kind:
        case Kind.INTEGER:
            return f"an integer from {field.minimum} to {field.maximum}"
        case Kind.FLAG:
            return "true or false"
        case Kind.CHOICE:
            return f"one of: {', '.join(field.choices)}"
        case Kind.TIMESTAMP:
            return "a time stamp such as 2026-01-31T12:00:00Z, in UTC and whole seconds"
        case Kind.IDENTIFIER | Kind.TEXT:
            return _expected_text(field)
        case Kind.RECORD:
            return "an object"
        case Kind.LIST:
            return f"a list of at most {field.length_max} objects"
        case _:
            assert_never(field.kind)


def _expected_text(field: Field) -> str:
    noun = "an identifier" if field.kind is Kind.IDENTIFIER else "a text"
    if field.prefix:
        return f"{noun} such as {field.prefix}_1001, of at most {field.length_max} characters"
    pattern = whole_pattern(field)
    form = f" that matches {pattern}" if pattern else ""
    return f"{noun} of at most {field.length_max} characters{form}"


def _record(fields: tuple[Field, ...]) -> CoreSchema:
    return core_schema.typed_dict_schema(
        {each.name: core_schema.typed_dict_field(_value(each), required=not each.optional) for each in fields},
        extra_behavior="forbid",
        strict=True,
    )


def _value(field: Field) -> CoreSchema:
    match field.kind:
        case Kind.INTEGER:
            return core_schema.int_schema(ge=field.minimum, le=field.maximum, strict=True)
        case Kind.FLAG:
            return core_schema.bool_schema(strict=True)
        case Kind.CHOICE:
            return core_schema.literal_schema(list(field.choices))
        case Kind.TIMESTAMP:
            text = core_schema.str_schema(max_length=20, strict=True)
            return core_schema.no_info_after_validator_function(_timestamp, text)
        case Kind.IDENTIFIER | Kind.TEXT:
            text = core_schema.str_schema(
                pattern=whole_pattern(field),
                max_length=field.length_max,
                strict=True,
                regex_engine="rust-regex",
            )
            if field.kind is Kind.IDENTIFIER and field.pattern is not None:
                return core_schema.no_info_after_validator_function(_visible_ascii, text)
            return text
        case Kind.RECORD:
            return _record(field.fields)
        case Kind.LIST:
            return core_schema.list_schema(_record(field.fields), max_length=field.length_max, strict=True)
        case _:
            assert_never(field.kind)


def _visible_ascii(text: str) -> str:
    # A declared pattern such as `\w+` would admit letters of every script, and with them two names that look alike.
    if not (text.isascii() and text.isprintable()):
        raise ValueError("not an identifier")
    return text


def _timestamp(text: str) -> str:
    epoch_seconds(text)
    return text


def _faults(fields: tuple[Field, ...], error: ValidationError) -> list[tuple[str, str]]:
    faults: dict[tuple[str, str], None] = {}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        faults[_fault(fields, each["loc"], is_extra=each["type"] in _UNDECLARED)] = None
        if len(faults) == FAULTS_MAX:
            break
    return list(faults)


def _fault(fields: tuple[Field, ...], place: tuple[int | str, ...], *, is_extra: bool) -> tuple[str, str]:
    """An undeclared member is reported at its parent: its name came from the client."""
    pointer = ""
    field: Field | None = None
    for step in place[:-1] if is_extra else place:
        if isinstance(step, int):
            pointer += f"/{step}"
            continue
        by_name: Mapping[str, Field] = {each.name: each for each in fields}
        field = by_name[step]
        fields = field.fields
        pointer += f"/{field.name}"
    if is_extra:
        return pointer, f"no member but {', '.join(each.name for each in fields) or 'none at all'}"
    if field is None or isinstance(place[-1], int):
        return pointer, "an object"
    return pointer, expectation(field)


def accepts(field: Field, value: Any) -> bool:
    """Whether one value of one field fits; for literals in declarations, not for the call path."""
    try:
        compile_shape((field,)).check({field.name: value})
    except ContractViolation:
        return False
    return True
