"""Replay: a recorded question, read back to be decided again.

It is taken as it was recorded, facts included; nothing is gathered anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policies.errors import PolicyFault
from policies.questions import Entity, Question
from proofs import shapes
from proofs.errors import Misshapen


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
