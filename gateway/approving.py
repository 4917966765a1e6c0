"""Approving, rejecting, cancelling: recorded acts on parked calls. None of them executes anything.

A verdict counts when a registered key of that very person signed the statement of exactly this call, the person has a
role that the call waits for, and takes no part in it. The first committed end of a call wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from gateway import entries, statements
from gateway.activation import Policies
from gateway.admission import call_text
from gateway.answers import Reply, receipt
from gateway.approvals import approval_text, named_persons
from gateway.autonomy import counting
from gateway.clock import Clock
from gateway.errors import BadRequest, Conflict, Denied, Fault, NotFound, Unavailable
from gateway.governance import switches
from gateway.identity import Principal, PrincipalKind
from gateway.ledger import ApprovalRow, Approve, FullRow, Killed, Placed, Stale, State
from gateway.parking import Parking, Rejection
from gateway.people import People
from gateway.randomness import Randomness
from gateway.redaction import Redactor
from gateway.refusals import Refusals
from gateway.storage.records import Records
from policies.autonomy import Event
from proofs import approvals
from proofs.approvals import Statement, Verdict
from proofs.errors import EvidenceError
from proofs.keys import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """A verdict that was read, compared and verified."""

    statement: Statement
    signature: str
    roles: tuple[str, ...]
    """That the person has by this token and by the newest one."""


class Approving:
    """Takes verdicts on parked calls."""

    def __init__(
        self,
        *,
        records: Records,
        people: People,
        refusals: Refusals,
        parking: Parking,
        policies: Policies,
        redactor: Redactor,
        randomness: Randomness,
        clock: Clock,
        environment: str,
    ) -> None:
        self._records = records
        self._people = people
        self._refusals = refusals
        self._parking = parking
        self._policies = policies
        self._redactor = redactor
        self._randomness = randomness
        self._clock = clock
        self._environment = environment

    async def give(self, principal: Principal, call_id: UUID, document: Mapping[str, Any], verdict: Verdict) -> Reply:
        """201: the verdict is recorded. A rejection ends the call, an approval leaves it parked."""
        row = await self._parked(principal, call_id)
        try:
            signed = await self._verified(principal, row, document, verdict)
        except Fault as fault:
            fault.members.setdefault("call", call_text(call_id))  # It was found, so the record of this may name it.
            raise
        approval = ApprovalRow(
            approval_id=self._randomness.uuid(),
            tenant=principal.tenant,
            call_id=call_id,
            person=principal.id,
            key_id=signed.statement.key,
            verdict=signed.statement.verdict.value,
            roles=signed.roles,
            statement=signed.statement.canonical(),
            signature=signed.signature.encode("ascii"),
            not_after_ms=signed.statement.not_after_ms,
        )
        payload = {"statement": signed.statement.document(), "signature": signed.signature}
        active = self._policies.active(principal.tenant)
        if verdict is Verdict.REJECT:
            rules = counting(active, principal.tenant, row.row.principal, row.row.tool)
            rejection = Rejection(
                approval=approval,
                feedback=signed.statement.reason,
                payload=payload,
                strikes=() if rules is None else rules.strikes(Event.REJECTED),
            )
            ended = await self._parking.close(
                row, State.REJECTED, by=principal.reference, reason="rejected", rejection=rejection
            )
            return self._given(approval, _require_placed(ended, call_id), State.REJECTED)
        entry = entries.approved(approval, signed.statement.call, payload)
        stopping = switches(principal.tenant, row.row.principal, active.tools[row.row.tool].contract)
        answer = await self._refusals.commit(Approve(approval=approval, entry=entry, kills=stopping))
        if isinstance(answer, Stale):
            raise _closed(call_id, answer.state)
        if isinstance(answer, Killed):
            members = {"call": call_text(call_id)}
            raise Denied("killed", f"a switch of scope `{answer.scope}` is engaged", members=members)
        if not isinstance(answer, Placed):
            raise Unavailable("ledger_unavailable", "the ledger gave no usable answer")
        return self._given(approval, answer, State.PARKED)

    async def cancel(self, principal: Principal, call_id: UUID) -> Reply:
        """200: the requester takes a parked call back."""
        row = await self._records.call(principal.tenant, call_id)
        if row is None:
            raise NotFound("unknown_call", "no call of this tenant")
        if row.row.principal != principal.reference:
            if principal.kind is PrincipalKind.AGENT:
                raise NotFound("unknown_call", "no call of this tenant")  # as for every call that it may not see
            raise Denied("not_the_requester", "only the requester cancels a call", members={"call": call_text(call_id)})
        if row.state is not State.PARKED:
            raise _closed(call_id, row.state)
        ended = await self._parking.close(row, State.CANCELLED, by=principal.reference, reason="cancelled")
        placed = _require_placed(ended, call_id)
        document = {
            "call": call_text(call_id),
            "status": State.CANCELLED.value,
            "entry": placed.seq,
            "receipt": receipt(placed),
        }
        return Reply(status=200, document=document)

    async def _parked(self, principal: Principal, call_id: UUID) -> FullRow:
        if principal.kind is not PrincipalKind.PERSON:
            raise Denied("people_only", "agents approve nothing")
        row = await self._records.call(principal.tenant, call_id)
        if row is None:
            raise NotFound("unknown_call", "no call of this tenant")
        is_over = row.expires_at_ms is not None and row.expires_at_ms <= self._clock.now_ms()
        if row.state is not State.PARKED or is_over:
            raise _closed(call_id, State.EXPIRED if is_over else row.state)
        return row

    async def _verified(
        self, principal: Principal, row: FullRow, document: Mapping[str, Any], verdict: Verdict
    ) -> _Signed:
        signature = document.get("signature")
        if set(document) != {"statement", "signature"} or not isinstance(signature, str) or len(signature) > 100:
            raise BadRequest("statement_malformed", "expected exactly `statement` and `signature`", status=422)
        try:
            statement = approvals.parse(document["statement"])
        except EvidenceError as error:
            raise BadRequest("statement_malformed", str(error), status=422) from error
        if self._redactor.text(statement.reason, tenant=principal.tenant) != statement.reason:
            # It is signed, so the log can only keep it as it is.
            raise BadRequest("reason_sensitive", "the reason holds personal data or a secret", status=422)
        self._require_this_call(principal, row, statement, verdict)
        signer = await self._people.signer(principal.tenant, principal.id, statement.key)
        # The token at hand may be an older one, from before a role was taken away (ADR 3).
        roles = tuple(sorted(set(principal.roles) & set(signer.roles)))
        await self._require_outsider(principal, row, roles)
        if signer.public is None:
            raise Denied("key_unknown", "the key is not registered to the approver, or revoked")
        if not approvals.verify(
            statement,
            signature,
            public=PublicKey.from_text(signer.public),
            environment=self._environment,
            tenant=principal.tenant,
        ):
            raise Denied("signature_invalid", "the signature does not verify over the canonical statement")
        return _Signed(statement=statement, signature=signature, roles=roles)

    def _require_this_call(self, principal: Principal, row: FullRow, statement: Statement, verdict: Verdict) -> None:
        active = self._policies.active(principal.tenant)
        latest = row.expires_at_ms or 0
        current = statements.current(row, active)
        if current is None:
            raise Conflict("approval_stale", "the tool changed; the requester presents the call again")
        if statement.tool != current["tool"] or statement.bundle != current["bundle"]:
            raise Conflict(
                "approval_stale", "the tool or the bundle changed; look at the call and sign what it says now"
            )
        if statement.call != current["call"] or statement.requester != current["requester"]:
            raise Denied("approval_mismatch", "the statement is about another call")
        if statement.approver != principal.reference or statement.verdict is not verdict:
            raise Denied("approval_mismatch", "the statement is somebody else's, or says the other verdict")
        if not self._clock.now_ms() < statement.not_after_ms <= latest:
            raise Denied("approval_expired", "`not_after` lies in the past or beyond the expiry of the call")

    async def _require_outsider(self, principal: Principal, row: FullRow, roles: tuple[str, ...]) -> None:
        packet = await self._records.payload(principal.tenant, row.parked_seq or 0) or {}
        requester = orjson.loads(row.row.requester)
        excluded = {requester["id"], requester["subject"], requester["subject_person"]}
        excluded |= {*requester["delegates"], *requester["editors"]}
        contract = self._policies.active(principal.tenant).tools[row.row.tool].contract
        context = packet.get("question", {}).get("context", {"arguments": {}, "facts": {}})
        excluded |= named_persons(contract, {**context["facts"], "arguments": context["arguments"]})
        if principal.id in excluded:
            raise Denied("approver_excluded", "who takes part in a call does not approve it")
        wanted = {each["role"] for each in packet.get("needs", [])}
        if not wanted & set(roles):
            raise Denied("role_missing", f"the call waits for: {', '.join(sorted(wanted))}")

    def _given(self, approval: ApprovalRow, placed: Placed, state: State) -> Reply:
        document = {
            "approval": approval_text(approval.approval_id),
            "call": call_text(approval.call_id),
            "status": state.value,
            "entry": placed.seq,
            "receipt": receipt(placed),
        }
        return Reply(status=201, document=document)


def _closed(call_id: UUID, state: State) -> Conflict:
    return Conflict("call_closed", f"the call is `{state.value}`, not parked", members={"call": call_text(call_id)})


def _require_placed(ended: Placed | State, call_id: UUID) -> Placed:
    if isinstance(ended, State):
        raise _closed(call_id, ended)
    return ended
