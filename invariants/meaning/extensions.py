"""Cedar's extension values: what a literal's text denotes, and what the engine computes with it.

A decimal is a number of ten-thousandths, a datetime a number of milliseconds since 1970, a duration a number of
milliseconds; all are 64-bit integers. An address is its family, its number and its prefix: `10.0.0.1/8` and
`10.0.0.2/8` are two values, although each lies in the range of the other. Text that is no literal denotes None, where
Cedar errs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from policies.cedar_syntax import LONG_MAX, LONG_MIN

DAY_MS = 86_400_000
BITS_V4 = 32
BITS_V6 = 128

UNIT_MS = {"to_milliseconds": 1, "to_seconds": 1_000, "to_minutes": 60_000, "to_hours": 3_600_000, "to_days": DAY_MS}
"""Milliseconds in the unit that a duration's method counts."""


@dataclass(frozen=True, slots=True)
class Decimal:
    """Ten-thousandths."""

    number: int


@dataclass(frozen=True, slots=True)
class Datetime:
    """Milliseconds since 1970-01-01T00:00:00Z."""

    number: int


@dataclass(frozen=True, slots=True)
class Duration:
    """Milliseconds."""

    number: int


@dataclass(frozen=True, slots=True)
class Address:
    """An address with its prefix; a single host has all bits as its prefix."""

    is_v6: bool
    number: int
    prefix: int

    @property
    def bounds(self) -> tuple[int, int]:
        """First and last address of the range."""
        spare = (BITS_V6 if self.is_v6 else BITS_V4) - self.prefix
        first = self.number >> spare << spare
        return first, first + (1 << spare) - 1

    def is_in_range(self, other: Address) -> bool:
        """Whether all of this range lies in the other."""
        first, last = self.bounds
        low, high = other.bounds
        return self.is_v6 is other.is_v6 and low <= first and last <= high


Extension = Decimal | Datetime | Duration | Address

LOOPBACK = (Address(False, 127 << 24, 8), Address(True, 1, BITS_V6))
MULTICAST = (Address(False, 224 << 24, 4), Address(True, 0xFF << 120, 8))

_DECIMAL = re.compile(r"(-?)([0-9]+)\.([0-9]{1,4})")
_DURATION = re.compile(r"(-?)(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m(?!s))?(?:([0-9]+)s)?(?:([0-9]+)ms)?")
_DATETIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{3}))?(?:Z|([+-])([0-9]{2})([0-9]{2})))?"
)
_PREFIX = re.compile(r"0|[1-9][0-9]{0,2}")
_MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_TEXT_MAX = 400  # Far beyond any literal; keeps integers small before they are compared with 64 bits.


def decimal(text: str) -> Decimal | None:
    """`12.5`: a sign, digits, a point, one to four digits."""
    match = _DECIMAL.fullmatch(text[:_TEXT_MAX])
    if match is None:
        return None
    sign, whole, part = match.groups()
    number = int(whole) * 10_000 + int(part.ljust(4, "0"))
    number = -number if sign else number
    return Decimal(number) if fits(number) else None


def duration(text: str) -> Duration | None:
    """`1d2h3m4s5ms`: at least one unit, each at most once and in this order."""
    match = _DURATION.fullmatch(text[:_TEXT_MAX])
    if match is None or not any(match.groups()[1:]):
        return None
    units = (DAY_MS, 3_600_000, 60_000, 1_000, 1)
    number = sum(int(count) * unit for count, unit in zip(match.groups()[1:], units, strict=True) if count)
    number = -number if match.group(1) else number
    return Duration(number) if fits(number) else None


def datetime(text: str) -> Datetime | None:
    """`2024-10-15`, or with `T11:38:02`, optionally `.101`, and `Z` or an offset such as `+0130`."""
    match = _DATETIME.fullmatch(text[:_TEXT_MAX])
    if match is None:
        return None
    year, month, day = (int(part) for part in match.groups()[:3])
    hour, minute, second, milli = (int(part or 0) for part in match.groups()[3:7])
    sign, ahead_hours, ahead_minutes = match.group(8), int(match.group(9) or 0), int(match.group(10) or 0)
    if not 1 <= month <= 12 or not 1 <= day <= _MONTH_DAYS[month - 1] + (month == 2 and _is_leap(year)):
        return None
    if hour > 23 or minute > 59 or second > 59 or ahead_hours > 23 or ahead_minutes > 59:
        return None
    number = _days(year, month, day) * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000 + milli
    ahead = (ahead_hours * 60 + ahead_minutes) * 60_000
    return Datetime(number + ahead if sign == "-" else number - ahead)


def address(text: str) -> Address | None:
    """An IPv4 or IPv6 address, with or without a prefix. No zone, no IPv4 inside IPv6, no leading zeros."""
    host, slash, prefix = text[:_TEXT_MAX].partition("/")
    is_v6 = ":" in host
    bits = BITS_V6 if is_v6 else BITS_V4
    if not host.isascii() or "%" in host or (is_v6 and "." in host) or (slash and not _PREFIX.fullmatch(prefix)):
        return None
    try:
        number = int(IPv6Address(host) if is_v6 else IPv4Address(host))
    except AddressValueError:
        return None
    length = int(prefix) if slash else bits
    return Address(is_v6, number, length) if length <= bits else None


def fits(number: int) -> bool:
    """Whether an integer is one of 64 bits."""
    return LONG_MIN <= number <= LONG_MAX


CONSTRUCTORS: dict[str, Callable[[str], Extension | None]] = {
    "decimal": decimal,
    "datetime": datetime,
    "duration": duration,
    "ip": address,
}
"""By the constructor's name in policies and in entity data."""


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01. Cedar knows a year 0000, which the standard library does not."""
    before = year - 1
    leaps = before // 4 - before // 100 + before // 400
    in_year = sum(_MONTH_DAYS[: month - 1]) + (month > 2 and _is_leap(year))
    return before * 365 + leaps + in_year + day - 719_163
