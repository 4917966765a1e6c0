"""The form of certificates: what the solvers proved of one bundle, under which assumptions, signed.

This module carries and signs; what an obligation means, and whether a proof can be repeated, is for `invariants`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from proofs import base64url, canonical, shapes, signatures
from proofs.errors import Misshapen, VerificationError
from proofs.keys import SIGNATURE_BYTES, KeyRing, PrivateKey


@unique
class Verdict(StrEnum):
    """What the solvers say of an obligation. Everything but `proved` refuses."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"
    VACUOUS = "vacuous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """One invariant over every permitted request of one action."""

    invariant: str
    action: str
    digest: str
    """Digest of the obligation's text, so that somebody else can regenerate and compare it."""
    verdict: Verdict

    def document(self) -> dict[str, Any]:
        """The obligation as canonical JSON members."""
        return {
            "invariant": self.invariant,
            "action": self.action,
            "digest": self.digest,
            "verdict": self.verdict.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What was proved. Void for any other bundle, schema, engine version or encoder version."""

    tenant: str
    environment: str
    bundle: str
    """Digest of the bundle."""
    schema: str
    """Digest of the generated schema."""
    engine: str
    """Name and version of the policy engine whose meaning of policies was encoded."""
    solvers: Mapping[str, str]
    """Name -> version."""
    encoder: str
    """Version of the encoding."""
    obligations: tuple[Obligation, ...]
    assumptions: tuple[str, ...]
    """What has to hold at run time for the proofs to mean something, in sentences."""
    at_ms: int

    def statement(self) -> dict[str, Any]:
        """What is digested, without the signer."""
        return {
            "tenant": self.tenant,
            "environment": self.environment,
            "bundle": self.bundle,
            "schema": self.schema,
            "engine": self.engine,
            "solvers": dict(self.solvers),
            "encoder": self.encoder,
            "obligations": [obligation.document() for obligation in self.obligations],
            "assumptions": list(self.assumptions),
            "at_ms": self.at_ms,
        }

    @property
    def digest(self) -> str:
        """Digest over all that it says. Who signed it, and how often, does not change it."""
        return canonical.digest(canonical.encode(self.statement()))

    @property
    def unproved(self) -> tuple[Obligation, ...]:
        """The obligations that were not proved."""
        return tuple(each for each in self.obligations if each.verdict is not Verdict.PROVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCertificate:
    """A certificate with its signer's word for it."""

    certificate: Certificate
    key_id: str
    signature: str
    """Base64url without padding, over the certificate's members and `key_id`."""

    def document(self) -> dict[str, Any]:
        """The signed certificate as canonical JSON members."""
        return {**_signed_statement(self.certificate, self.key_id), "signature": self.signature}


def sign(certificate: Certificate, signer: PrivateKey) -> SignedCertificate:
    """Sign a certificate."""
    statement = _signed_statement(certificate, signer.key_id)
    signature = signatures.sign(signer, _context(certificate), statement)
    return SignedCertificate(certificate=certificate, key_id=signer.key_id, signature=signature)


def parse(document: Any) -> SignedCertificate:
    """Read a signed certificate. The signature is not checked. Raises `Misshapen` or `OutsideProfile`."""
    required = {*Certificate.__slots__, "key_id", "signature"}
    members = shapes.members(document, required=required, form="certificate")
    canonical.check(dict(members))
    solvers, assumptions, obligations = members["solvers"], members["assumptions"], members["obligations"]
    if not isinstance(solvers, Mapping) or not all(isinstance(version, str) for version in solvers.values()):
        raise Misshapen("member", "member `solvers`: expected an object of strings")
    if not isinstance(assumptions, list) or not all(isinstance(sentence, str) for sentence in assumptions):
        raise Misshapen("member", "member `assumptions`: expected a list of strings")
    if not isinstance(obligations, list):
        raise Misshapen("member", "member `obligations`: expected a list")
    signature = shapes.text(members, "signature", shapes.SIGNATURE)
    base64url.decode(signature, length=SIGNATURE_BYTES)
    certificate = Certificate(
        tenant=shapes.text(members, "tenant", shapes.NAME),
        environment=shapes.text(members, "environment", shapes.NAME),
        bundle=shapes.text(members, "bundle", shapes.DIGEST),
        schema=shapes.text(members, "schema", shapes.DIGEST),
        engine=shapes.text(members, "engine", shapes.LABEL),
        solvers=dict(solvers),
        encoder=shapes.text(members, "encoder", shapes.LABEL),
        obligations=tuple(_obligation(each) for each in obligations),
        assumptions=tuple(assumptions),
        at_ms=shapes.natural(members, "at_ms"),
    )
    key_id = shapes.text(members, "key_id", shapes.KEY_ID)
    return SignedCertificate(certificate=certificate, key_id=key_id, signature=signature)


def verify(signed: SignedCertificate, keys: KeyRing) -> Certificate:
    """
    Check that a trusted key signed it and return the certificate.

    Whether its obligations are proved, and are those of the bundle at hand, is not checked.

    Raises `VerificationError` (key_untrusted, signature_invalid).
    """
    certificate = signed.certificate
    sought = (signed.key_id, signatures.Purpose.CERTIFICATE.value, certificate.tenant, certificate.at_ms)
    public = keys.find(*sought)
    if public is None:
        raise VerificationError("key_untrusted", f"certificate: {keys.why_not(*sought)}")
    statement = _signed_statement(certificate, signed.key_id)
    if not signatures.verify(public, _context(certificate), statement, signed.signature):
        raise VerificationError("signature_invalid", f"certificate: not signed so by `{signed.key_id}`")
    return certificate


def _obligation(document: Any) -> Obligation:
    members = shapes.members(document, required=frozenset(Obligation.__slots__), form="obligation")
    verdict = members["verdict"]
    if not isinstance(verdict, str) or verdict not in set(Verdict):
        raise Misshapen("member", "member `verdict`: expected `proved`, `refuted`, `unknown` or `vacuous`")
    return Obligation(
        invariant=shapes.text(members, "invariant", shapes.LABEL),
        action=shapes.text(members, "action", shapes.LABEL),
        digest=shapes.text(members, "digest", shapes.DIGEST),
        verdict=Verdict(verdict),
    )


def _signed_statement(certificate: Certificate, key_id: str) -> dict[str, Any]:
    return {**certificate.statement(), "key_id": key_id}


def _context(certificate: Certificate) -> bytes:
    return signatures.context(signatures.Purpose.CERTIFICATE, certificate.environment, certificate.tenant)
