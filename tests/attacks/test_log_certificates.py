"""A log that carries its certificates: forged ones, and calls that rest on another one, are found offline."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from proofs import canonical, certificates, chain, commitments, export, verify
from proofs.certificates import Certificate, Verdict
from proofs.export import Header, Record
from proofs.keys import KeyRing, PrivateKey, TrustedKey
from tests.vectors.test_certificate_bytes import CERTIFICATE

LOG_KEY = PrivateKey.from_seed(b"log key of the certificate tests")
OTHER_KEY = PrivateKey.from_seed(b"another key, of another purpose!")
KEYS = KeyRing(
    (
        TrustedKey(public=LOG_KEY.public, purposes=frozenset({"checkpoint", "certificate"})),
        TrustedKey(public=OTHER_KEY.public, purposes=frozenset({"checkpoint"})),
    )
)
OTHER = "sha256:" + "ff" * 32
SALT = bytes(16)


def reasons(
    document: Mapping[str, Any] | None = None,
    *,
    intent: Mapping[str, Any] | None = None,
    upload: Mapping[str, Any] | None = None,
    certain: Certificate = CERTIFICATE,
) -> list[tuple[int | None, str]]:
    """What is wrong with a log of an upload and a call, with other members in either."""
    signed = certificates.sign(certain, LOG_KEY)
    payload = canonical.encode({"passed": True, "signed_certificate": document or signed.document()})
    drafts: list[dict[str, Any]] = [
        {
            "kind": "BUNDLE",
            "certificate": certain.digest,
            "payload": commitments.commit("payload", SALT, payload),
            **(upload or {}),
        },
        {
            "kind": "INTENT",
            "call": "call_1",
            "effect": "call_1",
            "tool": "issue_refund",
            "tool_digest": certain.tools["issue_refund"],
            "bundle": certain.bundle,
            "certificate": certain.digest,
            **(intent or {}),
        },
    ]
    named = [{"tenant": "acme", **each} for each in drafts]
    at_ms = certain.at_ms
    sealed = chain.seal(chain.Head(tenant="acme"), named, environment="dev", at_ms=at_ms, signer=LOG_KEY)
    first, second = sealed.entries
    records = [Record(body=first.body, salt=SALT, payload=payload), Record(body=second.body)]
    header = Header(tenant="acme", environment="dev", size=2, checkpoints=1)
    lines = b"".join(export.write(header, [*records, sealed.checkpoint]))
    return [(each.seq, each.reason) for each in verify.check(io.BytesIO(lines), KEYS).findings]


def document(**changed: Any) -> dict[str, Any]:
    """The signed certificate with other members."""
    return {**certificates.sign(CERTIFICATE, LOG_KEY).document(), **changed}


def test_log_with_its_certificate_is_good() -> None:
    """
    The certificate is signed, is the one that the upload names, and covers the call that names it.
    """
    assert reasons() == []


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (document(at_ms=1), "certificate_forged"),
        (document(bundle=OTHER), "certificate_forged"),
        (certificates.sign(CERTIFICATE, OTHER_KEY).document(), "certificate_untrusted"),
        (certificates.sign(replace(CERTIFICATE, tenant="globex"), LOG_KEY).document(), "certificate_mismatch"),
        (certificates.sign(replace(CERTIFICATE, environment="prod"), LOG_KEY).document(), "certificate_mismatch"),
        (certificates.sign(replace(CERTIFICATE, at_ms=1), LOG_KEY).document(), "certificate_mismatch"),
        ({}, "certificate_misshapen"),
        (document(lockgate_certificate=1), "certificate_misshapen"),
    ],
)
def test_certificate_in_a_payload_that_does_not_hold_is_found(given: dict[str, Any], reason: str) -> None:
    """
    Changed after it was signed, by a key for something else, for somebody else, or another than the entry names: bad.
    """
    assert reasons(given or {"none": 1})[0] == (1, reason)


@pytest.mark.parametrize("intent", [{"bundle": OTHER}, {"tool_digest": OTHER}, {"tool": "ban_user"}])
def test_call_that_rests_on_a_certificate_for_something_else_is_found(intent: dict[str, str]) -> None:
    """
    A call names a certificate: it is for the bundle and the contract that the call was decided under.
    """
    assert reasons(intent=intent) == [(2, "certificate_mismatch")]


def test_call_that_was_let_through_without_a_proof_is_found() -> None:
    """
    A certificate that does not prove everything lets nothing through: an INTENT that names it is bad.
    """
    unknown = tuple(replace(each, verdict=Verdict.UNKNOWN) for each in CERTIFICATE.obligations)

    assert reasons(certain=replace(CERTIFICATE, obligations=unknown)) == [(2, "certificate_mismatch")]


def test_certificate_of_another_chain_is_not_compared() -> None:
    """
    A tenant under the base bundle names a certificate that the log of `system` carries: nothing is said about it here.
    """
    assert reasons(intent={"certificate": OTHER, "bundle": OTHER}) == []
