"""What a call does to a counter: one declaration, of which the gateway's SQL and the solver's model are both made.

A counter has two columns, `reserved` and `spent`. A call that is let through *reserves* its amount; its settlement
*commits* it (reserved becomes spent) or *releases* it; an outcome in doubt does neither. A soft ceiling that the call's
own question showed as passed is *overrun*: counted, never refused. Every step adds a multiple of the amount to the
columns, under a guard that compares sums, so a batch of steps is again one guarded step: what the SQL executes.

Two kinds of counters have the same steps. A windowed one is a row; its columns count since the window began. One in
flight is a row for each call that holds or spent an amount: `reserved` is what they hold, `spent` what was settled
since the time stamp of the fact that the ceiling was read from.

Data alone: nothing here knows SQL or a solver. The gateway reads it once, when it is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class Quantity(StrEnum):
    """What a guard can speak of."""

    RESERVED = "reserved"
    SPENT = "spent"
    HELD = "held"
    """The part of `reserved` that this call holds, as it is stored with the call."""
    AMOUNT = "amount"
    CEILING = "ceiling"
    SHOWN = "shown"
    """Reserved and spent as the call's question showed them: a reading of an earlier moment."""


COLUMNS = (Quantity.RESERVED, Quantity.SPENT)
"""What is stored of a counter."""

Values = Mapping[Quantity, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The sum on the left is at most that on the right, or less than it; an empty sum is 0."""

    left: tuple[Quantity, ...]
    right: tuple[Quantity, ...]
    is_strict: bool = False

    def __str__(self) -> str:
        left, right = (" + ".join(side) or "0" for side in (self.left, self.right))
        return f"{left} {'<' if self.is_strict else '<='} {right}"

    def holds(self, values: Values) -> bool:
        """Whether it is so for these values."""
        left, right = (sum(values[each] for each in side) for side in (self.left, self.right))
        return left < right if self.is_strict else left <= right


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One step of one call: where it may be taken, and how often it adds the amount to each column."""

    guard: tuple[Comparison, ...]
    reserved: int = 0
    spent: int = 0

    def __str__(self) -> str:
        moves = [f"{column} {factor:+d} * amount" for column, factor in self.moves.items() if factor]
        return f"when {' and '.join(map(str, self.guard)) or 'always'}: {', '.join(moves) or 'nothing'}"

    @property
    def moves(self) -> dict[Quantity, int]:
        """Column -> how often the amount is added to it."""
        return {Quantity.RESERVED: self.reserved, Quantity.SPENT: self.spent}

    def after(self, values: Values) -> dict[Quantity, int] | None:
        """The values that the step leaves. None where its guard does not hold: nothing changes."""
        if not all(each.holds(values) for each in self.guard):
            return None
        amount = values[Quantity.AMOUNT]
        moved = {column: values[column] + factor * amount for column, factor in self.moves.items()}
        return {**values, **moved, Quantity.HELD: values[Quantity.HELD] + self.reserved * amount}


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """Every step that a call can take."""

    reserve: Transition
    overrun: Transition
    """Instead of `reserve`, where a soft ceiling was already passed in the reading that the question showed."""
    commit: Transition
    release: Transition


def _at_most(*left: Quantity, of: tuple[Quantity, ...]) -> Comparison:
    return Comparison(left=left, right=of)


# An amount below 0 would raise the ceiling for all others.
_NOT_NEGATIVE = _at_most(of=(Quantity.AMOUNT,))
# Settled is what the call holds, once: a fence or a state that has moved on settles nothing.
_IS_HELD = _at_most(Quantity.AMOUNT, of=(Quantity.HELD,))

COUNTERS = Declaration(
    reserve=Transition(
        guard=(
            _NOT_NEGATIVE,
            _at_most(Quantity.RESERVED, Quantity.SPENT, Quantity.AMOUNT, of=(Quantity.CEILING,)),
        ),
        reserved=+1,
    ),
    overrun=Transition(
        guard=(
            _NOT_NEGATIVE,
            Comparison(left=(Quantity.CEILING,), right=(Quantity.SHOWN, Quantity.AMOUNT), is_strict=True),
        ),
        reserved=+1,
    ),
    commit=Transition(guard=(_NOT_NEGATIVE, _IS_HELD), reserved=-1, spent=+1),
    release=Transition(guard=(_NOT_NEGATIVE, _IS_HELD), reserved=-1),
)
"""The declaration in force."""
