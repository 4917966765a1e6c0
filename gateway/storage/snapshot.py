"""What a batch reads after it holds the heads, and the one row type that the decisions change.

Nothing here talks to the database; `reading` fills a `Snapshot`, `batch` decides over it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from gateway.ledger import CallRow, Level, State


@dataclass(slots=True, kw_only=True)
class Row:
    """One call as the batch sees it: read once, changed in memory by each act in turn, written once."""

    claim: bytes
    tenant: str
    call_id: UUID
    request_digest: bytes
    state: State
    fence: int
    status: int | None = None
    answer: bytes | None = None
    reservations: bytes | None = None

    made_from: CallRow | None = None
    """Set when this batch made the row: it is inserted whole, not updated."""
    sent_again: CallRow | None = None
    """Set when this batch opens a stored call anew: the request that will run is the one to keep."""
    read_state: State | None = None
    read_fence: int = 0
    """As read: the guard of the update. The sweeper moves fences without holding a head."""
    lease_until_ms: int | None = None
    expires_at_ms: int | None = None
    intent_seq: int | None = None
    outcome_seq: int | None = None
    parked_seq: int | None = None
    """
    The five above only where this batch sets them; None keeps what is stored, but clears a lease, unless the outcome is
    in doubt: until the lease is over, what was sent may still act.
    """


@dataclass(slots=True, kw_only=True)
class Snapshot:
    """Everything the acts of one batch are decided on. Read after the heads were locked, never before."""

    now_ms: int
    """The database's clock."""
    sizes: dict[str, int]
    """Tenant -> entries on its chain; the next entry has the number after it."""
    calls: dict[bytes, Row] = field(default_factory=dict)
    by_id: dict[UUID, Row] = field(default_factory=dict)
    budgets: dict[bytes, int] = field(default_factory=dict)
    """Key -> reserved + spent; absent is 0."""
    in_flight: dict[tuple[bytes, int], int] = field(default_factory=dict)
    """(key, since_ms) -> reserved, and settled since."""
    uses: dict[UUID, UUID] = field(default_factory=dict)
    """Approval -> the call that consumed it."""
    void: dict[UUID, str] = field(default_factory=dict)
    """Approvals that count no more -> the reason: key revoked, role lost, or expired unused."""
    revisions: dict[str, int] = field(default_factory=dict)
    """Tenant -> its newest activation, where approvals are about to be used."""
    kills: frozenset[tuple[str, str, str]] = frozenset()
    """(tenant, scope, target) of the engaged ones among the switches that the acts ask about."""
    waiting: dict[tuple[str, str], int] = field(default_factory=dict)
    """(tenant, principal) -> parked calls, of those who are about to park one under a bound; absent is 0."""
    levels: dict[tuple[str, str, str], Level] = field(default_factory=dict)
    """(tenant, agent, action) -> level of autonomy, where an intent was decided on one."""
