"""The declared steps of counters (`invariants.state.counters`) as the ledger executes them: made once, at import.

A batch reads what stands on each counter behind the lock of the heads, decides act by act, and writes one guarded
update for each windowed counter. Steps that add multiples of an amount under a bound on a sum are together such a step:
their moves add up, and their bounds are one, the batch's *room*: the most that may stand on the counter, as stored, for
every step of the batch to have been within its ceiling. So the update refuses what was decided on a stale reading, even
if a lock failed. A counter that the batch makes needs no room: its key is unique, so nothing stood on it.

Raises at import where the declaration has a form that these statements cannot execute.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

from invariants.state.counters import COLUMNS, COUNTERS, Comparison, Quantity, Transition

ROOM_MAX = 2**63 - 1
"""PostgreSQL's bigint: room for whatever stands there."""

_STATES = {Quantity.RESERVED: "reserved", Quantity.SPENT: "settled"}
"""Column -> state of the holds whose amounts are its sum."""
_NOWHERE = "released"
_SINCE = {Quantity.RESERVED: "", Quantity.SPENT: " and h.settled_at >= u.since"}


@dataclass(frozen=True, slots=True)
class Step:
    """How often a transition adds its amount to each column and to their sum in the guard, and where a hold goes."""

    reserved: int
    spent: int
    standing: int
    hold: str


def _ceiling_guard(transition: Transition) -> Comparison:
    """The one comparison with the ceiling, which must be `columns + amount <= ceiling`."""
    found = [each for each in transition.guard if Quantity.CEILING in each.right]
    if len(found) != 1 or found[0].right != (Quantity.CEILING,) or found[0].left.count(Quantity.AMOUNT) != 1:
        raise ValueError("counters: one sum of columns and the amount, held against the ceiling, expected")
    return found[0]


_GUARD = _ceiling_guard(COUNTERS.reserve)
_READ = tuple(each for each in _GUARD.left if each is not Quantity.AMOUNT)
if not set(_READ) <= set(COLUMNS) or len(set(_READ)) != len(_READ):
    raise ValueError("counters: a guard over the stored columns, each once, expected")

within: Callable[[int, int], bool] = operator.lt if _GUARD.is_strict else operator.le
"""Whether what stands on a counter, the amount added, respects the ceiling."""


def _step(transition: Transition) -> Step:
    moves = transition.moves
    gains = [_STATES[column] for column, factor in moves.items() if factor == 1]
    if not set(moves.values()) <= {-1, 0, 1} or len(gains) > 1:
        raise ValueError("counters: an amount that is in one place at a time expected")
    return Step(
        reserved=transition.reserved,
        spent=transition.spent,
        standing=sum(moves[column] for column in _READ),
        hold=gains[0] if gains else _NOWHERE,
    )


RESERVE = _step(COUNTERS.reserve)
OVERRUN = _step(COUNTERS.overrun)
COMMIT = _step(COUNTERS.commit)
RELEASE = _step(COUNTERS.release)

if {COMMIT.reserved, RELEASE.reserved} != {-1}:
    raise ValueError("counters: a settlement that takes the amount out of what is reserved expected")

_SUM = " + ".join(f"b.{column}" for column in _READ)

BUDGET_STANDING = _SUM
"""What stands on a windowed counter, of `lockgate.budgets b`."""

BUDGET_MOVES = ", ".join(f"{column} = b.{column} + u.{column}" for column in COLUMNS)
"""The batch's moves `u` of the counter."""

BUDGET_GUARD = f"{_SUM} {'<' if _GUARD.is_strict else '<='} u.room"
"""Whether every step of the batch finds room in what is stored."""

HOLD_COUNTS = " or ".join(f"h.state = '{_STATES[column]}'{_SINCE[column]}" for column in _READ)
"""Whether a row of `lockgate.holds h` stands on its counter, for a fact read at `u.since`."""

HOLD_IS_OPEN = f"h.state = '{_STATES[Quantity.RESERVED]}'"
"""Whether the call still holds the amount: what a settlement takes."""
