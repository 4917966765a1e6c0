"""The acts that the ledger can record, and what it answers. No SQL here, and no thread.

The pipeline describes what should become durable (`Intend`, `Settle`, …); the sequencer in `gateway.storage`
gathers what arrived during the last flush into one transaction and answers each act alone. An answer is given only
after the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

SYSTEM = "system"
"""The tenant that every gateway has: of what belongs to no other."""

PATIENCE_SECONDS = 1.5
"""Every refusal for want of a database arrives within two seconds."""


@unique
class State(StrEnum):
    """Where a call stands. A refused call has no row: it is served from its entry."""

    EXECUTING = "executing"
    EXECUTED = "executed"
    FAILED = "failed"
    NOT_DONE = "not_done"
    IN_DOUBT = "in_doubt"
    PARKED = "parked"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """What a rule did to an agent's level."""

    former: int
    level: int
    events: tuple[int, ...]
    """The entries counted; empty for a surge, which is counted where calls reserve."""


class Strike(Struct, frozen=True, kw_only=True):
    """One event that an autonomy rule counts against the agent whose own act the entry records."""

    agent: str
    action: str
    """What is counted together, and lowered: the tool, or `*`."""
    rule: str
    to: int
    times: int
    """So many within the window lower. 0: a surge, which was counted already and lowers at once."""
    window_ms: int = 0
    since: int = 0
    """Of a surge: the entry by which the level was set when it was counted. Set anew meanwhile, nothing is lowered."""
    entry: Callable[[Lowered], Draft]
    """The LOWERED entry."""


class Draft(Struct, frozen=True, kw_only=True):
    """An entry before the sequencer gives it place, time, predecessor and payload commitment."""

    tenant: str
    kind: str
    """INTENT, OUTCOME, PARKED, REFUSED, APPROVED, REJECTED, CANCELLED, EXPIRED, RECONCILED, LATE, READ, NOTE, …"""
    members: Mapping[str, Any]
    """What the entry says in clear; never `seq`, `tenant`, `kind`, `at_ms`, `previous`, `environment` or `payload`."""
    call_id: UUID | None = None
    correlation: str | None = None
    payload: Mapping[str, Any] | None = None
    """Kept beside the log under a salted commitment; already redacted where labels ask for it."""
    subject: str | None = None
    """Whom an erasure request for the payload would name."""
    strikes: tuple[Strike, ...] = ()
    """What the entry counts for; what that lowers is lowered in the same transaction."""


class Placed(Struct, frozen=True, kw_only=True):
    """Where an entry came to stand, with everything that a receipt needs."""

    seq: int
    at_ms: int
    body: bytes
    """Canonical bytes of the entry."""
    path: tuple[bytes, ...]
    checkpoint: Mapping[str, Any]
    """The signed checkpoint of the batch (statement members, `key_id`, `signature`)."""
    salt: bytes | None = None
    """Opens the payload commitment. None without a payload."""


class Budget(Struct, frozen=True, kw_only=True):
    """An amount reserved from a windowed counter."""

    key: bytes
    """SHA-256 of [tenant, tool, limit name, filled-in key, window]."""
    name: str
    amount: int
    ceiling: int | None
    """None: counted, never refused (a soft limit that this call has already passed)."""
    soft: bool


class InFlight(Struct, frozen=True, kw_only=True):
    """An amount in flight against a fact that the tool itself changes."""

    key: bytes
    name: str
    amount: int
    ceiling: int
    since_ms: int
    """The fact's own time stamp: what settled later is not yet inside the fact."""
    known: int | None = None
    """What was in flight when the question was built: exceeded only by what came since, the answer is `Moved`."""


class CallRow(Struct, frozen=True, kw_only=True):
    """What the ledger keeps of a call; one row per claim."""

    claim: bytes
    """SHA-256 of canonical [tenant, environment, principal, tool, key]."""
    tenant: str
    call_id: UUID
    principal: str
    tool: str
    request_digest: bytes
    request: bytes
    """The canonical call (see `gateway.admission`): what is decided, approved, dispatched and recorded."""
    call_salt: bytes
    """16 random bytes made when the call is first seen; the approval statement commits to the call digest with it."""
    correlation: str | None
    requester: bytes
    """Canonical JSON of the principal (kind, id, person, subject, delegates, editors): who may not approve."""
    keep_until_ms: int


class Append(Struct, frozen=True, kw_only=True):
    """An entry of its own: refusals, light entries, bundle uploads, incidents."""

    entry: Draft


class Park(Struct, frozen=True, kw_only=True):
    """
    The call waits for approval. Answers `Placed`, `Crowded`, `Stale` (`ends`), or `Held` when the claim is taken.

    Presented again while it waits, what it asks for now is what is kept, with an entry that says so.
    """

    row: CallRow
    entry: Draft
    expires_at_ms: int
    answer: bytes
    """The 202 body, without what only the sequencer knows."""
    waiting_max: int | None = None
    """So many calls of the principal may wait; one that waits already is none more. None: they are not counted."""
    ends: Close | None = None
    """As of an `Intend`."""


class Intend(Struct, frozen=True, kw_only=True):
    """Stage 9. Answers `Intended`, `Held`, `Stale`, `Exceeded`, `Moved`, `Used`, `Void` or `Killed`."""

    row: CallRow
    entry: Draft
    lease_ms: int
    budgets: tuple[Budget, ...] = ()
    in_flight: tuple[InFlight, ...] = ()
    approvals: tuple[UUID, ...] = ()
    revision: int = 0
    """Of the rules that the decision was made under: approvals are not used once newer ones are in force."""
    kills: tuple[tuple[str, str, str], ...] = ()
    """(tenant, scope, target) of every switch that would stop this call."""
    autonomy: tuple[str, str, int] | None = None
    """Agent, action and the level that was decided on: it is decided anew on another one. None for people."""
    refusal: Callable[[Exceeded | Used | Void | Killed], Draft] | None = None
    """Writes the refusal entry into the same batch."""
    ends: Close | None = None
    """The parked call that this one is an edit of: it ends with this act, or this act does nothing (`Stale`)."""
    patience_seconds: float = PATIENCE_SECONDS
    """How long the asker waits for the answer; less than anybody else who has waited already."""


class Settle(Struct, frozen=True, kw_only=True):
    """The transaction of stage 11, of the pipeline and of the sweeper alike. Answers `Settled`, `Late`, `Moved`."""

    tenant: str
    claim: bytes
    call_id: UUID
    fence: int
    expected: tuple[State, ...]
    """States this settlement may start from: executing, or in_doubt when reconciling."""
    state: State
    status: int
    """HTTP status that a replay answers with."""
    answer: bytes
    entry: Draft
    late_entry: Draft | None = None
    """Written instead when the fence has moved on: an effect that comes late is recorded, not dropped."""
    budgets: tuple[Budget, ...] = ()
    in_flight: tuple[InFlight, ...] = ()
    act: Callable[[Any, int], Mapping[str, Any]] | None = None
    """Governance only: changes our own tables inside this transaction, given a psycopg cursor and the entry's seq;
    returns the result; raises `ActRefused` for a definite refusal (state `failed`)."""
    finish: Callable[[Mapping[str, Any] | ActRefused], tuple[State, int, bytes, Draft]] | None = None
    """Governance only: state, status, answer and entry for what `act` returned."""


class Close(Struct, frozen=True, kw_only=True):
    """A parked call ends without running: rejected, cancelled, expired. Answers `Placed` or `Stale`."""

    tenant: str
    call_id: UUID
    state: State
    answer: bytes
    entry: Draft
    approval: ApprovalRow | None = None
    """The approver's signed no, kept beside the state it caused."""


class Lower(Struct, frozen=True, kw_only=True):
    """A surge lowers an agent, unless somebody did before. Answers `Moved`: whatever was asked is asked anew."""

    tenant: str
    strikes: tuple[Strike, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRow:
    """A verified, signed verdict of one person on one call."""

    approval_id: UUID
    tenant: str
    call_id: UUID
    person: str
    key_id: str
    verdict: str
    roles: tuple[str, ...]
    statement: bytes
    signature: bytes
    not_after_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    """A signed yes to a parked call. Answers `Placed`, `Stale` or `Killed`."""

    approval: ApprovalRow
    entry: Draft
    kills: tuple[tuple[str, str, str], ...] = ()
    """Switches of the call: under one that is engaged nothing is approved (`Killed`)."""


Act = Append | Park | Intend | Settle | Close | Approve | Lower


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The claim belongs to a call already: replay it, or say in flight, in doubt, closed, or another payload."""

    call_id: UUID
    state: State
    request_digest: bytes
    status: int | None
    answer: bytes | None


class Intended(Struct, frozen=True, kw_only=True):
    """The intent is durable: the tool may be called, under this fence, until the lease ends."""

    placed: Placed
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exceeded:
    """A hard ceiling would have been passed. Nothing was reserved."""

    name: str
    placed: Placed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """An approval is consumed already, by another call or attempt."""

    approval_id: UUID
    placed: Placed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """Since it was counted, an approval expired, its key was revoked, its person lost a role, or the rules changed."""

    approval_id: UUID
    reason: str = "approval_void"
    """Or `approval_expired`, or `approval_stale`."""
    placed: Placed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A kill switch is engaged."""

    scope: str
    target: str
    placed: Placed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A soft ceiling was passed, or the row moved, since the question was built: gather and decide again."""

    name: str


class Settled(Struct, frozen=True, kw_only=True):
    """The outcome is durable."""

    placed: Placed
    state: State
    status: int
    answer: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """The fence had moved on; the late outcome is recorded, the state is not ours to change."""

    placed: Placed | None
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """The call is no longer parked: the first committed state won."""

    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowded:
    """As many calls of the principal wait as may. Nothing was written."""


Answer = Placed | Held | Intended | Exceeded | Used | Void | Killed | Moved | Settled | Late | Stale | Crowded


class ActRefused(Exception):
    """A governance act's definite refusal: stale revision, unknown key, nothing to release."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LedgerUnavailable(Exception):
    """The commit could not be made, or not be read back. With `is_known` nothing was written."""

    def __init__(self, message: str, *, is_known: bool) -> None:
        super().__init__(message)
        self.is_known = is_known


class Look(Struct, frozen=True, kw_only=True):
    """One coalesced read before deciding; members left out are not looked up."""

    tenant: str
    claim: bytes | None = None
    budgets: tuple[bytes, ...] = ()
    in_flight: tuple[tuple[bytes, int], ...] = ()
    """(key, since_ms)"""
    approvals: tuple[UUID, ...] = ()
    autonomy: tuple[str, str] | None = None
    """(agent, action)"""
    kills: tuple[tuple[str, str, str], ...] = ()
    """(tenant, scope, target) of switches of this tenant and of `system`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalFound:
    """An approval as stored, with what makes it void or used."""

    row: ApprovalRow
    used_by: UUID | None
    key_public: str | None
    """Public key text if the key is registered to that person and not revoked now."""
    roles_now: tuple[str, ...]
    """Roles that the newest verified token of that person carried."""


class Level(Struct, frozen=True, kw_only=True):
    """How far an agent goes alone with an action."""

    level: int
    since: int
    """The entry by which persons last set it; 0 where they never did."""


class Seen(Struct, frozen=True, kw_only=True):
    """What a `Look` found."""

    held: FullRow | None = None
    budgets: tuple[int, ...] = ()
    in_flight: tuple[int, ...] = ()
    approvals: tuple[ApprovalFound | None, ...] = ()
    autonomy: Level | None = None
    """None: nobody ever set or lowered one."""
    is_stopped: bool = False
    """One of the switches is engaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullRow:
    """A stored call, whole."""

    row: CallRow
    state: State
    fence: int
    status: int | None
    answer: bytes | None
    intent_seq: int | None
    outcome_seq: int | None
    parked_seq: int | None
    lease_until_ms: int | None
    expires_at_ms: int | None
    created_at_ms: int
    budgets: tuple[Budget, ...] = field(default=())
    in_flight: tuple[InFlight, ...] = field(default=())


class Ledger(Protocol):
    """The writer (`gateway.storage.sequencer`) and the coalescing reader (`gateway.storage.lookups`)."""

    async def commit(self, act: Act) -> Answer: ...

    async def look(self, look: Look) -> Seen: ...
