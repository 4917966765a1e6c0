"""Bundles: policies, invariants, Rego, data, cases and autonomy rules, versioned and signed together.

A bundle is one canonical JSON document; there is no archive to unpack and no path to escape. The digest covers the
whole content but the signatures, so the same content signed twice is the same bundle. Steps at upload:

1. read      size, strict JSON, exactly the members of the form
2. verify    a signature by a key that is trusted for bundles of this tenant now
3. validate  see `review`: strict Cedar validation, ids, hints, the Rego capability list, a case for each rule
4. run the cases (`cases`), prove the invariants (package `invariants`)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files as resources
from typing import Any

from policies.autonomy import AutonomyRule, read_rules
from policies.autonomy_cases import AutonomyCase
from policies.autonomy_cases import read_cases as read_autonomy_cases
from policies.case_form import Case, read_cases
from policies.errors import PolicyFault
from policies.rego_answers import RegoRules
from policies.rego_lists import read_lists
from proofs import canonical, shapes, signatures
from proofs.errors import EvidenceError
from proofs.keys import KeyRing, PrivateKey

FORM = 1
BYTES_MAX = 1024 * 1024  # The base bundle has 60 KiB. A bundle that cannot be read in one sitting is not reviewed.
SIGNATURES_MAX = 16
_TEXTS = ("policies", "invariants", "rego")
_CONTENT = frozenset({"lockgate_bundle", "manifest", "data", "cases", *_TEXTS})
_OPTIONAL = frozenset({"autonomy"})
"""A bundle of before there were autonomy rules has none, and keeps its digest."""
_BASE = {"policies": "policies.cedar", "invariants": "invariants.cedar", "rego": "deny.rego"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Which bundle this is."""

    tenant: str
    environment: str
    revision: int
    """At least 1. Never goes backwards: a roll-back is the former content under a new revision."""
    created_at: datetime
    not_after: datetime
    """Exclusive: at this very instant the bundle is already expired."""
    schema_digest: str | None = None
    """The schema it was written for. None: whatever schema it validates against."""

    def document(self) -> dict[str, Any]:
        """The manifest as canonical JSON members."""
        document: dict[str, Any] = {
            "tenant": self.tenant,
            "environment": self.environment,
            "revision": self.revision,
            "created_at": _written(self.created_at),
            "not_after": _written(self.not_after),
        }
        return document if self.schema_digest is None else {**document, "schema_digest": self.schema_digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who vouches for the content."""

    key_id: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A well-formed bundle. That anybody trusts it, or that its rules are sound, is not said by its existence."""

    manifest: Manifest
    policies: str
    invariants: str
    rego: RegoRules
    cases: tuple[Case, ...]
    autonomy: tuple[AutonomyRule, ...] = ()
    autonomy_cases: tuple[AutonomyCase, ...] = ()
    content: Mapping[str, Any] = field(repr=False)
    """Everything but the signatures, as read."""
    digest: str
    """Of the canonical bytes of `content`."""
    signatures: tuple[Signature, ...] = ()

    @property
    def files(self) -> Mapping[str, str]:
        """The texts under the names that they have on disk."""
        return {name: self.content[member] for member, name in _BASE.items()}

    @property
    def raw(self) -> bytes:
        """The canonical bytes of the whole document, signatures included."""
        signed = [{"key_id": each.key_id, "signature": each.signature} for each in self.signatures]
        return canonical.encode({**self.content, "signatures": signed})


def parse(raw: bytes) -> Bundle:
    """
    Read a bundle.

    Raises `PolicyFault` for a document that is too large, not strict JSON, or not exactly of the form.
    """
    if len(raw) > BYTES_MAX:
        raise PolicyFault(f"bundle: larger than {BYTES_MAX} bytes")
    try:
        document = shapes.members(
            canonical.parse(raw), required=_CONTENT | {"signatures"}, optional=_OPTIONAL, form="bundle"
        )
        content = {name: value for name, value in document.items() if name != "signatures"}
        return _bundle(content, _signatures(document["signatures"]))
    except EvidenceError as error:
        raise PolicyFault(f"bundle: {error}") from error


def compose(members: Mapping[str, Any], manifest: Manifest) -> Bundle:
    """
    Put a bundle together from `policies`, `invariants`, `rego`, `data`, `cases` and perhaps `autonomy`, unsigned.

    Raises `PolicyFault` as `parse` does.
    """
    content = {"lockgate_bundle": FORM, "manifest": manifest.document(), **members}
    try:
        return parse(canonical.encode({**content, "signatures": []}))
    except EvidenceError as error:
        raise PolicyFault(f"bundle: {error}") from error


def base() -> dict[str, Any]:
    """The members of the base bundle, as `compose` takes them."""
    folder = resources("policies").joinpath("base")
    texts = {member: folder.joinpath(name).read_text(encoding="utf-8") for member, name in _BASE.items()}
    data = canonical.parse(folder.joinpath("data.json").read_bytes())
    cases = canonical.parse(folder.joinpath("cases.json").read_bytes())
    autonomy = canonical.parse(folder.joinpath("autonomy.json").read_bytes())
    return {**texts, "data": data, "cases": cases, "autonomy": autonomy}


def sign(bundle: Bundle, key: PrivateKey) -> Bundle:
    """The same bundle with one more signature."""
    context = signatures.context("bundle", bundle.manifest.environment, bundle.manifest.tenant)
    made = Signature(key_id=key.key_id, signature=signatures.sign(key, context, _statement(bundle)))
    return _bundle(dict(bundle.content), (*bundle.signatures, made))


def verify(bundle: Bundle, keys: KeyRing, *, tenant: str, environment: str, at_ms: int) -> str:
    """
    Return the id of the key that vouches for the bundle, for this tenant and environment, at this time.

    Every signature must hold: one that does not is a sign of tampering, also beside one that does. Raises
    `PolicyFault`.
    """
    if (bundle.manifest.tenant, bundle.manifest.environment) != (tenant, environment):
        raise PolicyFault("bundle: made for another tenant or environment")
    if not bundle.signatures:
        raise PolicyFault("bundle: not signed")
    context = signatures.context("bundle", environment, tenant)
    for each in bundle.signatures:
        public = keys.find(each.key_id, "bundle", tenant, at_ms)
        if public is None:
            raise PolicyFault("bundle: signed by a key that is not trusted for bundles of this tenant now")
        if not signatures.verify(public, context, _statement(bundle), each.signature):
            raise PolicyFault(f"bundle: the signature by `{each.key_id}` does not hold")
    return bundle.signatures[0].key_id


def _bundle(content: Mapping[str, Any], signed: tuple[Signature, ...]) -> Bundle:
    if content["lockgate_bundle"] != FORM:
        raise PolicyFault(f"bundle: expected form {FORM}")
    for name in _TEXTS:
        if not isinstance(content[name], str):
            raise PolicyFault(f"bundle: member `{name}`: expected a string")
    deny, obligations = read_lists(content["data"])
    module = content["rego"]
    autonomy = shapes.members(
        content.get("autonomy", {"rules": [], "cases": []}), required={"rules", "cases"}, form="autonomy"
    )
    return Bundle(
        manifest=_manifest(content["manifest"]),
        policies=content["policies"],
        invariants=content["invariants"],
        rego=RegoRules(module=module, data=content["data"], deny=deny, obligations=obligations),
        cases=read_cases(content["cases"]),
        autonomy=read_rules(autonomy["rules"]),
        autonomy_cases=read_autonomy_cases(autonomy["cases"]),
        content=content,
        digest=canonical.digest(canonical.encode(dict(content))),
        signatures=signed,
    )


def _manifest(document: Any) -> Manifest:
    members = shapes.members(
        document,
        required={"tenant", "environment", "revision", "created_at", "not_after"},
        optional={"schema_digest"},
        form="manifest",
    )
    manifest = Manifest(
        tenant=shapes.text(members, "tenant", shapes.NAME),
        environment=shapes.text(members, "environment", shapes.NAME),
        revision=shapes.natural(members, "revision"),
        created_at=_read_time(members["created_at"]),
        not_after=_read_time(members["not_after"]),
        schema_digest=shapes.text(members, "schema_digest", shapes.DIGEST) if "schema_digest" in members else None,
    )
    if manifest.revision < 1:
        raise PolicyFault("manifest: member `revision`: expected at least 1")
    if manifest.not_after <= manifest.created_at:
        raise PolicyFault("manifest: `not_after` is not after `created_at`")
    return manifest


def _signatures(document: Any) -> tuple[Signature, ...]:
    if not isinstance(document, list) or len(document) > SIGNATURES_MAX:
        raise PolicyFault(f"bundle: member `signatures`: expected a list of at most {SIGNATURES_MAX}")
    read = []
    for each in document:
        members = shapes.members(each, required={"key_id", "signature"}, form="signature")
        read.append(
            Signature(
                key_id=shapes.text(members, "key_id", shapes.KEY_ID),
                signature=shapes.text(members, "signature", shapes.SIGNATURE),
            )
        )
    return tuple(read)


def _statement(bundle: Bundle) -> dict[str, Any]:
    # The digest covers the manifest; the revision stands beside it so that a signer sees what is being signed.
    return {"bundle": bundle.digest, "revision": bundle.manifest.revision}


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read_time(text: Any) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (ValueError, TypeError) as error:
        raise PolicyFault("manifest: expected times as `2026-11-20T05:00:00Z`") from error
