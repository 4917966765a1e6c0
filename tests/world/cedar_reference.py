"""A decider to compare ours with: Cedar asked the plain way, and what a joined verdict is, in fifteen lines."""

from __future__ import annotations

import json

import cedarpy

from policies.questions import Question


def verdict(cedar: str, errors: int, forbids: int, denies: int, rego_errors: int, *, is_governance: bool) -> str:
    """What a joined verdict is, written down without looking at the decider."""
    if is_governance:
        denies = rego_errors = 0
    if cedar not in ("Allow", "Deny"):
        return "policy_error"
    if errors + rego_errors:
        return "policy_error"
    if forbids + denies:
        return "policy_denied"
    if cedar == "Deny":
        return "not_permitted"
    return "permit"


def unsliced(
    question: Question, policies: cedarpy.PolicySet, schema: cedarpy.Schema | None
) -> tuple[str, list[str], int]:
    """All policies over the whole context: the decision, the ids of the determining rules, and how many erred."""
    request = {
        "principal": {"type": question.principal.type, "id": question.principal.id},
        "action": {"type": "Action", "id": question.action},
        "resource": {"type": question.resource.type, "id": question.resource.id},
        "context": json.dumps(question.context),
    }
    parents = [{"type": "Role", "id": role} for role in question.roles]
    principal = {"uid": request["principal"], "attrs": {}, "parents": parents}
    answer = cedarpy.is_authorized(request, policies, [principal], schema=schema)
    rules = sorted(answer.diagnostics.id_annotations_by_reason.values())
    return answer.decision.value, rules, len(answer.diagnostics.errors)
