"""Claim: one idempotency key, one call.

Nothing is written here: the durable claim is the row of the intent (or parking) transaction, so a refused call burns no
key and a crash before the intent leaves nothing to clean. In memory a twin that arrives while the first still runs is
told so at once; two processes that both decide are harmless, because one wins the insert.
"""

from __future__ import annotations

import orjson

from gateway.admission import Call, call_text
from gateway.attempts import Attempt, begin
from gateway.errors import BadRequest, Conflict
from gateway.ledger import FullRow, State

_FROZEN = (State.EXECUTED, State.FAILED)
_CLOSED = (State.REJECTED, State.CANCELLED, State.EXPIRED)


class Claims:
    """The calls that this process is handling, by claim."""

    def __init__(self) -> None:
        self._running: set[bytes] = set()

    def hold(self, call: Call) -> None:
        """Hold the claim while the call runs, until `release`. Raises `Conflict` for a twin."""
        if call.claim in self._running:
            raise Conflict("in_flight", "the first request with this key is still running")
        self._running.add(call.claim)

    def release(self, call: Call) -> None:
        """The call that held its claim has ended."""
        self._running.discard(call.claim)


def resume(attempt: Attempt, held: FullRow | None, now_ms: int) -> Attempt:
    """
    The attempt as the ledger knows it: the same when the key is free, else with id and salt of the first.

    Raises `BadRequest` (422, another payload) or `Conflict` (in flight, in doubt, closed, answer kept no longer).
    """
    if held is None:
        return attempt
    if held.row.request_digest != attempt.call.request_digest:
        raise BadRequest("key_reused", "the key belongs to another request", status=422)
    named = {"call": call_text(held.row.call_id)}
    if held.state is State.EXECUTING:
        raise Conflict("in_flight", "the first request with this key has no outcome yet", members=named)
    if held.state is State.IN_DOUBT:
        raise Conflict("in_doubt", "the outcome is unknown; it is being reconciled", members=named)
    is_over = held.state is State.PARKED and held.expires_at_ms is not None and held.expires_at_ms <= now_ms
    if held.state in _CLOSED or is_over:
        raise Conflict("call_closed", "the call was rejected, cancelled or has expired", members=named)
    if is_answered(held) and held.row.keep_until_ms <= now_ms:
        raise Conflict("key_expired", "the call has ended, and its answer is kept no longer", members=named)
    editors = tuple(orjson.loads(held.row.requester)["editors"])
    return begin(
        attempt.call,
        attempt.active,
        call_id=held.row.call_id,
        call_salt=held.row.call_salt,
        held=held,
        editors=tuple(sorted({*attempt.editors, *editors})),
        ends=attempt.ends,
        keep_until_ms=attempt.keep_until_ms,
    )


def is_answered(held: FullRow) -> bool:
    """Whether the row carries a frozen answer."""
    return held.state in _FROZEN
