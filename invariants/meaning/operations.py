"""What Cedar's operators make of values.

Everything here raises `EvaluationError` for a value of another type than the operator takes, and where an integer
leaves 64 bits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn

from invariants.errors import EvaluationError
from invariants.meaning.entities import SetValue, same
from invariants.meaning.extensions import (
    DAY_MS,
    LOOPBACK,
    MULTICAST,
    UNIT_MS,
    Address,
    Datetime,
    Decimal,
    Duration,
    fits,
)


def truth(value: Any) -> bool:
    """The value, which must be true or false."""
    return bool(expect(bool, value))


def expect(kind: type, value: Any) -> Any:
    """The value, which must be of that kind and of none below it: in Python a bool is an int."""
    return value if type(value) is kind else err(f"a {kind.__name__} expected")


def err(what: str) -> NoReturn:
    """As an expression: Cedar would report an error here."""
    raise EvaluationError(what)


def _long(value: int) -> int:
    return value if fits(value) else err("integer overflow")


def _ordered(left: Any, right: Any) -> tuple[int, int]:
    """Longs, datetimes and durations have an order, each among themselves."""
    kind = type(left)
    if kind is not type(right) or kind not in (int, Datetime, Duration):
        err("two values with an order expected")
    return (left, right) if kind is int else (left.number, right.number)


def _in_order(compare: Callable[[int, int], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: compare(*_ordered(left, right))


def _decimals(compare: Callable[[int, int], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: compare(expect(Decimal, left).number, expect(Decimal, right).number)


def _sets(compare: Callable[[SetValue, SetValue], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: compare(expect(SetValue, left), expect(SetValue, right))


def _to_unit(unit_ms: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        number: int = expect(Duration, value).number
        return number // unit_ms if number >= 0 else -(-number // unit_ms)

    return convert


def _within(value: Any, ranges: tuple[Address, ...]) -> bool:
    return any(expect(Address, value).is_in_range(each) for each in ranges)


def _to_date(value: Any) -> Datetime:
    return Datetime(_long(expect(Datetime, value).number // DAY_MS * DAY_MS))


ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
}
"""Of integers without bounds; whoever computes looks at the bounds."""

COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq,
    "not_eq": operator.ne,
    "less": operator.lt,
    "less_eq": operator.le,
    "greater": operator.gt,
    "greater_eq": operator.ge,
}
"""Of two integers. For other values see `BINARY`."""

UNARY: dict[str, Callable[[Any], Any]] = {
    "not": lambda value: not truth(value),
    "neg": lambda value: _long(-expect(int, value)),
    "is_empty": lambda value: not expect(SetValue, value).elements,
    "is_ipv4": lambda value: not expect(Address, value).is_v6,
    "is_ipv6": lambda value: expect(Address, value).is_v6,
    "is_loopback": lambda value: _within(value, LOOPBACK),
    "is_multicast": lambda value: _within(value, MULTICAST),
    "to_date": _to_date,
    "to_time": lambda value: Duration(expect(Datetime, value).number % DAY_MS),
    **{name: _to_unit(unit_ms) for name, unit_ms in UNIT_MS.items()},
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "eq": same,
    "not_eq": lambda left, right: not same(left, right),
    "less": _in_order(operator.lt),
    "less_eq": _in_order(operator.le),
    "greater": _in_order(operator.gt),
    "greater_eq": _in_order(operator.ge),
    "contains": lambda left, right: expect(SetValue, left).holds(right),
    "contains_all": _sets(lambda left, right: all(map(left.holds, right.elements))),
    "contains_any": _sets(lambda left, right: any(map(left.holds, right.elements))),
    "is_in_range": lambda left, right: expect(Address, left).is_in_range(expect(Address, right)),
    "offset": lambda left, right: Datetime(_long(expect(Datetime, left).number + expect(Duration, right).number)),
    "duration_since": lambda left, right: Duration(
        _long(expect(Datetime, left).number - expect(Datetime, right).number)
    ),
    "decimal_less_than": _decimals(operator.lt),
    "decimal_less_eq": _decimals(operator.le),
    "decimal_greater": _decimals(operator.gt),
    "decimal_greater_eq": _decimals(operator.ge),
}
