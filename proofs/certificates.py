"""The form of certificates: what the solvers proved of one bundle over its tools, under which assumptions, signed.

This module carries and signs; its parts are in `claims`. What an obligation means, and whether it can be shown again,
is for `invariants` (`python -m invariants recheck`). `docs/certificates.md` describes every member for auditors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proofs import base64url, canonical, shapes, signatures
from proofs.claims import (
    PREMISE,
    Answer,
    Key,
    Mutation,
    Obligation,
    Premise,
    Solver,
    Vacuity,
    Verdict,
    read_mutation,
    read_obligation,
    read_solver,
    read_vacuity,
)
from proofs.errors import Misshapen, VerificationError
from proofs.keys import SIGNATURE_BYTES, KeyRing, PrivateKey

__all__ = [
    "BYTES_MAX",
    "FORM",
    "PREMISE",
    "Answer",
    "Certificate",
    "Key",
    "Mutation",
    "Obligation",
    "Premise",
    "SignedCertificate",
    "Solver",
    "Vacuity",
    "Verdict",
    "parse",
    "require_bundle",
    "require_proved",
    "sign",
    "verify",
]

FORM = 2
BYTES_MAX = 16 * 1024 * 1024  # The base bundle's has 150 KiB; a line of an export has no more room either.

_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What was proved. Void for any other bundle or schema, and any other version of engine, encoder or solvers."""

    tenant: str
    environment: str
    bundle: str
    """Digest of the bundle: manifest, texts, data and cases."""
    policies: str
    """Digest of the text of the rules."""
    invariants: str
    """Digest of the text of the invariants."""
    schema: str
    """Digest of the schema generated from the tools."""
    tools: Mapping[str, str]
    """Name -> digest of the contract, for each tool of the schema."""
    engine: str
    """Name and version of the policy engine whose meaning of policies was encoded."""
    encoder: str
    """Version of the encoding."""
    solvers: Mapping[str, Solver]
    obligations: tuple[Obligation, ...]
    vacuity: tuple[Vacuity, ...]
    alive: tuple[str, ...]
    """The rules that some request satisfies."""
    accepted: tuple[str, ...]
    """The rules that none does, and that the bundle keeps for a reason that it gives."""
    mutation: Mutation | None
    """None: not measured."""
    unmeasured: str
    """Why the mutation score was not measured, in words; empty exactly where it was."""
    assumptions: tuple[str, ...]
    """What has to hold at run time for the proofs to mean something, in sentences."""
    at_ms: int

    def statement(self) -> dict[str, Any]:
        """What is digested, without the signer."""
        return {
            "lockgate_certificate": FORM,
            "tenant": self.tenant,
            "environment": self.environment,
            "bundle": self.bundle,
            "policies": self.policies,
            "invariants": self.invariants,
            "schema": self.schema,
            "tools": dict(self.tools),
            "engine": self.engine,
            "encoder": self.encoder,
            "solvers": {name: solver.document() for name, solver in self.solvers.items()},
            "obligations": [obligation.document() for obligation in self.obligations],
            "vacuity": [each.document() for each in self.vacuity],
            "alive": list(self.alive),
            "accepted": list(self.accepted),
            "mutation": None if self.mutation is None else self.mutation.document(),
            "unmeasured": self.unmeasured,
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
    required = {"lockgate_certificate", *Certificate.__slots__, "key_id", "signature"}
    form = document.get("lockgate_certificate", 1) if isinstance(document, Mapping) else FORM
    if type(form) is not int or form != FORM:
        raise Misshapen("version", f"certificate: expected form {FORM}; what an earlier one proved is proved again")
    members = shapes.members(document, required=required, form="certificate")
    canonical.check(dict(members))
    signature = shapes.text(members, "signature", shapes.SIGNATURE)
    base64url.decode(signature, length=SIGNATURE_BYTES)
    solvers = {name: read_solver(each) for name, each in shapes.mapping(members, "solvers").items()}
    obligations = tuple(read_obligation(each, solvers) for each in shapes.listed(members, "obligations"))
    vacuity = tuple(read_vacuity(each, solvers) for each in shapes.listed(members, "vacuity"))
    if len({each.key for each in obligations}) + len({each.key for each in vacuity}) < len(obligations) + len(vacuity):
        raise Misshapen("member", "member `obligations` or `vacuity`: names one thing twice")
    mutation = None if members["mutation"] is None else read_mutation(members["mutation"])
    if not isinstance(members["unmeasured"], str) or (members["unmeasured"] == "") is (mutation is None):
        raise Misshapen("member", "member `unmeasured`: expected a reason exactly where there is no mutation score")
    certificate = Certificate(
        tenant=shapes.text(members, "tenant", shapes.NAME),
        environment=shapes.text(members, "environment", shapes.NAME),
        bundle=shapes.text(members, "bundle", shapes.DIGEST),
        policies=shapes.text(members, "policies", shapes.DIGEST),
        invariants=shapes.text(members, "invariants", shapes.DIGEST),
        schema=shapes.text(members, "schema", shapes.DIGEST),
        tools=_tools(members),
        engine=shapes.text(members, "engine", shapes.LABEL),
        encoder=shapes.text(members, "encoder", shapes.LABEL),
        solvers=solvers,
        obligations=obligations,
        vacuity=vacuity,
        alive=shapes.texts(members, "alive"),
        accepted=shapes.texts(members, "accepted"),
        mutation=mutation,
        unmeasured=members["unmeasured"],
        assumptions=shapes.texts(members, "assumptions"),
        at_ms=shapes.natural(members, "at_ms"),
    )
    return SignedCertificate(
        certificate=certificate, key_id=shapes.text(members, "key_id", shapes.KEY_ID), signature=signature
    )


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


def require_bundle(certificate: Certificate, document: Any) -> None:
    """
    Check that a certificate is for this bundle, as it is read from its file.

    Only digests are compared: whether the bundle is well-formed, signed or sound is not checked.

    Raises `Misshapen` for what is no bundle, `VerificationError` (`policies_differs`, `invariants_differs`,
    `bundle_differs`).
    """
    optional = document.keys() if isinstance(document, Mapping) else frozenset()
    members = shapes.members(
        document, required={"policies", "invariants", "signatures"}, optional=optional, form="bundle"
    )
    content = {name: value for name, value in members.items() if name != "signatures"}
    for name in ("policies", "invariants"):
        text = members[name]
        if not isinstance(text, str) or canonical.digest(text.encode()) != getattr(certificate, name):
            raise VerificationError(f"{name}_differs", f"certificate: it is for other {name} than the bundle's")
    if canonical.digest(canonical.encode(content)) != certificate.bundle:
        raise VerificationError("bundle_differs", "certificate: it is for another bundle")


def require_proved(certificate: Certificate) -> None:
    """
    Check that it says of itself what lets a bundle into force: everything proved, and something permitted.

    Raises `VerificationError` (not_proved).
    """
    if not certificate.obligations or certificate.unproved:
        count = len(certificate.unproved)
        raise VerificationError("not_proved", f"certificate: {count} of its obligations are not proved, or it has none")
    if not any(each.premise is Premise.REACHABLE for each in certificate.vacuity):
        raise VerificationError("not_proved", "certificate: no request is permitted, so it proves nothing")


def _tools(members: Mapping[str, Any]) -> dict[str, str]:
    tools = shapes.mapping(members, "tools")
    if not all(_TOOL.fullmatch(name) for name in tools):
        raise Misshapen("member", "member `tools`: expected names of tools")
    return {name: shapes.text(tools, name, shapes.DIGEST) for name in tools}


def _signed_statement(certificate: Certificate, key_id: str) -> dict[str, Any]:
    return {**certificate.statement(), "key_id": key_id}


def _context(certificate: Certificate) -> bytes:
    return signatures.context(signatures.Purpose.CERTIFICATE, certificate.environment, certificate.tenant)
