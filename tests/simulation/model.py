"""The ledger as a model: what each act means, in plain Python, one act at a time.

Written from states, guards and what counts, not from the statements that PostgreSQL runs, so that the two can be
compared: `tests/properties/test_model_agreement.py` sends the same acts to both. Simulations run on this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson
from msgspec.structs import replace as with_members

from gateway.ledger import (
    Act,
    Answer,
    Append,
    ApprovalFound,
    ApprovalRow,
    Approve,
    Budget,
    CallRow,
    Close,
    Crowded,
    Draft,
    Exceeded,
    FullRow,
    Held,
    InFlight,
    Intend,
    Intended,
    Killed,
    Late,
    Level,
    Look,
    Lower,
    Lowered,
    Moved,
    Park,
    Placed,
    Seen,
    Settle,
    Settled,
    Stale,
    State,
    Strike,
    Used,
    Void,
)

REOPENED = (State.PARKED, State.NOT_DONE)
"""From these a call may be tried again under its own claim."""
TAKES_BACK = (State.FAILED, State.NOT_DONE)
"""After these the amount was never spent."""


@dataclass(slots=True)
class Stored:
    """One call."""

    row: CallRow
    state: State
    created_at_ms: int
    fence: int = 0
    status: int | None = None
    answer: bytes | None = None
    intent_seq: int | None = None
    outcome_seq: int | None = None
    parked_seq: int | None = None
    lease_until_ms: int | None = None
    expires_at_ms: int | None = None
    budgets: tuple[Budget, ...] = ()
    in_flight: tuple[InFlight, ...] = ()


@dataclass(slots=True)
class Counter:
    """A windowed counter."""

    reserved: int = 0
    spent: int = 0


@dataclass(slots=True)
class Flying:
    """What one call has in flight on one key."""

    amount: int
    state: str
    settled_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a chain, as it was drafted, with its place and time."""

    seq: int
    at_ms: int
    draft: Draft


@dataclass(slots=True)
class Model:
    """Everything that a database of ours remembers. One act is one step: nothing happens in between."""

    now_ms: Callable[[], int]
    """The database's clock."""
    calls: dict[bytes, Stored] = field(default_factory=dict)
    by_id: dict[UUID, Stored] = field(default_factory=dict)
    chains: dict[str, list[Entry]] = field(default_factory=dict)
    budgets: dict[bytes, Counter] = field(default_factory=dict)
    holds: dict[bytes, dict[UUID, Flying]] = field(default_factory=dict)
    approvals: dict[UUID, ApprovalRow] = field(default_factory=dict)
    used: dict[UUID, UUID] = field(default_factory=dict)
    keys: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """(tenant, person, key id) -> public key text, of keys that are not revoked."""
    roles: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    """Tenant -> the newest rules that were put into force."""
    kills: set[tuple[str, str, str]] = field(default_factory=set)
    autonomy: dict[tuple[str, str, str], Level] = field(default_factory=dict)
    """(tenant, agent, action) -> what persons set last, and where in the log."""
    strikes: list[tuple[str, Strike, int, int]] = field(default_factory=list)
    """(tenant, strike, entry, time) of everything that ever counted."""
    lowerings: list[tuple[str, str, str, Level]] = field(default_factory=list)
    """(tenant, agent, action, level and its entry)."""

    def commit(self, act: Act) -> Answer:
        """Carry one act out."""
        match act:
            case Append():
                return self._append(act.entry)
            case Intend():
                return self._intend(act)
            case Park():
                return self._park(act)
            case Settle():
                return self._settle(act)
            case Close():
                return self._close(act)
            case Approve():
                return self._approve(act)
            case Lower():
                for strike in act.strikes:
                    if self._since(act.tenant, strike.agent, strike.action) == strike.since:
                        self._lower(act.tenant, strike, ())
                return Moved(name="autonomy")

    def set_autonomy(self, tenant: str, agent: str, action: str, level: int) -> None:
        """What two persons can do."""
        seq = self._append(Draft(tenant=tenant, kind="OUTCOME", members={})).seq
        self.autonomy[tenant, agent, action] = Level(level=level, since=seq)

    def look(self, look: Look) -> Seen:
        """What a gateway reads before it decides."""
        stored = None if look.claim is None else self.calls.get(look.claim)
        return Seen(
            held=None if stored is None or stored.row.tenant != look.tenant else full(stored),
            budgets=tuple(self.standing(key) for key in look.budgets),
            in_flight=tuple(self.flying(key, since_ms) for key, since_ms in look.in_flight),
            approvals=tuple(self._found(look.tenant, approval) for approval in look.approvals),
            autonomy=None if look.autonomy is None else self._level(look.tenant, *look.autonomy),
            is_stopped=not self.kills.isdisjoint(look.kills),
        )

    def standing(self, key: bytes) -> int:
        """Reserved and spent of a windowed counter."""
        counter = self.budgets.get(key, Counter())
        return counter.reserved + counter.spent

    def flying(self, key: bytes, since_ms: int) -> int:
        """Reserved, and settled since the fact was read."""
        return sum(
            held.amount
            for held in self.holds.get(key, {}).values()
            if held.state == "reserved" or (held.state == "settled" and held.settled_at_ms >= since_ms)
        )

    def take_over(self, tenants: Sequence[str], *, lease_ms: int, limit: int) -> tuple[FullRow, ...]:
        """Open intents whose lease is over get the next fence and a new lease."""
        now = self.now_ms()
        due = [
            stored
            for stored in self._of(tenants, State.EXECUTING)
            if stored.lease_until_ms is not None and stored.lease_until_ms < now
        ]
        taken = sorted(due, key=lambda stored: stored.lease_until_ms or 0)[:limit]
        for stored in taken:
            stored.fence += 1
            stored.lease_until_ms = now + lease_ms
        return tuple(map(full, taken))

    def in_doubt(self, tenants: Sequence[str], *, limit: int, after: Sequence[bytes] = ()) -> tuple[FullRow, ...]:
        """Calls whose outcome is unknown: one of each tenant, the oldest behind the one asked last, then another."""
        asked = {self.calls[claim].row.tenant: self.calls[claim] for claim in after}
        turns = []
        for at, tenant in enumerate([*sorted(set(tenants) - asked.keys()), *asked]):
            found = sorted(self._of([tenant], State.IN_DOUBT), key=_age)
            behind = [stored for stored in found if tenant not in asked or _age(stored) > _age(asked[tenant])]
            ordered = behind + [stored for stored in found if stored not in behind]
            turns += [((turn, at), stored) for turn, stored in enumerate(ordered)]
        return tuple(full(stored) for _, stored in sorted(turns, key=lambda each: each[0])[:limit])

    def overdue(self, tenants: Sequence[str], *, limit: int) -> tuple[FullRow, ...]:
        """Parked calls whose time has passed."""
        now = self.now_ms()
        found = [stored for stored in self._of(tenants, State.PARKED) if (stored.expires_at_ms or now + 1) <= now]
        return tuple(map(full, sorted(found, key=lambda stored: stored.expires_at_ms or 0)[:limit]))

    def hold(self, row: FullRow, *, lease_ms: int) -> FullRow | None:
        """The next fence and another lease of an open call, when nothing that another sent can act."""
        now, stored = self.now_ms(), self.calls[row.row.claim]
        is_over = stored.lease_until_ms is not None and stored.lease_until_ms <= now
        is_free = stored.state is State.EXECUTING or (stored.state is State.IN_DOUBT and is_over)
        if stored.fence != row.fence or not is_free:
            return None
        stored.fence += 1
        stored.lease_until_ms = now + lease_ms
        return full(stored)

    def entry(self, tenant: str, seq: int) -> Entry | None:
        """An entry by its place."""
        chain = self.chains.get(tenant, [])
        return chain[seq - 1] if 0 < seq <= len(chain) else None

    def _of(self, tenants: Sequence[str], state: State) -> Iterator[Stored]:
        return (stored for stored in self.calls.values() if stored.state is state and stored.row.tenant in tenants)

    def _append(self, draft: Draft) -> Placed:
        chain = self.chains.setdefault(draft.tenant, [])
        entry = Entry(len(chain) + 1, self.now_ms(), draft)
        chain.append(entry)
        for strike in draft.strikes:
            self._strike(draft.tenant, strike, entry)
        return placed(entry)

    def _strike(self, tenant: str, strike: Strike, entry: Entry) -> None:
        """So many within the window, all of them after the level was last set, lower it."""
        self.strikes.append((tenant, strike, entry.seq, entry.at_ms))
        since = self._since(tenant, strike.agent, strike.action)
        counted = tuple(
            seq
            for whose, other, seq, at_ms in self.strikes
            if (whose, other.agent, other.rule, other.action) == (tenant, strike.agent, strike.rule, strike.action)
            and seq > since
            and at_ms > entry.at_ms - strike.window_ms
        )
        if len(counted) >= strike.times:
            self._lower(tenant, strike, counted[-strike.times :])

    def _lower(self, tenant: str, strike: Strike, counted: tuple[int, ...]) -> None:
        former = self._highest(tenant, strike.agent) if strike.action == "*" else None
        if former is None:
            seen = self._level(tenant, strike.agent, strike.action)
            former = 1 if seen is None else seen.level
        if former > strike.to:
            lowered = Lowered(former=former, level=strike.to, events=counted)
            seq = self._append(strike.entry(lowered)).seq
            self.lowerings.append((tenant, strike.agent, strike.action, Level(level=strike.to, since=seq)))

    def _intend(self, act: Intend) -> Answer:
        stored = self.calls.get(act.row.claim)
        if stored is not None and not _may_reopen(stored, act.row):
            return _held(stored)
        ended = self._edited(act.row, act.ends)
        if isinstance(ended, Stale):
            return ended
        refused = self._refused(act)
        if refused is not None:
            if isinstance(refused, Moved) or act.refusal is None:
                return refused
            return replace(refused, placed=self._append(act.refusal(refused)))
        answer = self._append(act.entry)
        stored = self._opened(stored, act.row, State.EXECUTING)
        stored.fence += 1
        stored.lease_until_ms = self.now_ms() + act.lease_ms
        stored.intent_seq = answer.seq
        stored.budgets, stored.in_flight = act.budgets, act.in_flight
        self._reserve(act, stored)
        if ended is not None and act.ends is not None:
            self._end(ended, act.ends)
        return Intended(placed=answer, fence=stored.fence)

    def _refused(self, act: Intend) -> Exceeded | Used | Void | Killed | Moved | None:
        for scope in act.kills:
            if scope in self.kills:
                return Killed(scope=scope[1], target=scope[2])
        if act.autonomy is not None:
            agent, action, decided = act.autonomy
            seen = self._level(act.row.tenant, agent, action)
            if decided != (1 if seen is None else seen.level):
                return Moved(name="autonomy")
        for approval in act.approvals:
            if self.used.get(approval, act.row.call_id) != act.row.call_id:
                return Used(approval_id=approval)
            reason = self._void(approval, act.revision)
            if reason is not None:
                return Void(approval_id=approval, reason=reason)
        asked: dict[bytes, int] = {}
        for budget in act.budgets:
            asked[budget.key] = asked.get(budget.key, 0) + budget.amount
            if budget.ceiling is not None and self.standing(budget.key) + asked[budget.key] > budget.ceiling:
                return Moved(name=budget.name) if budget.soft else Exceeded(name=budget.name)
        for flight in act.in_flight:
            asked[flight.key] = asked.get(flight.key, 0) + flight.amount
            if self.flying(flight.key, flight.since_ms) + asked[flight.key] > flight.ceiling:
                fitted = flight.known is not None and flight.known + flight.amount <= flight.ceiling
                return Moved(name=flight.name) if fitted else Exceeded(name=flight.name)
        return None

    def _reserve(self, act: Intend, stored: Stored) -> None:
        for approval in act.approvals:
            self.used[approval] = act.row.call_id
        for budget in act.budgets:
            self.budgets.setdefault(budget.key, Counter()).reserved += budget.amount
        for flight in act.in_flight:
            own = self.holds.setdefault(flight.key, {})
            before = own.get(stored.row.call_id)
            more = before.amount if before is not None and before.state == "reserved" else 0
            own[stored.row.call_id] = Flying(flight.amount + more, "reserved")

    def _settle(self, act: Settle) -> Answer:
        stored = self.calls.get(act.claim)
        if stored is None or stored.row.call_id != act.call_id or stored.row.tenant != act.tenant:
            return Moved(name="call")
        if stored.fence != act.fence:
            late = None if act.late_entry is None else self._append(act.late_entry)
            return Late(placed=late, state=stored.state)
        if stored.state not in act.expected:
            return Moved(name=stored.state.value)
        answer = self._append(act.entry)
        stored.state, stored.status, stored.answer = act.state, act.status, act.answer
        if act.state is not State.IN_DOUBT:
            stored.lease_until_ms = None  # What is in doubt may still be on its way to the tool until then.
        stored.outcome_seq = answer.seq
        if act.state is not State.IN_DOUBT:
            self._release(stored, answer.at_ms)
        return Settled(placed=answer, state=act.state, status=act.status, answer=act.answer)

    def _release(self, stored: Stored, at_ms: int) -> None:
        is_spent = stored.state not in TAKES_BACK
        for budget in stored.budgets:
            counter = self.budgets[budget.key]
            counter.reserved -= budget.amount
            counter.spent += budget.amount if is_spent else 0
        for flight in stored.in_flight:
            held = self.holds[flight.key][stored.row.call_id]
            if held.state == "reserved":
                held.state, held.settled_at_ms = "settled" if is_spent else "released", at_ms

    def _park(self, act: Park) -> Answer:
        stored = self.calls.get(act.row.claim)
        if stored is not None and not _may_reopen(stored, act.row):
            return _held(stored)
        ended = self._edited(act.row, act.ends)
        if isinstance(ended, Stale):
            return ended
        if (stored is None or stored.state is not State.PARKED) and self._is_crowded(act):
            return Crowded()
        answer = self._append(act.entry)
        stored = self._opened(stored, act.row, State.PARKED)
        stored.answer, stored.expires_at_ms, stored.parked_seq = act.answer, act.expires_at_ms, answer.seq
        stored.lease_until_ms = None
        if ended is not None and act.ends is not None:
            self._end(ended, act.ends)
        return answer

    def _is_crowded(self, act: Park) -> bool:
        waiting = [
            stored for stored in self._of([act.row.tenant], State.PARKED) if stored.row.principal == act.row.principal
        ]
        return act.waiting_max is not None and len(waiting) >= act.waiting_max

    def _close(self, act: Close) -> Answer:
        stored = self._parked(act.tenant, act.call_id)
        return stored if isinstance(stored, Stale) else self._end(stored, act)

    def _end(self, stored: Stored, act: Close) -> Placed:
        answer = self._append(act.entry)
        stored.state, stored.answer, stored.outcome_seq = act.state, act.answer, answer.seq
        if act.approval is not None:
            self.approvals[act.approval.approval_id] = act.approval
        return answer

    def _approve(self, act: Approve) -> Answer:
        stored = self._parked(act.approval.tenant, act.approval.call_id)
        if isinstance(stored, Stale):
            return stored
        for kill in act.kills:
            if kill in self.kills:
                return Killed(scope=kill[1], target=kill[2])
        self.approvals[act.approval.approval_id] = act.approval
        return self._append(act.entry)

    def _edited(self, row: CallRow, ends: Close | None) -> Stored | Stale | None:
        if ends is None:
            return None
        if ends.call_id == row.call_id:
            return Stale(state=State.REFUSED)
        return self._parked(ends.tenant, ends.call_id)

    def _parked(self, tenant: str, call_id: UUID) -> Stored | Stale:
        stored = self.by_id.get(call_id)
        if stored is None or stored.row.tenant != tenant:
            return Stale(state=State.REFUSED)
        return stored if stored.state is State.PARKED else Stale(state=stored.state)

    def _opened(self, stored: Stored | None, row: CallRow, state: State) -> Stored:
        if stored is None:
            stored = Stored(row, state, self.now_ms())
            self.calls[row.claim] = self.by_id[row.call_id] = stored
        else:
            # What will run is what was sent last; a correlation id that is left out now does not take the first away.
            correlation = row.correlation or stored.row.correlation
            stored.row = with_members(stored.row, request=row.request, correlation=correlation)
            stored.state = state
        return stored

    def _found(self, tenant: str, approval: UUID) -> ApprovalFound | None:
        row = self.approvals.get(approval)
        if row is None or row.tenant != tenant:
            return None
        return ApprovalFound(
            row=row,
            used_by=self.used.get(approval),
            key_public=self.keys.get((tenant, row.person, row.key_id)),
            roles_now=self.roles.get((tenant, row.person), ()),
        )

    def _void(self, approval: UUID, revision: int) -> str | None:
        """What became of an approval since it was counted; None while it is good."""
        row = self.approvals.get(approval)
        if row is None:
            return None
        has_key = (row.tenant, row.person, row.key_id) in self.keys
        if not has_key or not set(row.roles) <= set(self.roles.get((row.tenant, row.person), ())):
            return "approval_void"
        if approval not in self.used and row.not_after_ms <= self.now_ms():
            return "approval_expired"
        return "approval_stale" if self.revisions.get(row.tenant, 0) > revision else None

    def _level(self, tenant: str, agent: str, action: str) -> Level | None:
        """What was set for the action, else for all; less what was lowered since, for the action or for all."""
        was_set = self.autonomy.get((tenant, agent, action)) or self.autonomy.get((tenant, agent, "*"))
        since = was_set.since if was_set else 0
        lowered = [
            level.level
            for whose, who, what, level in self.lowerings
            if (whose, who) == (tenant, agent) and what in (action, "*") and level.since > since
        ]
        if was_set is None and not lowered:
            return None
        return Level(level=min([was_set.level if was_set else 1, *lowered]), since=since)

    def _highest(self, tenant: str, agent: str) -> int:
        """The most that the agent may do alone anywhere."""
        places = {"*"} | {action for whose, who, action in self.autonomy if (whose, who) == (tenant, agent)}
        found = [self._level(tenant, agent, action) for action in places]
        return max(1 if each is None else each.level for each in found)

    def _since(self, tenant: str, agent: str, action: str) -> int:
        """The entry after which strikes count: by which the level was set, for all of them any was."""
        if action == "*":
            own = [level.since for (whose, who, _), level in self.autonomy.items() if (whose, who) == (tenant, agent)]
            return max(own, default=0)
        was_set = self.autonomy.get((tenant, agent, action)) or self.autonomy.get((tenant, agent, "*"))
        return was_set.since if was_set else 0


def _age(stored: Stored) -> tuple[int, bytes]:
    return stored.created_at_ms, stored.row.claim


def full(stored: Stored) -> FullRow:
    """A stored call as the ledger shows it."""
    names = ("row", "state", "fence", "status", "answer", "intent_seq", "outcome_seq", "parked_seq")
    more = ("lease_until_ms", "expires_at_ms", "created_at_ms", "budgets", "in_flight")
    return FullRow(**{name: getattr(stored, name) for name in (*names, *more)})


def placed(entry: Entry) -> Placed:
    """Where an entry stands. Chain, path and signature are the database's part: a model has none."""
    members: Mapping[str, Any] = {
        **entry.draft.members,
        "seq": entry.seq,
        "at_ms": entry.at_ms,
        "kind": entry.draft.kind,
    }
    return Placed(
        seq=entry.seq, at_ms=entry.at_ms, body=orjson.dumps(members), path=(), checkpoint={"size": entry.seq}, salt=None
    )


def _may_reopen(stored: Stored, row: CallRow) -> bool:
    own = (stored.row.request_digest, stored.row.call_id, stored.row.tenant)
    return stored.state in REOPENED and own == (row.request_digest, row.call_id, row.tenant)


def _held(stored: Stored) -> Held:
    return Held(
        call_id=stored.row.call_id,
        state=stored.state,
        request_digest=stored.row.request_digest,
        status=stored.status,
        answer=stored.answer,
    )
