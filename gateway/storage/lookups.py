"""The coalescing reader: what calls ask before they are decided, answered together.

Looks that arrive while a read is under way share the next one, one statement for each kind of question. What it finds
may have moved when the call is written; the writer reads again under the head. The session cannot write.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg.pq.abc import PGresult

from gateway.ledger import ApprovalFound, FullRow, Look, Seen
from gateway.storage import packed, reading, rows, statements
from gateway.storage.clerk import Clerk
from gateway.storage.link import Connect, Link, Statement
from gateway.storage.link import rows as undecoded


class Lookups(Clerk[Look, Seen]):
    """The one reader of this process for the call path."""

    def __init__(self, connect: Connect) -> None:
        super().__init__(connect, see, name="lookups", first=b"set default_transaction_read_only = on")


def see(link: Link, looks: Sequence[Look]) -> list[Seen]:
    """Answer looks with one statement for each kind of question among them. What another tenant has is not seen."""
    claims = {look.claim for look in looks if look.claim is not None}
    keys = {key for look in looks for key in look.budgets}
    flights = list({flight for look in looks for flight in look.in_flight})
    approvals = {approval for look in looks for approval in look.approvals}
    switches = list({switch for look in looks for switch in look.kills})
    agents = list({(look.tenant, *look.autonomy) for look in looks if look.autonomy is not None})
    asked: list[Statement | None] = [
        (statements.LOOK_CALLS, [packed.blobs(list(claims))]) if claims else None,
        _statement(*reading.ask_budgets(keys)) if keys else None,
        _statement(*reading.ask_in_flight(flights)) if flights else None,
        (statements.LOOK_APPROVALS, [packed.uuids(list(approvals))]) if approvals else None,
        _statement(*reading.ask_levels(agents)) if agents else None,
        _statement(*reading.ask_kills(switches)) if switches else None,
    ]
    # A switch over everything stands at the system tenant.
    tenants = sorted({look.tenant for look in looks} | {tenant for tenant, _, _ in switches})
    results = iter(link.run(*(statement for statement in asked if statement is not None), admitting=tenants))
    found = [next(results) if statement is not None else None for statement in asked]
    calls = _calls(found[0])
    budgets = {} if found[1] is None else reading.budgets(found[1])
    in_flight = {} if found[2] is None else reading.in_flight(flights, found[2])
    known = _approvals(found[3])
    engaged = frozenset() if found[5] is None else reading.kills(found[5])
    levels = {} if found[4] is None else reading.levels(agents, found[4])
    seen = []
    for look in looks:
        held = None if look.claim is None else calls.get(look.claim)
        own = [known.get(approval) for approval in look.approvals]
        seen.append(
            Seen(
                held=held if held is not None and held.row.tenant == look.tenant else None,
                budgets=tuple([budgets.get(key, 0) for key in look.budgets]),
                in_flight=tuple([in_flight.get(flight, 0) for flight in look.in_flight]),
                approvals=tuple([one if one is not None and one.row.tenant == look.tenant else None for one in own]),
                autonomy=None if look.autonomy is None else levels.get((look.tenant, *look.autonomy)),
                is_stopped=not engaged.isdisjoint(look.kills),
            )
        )
    return seen


def _statement(text: bytes, *parameters: bytes) -> Statement:
    return text, parameters


def _calls(result: PGresult | None) -> dict[bytes, FullRow]:
    found = () if result is None else map(rows.call_from_binary, undecoded(result))
    return {full.row.claim: full for full in found}


def _approvals(result: PGresult | None) -> dict[UUID, ApprovalFound]:
    found = {}
    for values in () if result is None else undecoded(result):
        row = rows.approval_from_binary(values)
        used_by, public, roles = values[10:]
        found[row.approval_id] = ApprovalFound(
            row=row,
            used_by=None if used_by is None else UUID(bytes=used_by),
            key_public=None if public is None else public.decode(),
            roles_now=() if roles is None else packed.text_items(roles),
        )
    return found
