"""The bytes that a call is known by, against the reference encoder."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import Envelope, admit
from gateway.identity import Principal, PrincipalKind
from gateway.tools import prepare
from policies.schema import generate
from proofs import canonical
from tool_registry.registry import load_catalogue

CONTRACTS = load_catalogue().contracts
SCHEMA = generate(CONTRACTS.values()).typed
TOOLS = {"issue_refund": prepare(CONTRACTS["issue_refund"], SCHEMA)}
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True)
SUBJECTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}", fullmatch=True)
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=3, max_size=255).filter(
    lambda key: not (key[0] == key[-1] == '"')
)
CORRELATIONS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", fullmatch=True)


@given(NAMES, NAMES, st.none() | SUBJECTS, KEYS, st.none() | CORRELATIONS, st.integers(1, 100_000_000))
def test_a_call_is_known_by_canonical_bytes(
    tenant: str, agent: str, subject: str | None, key: str, correlation: str | None, amount: int
) -> None:
    """
    Call, request digest, call digest and claim are those of the reference encoder, whoever asks under whatever key.
    """
    tool = TOOLS["issue_refund"]
    principal = Principal(
        tenant=tenant,
        kind=PrincipalKind.AGENT,
        id=agent,
        subject=subject,
        subject_person=None,
        delegates=(),
        roles=(),
        tools=frozenset(),
        issued_at=0,
        expires_at=1,
    )
    arguments = {"order_id": "ord_1001", "amount_cents": amount}
    document = {"tool": "issue_refund", "arguments": arguments, "reason_code": "damaged_item"}

    call = admit(
        document,
        Envelope(key=key, correlation=correlation, is_dry_run=False),
        principal=principal,
        environment="dev",
        tools=TOOLS,
    )

    request = {
        "tenant": tenant,
        "environment": "dev",
        "actor": f"agent/{agent}",
        "subject": subject or "",
        "tool": "issue_refund",
        "arguments": arguments,
        "reason_code": "damaged_item",
    }
    whole = {**request, "version": tool.contract.version, "tool_digest": tool.contract.digest}
    if correlation:
        whole["correlation"] = correlation
    claim = canonical.encode([tenant, "dev", f"agent/{agent}", "issue_refund", key])
    assert call.canonical == canonical.encode(whole)
    assert call.digest == hashlib.sha256(canonical.encode(whole)).digest()
    assert call.request_digest == hashlib.sha256(canonical.encode(request)).digest()
    assert call.claim == hashlib.sha256(claim).digest()
