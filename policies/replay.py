"""Replay: a recorded question decided again, under the bundle of today or one that is only proposed.

The question is taken as it was recorded, facts included; nothing is gathered anew. Only what the caller passes in
takes the place of what was recorded, such as the principal's present roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from policies.decider import Decider
from policies.decisions import Decision, Verdict
from policies.errors import PolicyFault
from policies.questions import Entity, Question
from proofs import shapes
from proofs.errors import Misshapen


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A recorded verdict beside the one of now."""

    before: Verdict
    after: Decision

    @property
    def flips(self) -> bool:
        """Whether the call would now pass where it did not, or the other way round."""
        return (self.before is Verdict.PERMIT) != (self.after.verdict is Verdict.PERMIT)


def read(document: Any) -> Question:
    """
    A question from its recorded form (`Question.document`).

    That it fits the schema of now is found out when it is decided. Raises `PolicyFault` for another form.
    """
    try:
        members = shapes.members(
            document, required={"principal", "action", "resource", "context"}, form="recorded question"
        )
        principal = shapes.members(members["principal"], required={"type", "id", "roles"}, form="principal")
        resource = shapes.members(members["resource"], required={"type", "id"}, form="resource")
    except Misshapen as error:
        raise PolicyFault(str(error)) from error
    texts = (principal["type"], principal["id"], members["action"], resource["type"], resource["id"])
    roles = principal["roles"]
    if not isinstance(roles, list) or not all(isinstance(each, str) for each in (*texts, *roles)):
        raise PolicyFault("recorded question: expected names as strings")
    if not isinstance(members["context"], Mapping):
        raise PolicyFault("recorded question: expected an object as context")
    return Question(
        principal=Entity(type=principal["type"], id=principal["id"]),
        roles=tuple(sorted(roles)),
        action=members["action"],
        resource=Entity(type=resource["type"], id=resource["id"]),
        context=dict(members["context"]),
    )


async def again(document: Any, decider: Decider, *, before: Verdict, roles: tuple[str, ...] | None = None) -> Replay:
    """
    Decide a recorded question again, with the principal's present `roles` if they are given.

    Raises `PolicyFault` for an unreadable record, `EngineUnavailable` when an engine gave no answer.
    """
    question = read(document)
    if roles is not None:
        question = replace(question, roles=tuple(sorted(roles)))
    return Replay(before=before, after=await decider.decide(question))
