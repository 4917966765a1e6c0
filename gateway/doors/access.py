"""Who may open which door. Everything behind a door asks again; this keeps runners off what is not theirs."""

from __future__ import annotations

from gateway.errors import Denied
from gateway.identity import Principal, PrincipalKind

AUDIT_ROLES = frozenset({"auditor", "security", "founder"})
BUNDLE_ROLES = frozenset({"security", "founder", "auditor", "operator"})
UPLOAD_ROLES = frozenset({"security", "founder"})


def require_person(principal: Principal, roles: frozenset[str] | None = None) -> None:
    """Raises `Denied` for an agent, and for a person with none of the roles."""
    if principal.kind is not PrincipalKind.PERSON:
        raise Denied("people_only", "this is for people")
    if roles is not None and not roles & set(principal.roles):
        raise Denied("role_missing", f"expected one of the roles: {', '.join(sorted(roles))}")
