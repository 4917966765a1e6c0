"""A resource that is named by personal data: the log has its token, and a replay is decided over its true name."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from gateway import admission
from gateway.admission import Call, Envelope
from gateway.answers import Answers
from gateway.identity import Principal, PrincipalKind
from gateway.ledger import FullRow
from gateway.redaction import Redactor
from gateway.replays import Replays
from gateway.storage.records import Records
from gateway.tools import prepare
from policies.schema import generate
from tests.world import acts
from tool_registry.contracts import Contract, Label, ToolName
from tool_registry.registry import load_catalogue

TOOL = ToolName("revoke_push_tokens")
NAME = "usr_ada-lovelace"


def hidden() -> Contract:
    """A tool whose resource is personal."""
    contract = load_catalogue().contracts[TOOL]
    return replace(contract, arguments=tuple(replace(each, label=Label.PERSONAL) for each in contract.arguments))


def asked(contract: Contract) -> Call:
    """A call to it."""
    principal = Principal(
        tenant="acme",
        kind=PrincipalKind.PERSON,
        id="per_operator_1",
        subject=None,
        subject_person=None,
        delegates=(),
        roles=("operator",),
        tools=frozenset(),
        issued_at=0,
        expires_at=2**40,
    )
    return admission.admit(
        {"tool": TOOL, "arguments": {"user_id": NAME}, "reason_code": "user_request"},
        Envelope(key="key-1", correlation=None, is_dry_run=False),
        principal=principal,
        environment="dev",
        tools={TOOL: prepare(contract, generate([contract]).typed)},
    )


def packet() -> dict[str, Any]:
    """What the intent of that call has as its payload, before it is redacted."""
    context = {"arguments": {"user_id": NAME}, "facts": {}, "registered": False}
    return {
        "question": {
            "principal": {"type": "Person", "id": "per_operator_1", "roles": ["operator"]},
            "action": TOOL,
            "resource": {"type": "User", "id": NAME},
            "context": context,
        }
    }


class Kept:
    """Records that hold one payload."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self._payload = payload

    async def payload(self, tenant: str, seq: int) -> dict[str, Any]:
        return self._payload


def test_a_personal_resource_is_a_token_in_the_log() -> None:
    """
    H01: hidden among the arguments, the name must not stand beside them as the resource.
    """
    redacted = Redactor(bytes(32)).packet(hidden(), packet(), tenant="acme")

    assert NAME not in str(redacted)


def test_a_replay_asks_about_the_true_resource() -> None:
    """
    The recorded question is decided again as it was asked, not about a token.
    """
    redactor, contract = Redactor(bytes(32)), hidden()
    kept = dict(redactor.packet(contract, packet(), tenant="acme"))
    held = cast(FullRow, type("Held", (), {"intent_seq": 1, "row": acts.call("key-1", call_id=UUID(int=1))}))

    question = asyncio.run(Replays(cast(Records, Kept(kept)), Answers(redactor)).question(asked(contract), held))

    assert question.resource.id == NAME
    assert question.context["arguments"] == {"user_id": NAME}
