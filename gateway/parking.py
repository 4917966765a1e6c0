"""Parked calls: waiting for persons, without running anything when they come.

Approving never executes. The requester presents the same call and key again with the approval ids; all stages run again
on fresh facts. An edit is a call of its own whose principal is the editor; it ends the call that it edits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway import entries
from gateway.admission import Call, call_text
from gateway.answers import Answers, Reply
from gateway.attempts import Attempt
from gateway.clearance import Wanting
from gateway.clock import Clock
from gateway.encoding import encode
from gateway.errors import Conflict, Denied, NotFound, RateExceeded, Unavailable
from gateway.gathering import Gathered
from gateway.identity import PrincipalKind
from gateway.ledger import ApprovalRow, Close, Crowded, Draft, FullRow, Park, Placed, Stale, State, Strike
from gateway.refusals import Refusals
from gateway.storage.records import Records

RETRY_SECONDS = 60  # A full queue of approvals empties at the pace of people.


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """An approver's signed no, kept with the call that it ends."""

    approval: ApprovalRow
    feedback: str
    """The reason in the approver's words; the requester reads it."""
    payload: Mapping[str, Any]
    strikes: tuple[Strike, ...] = ()
    """What it counts for against the requester."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What presenting a call means for the parked call that it edits."""

    editors: tuple[str, ...] = ()
    """Who took part in the versions before, subjects and delegates among them."""
    ends: Close | None = None
    """The end of the version before, to be made with the intent or the parking of this one."""


class Parking:
    """Parks calls, and ends parked ones."""

    def __init__(
        self,
        *,
        refusals: Refusals,
        records: Records,
        answers: Answers,
        clock: Clock,
        parked_ms: int,
        per_principal_max: int,
    ) -> None:
        self._refusals = refusals
        self._records = records
        self._answers = answers
        self._clock = clock
        self._parked_ms = parked_ms
        self._per_principal_max = per_principal_max

    async def park(self, attempt: Attempt, gathered: Gathered, wanting: Wanting) -> Reply:
        """
        202. A call that is parked already keeps its expiry, and its entry unless an approver would sign something else.

        That is so when bundle, tool, correlation or needs changed: what is kept, and approved, is what was asked last.
        """
        call, row = attempt.call, attempt.row()
        waiting = attempt.held if attempt.held is not None and attempt.held.state is State.PARKED else None
        expires_at_ms = (waiting and waiting.expires_at_ms) or self._clock.now_ms() + self._parked_ms
        body = self._answers.parked_body(row, call, attempt.active, wanting, expires_at_ms)
        if waiting is not None and _asks_the_same(waiting, body):
            return self._answers.parked(call, body, None)
        packet = {**self._refusals.packet(attempt, gathered, wanting.ruling), "needs": wanting.document()}
        entry = entries.parked(attempt, wanting.ruling, packet)
        placed = await self._refusals.commit(
            Park(
                row=row,
                entry=entry,
                expires_at_ms=expires_at_ms,
                answer=body,
                waiting_max=self._per_principal_max,
                ends=attempt.ends,
            )
        )
        if isinstance(placed, Crowded):
            raise RateExceeded("too_many_parked", RETRY_SECONDS)
        if not isinstance(placed, Placed):
            raise self._refusals.of_ledger(attempt, placed)
        return self._answers.parked(call, body, placed)

    async def edit(self, call: Call, held: FullRow | None) -> Edit:
        """
        What this call edits, if anything.

        `held` is the row of an edit that is presented again: it ended the call that it names itself. Raises
        `NotFound`, `Conflict` when the edited call is no longer parked, and `Denied` for a call to another tool, and
        for an editor who neither asked for it nor is a person with a role.
        """
        if call.edits is None:
            return Edit()
        edited = await self._records.call(call.principal.tenant, call.edits)
        if edited is None:
            raise NotFound("unknown_call", "`edits` names no call of this tenant")
        if edited.state is not State.PARKED and held is not None:
            return Edit()
        if edited.state is not State.PARKED:
            raise Conflict("call_closed", "only a parked call can be edited", members={"call": call_text(call.edits)})
        if held is not None:
            # Whoever approved it was not told that it would end another call.
            raise Denied("edit_not_allowed", "an edit is a call of its own, under a new key")
        if edited.row.tool != call.tool.contract.name:
            # It would end the other call without being a version of it: that is for its requester alone.
            raise Denied("edit_not_allowed", "an edit is a call to the same tool")
        requester = orjson.loads(edited.row.requester)
        is_person = call.principal.kind is PrincipalKind.PERSON and bool(call.principal.roles)
        if edited.row.principal != call.principal.reference and not is_person:
            raise Denied("edit_not_allowed", "only the requester or a person with a role edits a call")
        named = {requester[name] for name in ("id", "subject", "subject_person")}
        return Edit(
            editors=tuple(sorted({*named, *requester["delegates"], *requester["editors"]} - {""})),
            ends=_ending(edited, State.CANCELLED, by=call.principal.reference, reason="edited"),
        )

    async def close(
        self, row: FullRow, state: State, *, by: str, reason: str, rejection: Rejection | None = None
    ) -> Placed | State:
        """Reject, cancel or expire a parked call; the state that won when ours came second."""
        answer = await self._refusals.commit(_ending(row, state, by=by, reason=reason, rejection=rejection))
        match answer:
            case Placed():
                return answer
            case Stale(state=state):
                return state
            case _:
                raise Unavailable("ledger_unavailable", "the ledger gave no usable answer")


def _asks_the_same(waiting: FullRow, body: bytes) -> bool:
    """Whether approvers were told already what this 202 tells them."""
    told, tells = orjson.loads(waiting.answer or b"{}"), orjson.loads(body)
    return all(told.get(name) == tells[name] for name in ("statement", "needs", "persons"))


def _ending(row: FullRow, state: State, *, by: str, reason: str, rejection: Rejection | None = None) -> Close:
    """The end of a parked call, as the ledger takes it."""
    tenant, call_id = row.row.tenant, row.row.call_id
    named = {"call": call_text(call_id), "tool": row.row.tool}
    document = {**named, "status": state.value, "reason": reason}
    if rejection is not None:
        document["feedback"] = rejection.feedback
    return Close(
        tenant=tenant,
        call_id=call_id,
        state=state,
        answer=encode(document),
        entry=Draft(
            tenant=tenant,
            kind=state.name,
            call_id=call_id,
            members={**named, "principal": by, "state": state.value, "reason": reason},
            payload=rejection.payload if rejection else None,
            strikes=rejection.strikes if rejection else (),
        ),
        approval=rejection.approval if rejection else None,
    )
