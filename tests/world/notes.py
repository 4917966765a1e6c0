"""Notes left with a tool of the tests' own: registered as those who govern would, asked for, and settled by hand."""

from __future__ import annotations

import secrets

from deploy.demo.client import Answer, Client
from tests.world.ground import Ground
from tests.world.tools import declaration

REASON = "for_the_test"


def register(field: Ground, document: bytes, why: str = "new_tool", *, tenant: str = "acme") -> None:
    """Upload a declaration and have it registered by those who may."""
    client, security = field.client(), field.person("security", tenant=tenant)
    uploaded = client.request("POST", "/v1/tools", security.token, body=document)
    assert uploaded.status == 201, uploaded.document
    approvers = [field.person("security", 2, tenant), field.person("founder", 1, tenant)]
    arguments = {"digest": uploaded.document["digest"]}
    registered = client.governed(security, approvers, "register_tool", arguments, why)
    assert registered.document.get("status") == "executed", registered.document


def repeatable(name: str, origin: str, *, version: int = 1, path: str = "/notes") -> bytes:
    """A tool that declares idempotency and can be asked nothing: doubt ends by a second dispatch, or by a person."""
    document = declaration(name, origin, can_say=False).decode()
    for old, new in (
        ("is_idempotent: false", "is_idempotent: true"),
        ("version: 1", f"version: {version}"),
        ("path: /notes", f"path: {path}"),
    ):
        document = document.replace(old, new)
    return document.encode()


def leave(field: Ground, tool: str, key: str = "", *, client: Client | None = None) -> Answer:
    """Ask an operator's note of a tool; under the same key it is the same note."""
    key = key or secrets.token_hex(16)
    arguments = {"note_id": f"note_{key[:8]}"}
    return (client or field.client()).call(field.person("operator").token, tool, arguments, reason=REASON, key=key)


def state(client: Client, field: Ground, call: str) -> str:
    """Where a call stands."""
    return str(client.get(f"/v1/calls/{call}", field.person("operator").token).document["status"])


def settle(field: Ground, call: str, finding: str) -> Answer:
    """A person says what became of a call in doubt, and two others agree."""
    approvers = [field.person("security", 2), field.person("founder")]
    arguments = {"call": call, "finding": finding}
    return field.client().governed(
        field.person("security"), approvers, "settle_unknown", arguments, "checked_with_tool"
    )
