"""What an expression of Cedar can be, over unknown requests and entities.

A value has parts that are terms. An expression whose type depends on the request is a list of *cases*, each a value
under a guard: where the expression evaluates without error, exactly one guard is true. A policy that validates has
one case nearly everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from invariants.meaning.schemas import Type
from invariants.solving.terms import Term


@dataclass(frozen=True, slots=True)
class Bool:
    """A truth value."""

    term: Term


@dataclass(frozen=True, slots=True)
class Long:
    """An integer of 64 bits, wherever the expression does not err."""

    term: Term


@dataclass(frozen=True, slots=True)
class String:
    """A text."""

    term: Term


@dataclass(frozen=True, slots=True)
class Decimal:
    """Ten-thousandths."""

    term: Term


@dataclass(frozen=True, slots=True)
class Datetime:
    """Milliseconds since 1970."""

    term: Term


@dataclass(frozen=True, slots=True)
class Duration:
    """Milliseconds."""

    term: Term


@dataclass(frozen=True, slots=True)
class Address:
    """Family, number and prefix of an IP address or range."""

    is_v6: Term
    number: Term
    prefix: Term


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity: its type is known, its id need not be."""

    kind: str
    id: Term


@dataclass(frozen=True, slots=True)
class Case:
    """A value, and where it is the one."""

    guard: Term
    value: Value


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a record: where it is there, and what it is then."""

    present: Term
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A record: the names that it may have, and how to look at one of them. Nothing is unknown before it is read."""

    names: tuple[str, ...]
    read: Callable[[str], Field]


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """A set by its elements."""

    elements: tuple[tuple[Case, ...], ...]


@dataclass(frozen=True, slots=True)
class Unlisted:
    """An unknown set: `member` is an unknown relation between its owner and an element's parts."""

    member: int
    owner: tuple[Term, ...]
    element: Type


Scalar = Bool | Long | String | Decimal | Datetime | Duration
Value = Scalar | Address | Entity | Record | Listed | Unlisted

SCALARS = (Bool, Long, String, Decimal, Datetime, Duration)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an expression gives: one of `cases` where `ok` is true, an error elsewhere."""

    ok: Term
    cases: tuple[Case, ...]
