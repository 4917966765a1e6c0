"""Fills a snapshot for one batch. The caller holds the heads of all its tenants in an open transaction.

What the acts do not ask for is not read; each question is one statement over the whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from gateway.ledger import Act, Append, Approve, Close, Intend, Park, Settle, State
from gateway.storage import packed, statements
from gateway.storage.link import Link
from gateway.storage.snapshot import Row, Snapshot
from proofs import chain

_STATES = {state.value.encode(): state for state in State}


def read(link: Link, acts: Sequence[Act], heads: Mapping[str, chain.Head], tenants: Sequence[str]) -> Snapshot:
    """Read what `acts` will be decided on. `tenants` are those whose switches may stop one of them."""
    claims: set[bytes] = set()
    ids: set[UUID] = set()
    budgets: set[bytes] = set()
    flights: set[tuple[bytes, int]] = set()
    approvals: set[UUID] = set()
    for act in acts:
        match act:
            case Intend():
                claims.add(act.row.claim)
                budgets.update(budget.key for budget in act.budgets)
                flights.update((flight.key, flight.since_ms) for flight in act.in_flight)
                approvals.update(act.approvals)
            case Settle():
                claims.add(act.claim)
            case Park():
                claims.add(act.row.claim)
            case Close():
                ids.add(act.call_id)
            case Approve():
                ids.add(act.approval.call_id)
            case Append():
                pass
    snapshot = Snapshot(now_ms=0, sizes={tenant: head.size for tenant, head in heads.items()})
    switches = packed.texts(tenants)
    if claims or not ids:
        _stand(snapshot, link.rows(statements.READ_BY_CLAIM, switches, packed.blobs(list(claims))))
    if ids:
        _stand(snapshot, link.rows(statements.READ_BY_ID, switches, packed.uuids(list(ids))))
    if budgets:
        snapshot.budgets = read_budgets(link, budgets)
    if flights:
        snapshot.in_flight = read_in_flight(link, flights)
    if approvals:
        for approval, call in link.rows(statements.READ_USES, packed.uuids(list(approvals))):
            snapshot.uses[UUID(bytes=approval)] = UUID(bytes=call)
    return snapshot


def read_budgets(link: Link, keys: set[bytes]) -> dict[bytes, int]:
    """Reserved and spent, together, of each counter that exists."""
    found = {}
    for key, amount in link.rows(statements.READ_BUDGETS, packed.blobs(list(keys))):
        found[key] = packed.long(amount)
    return found


def read_in_flight(link: Link, flights: set[tuple[bytes, int]]) -> dict[tuple[bytes, int], int]:
    """What is reserved, or was settled since the fact, for each (key, since_ms)."""
    ordered = list(flights)
    keys = packed.blobs([key for key, _ in ordered])
    since = packed.moments([since_ms for _, since_ms in ordered])
    found = {}
    for place, amount in link.rows(statements.READ_IN_FLIGHT, keys, since):
        found[ordered[packed.long(place) - 1]] = packed.long(amount)
    return found


def _stand(snapshot: Snapshot, found: list[list[Any]]) -> None:
    """The time and the switches, in every row, and the calls that were found, if any."""
    snapshot.now_ms = packed.long(found[0][0])
    kills = packed.text_items(found[0][1])
    snapshot.kills = frozenset(zip(kills[::3], kills[1::3], kills[2::3], strict=True))
    for _, _, claim, tenant, call_id, digest, state, fence, status, answer, reserved in found:
        if claim is None:
            return
        row = snapshot.calls.get(claim)
        if row is None:
            row = Row(
                claim=claim,
                tenant=tenant.decode(),
                call_id=UUID(bytes=call_id),
                request_digest=digest,
                state=_STATES[state],
                fence=packed.integer(fence),
                status=None if status is None else packed.integer(status),
                answer=answer,
                reservations=reserved,
            )
            row.read_state, row.read_fence = row.state, row.fence
            snapshot.calls[claim] = row
        snapshot.by_id[row.call_id] = row
