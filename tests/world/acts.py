"""Acts on the ledger as the pipeline would describe them, and a ledger to try them on."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from gateway.ledger import (
    ApprovalRow,
    Approve,
    Budget,
    CallRow,
    Close,
    Draft,
    Exceeded,
    InFlight,
    Intend,
    Killed,
    Park,
    Settle,
    State,
    Used,
    Void,
)
from gateway.storage.books import Books
from gateway.storage.connections import Connection, connect, transaction
from gateway.storage.lookups import Lookups
from gateway.storage.sealing import Pen
from gateway.storage.sequencer import Sequencer
from gateway.storage.signers import Signers
from gateway.storage.writer import Writer
from proofs import checkpoints, export, verify
from proofs.checkpoints import Checkpoint
from proofs.keys import KeyRing, PrivateKey, TrustedKey

ACME = "acme"
GLOBEX = "globex"
SIGNER = PrivateKey.from_seed(bytes(range(32)))
KEYS = KeyRing((TrustedKey(public=SIGNER.public, purposes=frozenset({"checkpoint"})),))
FAR_MS = 4_000_000_000_000
"""A time that no test reaches."""


def pen() -> Pen:
    """What signs the log of a test."""
    return Pen(environment="dev", signers=Signers(SIGNER), random_bytes=os.urandom)


def writing(url: str) -> Callable[[], Connection]:
    """How a writer connects."""
    return lambda: connect(url, writer=True)


@asynccontextmanager
async def books(url: str) -> AsyncIterator[Books]:
    """A ledger over this database, as one gateway would have it."""
    async with Books(Sequencer(Writer(writing(url), pen())), Lookups(writing(url))) as opened:
        yield opened


def key(name: str) -> bytes:
    """A claim or counter key."""
    return hashlib.sha256(name.encode()).digest()


def call(
    name: str,
    *,
    tenant: str = ACME,
    digest: str = "request",
    call_id: UUID | None = None,
    request: bytes = b'{"tool":"issue_refund"}',
) -> CallRow:
    """A call under the idempotency key `name`."""
    return CallRow(
        claim=key(f"{tenant}/{name}"),
        tenant=tenant,
        call_id=call_id or uuid4(),
        principal="agent/triage-7",
        tool="issue_refund",
        request_digest=key(digest),
        request=request,
        call_salt=bytes(16),
        correlation="inc-204",
        requester=b'{"id":"triage-7","kind":"agent"}',
        keep_until_ms=FAR_MS,
    )


def entry(kind: str, row: CallRow, **members: Any) -> Draft:
    """An entry about a call, with a payload."""
    about = {"call": f"call_{row.call_id.hex}", "effect": f"call_{row.call_id.hex}", **members}
    return Draft(
        tenant=row.tenant,
        kind=kind,
        members=about,
        call_id=row.call_id,
        correlation=row.correlation,
        payload={"amount_cents": 1250},
    )


def intend(
    row: CallRow,
    *,
    lease_ms: int = 60_000,
    budgets: Sequence[Budget] = (),
    in_flight: Sequence[InFlight] = (),
    approvals: Sequence[UUID] = (),
    kills: Sequence[tuple[str, str, str]] = (),
) -> Intend:
    """An intent whose refusal leaves an entry."""

    def refuse(verdict: Exceeded | Used | Void | Killed) -> Draft:
        return Draft(tenant=row.tenant, kind="REFUSED", members={"reason": type(verdict).__name__.lower()})

    return Intend(
        row=row,
        entry=entry("INTENT", row),
        lease_ms=lease_ms,
        budgets=tuple(budgets),
        in_flight=tuple(in_flight),
        approvals=tuple(approvals),
        kills=tuple(kills),
        refusal=refuse,
    )


def settle(
    row: CallRow,
    state: State = State.EXECUTED,
    *,
    fence: int = 1,
    expected: tuple[State, ...] = (State.EXECUTING,),
    is_late_recorded: bool = True,
) -> Settle:
    """The settlement of a call."""
    kind = "OUTCOME" if expected == (State.EXECUTING,) else "RECONCILED"
    return Settle(
        tenant=row.tenant,
        claim=row.claim,
        call_id=row.call_id,
        fence=fence,
        expected=expected,
        state=state,
        status=504 if state is State.IN_DOUBT else 200,
        answer=b'{"status":"%s"}' % state.value.encode(),
        entry=entry(kind, row, state=state.value),
        late_entry=entry("LATE", row, state=state.value) if is_late_recorded else None,
    )


def park(row: CallRow, *, expires_at_ms: int = FAR_MS) -> Park:
    """A call that waits for an approval."""
    return Park(row=row, entry=entry("PARKED", row), expires_at_ms=expires_at_ms, answer=b'{"status":"parked"}')


def close(row: CallRow) -> Close:
    """A parked call that its requester takes back."""
    entered = entry("CANCELLED", row)
    return Close(tenant=row.tenant, call_id=row.call_id, state=State.CANCELLED, answer=b"{}", entry=entered)


def approve(
    row: CallRow, person: str = "per_ada", *, approval_id: UUID | None = None, not_after_ms: int = FAR_MS
) -> Approve:
    """A person's yes to a parked call."""
    approval = ApprovalRow(
        approval_id=approval_id or uuid4(),
        tenant=row.tenant,
        call_id=row.call_id,
        person=person,
        key_id="key_0011223344556677",
        verdict="approve",
        roles=("finance",),
        statement=b"{}",
        signature=bytes(64),
        not_after_ms=not_after_ms,
    )
    return Approve(approval=approval, entry=entry("APPROVED", row))


def budget(amount: int, ceiling: int | None, *, name: str = "daily", soft: bool = False) -> Budget:
    """An amount of a windowed counter."""
    return Budget(key=key(f"budget/{name}"), name=name, amount=amount, ceiling=ceiling, soft=soft)


def flight(amount: int, ceiling: int, *, since_ms: int = 0, name: str = "order") -> InFlight:
    """An amount in flight against a fact."""
    return InFlight(key=key(f"flight/{name}"), name=name, amount=amount, ceiling=ceiling, since_ms=since_ms)


def query(url: str, statement: str, *tenants: str) -> list[tuple[Any, ...]]:
    """What the database holds of these tenants."""
    with connect(url) as connection, transaction(connection, tenants or (ACME,)) as cursor:
        return cursor.execute(statement.encode()).fetchall()


def counter(url: str, name: str = "daily") -> tuple[int, int]:
    """Reserved and spent of a counter."""
    rows = query(url, f"select reserved, spent from lockgate.budgets where key = '\\x{key(f'budget/{name}').hex()}'")
    return rows[0] if rows else (0, 0)


def verified(url: str, tenant: str = ACME) -> verify.Verdict:
    """What an auditor says about the tenant's log, from an export with public keys alone."""
    entries = query(
        url,
        "select e.seq, e.body, p.salt, p.body from lockgate.entries e"
        " left join lockgate.payloads p using (tenant, seq) order by e.seq",
        tenant,
    )
    signed: dict[int, Checkpoint] = {}
    for size, at_ms, root, key_id, signature in query(
        url, "select size, at_ms, root, key_id, signature from lockgate.checkpoints", tenant
    ):
        document = {"tenant": tenant, "environment": "dev", "size": size, "root": root.hex(), "at_ms": at_ms}
        signed[size] = checkpoints.parse({**document, "key_id": key_id, "signature": signature})
    items: list[export.Record | Checkpoint] = []
    for seq, body, salt, payload in entries:
        items.append(export.Record(body=body, salt=salt, payload=payload))
        if seq in signed:
            items.append(signed[seq])
    header = export.Header(tenant=tenant, environment="dev", size=len(entries), checkpoints=len(signed))
    return verify.check(io.BytesIO(b"".join(export.write(header, items))), KEYS)
