"""Stored calls and approvals as the ledger's own types. Times leave the database as milliseconds since 1970."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from gateway.ledger import ApprovalRow, CallRow, FullRow, State
from gateway.storage import packed, reservations

CALL_COLUMNS = (
    "claim, tenant, call_id, principal, tool, request_digest, request, call_salt, correlation, requester,"
    " (extract(epoch from keep_until) * 1000)::bigint, state, fence, status, answer, intent_seq, outcome_seq,"
    " parked_seq, (extract(epoch from lease_until) * 1000)::bigint, (extract(epoch from expires_at) * 1000)::bigint,"
    " (extract(epoch from created_at) * 1000)::bigint, reservations"
)
"""What `call` reads, in its order."""


def call(values: Sequence[Any]) -> FullRow:
    """A stored call from Python values in the order of `CALL_COLUMNS`."""
    budgets, in_flight = reservations.unpack(values[21])
    return FullRow(
        row=CallRow(
            claim=values[0],
            tenant=values[1],
            call_id=values[2],
            principal=values[3],
            tool=values[4],
            request_digest=values[5],
            request=values[6],
            call_salt=values[7],
            correlation=values[8],
            requester=values[9],
            keep_until_ms=values[10],
        ),
        state=State(values[11]),
        fence=values[12],
        status=values[13],
        answer=values[14],
        intent_seq=values[15],
        outcome_seq=values[16],
        parked_seq=values[17],
        lease_until_ms=values[18],
        expires_at_ms=values[19],
        created_at_ms=values[20],
        budgets=budgets,
        in_flight=in_flight,
    )


def call_from_binary(values: Sequence[Any]) -> FullRow:
    """A stored call from undecoded values in the order of `CALL_COLUMNS`."""
    return call(
        [None if value is None else decode(value) for value, decode in zip(values, _CALL_DECODERS, strict=True)]
    )


def approval_from_binary(values: Sequence[Any]) -> ApprovalRow:
    """A stored approval from undecoded values: the eleven columns of `approvals` but `seq`, `not_after` as stored."""
    return ApprovalRow(
        approval_id=_uuid(values[0]),
        tenant=_text(values[1]),
        call_id=_uuid(values[2]),
        person=_text(values[3]),
        key_id=_text(values[4]),
        verdict=_text(values[5]),
        roles=packed.text_items(values[6]),
        statement=values[7],
        signature=values[8],
        not_after_ms=packed.moment_ms(values[9]),
    )


def _text(value: bytes) -> str:
    return value.decode()


def _uuid(value: bytes) -> UUID:
    return UUID(bytes=value)


_blob, _long, _integer = bytes, packed.long, packed.integer
_CALL_DECODERS: tuple[Any, ...] = (
    *(_blob, _text, _uuid, _text, _text, _blob, _blob, _blob, _text, _blob, _long),
    *(_text, _integer, _integer, _blob, _long, _long, _long, _long, _long, _long, _blob),
)
