"""What each entry of the log says in clear, and what stands beside it as payload.

One function per kind of entry, so that an auditor's question "what does a REFUSED entry hold" has one answer. Payloads
pass `redaction` before they get here; members never hold an argument, a fact or a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from gateway.admission import Call, call_text
from gateway.approvals import approval_text, commitment
from gateway.attempts import Attempt
from gateway.clearance import Clearance, Ruling
from gateway.gathering import Gathered
from gateway.ledger import ApprovalRow, Draft, State


def subject(call: Call, call_id: UUID, call_salt: bytes) -> dict[str, Any]:
    """Who asked for what: the members that every entry about a call shares."""
    contract = call.tool.contract
    return {
        "call": call_text(call_id),
        "call_digest": commitment(call.digest, call_salt),
        "tool": contract.name,
        "tool_digest": contract.digest,
        "principal": call.principal.reference,
    }


def intent(cleared: Clearance, packet: Mapping[str, Any]) -> Draft:
    """INTENT: durable before any effect. The payload is the action packet."""
    attempt = cleared.attempt
    return Draft(
        tenant=attempt.call.principal.tenant,
        kind="INTENT",
        call_id=attempt.call_id,
        correlation=attempt.call.correlation,
        members={
            **subject(attempt.call, attempt.call_id, attempt.call_salt),
            **attempt.active.reference(),
            **_verdict("permit", cleared.ruling),
            "approvals": [approval_text(each) for each in cleared.gathered.approvals.ids],
            "effect": attempt.text,
            "state": State.EXECUTING.value,
        },
        payload=packet,
        subject=attempt.call.tool.subject(attempt.call.arguments),
    )


def parked(
    call: Call, call_id: UUID, call_salt: bytes, active: Mapping[str, Any], ruling: Ruling, packet: Mapping[str, Any]
) -> Draft:
    """PARKED: the call waits for persons."""
    return Draft(
        tenant=call.principal.tenant,
        kind="PARKED",
        call_id=call_id,
        correlation=call.correlation,
        members={
            **subject(call, call_id, call_salt),
            **active,
            **_verdict("needs_approval", ruling),
            "state": State.PARKED.value,
        },
        payload=packet,
        subject=call.tool.subject(call.arguments),
    )


def refused(
    call: Call,
    call_id: UUID,
    call_salt: bytes,
    reason: str,
    *,
    active: Mapping[str, Any],
    ruling: Ruling | None = None,
    packet: Mapping[str, Any] | None = None,
) -> Draft:
    """REFUSED: no effect, and why."""
    return Draft(
        tenant=call.principal.tenant,
        kind="REFUSED",
        call_id=call_id,
        correlation=call.correlation,
        members={
            **subject(call, call_id, call_salt),
            **active,
            **(_verdict("deny", ruling) if ruling else {"verdict": "deny"}),
            "reason": reason,
            "state": State.REFUSED.value,
        },
        payload=packet,
        subject=call.tool.subject(call.arguments),
    )


def looked(attempt: Attempt, ruling: Ruling) -> Draft:
    """READ or DRY_RUN: a light entry, not waited for, without a payload."""
    call = attempt.call
    return Draft(
        tenant=call.principal.tenant,
        kind="DRY_RUN" if call.is_dry_run else "READ",
        call_id=attempt.call_id,
        correlation=call.correlation,
        members={
            "call": attempt.text,
            "tool": call.tool.contract.name,
            "tool_digest": call.tool.contract.digest,
            "principal": call.principal.reference,
            **attempt.active.reference(),
            **_verdict(ruling.decision.verdict.value, ruling),
        },
    )


def note(tenant: str, reason: str, *, principal: str | None = None, call: UUID | None = None, count: int = 1) -> Draft:
    """NOTE: attempts that never became a call (401, 429, 400, 409), counted, so that a flood is itself visible."""
    members: dict[str, Any] = {"reason": reason, "count": count}
    if principal:
        members["principal"] = principal
    if call:
        members["call"] = call_text(call)
    return Draft(tenant=tenant, kind="NOTE", members=members)


def feedback(principal: str, tenant: str, call: UUID, payload: Mapping[str, Any]) -> Draft:
    """FEEDBACK: what somebody says of a call afterwards."""
    members = {"call": call_text(call), "principal": principal}
    return Draft(tenant=tenant, kind="FEEDBACK", call_id=call, members=members, payload=payload)


def uploaded(kind: str, principal: str, tenant: str, verdict: Mapping[str, Any]) -> Draft:
    """BUNDLE or TOOL: bytes were stored, with what was found out about them."""
    named = {name: verdict[name] for name in ("digest", "stage") if name in verdict}
    return Draft(tenant=tenant, kind=kind, members={"principal": principal, **named}, payload=verdict)


def approved(row: ApprovalRow, call_digest: str, document: Mapping[str, Any]) -> Draft:
    """APPROVED: a person's signed yes. Statement and signature stand beside it."""
    return Draft(
        tenant=row.tenant,
        kind="APPROVED",
        call_id=row.call_id,
        members={
            "call": call_text(row.call_id),
            "call_digest": call_digest,
            "principal": f"person/{row.person}",
            "approvals": [approval_text(row.approval_id)],
        },
        payload=document,
    )


def packet(call: Call, gathered: Gathered, ruling: Ruling, active: Mapping[str, Any]) -> dict[str, Any]:
    """The action packet: question, facts with source and age, decision, checks, approvals, certificate."""
    return {
        "question": gathered.question.document(),
        "facts": {
            name: {"at_ms": reading.at_ms, "source": f"{call.tool.contract.connector.origin or 'ledger'}:{name}"}
            for name, reading in gathered.facts.items()
        },
        "decision": {
            **active,
            "rules": ruling.rules,
            "obligations": [duty.id for duty in ruling.decision.obligations],
        },
        "checks": ruling.invariant_checks,
        "approvals": [dict(document) for document in gathered.approvals.documents],
        "reservations": [
            *({"name": each.name, "amount": each.amount} for each in gathered.budgets),
            *({"name": each.name, "amount": each.amount} for each in gathered.in_flight),
        ],
    }


def _verdict(verdict: str, ruling: Ruling) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "rules": [f"{rule.engine}:{rule.id}" for rule in ruling.decision.rules],
        "checks": [{"id": check["id"], "status": check["status"]} for check in ruling.invariant_checks],
    }
