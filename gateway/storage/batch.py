"""The decisions of one batch: what each act finds, what it writes, what it is answered. Plain Python, no SQL.

The acts see one another: the second claim of a key is held, budgets add up, an approval is used once. Each act succeeds
or fails alone, because every callable runs before the act changes anything here. Governance acts come last, so no
intent of the batch stands behind a kill switch or a key that the batch itself changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never
from uuid import UUID

from gateway.ledger import (
    Act,
    Answer,
    Append,
    ApprovalRow,
    Approve,
    CallRow,
    Close,
    Crowded,
    Draft,
    Exceeded,
    Held,
    Intend,
    Intended,
    Killed,
    Late,
    LedgerUnavailable,
    Lower,
    Moved,
    Park,
    Placed,
    Settle,
    Settled,
    Stale,
    State,
    Strike,
    Used,
    Void,
)
from gateway.storage import reservations
from gateway.storage.counting import COMMIT, OVERRUN, RELEASE, RESERVE, ROOM_MAX, Step, within
from gateway.storage.snapshot import Row, Snapshot
from policies import levels

Finished = tuple[State, int, bytes, Draft]
Run = Callable[[Settle, int], Finished]
"""Runs a governance act under a savepoint at the given sequence number, and its `finish`."""

_OPEN = frozenset({State.PARKED, State.NOT_DONE})
_RELEASING = frozenset({State.FAILED, State.NOT_DONE})
_SETTLED = frozenset({State.EXECUTED, State.FAILED, State.NOT_DONE, State.IN_DOUBT})


class BatchBroken(Exception):
    """The connection went while a governance act ran: no act of the batch can go on."""


@dataclass(frozen=True, slots=True)
class Due:
    """An answer that waits for its entry to be placed."""

    tenant: str
    index: int
    """Position among the tenant's drafts of this batch."""
    complete: Callable[[Placed], Answer]


Decided = Answer | Due | Exception


@dataclass(slots=True)
class Delta:
    """How one budget moves in this batch."""

    tenant: str
    name: str
    is_new: bool
    reserved: int = 0
    spent: int = 0
    standing: int = 0
    """How what stands on the counter moves: what ceilings are compared with."""
    room: int = ROOM_MAX
    """The most that may stand there as stored, before this batch."""

    def require(self, amount: int, ceiling: int) -> None:
        """Hold the next step to its ceiling when it is written, too."""
        self.room = min(self.room, ceiling - amount - self.standing)

    def take(self, step: Step, amount: int) -> None:
        """Add a step of the declaration."""
        self.reserved += step.reserved * amount
        self.spent += step.spent * amount
        self.standing += step.standing * amount


@dataclass(slots=True)
class Hold:
    """The state that this batch leaves one in-flight amount in."""

    tenant: str
    amount: int
    state: str
    is_new: bool


@dataclass(slots=True)
class Batch:
    """The decisions so far, over one snapshot. `verdicts` follow the order of the acts."""

    snapshot: Snapshot
    run: Run
    verdicts: list[Decided] = field(default_factory=list)
    drafts: dict[str, list[Draft]] = field(default_factory=dict)
    changed: dict[bytes, Row] = field(default_factory=dict)
    budgets: dict[bytes, Delta] = field(default_factory=dict)
    holds: dict[tuple[UUID, bytes], Hold] = field(default_factory=dict)
    approvals: list[tuple[ApprovalRow, int]] = field(default_factory=list)
    uses: dict[UUID, tuple[str, UUID, int]] = field(default_factory=dict)
    struck: list[tuple[str, Strike, int]] = field(default_factory=list)
    """(tenant, strike, entry) of what may lower an agent: `lowering` decides, when every act is decided."""
    strikes: list[tuple[str, Strike, int]] = field(default_factory=list)
    """Of these, the ones that count from now on."""
    lowerings: list[tuple[str, Strike, int]] = field(default_factory=list)
    _flying: dict[bytes, int] = field(default_factory=dict)

    def intend(self, act: Intend) -> Decided:
        """Reserve everything or nothing, and open the intent."""
        row = self.snapshot.calls.get(act.row.claim)
        if row is not None and not _is_free(row, act.row, _OPEN):
            return _held(row)
        edited = self._edited(act)
        if isinstance(edited, Stale):
            return edited
        refused = self._refusal(act)
        if refused is not None:
            if isinstance(refused, Moved) or act.refusal is None:
                return refused
            verdict = refused
            return self._due(act.refusal(verdict), lambda placed: replace(verdict, placed=placed))
        if row is None:
            row = self._create(act.row, State.EXECUTING)
        row.sent_again = act.row
        row.state = State.EXECUTING
        row.fence += 1
        row.lease_until_ms = self.snapshot.now_ms + act.lease_ms
        row.reservations = reservations.pack(act.budgets, act.in_flight)
        row.intent_seq = self._next(act.entry.tenant)
        self.changed[row.claim] = row
        self._reserve(act, row, row.intent_seq)
        fence = row.fence
        intended = self._due(act.entry, lambda placed: Intended(placed=placed, fence=fence))
        self._end(edited, act.ends)
        return intended

    def settle(self, act: Settle) -> Decided:
        """Close the open intent, once; what comes after the fence has moved is recorded as late."""
        row = self.snapshot.calls.get(act.claim)
        if row is None or row.call_id != act.call_id or row.tenant != act.tenant:
            return Moved(name="call")
        if row.fence != act.fence:
            state = row.state
            if act.late_entry is None:
                return Late(placed=None, state=state)
            return self._due(act.late_entry, lambda placed: Late(placed=placed, state=state))
        if row.state not in act.expected:
            return Moved(name=row.state.value)
        state, status, answer, entry = act.state, act.status, act.answer, act.entry
        if act.act is not None:
            state, status, answer, entry = self.run(act, self._next(act.entry.tenant))
        if state not in _SETTLED or entry.tenant != act.tenant:
            raise ValueError(f"settlement to `{state}`: expected a settled state and an entry of the call's tenant")
        row.state, row.status, row.answer = state, status, answer
        row.lease_until_ms = None
        row.outcome_seq = self._next(entry.tenant)
        self.changed[row.claim] = row
        self._settle_reservations(row)
        return self._due(entry, lambda placed: Settled(placed=placed, state=state, status=status, answer=answer))

    def park(self, act: Park) -> Decided:
        """
        Hold the claim while persons decide. A call that was not done may need an approval when it tries again.

        One that waits already waits from now on for what its newest presentation needs: that is what approvals bind.
        """
        row = self.snapshot.calls.get(act.row.claim)
        if row is not None and not _is_free(row, act.row, _OPEN):
            return _held(row)
        edited = self._edited(act)
        if isinstance(edited, Stale):
            return edited
        if (row is None or row.state is not State.PARKED) and not self._has_room(act):
            return Crowded()
        if row is None:
            row = self._create(act.row, State.PARKED)
        row.sent_again = act.row
        row.state = State.PARKED
        row.answer = act.answer
        row.expires_at_ms = act.expires_at_ms
        row.parked_seq = self._next(act.entry.tenant)
        self.changed[row.claim] = row
        parked = self._due(act.entry, _placed)
        self._end(edited, act.ends)
        return parked

    def close(self, act: Close) -> Decided:
        """End a parked call without running it; the first committed state wins."""
        row = self._parked(act.tenant, act.call_id)
        return row if isinstance(row, Stale) else self._close(row, act)

    def approve(self, act: Approve) -> Decided:
        """Keep a person's yes beside a call that is still parked."""
        row = self._parked(act.approval.tenant, act.approval.call_id)
        if isinstance(row, Stale):
            return row
        killed = self._killed(act.kills)
        if killed is not None:
            return killed
        self.approvals.append((act.approval, self._next(act.entry.tenant)))
        return self._due(act.entry, _placed)

    def append(self, act: Append) -> Decided:
        """An entry of its own."""
        return self._due(act.entry, _placed)

    def lower(self, act: Lower) -> Decided:
        """What a surge lowers."""
        self.struck += [(act.tenant, strike, 0) for strike in act.strikes]
        return Moved(name="autonomy")

    def enter(self, draft: Draft) -> int:
        """Add an entry; its number."""
        seq = self._next(draft.tenant)
        self.struck += [(draft.tenant, strike, seq) for strike in draft.strikes]
        self.drafts.setdefault(draft.tenant, []).append(draft)
        return seq

    def _next(self, tenant: str) -> int:
        return self.snapshot.sizes[tenant] + len(self.drafts.get(tenant, ())) + 1

    def _due(self, draft: Draft, complete: Callable[[Placed], Answer]) -> Due:
        self.enter(draft)
        return Due(draft.tenant, len(self.drafts[draft.tenant]) - 1, complete)

    def _create(self, call: CallRow, state: State) -> Row:
        row = Row(
            claim=call.claim,
            tenant=call.tenant,
            call_id=call.call_id,
            request_digest=call.request_digest,
            state=state,
            fence=0,
            made_from=call,
        )
        self.snapshot.calls[call.claim] = row
        self.snapshot.by_id[call.call_id] = row
        return row

    def _close(self, row: Row, act: Close) -> Due:
        row.state, row.answer = act.state, act.answer
        row.outcome_seq = self._next(act.entry.tenant)
        self.changed[row.claim] = row
        if act.approval is not None:
            self.approvals.append((act.approval, row.outcome_seq))
        return self._due(act.entry, _placed)

    def _edited(self, act: Intend | Park) -> Row | Stale | None:
        """The call that ends with this one, still parked. A call does not edit itself."""
        if act.ends is None:
            return None
        if act.ends.call_id == act.row.call_id:
            return Stale(state=State.REFUSED)
        return self._parked(act.ends.tenant, act.ends.call_id)

    def _end(self, edited: Row | None, act: Close | None) -> None:
        if edited is not None and act is not None:
            self._close(edited, act)

    def _parked(self, tenant: str, call_id: UUID) -> Row | Stale:
        row = self.snapshot.by_id.get(call_id)
        if row is None or row.tenant != tenant:
            return Stale(state=State.REFUSED)  # No row of this tenant: such a call never waited.
        return row if row.state is State.PARKED else Stale(state=row.state)

    def _has_room(self, act: Park) -> bool:
        """
        Whether one more call of the principal may wait; if so, it is counted.

        What stops waiting in this batch leaves room from the next one on: nobody was told of it yet.
        """
        who = (act.row.tenant, act.row.principal)
        waiting = self.snapshot.waiting.get(who, 0)
        if act.waiting_max is not None and waiting >= act.waiting_max:
            return False
        self.snapshot.waiting[who] = waiting + 1
        return True

    def _killed(self, kills: Iterable[tuple[str, str, str]]) -> Killed | None:
        engaged = next((kill for kill in kills if kill in self.snapshot.kills), None)
        return None if engaged is None else Killed(scope=engaged[1], target=engaged[2])

    def _is_lowered(self, act: Intend) -> bool:
        """Whether the agent's level is another one than was decided on. What this batch lowers comes after its acts."""
        if act.autonomy is None:
            return False
        agent, action, decided = act.autonomy
        found = self.snapshot.levels.get((act.row.tenant, agent, action))
        return (levels.NEW if found is None else found.level) != decided

    def _refusal(self, act: Intend) -> Exceeded | Used | Void | Killed | Moved | None:
        killed = self._killed(act.kills)
        if killed is not None:
            return killed
        if self._is_lowered(act):
            return Moved(name="autonomy")
        for approval in act.approvals:
            user = self.snapshot.uses.get(approval)
            if user is not None and user != act.row.call_id:
                return Used(approval_id=approval)
            reason = self.snapshot.void.get(approval)
            if reason is None and self.snapshot.revisions.get(act.row.tenant, 0) > act.revision:
                reason = "approval_stale"  # Newer rules are in force, and the decision was made under older ones.
            if reason is not None:
                return Void(approval_id=approval, reason=reason)
        wanted: dict[bytes, int] = {}
        for budget in act.budgets:
            wanted[budget.key] = wanted.get(budget.key, 0) + _amount(budget.amount)
            standing = self.snapshot.budgets.get(budget.key, 0)
            if budget.ceiling is not None and not within(standing + wanted[budget.key], budget.ceiling):
                return Moved(name=budget.name) if budget.soft else Exceeded(name=budget.name)
        for flight in act.in_flight:
            wanted[flight.key] = wanted.get(flight.key, 0) + _amount(flight.amount)
            reading = self.snapshot.in_flight.get((flight.key, flight.since_ms), 0)
            if not within(reading + self._flying.get(flight.key, 0) + wanted[flight.key], flight.ceiling):
                is_news = flight.known is not None and within(flight.known + flight.amount, flight.ceiling)
                return Moved(name=flight.name) if is_news else Exceeded(name=flight.name)
        return None

    def _reserve(self, act: Intend, row: Row, seq: int) -> None:
        for approval in act.approvals:
            if approval not in self.snapshot.uses:
                self.snapshot.uses[approval] = row.call_id
                self.uses[approval] = (row.tenant, row.call_id, seq)
        for budget in act.budgets:
            standing = self.snapshot.budgets.get(budget.key)
            delta = self._delta(row.tenant, budget.key, budget.name, is_new=standing is None)
            step = OVERRUN
            if budget.ceiling is not None:
                step = RESERVE
                delta.require(budget.amount, budget.ceiling)
            delta.take(step, budget.amount)
            self.snapshot.budgets[budget.key] = (standing or 0) + step.standing * budget.amount
        for flight in act.in_flight:
            hold = self.holds.get((row.call_id, flight.key))
            amount = flight.amount + (hold.amount if hold is not None and hold.state == RESERVE.hold else 0)
            self.holds[row.call_id, flight.key] = Hold(row.tenant, amount, RESERVE.hold, is_new=True)
            self._flying[flight.key] = self._flying.get(flight.key, 0) + RESERVE.standing * flight.amount

    def _settle_reservations(self, row: Row) -> None:
        """Move what was reserved at the intent, as stored with the call; an outcome in doubt keeps it reserved."""
        if row.state is State.IN_DOUBT or row.reservations is None:
            return
        step = RELEASE if row.state in _RELEASING else COMMIT
        budgets, in_flight = reservations.unpack(row.reservations)
        for budget in budgets:
            self._delta(row.tenant, budget.key, budget.name, is_new=False).take(step, budget.amount)
            if budget.key in self.snapshot.budgets:  # Read only where an intent of this batch asks for it.
                self.snapshot.budgets[budget.key] += step.standing * budget.amount
        for flight in in_flight:
            made = self.holds.get((row.call_id, flight.key))
            is_new = made is not None and made.is_new
            amount = made.amount if made is not None else flight.amount
            self.holds[row.call_id, flight.key] = Hold(row.tenant, amount, step.hold, is_new=is_new)
            self._flying[flight.key] = self._flying.get(flight.key, 0) + step.standing * flight.amount

    def _delta(self, tenant: str, key: bytes, name: str, *, is_new: bool) -> Delta:
        delta = self.budgets.get(key)
        if delta is None:
            delta = self.budgets[key] = Delta(tenant, name, is_new)
        return delta


def decide(snapshot: Snapshot, acts: Sequence[Act], run: Run) -> Batch:
    """
    Decide every act over the snapshot, which it uses up. The verdicts follow the order of `acts`.

    Raises `BatchBroken` only; what an act's own callable raises becomes that act's verdict.
    """
    batch = Batch(snapshot, run)
    verdicts: dict[int, Decided] = {}
    for index in _order(acts):
        try:
            verdicts[index] = _decide(batch, acts[index])
        except BatchBroken:
            raise
        except Exception as error:  # noqa: BLE001 - the neighbours of a failing act must not fail with it
            unavailable = LedgerUnavailable("act failed before it was written", is_known=True)
            unavailable.__cause__ = error
            verdicts[index] = unavailable
    batch.verdicts = [verdicts[index] for index in range(len(acts))]
    return batch


def is_governance(act: Act) -> bool:
    """Whether the act changes our own tables inside the settlement."""
    return isinstance(act, Settle) and act.act is not None


def _decide(batch: Batch, act: Act) -> Decided:
    match act:
        case Intend():
            return batch.intend(act)
        case Settle():
            return batch.settle(act)
        case Append():
            return batch.append(act)
        case Park():
            return batch.park(act)
        case Close():
            return batch.close(act)
        case Approve():
            return batch.approve(act)
        case Lower():
            return batch.lower(act)
        case _:
            assert_never(act)


def _order(acts: Sequence[Act]) -> Iterable[int]:
    last = [index for index, act in enumerate(acts) if is_governance(act)]
    if not last:
        return range(len(acts))
    late = set(last)
    return [index for index in range(len(acts)) if index not in late] + last


def _is_free(row: Row, call: CallRow, states: frozenset[State]) -> bool:
    return (
        row.state in states
        and row.request_digest == call.request_digest
        and row.call_id == call.call_id
        and row.tenant == call.tenant
    )


def _held(row: Row) -> Held:
    return Held(
        call_id=row.call_id,
        state=row.state,
        request_digest=row.request_digest,
        status=row.status,
        answer=row.answer,
    )


def _amount(amount: int) -> int:
    if amount < 0:
        raise ValueError("amount below 0: it would raise the ceiling for others")
    return amount


def _placed(placed: Placed) -> Placed:
    return placed
