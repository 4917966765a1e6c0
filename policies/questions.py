"""What a policy engine is asked: principal, action, resource and a context that only the gateway fills.

One question is built per call, in `gather`, and every engine, check and audit entry reads the same one. Its JSON form
(`Question.document`) is what cases, action packets and counter-examples carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tool_registry.contracts import APPROVER_ROLES, ROLES

__all__ = ["APPROVALS_MAX", "APPROVER_ROLES", "ROLES", "Entity", "Question", "approval_counts"]

APPROVALS_MAX = 3  # Persons counted, in all and of a role: no rule asks for more.

_NONE_APPROVED = {"persons": 0, **dict.fromkeys(APPROVER_ROLES, 0)}


@dataclass(frozen=True, slots=True)
class Entity:
    """A Cedar entity id, e.g. `Person::"per_ada"`. Types: Person, Agent, Role, and each contract's resource type."""

    type: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One authorization request. `context` has exactly the members of the generated schema (see `schema`)."""

    principal: Entity
    roles: tuple[str, ...]
    """The principal's Role parents, sorted. Empty for agents."""
    action: str
    resource: Entity
    context: Mapping[str, Any]
    """arguments{…}, facts{group{…}}, approvals{persons, <role>…}, risk, autonomy, registered, reason_code,
    environment, tenant, now."""

    def with_approvals(self, counts: Mapping[str, int]) -> Question:
        """The same question under other approval counts; unnamed roles count 0."""
        return replace(self, context={**self.context, "approvals": approval_counts(counts)})

    def document(self) -> dict[str, Any]:
        """The question as canonical JSON members."""
        return {
            "principal": {"type": self.principal.type, "id": self.principal.id, "roles": list(self.roles)},
            "action": self.action,
            "resource": {"type": self.resource.type, "id": self.resource.id},
            "context": dict(self.context),
        }


def approval_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """`approvals` of a context; unnamed roles count 0."""
    return {**_NONE_APPROVED, **counts}
