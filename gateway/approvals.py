"""Approvals as facts: which presented approvals count, for how many distinct persons of which roles.

An approval counts only while all of this holds, checked again at every use: it is signed by a key registered to that
person, for exactly this parked call, under this tool digest and this bundle; it is not expired, not used by another
call; the person has every role it was given with; and the person neither asked, edited, delegated, nor is the subject
or somebody whom a fact of the contract excludes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from msgspec import Struct

from gateway.admission import Call
from gateway.errors import Conflict, Denied
from gateway.facts import Reading
from gateway.ledger import ApprovalFound
from policies.questions import APPROVALS_MAX, APPROVER_ROLES
from proofs import approvals as statements
from proofs import commitments
from proofs.keys import PublicKey
from tool_registry.contracts import Contract


class Presented(Struct, frozen=True, kw_only=True):
    """The call that the approvals are presented for, as the ledger knows it, and the policy of this moment."""

    call_id: UUID
    call_salt: bytes
    editors: tuple[str, ...]
    """Persons whose earlier version of this call was edited."""
    bundle: str


class ApprovalsCounted(Struct, frozen=True, kw_only=True):
    """What the approvals amount to."""

    ids: tuple[UUID, ...] = ()
    counts: Mapping[str, int]
    """`persons` and one member per role, each capped at 3."""
    documents: tuple[Mapping[str, Any], ...] = ()
    """Statement, signature and roles of each, for the action packet."""


NONE = ApprovalsCounted(counts={})


def commitment(call_digest: bytes, salt: bytes) -> str:
    """What a statement and every entry name a call's content by: the salted call digest."""
    return commitments.commit("call", salt, call_digest)


def verify(
    call: Call,
    presented: Presented | None,
    found: tuple[ApprovalFound | None, ...],
    *,
    facts: Mapping[str, Reading],
    now_ms: int,
) -> ApprovalsCounted:
    """
    Count the approvals that came with a call.

    Raises `Denied` (`approval_mismatch`, `approval_expired`, `approval_void`) or `Conflict` (`approval_used`,
    `approval_stale`) for the first that does not count: one bad approval is never quietly left out.
    """
    if not call.approvals:
        return NONE
    if presented is None:
        raise Denied("approval_mismatch", "the approval was given for another call")
    excluded = excluded_persons(call, presented.editors, facts)
    persons: dict[str, set[str]] = {}
    documents = []
    for each in found:
        if each is None or each.row.verdict != "approve" or each.row.call_id != presented.call_id:
            raise Denied("approval_mismatch", "the approval was given for another call")
        document = _require_valid(call, presented, each, now_ms)
        if each.row.person in excluded:
            raise Denied("approval_void", "the approver takes part in the call")
        persons.setdefault(each.row.person, set()).update(each.row.roles)
        documents.append(document)
    return ApprovalsCounted(ids=call.approvals, counts=_counts(persons), documents=tuple(documents))


def excluded_persons(call: Call, editors: tuple[str, ...], facts: Mapping[str, Reading]) -> frozenset[str]:
    """Requester, subject, delegates, editors, and whoever a fact or argument named by the contract is."""
    principal = call.principal
    names = {principal.id, principal.subject or "", principal.subject_person or "", *principal.delegates, *editors}
    groups = {name: reading.values for name, reading in facts.items()}
    return frozenset(names - {""}) | named_persons(call.tool.contract, {**groups, "arguments": call.arguments})


def named_persons(contract: Contract, groups: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Whom the facts and arguments name that the contract excludes; one may name several, with blanks between."""
    members = [path.partition(".") for path in contract.excluded]
    return frozenset(
        name for group, _, member in members for name in str(groups.get(group, {}).get(member, "")).split()
    )


def _require_valid(call: Call, presented: Presented, found: ApprovalFound, now_ms: int) -> Mapping[str, Any]:
    row = found.row
    document = orjson.loads(row.statement)
    if found.used_by is not None and found.used_by != presented.call_id:
        raise Conflict("approval_used", "the approval is consumed")
    if document["call"] != commitment(call.digest, presented.call_salt):
        # The digest covers version and tool digest too; tell the approver's reason apart from a forged use.
        _require_current(call, presented, document)
        raise Denied("approval_mismatch", "the approval was given for another call")
    _require_current(call, presented, document)
    if row.not_after_ms <= now_ms and found.used_by is None:
        raise Denied("approval_expired", "the approval has expired")
    if found.key_public is None:
        raise Denied("approval_void", "the approver's key is revoked")
    if not set(row.roles) <= set(found.roles_now):
        raise Denied("approval_void", "the approver no longer has the role")
    key = PublicKey.from_text(found.key_public)
    statement = statements.parse(document)
    tenant = call.principal.tenant
    signature = row.signature.decode("ascii")
    if not statements.verify(statement, signature, public=key, environment=call.environment, tenant=tenant):
        raise Denied("approval_void", "the signature does not verify")
    return {"approval": approval_text(row.approval_id), "statement": document, "signature": signature}


def _require_current(call: Call, presented: Presented, document: Mapping[str, Any]) -> None:
    if document["tool"] != call.tool.contract.digest or document["bundle"] != presented.bundle:
        raise Conflict("approval_stale", "the tool or the bundle changed after the approval")


def _counts(persons: Mapping[str, set[str]]) -> Mapping[str, int]:
    counts = {role: min(APPROVALS_MAX, sum(role in roles for roles in persons.values())) for role in APPROVER_ROLES}
    return {"persons": min(APPROVALS_MAX, len(persons)), **counts}


def approval_text(approval_id: UUID) -> str:
    """The id of an approval as clients see it."""
    return "appr_" + approval_id.hex
