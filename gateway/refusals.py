"""Refusals: an answer of no is recorded, and the client hears of it only when the record is durable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway import entries
from gateway.attempts import Attempt
from gateway.clearance import Refusal, Ruling, Wanting
from gateway.errors import BadRequest, Conflict, Denied, Fault, Unavailable
from gateway.gathering import Gathered
from gateway.ledger import (
    Act,
    Answer,
    Append,
    Draft,
    Exceeded,
    Held,
    Killed,
    Ledger,
    LedgerUnavailable,
    Placed,
    Stale,
    State,
    Used,
    Void,
)
from gateway.redaction import Redactor

RECORDED = (Denied, Conflict, BadRequest)
"""Answers of no. Every other fault says that nobody could find out."""


class Refusals:
    """Writes refusals, and turns what the ledger refuses into faults."""

    def __init__(self, ledger: Ledger, redactor: Redactor) -> None:
        self._ledger = ledger
        self._redactor = redactor

    async def commit(self, act: Act) -> Answer:
        """Commit, or 503: nothing is dispatched without a record, also when the commit cannot be read back."""
        try:
            return await self._ledger.commit(act)
        except LedgerUnavailable as error:
            raise Unavailable("ledger_unavailable", "the record cannot be written") from error

    async def append(self, entry: Draft) -> Placed:
        """Commit an entry of its own."""
        placed = await self.commit(Append(entry=entry))
        if not isinstance(placed, Placed):
            raise Unavailable("ledger_unavailable", "the ledger gave no usable answer")
        return placed

    async def record(self, attempt: Attempt, fault: Fault) -> None:
        """Record a refusal, one of `RECORDED`, before it is raised on. A twin in flight is counted at the door."""
        if fault.reason != "in_flight" and "entry" not in fault.members:
            fault.members = {**self._named(attempt, await self._refused(attempt, fault.reason)), **fault.members}

    async def refuse(self, attempt: Attempt, gathered: Gathered, refusal: Refusal) -> Denied:
        """The recorded refusal of stage 8, to be raised."""
        placed = await self._refused(
            attempt, refusal.reason, ruling=refusal.ruling, packet=self.packet(attempt, gathered, refusal.ruling)
        )
        return Denied(refusal.reason, members=self._told(attempt, refusal.ruling, self._named(attempt, placed)))

    def look(self, attempt: Attempt, cleared: Refusal | Wanting) -> Denied:
        """The refusal of a read: its light entry is not waited for."""
        reason = cleared.reason if isinstance(cleared, Refusal) else "not_permitted"
        return Denied(reason, members=self._told(attempt, cleared.ruling, {"call": attempt.text}))

    def _told(self, attempt: Attempt, ruling: Ruling, named: dict[str, Any]) -> dict[str, Any]:
        """Rules and checks for whoever asked."""
        call = attempt.call
        return self._redactor.told(call.tool.contract, call.principal, {**named, **ruling.refused_document()})

    def packet(self, attempt: Attempt, gathered: Gathered, ruling: Ruling) -> Mapping[str, Any]:
        """The action packet, redacted for the log."""
        whole = entries.packet(attempt, gathered, ruling)
        contract = attempt.call.tool.contract
        return self._redactor.packet(contract, whole, tenant=attempt.call.principal.tenant)

    def entry(
        self, attempt: Attempt, reason: str, *, ruling: Ruling | None = None, packet: Mapping[str, Any] | None = None
    ) -> Draft:
        """The REFUSED entry of an attempt."""
        return entries.refused(attempt, reason, ruling=ruling, packet=packet)

    def of_ledger(self, attempt: Attempt, answer: Answer) -> Fault:
        """What the intent transaction refused, to be raised; its entry is in the same batch."""
        match answer:
            case Exceeded(name=name, placed=placed):
                return Denied("budget_exceeded", f"`{name}` leaves no room", members=self._named(attempt, placed))
            case Killed(scope=scope, placed=placed):
                return Denied("killed", f"a switch of scope `{scope}` is engaged", members=self._named(attempt, placed))
            case Used(placed=placed):
                return Conflict("approval_used", "the approval is consumed", members=self._named(attempt, placed))
            case Void(reason="approval_stale", placed=placed):
                return Conflict("approval_stale", "the rules changed meanwhile", members=self._named(attempt, placed))
            case Void(reason=reason, placed=placed):
                detail = "it expired, or the approver lost the key or the role meanwhile"
                return Denied(reason, detail, members=self._named(attempt, placed))
            case Stale():
                return Conflict("call_closed", "only a parked call can be edited")
            case Held(state=State.EXECUTING):
                return Conflict("in_flight", "another request with this key came first")
            case Held():
                return Conflict("key_taken", "another request with this key came first")
            case _:
                return Unavailable("ledger_unavailable", "the ledger gave no usable answer")

    async def _refused(
        self,
        attempt: Attempt,
        reason: str,
        *,
        ruling: Ruling | None = None,
        packet: Mapping[str, Any] | None = None,
    ) -> Placed:
        return await self.append(self.entry(attempt, reason, ruling=ruling, packet=packet))

    def _named(self, attempt: Attempt, placed: Placed | None) -> dict[str, Any]:
        named: dict[str, Any] = {"call": attempt.text}
        return named if placed is None else {**named, "entry": placed.seq}


def reason_of(denied: Exceeded | Used | Void | Killed) -> str:
    """The stable reason of what the ledger refused."""
    match denied:
        case Exceeded():
            return "budget_exceeded"
        case Used():
            return "approval_used"
        case Void(reason=reason):
            return reason
        case Killed():
            return "killed"
