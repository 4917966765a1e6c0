"""What each entry of the log says in clear, and what stands beside it as payload.

One function per kind of entry, so that an auditor's question "what does a REFUSED entry hold" has one answer. Payloads
pass `redaction` before they get here; members never hold an argument, a fact or a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from gateway import autonomy
from gateway.admission import call_text
from gateway.approvals import approval_text
from gateway.attempts import Attempt
from gateway.clearance import Clearance, Ruling
from gateway.gathering import Gathered
from gateway.ledger import ApprovalRow, Draft, State, Strike
from proofs.certificates import SignedCertificate

_EXECUTING = State.EXECUTING.value


def intent(cleared: Clearance, packet: Mapping[str, Any]) -> Draft:
    """INTENT: durable before any effect. The payload is the action packet."""
    attempt, ruling = cleared.attempt, cleared.ruling
    approvals = [approval_text(each) for each in cleared.gathered.approvals.ids]
    held = attempt.held
    # Of a call that was not done: nothing else would name that entry any more.
    after = {"after": held.outcome_seq} if held is not None and held.outcome_seq is not None else {}
    return _about(
        attempt,
        "INTENT",
        {
            **attempt.named,
            **attempt.active.reference,
            "verdict": "permit",
            **ruling.brief,
            "approvals": approvals,
            "effect": attempt.text,
            "state": _EXECUTING,
            **after,
        },
        packet,
    )


def parked(attempt: Attempt, ruling: Ruling, packet: Mapping[str, Any]) -> Draft:
    """PARKED: the call waits for persons."""
    members = {
        **attempt.named,
        **attempt.active.reference,
        "verdict": "needs_approval",
        **ruling.brief,
        "state": State.PARKED.value,
    }
    return _about(attempt, "PARKED", members, packet)


def refused(
    attempt: Attempt, reason: str, *, ruling: Ruling | None = None, packet: Mapping[str, Any] | None = None
) -> Draft:
    """REFUSED: no effect, and why."""
    members = {
        **attempt.named,
        **attempt.active.reference,
        "verdict": "deny",
        **(ruling.brief if ruling else {}),
        "reason": reason,
        "state": State.REFUSED.value,
    }
    call = attempt.call
    strikes = autonomy.denied(
        attempt.active, call.principal.tenant, call.principal.reference, call.tool.contract.name, reason
    )
    return replace(_about(attempt, "REFUSED", members, packet), strikes=strikes)


def _about(attempt: Attempt, kind: str, members: Mapping[str, Any], packet: Mapping[str, Any] | None) -> Draft:
    call = attempt.call
    return Draft(
        tenant=call.principal.tenant,
        kind=kind,
        call_id=attempt.call_id,
        correlation=call.correlation,
        members=members,
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
            **attempt.active.reference,
            "verdict": ruling.decision.verdict.value,
            **ruling.brief,
        },
    )


def note(
    tenant: str,
    reason: str,
    *,
    principal: str | None = None,
    call: UUID | None = None,
    count: int = 1,
    strikes: tuple[Strike, ...] = (),
) -> Draft:
    """NOTE: attempts that never became a call (401, 429, 400, 409), counted, so that a flood is itself visible."""
    members: dict[str, Any] = {"reason": reason, "count": count}
    if principal:
        members["principal"] = principal
    if call:
        members["call"] = call_text(call)
    return Draft(tenant=tenant, kind="NOTE", members=members, strikes=strikes)


def feedback(principal: str, tenant: str, call: UUID, payload: Mapping[str, Any]) -> Draft:
    """FEEDBACK: what somebody says of a call afterwards."""
    members = {"call": call_text(call), "principal": principal}
    return Draft(tenant=tenant, kind="FEEDBACK", call_id=call, members=members, payload=payload)


def uploaded(
    kind: str, principal: str, tenant: str, verdict: Mapping[str, Any], signed: SignedCertificate | None
) -> Draft:
    """BUNDLE or TOOL: bytes were stored, with what was found out about them, and the certificate if there is one."""
    named = {name: verdict[name] for name in ("digest", "stage", "certificate") if name in verdict}
    # Whole, so that an export holds what its entries name.
    payload = verdict if signed is None else {**verdict, "signed_certificate": signed.document()}
    return Draft(tenant=tenant, kind=kind, members={"principal": principal, **named}, payload=payload)


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


def packet(attempt: Attempt, gathered: Gathered, ruling: Ruling) -> dict[str, Any]:
    """The action packet: question, facts with source and age, decision, checks, approvals, certificate."""
    sources = attempt.call.tool.sources
    return {
        "question": gathered.question.document(),
        "facts": {name: {"at_ms": reading.at_ms, "source": sources[name]} for name, reading in gathered.facts.items()},
        "decision": {**attempt.active.reference, "rules": ruling.rules, "obligations": ruling.obligations},
        "checks": ruling.invariant_checks,
        "approvals": [dict(document) for document in gathered.approvals.documents],
        "reservations": [{"name": each.name, "amount": each.amount} for each in gathered.budgets]
        + [{"name": each.name, "amount": each.amount} for each in gathered.in_flight],
    }
