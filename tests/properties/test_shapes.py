"""Shapes hold for every value: what is declared passes, what is not is refused without being repeated."""

from __future__ import annotations

import contextlib
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tool_registry import declarations, documents, schemas
from tool_registry.contracts import Contract, Field, Kind
from tool_registry.registry import load_catalogue
from tool_registry.shapes import ContractViolation, ShapeError, compile_shape, epoch_seconds, whole_pattern

CONTRACTS = load_catalogue().contracts
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_MAX = 253_402_300_799  # 9999-12-31T23:59:59Z

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
instants = st.integers(min_value=0, max_value=SECONDS_MAX)


def rfc3339(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat() + "Z"


def values_of(field: Field) -> st.SearchStrategy[Any]:
    """Values that the field declares."""
    match field.kind:
        case Kind.INTEGER:
            return st.integers(min_value=field.minimum, max_value=field.maximum)
        case Kind.FLAG:
            return st.booleans()
        case Kind.CHOICE:
            return st.sampled_from(field.choices)
        case Kind.TIMESTAMP:
            return instants.map(rfc3339)
        case Kind.IDENTIFIER | Kind.TEXT:
            pattern = whole_pattern(field)
            texts = (
                st.text(max_size=40)
                if pattern is None
                else st.from_regex(re.compile(pattern, re.ASCII), fullmatch=True)
            )
            return texts.filter(lambda text: len(text) <= field.length_max and not re.search("[\ud800-\udfff]", text))
        case Kind.RECORD:
            return records_of(field.fields)
        case Kind.LIST:
            return st.lists(records_of(field.fields), max_size=3)


def records_of(fields: tuple[Field, ...]) -> st.SearchStrategy[dict[str, Any]]:
    required = {each.name: values_of(each) for each in fields if not each.optional}
    optional = {each.name: values_of(each) for each in fields if each.optional}
    return st.fixed_dictionaries(required, optional=optional)


contracts = st.sampled_from(sorted(CONTRACTS.values(), key=lambda each: each.name))


@given(contracts.flatmap(lambda each: st.tuples(st.just(each), records_of(each.arguments), records_of(each.result))))
@settings(max_examples=150, deadline=None)
def test_declared_values_pass(case: tuple[Contract, dict[str, Any], dict[str, Any]]) -> None:
    """
    Whatever is within the declared kinds, ranges and patterns is accepted, for arguments and results of every tool.
    """
    contract, arguments, result = case

    compile_shape(contract.arguments).check(arguments)
    compile_shape(contract.result).check(result)


@given(contracts, json_values)
@settings(max_examples=300, deadline=None)
def test_other_values_are_refused_unseen(contract: Contract, value: Any) -> None:
    """
    J01, J07: any other value is a violation whose faults are made of declared names, positions and expectations alone.
    """
    shape = compile_shape(contract.result)

    with pytest.raises(ContractViolation) as caught:
        shape.check(value)

    for pointer, expected in caught.value.faults:
        assert re.fullmatch(r"(/[a-z0-9_]+)*", pointer)
        assert expected
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# The mark sets a secret apart from the contract's own words, which a violation does say.
@given(st.text(min_size=8).map(lambda text: f"§{text}"), st.sampled_from(["name", "value", "nested"]))
@settings(max_examples=200, deadline=None)
def test_nothing_of_the_input_is_echoed(secret: str, place: str) -> None:
    """
    H01: neither an undeclared name nor a refused value comes back in a violation.
    """
    item = {"sku": "sku_1", "title": "Lamp", "quantity": 1, "price_cents": 5, secret: 1}
    value: dict[str, Any] = {
        "name": {secret: 1},
        "value": {"order_id": secret},
        "nested": {"items": [item]},
    }[place]

    with pytest.raises(ContractViolation) as caught:
        compile_shape(CONTRACTS["get_order"].result).check(value)

    assert secret not in f"{caught.value} {caught.value.faults}"


@pytest.mark.parametrize(
    "wrong", [True, "10", " 12 ", "1_000", 10.0, 1.5, None, [10], {"a": 1}, 0, -1, 2**53, 2**63, 2**64]
)
def test_an_amount_is_an_integer_in_range(wrong: object) -> None:
    """
    J06, I03: nothing is coerced into an amount, and zero, negative and too large ones are refused.
    """
    shape = compile_shape(CONTRACTS["issue_refund"].arguments)

    with pytest.raises(ContractViolation) as caught:
        shape.check({"order_id": "ord_1001", "amount_cents": wrong})

    assert caught.value.faults == [("/amount_cents", "an integer from 1 to 100000000")]


@pytest.mark.parametrize("name", ["__proto__", "__class__", "constructor", "tenant_id", "amount_cents ", ""])
def test_undeclared_members_are_refused(name: str) -> None:
    """
    J07: a member that the contract does not declare is refused, whatever its name means elsewhere.
    """
    shape = compile_shape(CONTRACTS["issue_refund"].arguments)

    with pytest.raises(ContractViolation) as caught:
        shape.check({"order_id": "ord_1001", "amount_cents": 1, name: 1})

    assert caught.value.faults == [("", "no member but order_id, amount_cents")]


@given(instants)
def test_time_stamps_round_trip(seconds: int) -> None:
    """
    Every second from 1970 to 9999 has one text, and the text gives the second back.
    """
    assert epoch_seconds(rfc3339(seconds)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2016-12-31T23:59:60Z",
        "1969-12-31T23:59:59Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00z", "2026-01-01T00:00:00+00:00",
        "2026-01-01T00:00:00.0Z", "2026-01-01 00:00:00Z", "2026-01-01", "20260101T000000Z", "2026-W01-1T00:00:00Z",
        "\uff12026-01-01T00:00:00Z", "2026-01-01T00:00:00Z\n", " 2026-01-01T00:00:00Z", "",
    ],
)  # fmt: skip
def test_other_times_are_refused(text: str) -> None:
    """
    A time stamp is RFC 3339 in UTC and whole seconds, on a day and at a time that exist.
    """
    shape = compile_shape((Field(name="at", kind=Kind.TIMESTAMP),))

    with pytest.raises(ContractViolation):
        shape.check({"at": text})


@pytest.mark.parametrize(
    "text", ["ord_1\n", "ord_", "ord_-", "ORD_1", "ord_1/..", "ord_é", "ord_1 ", "x ord_1", "ord_" + "1" * 200]
)
def test_an_identifier_matches_as_a_whole(text: str) -> None:
    """
    An identifier matches its pattern from its first to its last character.
    """
    shape = compile_shape(CONTRACTS["get_order"].arguments)

    with pytest.raises(ContractViolation):
        shape.check({"order_id": text})


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+", "(.*)*x", "([a-z]+)*[0-9]"])
def test_patterns_run_in_linear_time(pattern: str) -> None:
    """
    J08: patterns that explode elsewhere take no time here, on 100 kB.
    """
    shape = compile_shape((Field(name="text", kind=Kind.TEXT, pattern=pattern, length_max=200_000),))
    started = time.process_time()

    with pytest.raises(ContractViolation):
        shape.check({"text": "a" * 100_000 + "!"})

    assert time.process_time() - started < 0.05


def test_patterns_that_cannot_are_refused() -> None:
    """
    J08: a pattern that needs backtracking does not compile.
    """
    with pytest.raises(ShapeError):
        compile_shape((Field(name="text", kind=Kind.TEXT, pattern=r"(a+)\1"),))


def test_schemas_know_only_integers() -> None:
    """
    The published schemas close every object, bound every text and list, and have no number but integers.
    """

    def walk(schema: dict[str, Any]) -> None:
        match schema["type"]:
            case "object":
                assert schema["additionalProperties"] is False
                for each in schema["properties"].values():
                    walk(each)
            case "array":
                assert schema["maxItems"] > 0
                walk(schema["items"])
            case "integer":
                assert -(2**53) < schema["minimum"] <= schema["maximum"] < 2**53
            case "string":
                assert {"maxLength", "enum", "format"} & set(schema)
            case other:
                assert other == "boolean"

    for contract in CONTRACTS.values():
        walk(schemas.of_arguments(contract))
        walk(schemas.of_result(contract))


@given(st.binary(max_size=300) | st.text(alphabet="ab:-[]{}&*!|>'\"#%? \n\t0~<=", max_size=60).map(str.encode))
@settings(max_examples=500, deadline=None)
def test_no_document_brings_the_reader_down(document: bytes) -> None:
    """
    J01: whatever bytes are declared, the answer is a tree, a contract, or a declaration error.
    """
    for read in (documents.parse, declarations.parse):
        with contextlib.suppress(declarations.DeclarationError):
            read(document)
