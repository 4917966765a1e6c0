"""Settle: what became of an open intent is made durable, by the pipeline and by the sweeper alike.

An `OpenIntent` holds what both need; the pipeline has it from the clearance, the sweeper reads it back from the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from gateway.admission import call_text
from gateway.answers import decided
from gateway.autonomy import Counting, counting
from gateway.clearance import Clearance
from gateway.connectors import Outcome
from gateway.encoding import encode, encode_own
from gateway.errors import Unavailable
from gateway.ledger import (
    ActRefused,
    Budget,
    Draft,
    InFlight,
    Intended,
    Late,
    Ledger,
    LedgerUnavailable,
    Settle,
    Settled,
    State,
    Strike,
)
from gateway.logs import log
from gateway.redaction import Redactor
from gateway.tools import PreparedTool
from policies.autonomy import Event

GovernanceAct = Callable[[Any, int], Mapping[str, Any]]

NOT_OF_THE_TOOL = frozenset({"lease_over", "settled_by_person"})
_NEVER_RAN = Outcome(state=State.NOT_DONE, reason="lease_over")
WITHHELD = {"withheld": "redaction_failed"}
"""In the place of a result that could not be redacted."""
STATUS = {State.EXECUTED: 200, State.FAILED: 200, State.NOT_DONE: 503, State.IN_DOUBT: 504}


class OpenIntent(Struct, frozen=True, kw_only=True):
    """A call whose intent is durable and whose outcome is not."""

    tenant: str
    claim: bytes
    call_id: UUID
    fence: int
    tool: PreparedTool
    canonical: bytes
    correlation: str | None
    subject: Mapping[str, Any]
    """The members that name the call in every entry."""
    reference: Mapping[str, Any]
    """Bundle, revision and certificate that it was decided under."""
    decision: Mapping[str, Any]
    """`decision` and `invariant_checks` of the answer."""
    about: str | None
    """Whom an erasure of the outcome would name (see `PreparedTool.subject`)."""
    intent_seq: int
    budgets: tuple[Budget, ...]
    in_flight: tuple[InFlight, ...]
    expected: tuple[State, ...] = (State.EXECUTING,)
    act: GovernanceAct | None = None
    counting: Counting | None = None
    """The autonomy rules that count what becomes of an agent's call."""


def open_intent(cleared: Clearance, intent: Intended, act: GovernanceAct | None) -> OpenIntent:
    """The open intent of a call that this process just wrote."""
    attempt, call = cleared.attempt, cleared.attempt.call
    return OpenIntent(
        tenant=call.principal.tenant,
        claim=call.claim,
        call_id=attempt.call_id,
        fence=intent.fence,
        tool=call.tool,
        canonical=call.canonical,
        correlation=call.correlation,
        subject=attempt.named,
        reference=attempt.active.reference,
        decision=decided(cleared.ruling, attempt.active),
        about=call.tool.subject(call.arguments),
        intent_seq=intent.placed.seq,
        budgets=cleared.gathered.budgets,
        in_flight=cleared.gathered.in_flight,
        act=act,
        counting=counting(attempt.active, call.principal.tenant, call.principal.reference, call.tool.contract.name),
    )


class Settlement:
    """Writes outcomes."""

    def __init__(self, ledger: Ledger, redactor: Redactor) -> None:
        self._ledger = ledger
        self._redactor = redactor

    async def settle(self, intent: OpenIntent, outcome: Outcome) -> Settled | None:
        """
        Make the outcome durable. None when the fence moved on: another settles, and ours is recorded as late.

        Raises `LedgerUnavailable` when it is not known whether the outcome is durable: the sweeper finds out.
        """
        entry = self._entry(intent, outcome)
        # An act that was to run with its settlement did not run when that came too late.
        late = entry if intent.act is None else self._entry(intent, _NEVER_RAN)
        answer = await self._ledger.commit(
            Settle(
                tenant=intent.tenant,
                claim=intent.claim,
                call_id=intent.call_id,
                fence=intent.fence,
                expected=intent.expected,
                state=outcome.state,
                status=STATUS[outcome.state],
                answer=_answer(intent, outcome),
                entry=entry,
                late_entry=replace(late, kind="LATE", strikes=()),
                budgets=intent.budgets,
                in_flight=intent.in_flight,
                act=intent.act,
                finish=self._finish(intent) if intent.act else None,
            )
        )
        match answer:
            case Settled():
                return answer
            case Late():
                return None
            case _:
                raise LedgerUnavailable("the settlement was answered with something else", is_known=False)

    def _finish(
        self, intent: OpenIntent
    ) -> Callable[[Mapping[str, Any] | ActRefused], tuple[State, int, bytes, Draft]]:
        def finish(result: Mapping[str, Any] | ActRefused) -> tuple[State, int, bytes, Draft]:
            if isinstance(result, ActRefused):
                outcome = Outcome(state=State.FAILED, reason=result.reason)
            else:
                outcome = Outcome(state=State.EXECUTED, result=result)
            return outcome.state, 200, _answer(intent, outcome), self._entry(intent, outcome)

        return finish

    def _entry(self, intent: OpenIntent, outcome: Outcome) -> Draft:
        reconciled = intent.expected != (State.EXECUTING,)
        members = {
            **intent.subject,
            **intent.reference,
            "effect": call_text(intent.call_id),
            "intent": intent.intent_seq,
            "state": outcome.state.value,
        }
        if outcome.reason:
            members["reason"] = outcome.reason.split(":")[0].replace(" ", "_")[:64]
        payload = {}
        if outcome.result is not None:
            payload["result"] = self._recorded(intent, outcome.result)
        return Draft(
            tenant=intent.tenant,
            kind="RECONCILED" if reconciled else "OUTCOME",
            call_id=intent.call_id,
            correlation=intent.correlation,
            members=members,
            payload=payload or None,
            subject=intent.about if payload else None,
            strikes=_strikes(intent, outcome),
        )

    def _recorded(self, intent: OpenIntent, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result as the log keeps it. The effect stands: its outcome is recorded, be it without the result."""
        try:
            return self._redactor.record(intent.tool.contract.result, result, tenant=intent.tenant)
        except Unavailable as error:
            log().error("result_withheld", call=call_text(intent.call_id), error=error)
            return WITHHELD


def _strikes(intent: OpenIntent, outcome: Outcome) -> tuple[Strike, ...]:
    """What the tool's own answer, or its silence, counts for. What a crash of ours left behind counts for nothing."""
    if intent.counting is None or outcome.reason in NOT_OF_THE_TOOL:
        return ()
    if outcome.state is State.FAILED:
        return intent.counting.strikes(Event.FAILED)
    if outcome.state is State.IN_DOUBT and intent.expected == (State.EXECUTING,):
        return intent.counting.strikes(Event.IN_DOUBT)
    return ()


def _answer(intent: OpenIntent, outcome: Outcome) -> bytes:
    """The stored answer: whole, so that it can be redacted by the rights of whoever reads it later."""
    # Canonical, so its members stand in the order of their names.
    reason = b',"reason":%b' % encode(outcome.reason) if outcome.reason else b""
    result = b',"result":%b' % encode(outcome.result) if outcome.result is not None else b""
    return b'{"call":"%b","decision":%b,"invariant_checks":%b%b%b,"status":"%b"}' % (
        call_text(intent.call_id).encode("ascii"),
        encode_own(intent.decision["decision"]),
        encode_own(intent.decision["invariant_checks"]),
        reason,
        result,
        outcome.state.value.encode("ascii"),
    )
