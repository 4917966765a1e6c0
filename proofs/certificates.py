"""The form of certificates: what the solvers proved of one bundle over its tools, under which assumptions, signed.

This module carries and signs; what an obligation means, and whether it can be shown again, is for `invariants`
(`python -m invariants recheck`). `docs/certificates.md` describes every member for auditors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from proofs import base64url, canonical, shapes, signatures
from proofs.errors import Misshapen, VerificationError
from proofs.keys import SIGNATURE_BYTES, KeyRing, PrivateKey

FORM = 2
BYTES_MAX = 16 * 1024 * 1024  # The base bundle's has 300 KiB; a line of an export has no more room either.

PREMISE = "premise"

Key = tuple[str, str, str, str]
"""Kind, subject, action and principal: each is named once."""

_TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_SUBJECT = re.compile(f"(?:{shapes.LABEL.pattern})?")
_COUNTS = ("mutants", "equivalent", "caught", "by_proof", "by_cases")


@unique
class Verdict(StrEnum):
    """What is said of an obligation. Everything but `proved` refuses."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"
    VACUOUS = "vacuous"
    ENCODING_BUG = "encoding_bug"


@unique
class Answer(StrEnum):
    """What one solver answers to one question."""

    SATISFIABLE = "sat"
    UNSATISFIABLE = "unsat"
    UNKNOWN = "unknown"


@unique
class Premise(StrEnum):
    """Whether anything is permitted at all, without which an invariant would hold of nothing."""

    REACHABLE = "reachable"
    """Some request of the type is permitted."""
    UNREACHABLE = "unreachable"
    """Permits cover the tool, and none of them requests of this type."""
    CLOSED = "closed"
    """No permit covers the tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solver:
    """Who answered."""

    version: str
    options: tuple[str, ...]
    """`NAME=VALUE`, as given to the solver."""

    def document(self) -> dict[str, Any]:
        """The solver as canonical JSON members."""
        return {"version": self.version, "options": list(self.options)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """One thing that had to be shown of one type of request."""

    kind: str
    """`invariant`, `never_errs`, or another of the list in the docs."""
    subject: str
    """Id of the invariant or rule; empty where the kind is about all rules together."""
    action: str
    principal: str
    resource: str
    """Action, and types of principal and resource: together the request type."""
    digest: str
    """Of the question's text, so that somebody else can regenerate and compare it."""
    verdict: Verdict
    answers: Mapping[str, Answer]
    """By solver."""

    @property
    def key(self) -> Key:
        """What was to be shown."""
        return self.kind, self.subject, self.action, self.principal

    def document(self) -> dict[str, Any]:
        """The obligation as canonical JSON members."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "action": self.action,
            "principal": self.principal,
            "resource": self.resource,
            "digest": self.digest,
            "verdict": self.verdict.value,
            "answers": {name: answer.value for name, answer in self.answers.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacuity:
    """Whether the premise of a request type's obligations is reachable."""

    action: str
    principal: str
    resource: str
    premise: Premise
    digest: str
    """Of the question whether some request is permitted."""
    answers: Mapping[str, Answer]
    """By solver."""

    @property
    def key(self) -> Key:
        """What was asked, as if it were an obligation."""
        return PREMISE, "", self.action, self.principal

    def document(self) -> dict[str, Any]:
        """The premise as canonical JSON members."""
        return {
            "action": self.action,
            "principal": self.principal,
            "resource": self.resource,
            "premise": self.premise.value,
            "digest": self.digest,
            "answers": {name: answer.value for name, answer in self.answers.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """How many small mistakes in the rules would have been noticed."""

    mutants: int
    equivalent: int
    """Those that decide every request as the rules do, by the solver."""
    caught: int
    by_proof: int
    by_cases: int
    survivors: tuple[str, ...]
    """Each mutant that is not equivalent and was not caught."""

    def document(self) -> dict[str, Any]:
        """The score as canonical JSON members."""
        return {**{name: getattr(self, name) for name in _COUNTS}, "survivors": list(self.survivors)}


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
    members = shapes.members(document, required=required, form="certificate")
    canonical.check(dict(members))
    if type(members["lockgate_certificate"]) is not int or members["lockgate_certificate"] != FORM:
        raise Misshapen("version", f"certificate: expected form {FORM}")
    signature = shapes.text(members, "signature", shapes.SIGNATURE)
    base64url.decode(signature, length=SIGNATURE_BYTES)
    solvers = {name: _solver(each) for name, each in _mapping(members, "solvers").items()}
    obligations = tuple(_obligation(each, solvers) for each in _list(members, "obligations"))
    vacuity = tuple(_vacuity(each, solvers) for each in _list(members, "vacuity"))
    if len({each.key for each in obligations}) + len({each.key for each in vacuity}) < len(obligations) + len(vacuity):
        raise Misshapen("member", "member `obligations` or `vacuity`: names one thing twice")
    mutation = None if members["mutation"] is None else _mutation(members["mutation"])
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
        alive=_texts(members, "alive"),
        accepted=_texts(members, "accepted"),
        mutation=mutation,
        unmeasured=members["unmeasured"],
        assumptions=_texts(members, "assumptions"),
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


def _solver(document: Any) -> Solver:
    members = shapes.members(document, required=frozenset(Solver.__slots__), form="solver")
    return Solver(version=shapes.text(members, "version", shapes.LABEL), options=_texts(members, "options"))


def _obligation(document: Any, solvers: Mapping[str, Solver]) -> Obligation:
    members = shapes.members(document, required=frozenset(Obligation.__slots__), form="obligation")
    verdict = members["verdict"]
    if not isinstance(verdict, str) or verdict not in set(Verdict):
        raise Misshapen("member", f"member `verdict`: expected one of {', '.join(Verdict)}")
    answers = _answers(members, solvers)
    if verdict == Verdict.PROVED and (len(set(answers.values())) != 1 or Answer.UNKNOWN in answers.values()):
        raise Misshapen("member", "member `answers`: expected solvers that agree where the verdict is `proved`")
    return Obligation(
        kind=shapes.text(members, "kind", shapes.NAME),
        subject=shapes.text(members, "subject", _SUBJECT),
        action=shapes.text(members, "action", shapes.LABEL),
        principal=shapes.text(members, "principal", shapes.LABEL),
        resource=shapes.text(members, "resource", shapes.LABEL),
        digest=shapes.text(members, "digest", shapes.DIGEST),
        verdict=Verdict(verdict),
        answers=answers,
    )


def _vacuity(document: Any, solvers: Mapping[str, Solver]) -> Vacuity:
    members = shapes.members(document, required=frozenset(Vacuity.__slots__), form="vacuity")
    premise = members["premise"]
    if not isinstance(premise, str) or premise not in set(Premise):
        raise Misshapen("member", f"member `premise`: expected one of {', '.join(Premise)}")
    return Vacuity(
        action=shapes.text(members, "action", shapes.LABEL),
        principal=shapes.text(members, "principal", shapes.LABEL),
        resource=shapes.text(members, "resource", shapes.LABEL),
        premise=Premise(premise),
        digest=shapes.text(members, "digest", shapes.DIGEST),
        answers=_answers(members, solvers),
    )


def _answers(members: Mapping[str, Any], solvers: Mapping[str, Solver]) -> dict[str, Answer]:
    answers = _mapping(members, "answers")
    if answers.keys() != solvers.keys() or not set(map(str, answers.values())) <= set(Answer):
        raise Misshapen("member", f"member `answers`: expected one of {', '.join(Answer)} from each solver")
    return {name: Answer(answer) for name, answer in answers.items()}


def _mutation(document: Any) -> Mutation:
    members = shapes.members(document, required=frozenset(Mutation.__slots__), form="mutation")
    counts = {name: shapes.natural(members, name) for name in _COUNTS}
    score = Mutation(**counts, survivors=_texts(members, "survivors"))
    if score.mutants != score.equivalent + score.caught + len(score.survivors):
        raise Misshapen("member", "member `mutants`: expected the sum of equivalent, caught and survivors")
    return score


def _tools(members: Mapping[str, Any]) -> dict[str, str]:
    tools = _mapping(members, "tools")
    if not all(_TOOL.fullmatch(name) for name in tools):
        raise Misshapen("member", "member `tools`: expected names of tools")
    return {name: shapes.text(tools, name, shapes.DIGEST) for name in tools}


def _mapping(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = members[name]
    if not isinstance(value, Mapping):
        raise Misshapen("member", f"member `{name}`: expected an object")
    return value


def _list(members: Mapping[str, Any], name: str) -> list[Any]:
    value = members[name]
    if not isinstance(value, list):
        raise Misshapen("member", f"member `{name}`: expected a list")
    return value


def _texts(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    listed = _list(members, name)
    if not all(isinstance(each, str) for each in listed):
        raise Misshapen("member", f"member `{name}`: expected a list of strings")
    return tuple(listed)


def _signed_statement(certificate: Certificate, key_id: str) -> dict[str, Any]:
    return {**certificate.statement(), "key_id": key_id}


def _context(certificate: Certificate) -> bytes:
    return signatures.context(signatures.Purpose.CERTIFICATE, certificate.environment, certificate.tenant)
