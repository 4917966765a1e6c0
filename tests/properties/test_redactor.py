"""The redactor: what is not declared is dropped, and a token tells only that two values of a tenant are equal."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.redaction import Redactor
from tool_registry.contracts import Field, Kind, Label
from tool_registry.shapes import ContractViolation, compile_shape

CANARY = "canary@mail.example"
REDACTOR = Redactor(b"k" * 32)
FIELDS = (
    Field(name="email", kind=Kind.TEXT, label=Label.PERSONAL),
    Field(name="note", kind=Kind.TEXT),
    Field(name="device", kind=Kind.RECORD, fields=(Field(name="push", kind=Kind.TEXT, label=Label.SECRET),)),
)
DEVICE = {"push": "canary"}
NAMES = [
    "Email",
    "EMAIL",
    "email ",
    "email[0]",
    "e\u200bmail",
    "\uff45mail",
    "\u0435mail",
    "email.value",
    "",
    "__class__",
]


def whole(**members: Any) -> dict[str, Any]:
    """A good value of the fields, with these members beside it."""
    return {"email": CANARY, "note": "late", "device": DEVICE, **members}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_nearly_declared_is_dropped(name: str) -> None:
    """
    H03: case, spaces, brackets, hidden and look-alike letters make another name, refused at the door and never kept.
    """
    values = whole(**{name: CANARY}) | {"device": {**DEVICE, name: CANARY}}

    kept = REDACTOR.record(FIELDS, values, tenant="acme")

    with pytest.raises(ContractViolation):
        compile_shape(FIELDS).check(values)
    assert kept.keys() == {"email", "note", "device"}
    assert kept["device"].keys() == {"push"}
    assert "canary" not in str(kept)


def test_what_stands_below_an_unknown_name_is_dropped() -> None:
    """
    H03: as deep as it may lie.
    """
    kept = REDACTOR.record(FIELDS, whole(extra=[{"email": {"email": CANARY}}]), tenant="acme")

    assert "canary" not in str(kept)


def test_a_token_belongs_to_its_tenant_and_key() -> None:
    """
    H04: the same value has another token in another tenant, and under another key.
    """
    tokens = {
        redactor.token(CANARY, tenant)
        for redactor in (REDACTOR, Redactor(b"l" * 32))
        for tenant in ("acme", "globex", "acm", "e")
    }

    assert len(tokens) == 8


def test_a_value_that_is_a_token_is_hidden_like_any_other() -> None:
    """
    H04: a field that holds the token or mark of something is no way to learn whether the two are equal.
    """
    token = REDACTOR.token(CANARY, "acme")
    for value in (token, f"[email {token}]"):
        kept = REDACTOR.record(FIELDS, whole(email=value), tenant="acme")

        assert kept["email"] == REDACTOR.token(value, "acme") != token


def test_a_mark_in_free_text_stays_what_it_is() -> None:
    """
    H04: redacting twice changes nothing, so what passed one door passes the next unchanged.
    """
    once = REDACTOR.text(f"write to {CANARY} or +49 30 901820 77, password: hunter2", tenant="acme")

    assert "[email tok_" in once
    assert REDACTOR.text(once, tenant="acme") == once
