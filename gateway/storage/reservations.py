"""The stored form of what a call reserved, so that whoever settles it releases exactly that.

Canonical JSON without free text: the sweeper reads it back after a crash, with the amounts of the intent.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.ledger import Budget, InFlight


def pack(budgets: Sequence[Budget], in_flight: Sequence[InFlight]) -> bytes | None:
    """Bytes for `calls.reservations`; None when nothing is reserved."""
    if not budgets and not in_flight:
        return None
    return orjson.dumps(
        {
            "budgets": [[b.key.hex(), b.name, b.amount, b.ceiling, b.soft] for b in budgets],
            "in_flight": [[f.key.hex(), f.name, f.amount, f.ceiling, f.since_ms] for f in in_flight],
        }
    )


def unpack(data: bytes | None) -> tuple[tuple[Budget, ...], tuple[InFlight, ...]]:
    """What `pack` was given."""
    if data is None:
        return (), ()
    members = orjson.loads(data)
    budgets = tuple(
        Budget(key=bytes.fromhex(key), name=name, amount=amount, ceiling=ceiling, soft=soft)
        for key, name, amount, ceiling, soft in members["budgets"]
    )
    in_flight = tuple(
        InFlight(key=bytes.fromhex(key), name=name, amount=amount, ceiling=ceiling, since_ms=since_ms)
        for key, name, amount, ceiling, since_ms in members["in_flight"]
    )
    return budgets, in_flight
