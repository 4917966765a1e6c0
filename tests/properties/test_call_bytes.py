"""The bytes that a call is known by, against the reference encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from gateway import encoding
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


# Spelled apart from any encoder, so that members may repeat and numbers may be anything.
SCALARS = st.sampled_from(
    ["1", "-1", "0", "-0", "1.0", "1e2", "9007199254740991", "9007199254740992", "true", "null", "NaN"]
)
SPELLED = st.text(st.sampled_from('ab:_-0{}[],"\\ é\u200b'), max_size=4)
QUOTED = SPELLED.map(lambda text: json.dumps(text, ensure_ascii=False)) | SPELLED.map(lambda text: f'"{text}"')
DOCUMENTS = st.recursive(
    SCALARS | QUOTED,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
        | st.lists(st.tuples(QUOTED | st.sampled_from(['"a"', '"b"', '"a_1"']), inner), max_size=4).map(
            lambda pairs: "{" + ",".join(f"{name}: {value}" for name, value in pairs) + "}"
        )
    ),
    max_leaves=12,
)


@given(DOCUMENTS | st.text(max_size=40), st.sampled_from(["", " ", "x", "\n", "}"]))
def test_the_fast_parser_reads_and_refuses_as_the_reference_does(document: str, after: str) -> None:
    """
    The same value, or the same refusal with the same reason, for whatever bytes.
    """
    raw = (document + after).encode()
    assert outcome(encoding.parse, raw) == outcome(canonical.parse, raw)


def outcome(parse: Callable[[bytes], canonical.Value], raw: bytes) -> tuple[str, str]:
    """What became of it: the value with its types, or the refusal with its reason."""
    try:
        return "read", repr(parse(raw))
    except canonical.NotCanonical as refused:
        return type(refused).__name__, refused.reason
