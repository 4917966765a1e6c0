"""Attacks on bundles: unsigned, forged, changed, misplaced, too large, older; rules that hide or say nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policies import bundles, cases, review
from policies.errors import PolicyFault
from proofs import canonical, signatures
from proofs.keys import KeyRing, PrivateKey, TrustedKey
from tests.world.bundles import AT_MS, bundle, cedar_schema, contracts, with_policies

SIGNER = PrivateKey.from_seed(b"s" * 32)
STRANGER = PrivateKey.from_seed(b"x" * 32)


def ring(*purposes: str, tenant: str = "*", not_after_ms: int | None = None) -> KeyRing:
    """The signer's key, trusted for these purposes."""
    trusted = TrustedKey(public=SIGNER.public, purposes=frozenset(purposes), tenant=tenant, not_after_ms=not_after_ms)
    return KeyRing((trusted,))


def vouched(raw: bytes, keys: KeyRing | None = None, tenant: str = "acme", environment: str = "dev") -> str:
    """Read and verify, as an upload does."""
    return bundles.verify(
        bundles.parse(raw), keys or ring("bundle"), tenant=tenant, environment=environment, at_ms=AT_MS
    )


def document() -> dict[str, Any]:
    """A signed bundle as JSON members, to be tampered with."""
    read = json.loads(bundles.sign(bundle(), SIGNER).raw)
    assert isinstance(read, dict)
    return read


def test_signed_bundle_is_read_and_vouched_for() -> None:
    """
    A bundle survives its own bytes, and its digest is that of its content, whoever signs.
    """
    signed = bundles.sign(bundle(), SIGNER)

    read = bundles.parse(signed.raw)

    assert vouched(signed.raw) == SIGNER.key_id
    assert read.digest == bundle().digest == bundles.sign(signed, STRANGER).digest
    assert read.files["policies.cedar"] == bundles.base()["policies"]


def test_unsigned_bundle_is_refused() -> None:
    """
    C08: no signature, or the list of signatures taken away.
    """
    without = document()
    del without["signatures"]

    with pytest.raises(PolicyFault, match="not signed"):
        vouched(bundle().raw)
    with pytest.raises(PolicyFault, match="`signatures` is missing"):
        vouched(canonical.encode(without))


@pytest.mark.parametrize(
    "keys",
    [KeyRing(()), ring("approval"), ring("checkpoint"), ring("bundle", tenant="other"), ring("bundle", not_after_ms=1)],
    ids=["unknown", "approvals only", "checkpoints only", "another tenant's", "expired"],
)
def test_key_that_is_not_trusted_for_bundles_is_refused(keys: KeyRing) -> None:
    """
    C08: a key unknown, for another purpose, for another tenant, or no longer valid.
    """
    with pytest.raises(PolicyFault, match="not trusted"):
        vouched(bundles.sign(bundle(), SIGNER).raw, keys)


def test_one_bad_signature_spoils_a_good_one() -> None:
    """
    A stranger's signature beside the good one is a sign of tampering, not decoration.
    """
    twice = bundles.sign(bundles.sign(bundle(), SIGNER), STRANGER)

    with pytest.raises(PolicyFault, match="not trusted"):
        vouched(twice.raw)


@pytest.mark.parametrize("purpose", ["approval", "checkpoint", "certificate"])
def test_signature_for_another_purpose_does_not_serve(purpose: str) -> None:
    """
    The same key over the same statement in another context is no signature of a bundle.
    """
    statement = {"bundle": bundle().digest, "revision": 1}
    made = signatures.sign(SIGNER, signatures.context(purpose, "dev", "acme"), statement)
    forged = {**document(), "signatures": [{"key_id": SIGNER.key_id, "signature": made}]}

    with pytest.raises(PolicyFault, match="does not hold"):
        vouched(canonical.encode(forged))


@pytest.mark.parametrize(("tenant", "environment"), [("globex", "dev"), ("acme", "prod")])
def test_bundle_of_another_tenant_or_environment_is_refused(tenant: str, environment: str) -> None:
    """
    A bundle says for whom it was made, and serves nobody else.
    """
    with pytest.raises(PolicyFault, match="another tenant or environment"):
        vouched(bundles.sign(bundle(), SIGNER).raw, tenant=tenant, environment=environment)


@pytest.mark.parametrize("member", ["policies", "invariants", "rego"])
def test_one_changed_character_voids_the_signature(member: str) -> None:
    """
    C08: one character more in any text, and the signature no longer holds.
    """
    changed = document()
    changed[member] += " "

    with pytest.raises(PolicyFault, match="does not hold"):
        vouched(canonical.encode(changed))


def test_every_flipped_byte_is_refused() -> None:
    """
    C08: a flip anywhere in the document makes it unreadable or voids the signature.
    """
    raw = bundles.sign(bundle(), SIGNER).raw
    accepted = []

    for place in range(0, len(raw), 997):
        flipped = bytearray(raw)
        flipped[place] ^= 0x01
        try:
            vouched(bytes(flipped))
        except PolicyFault:
            continue
        accepted.append(place)

    assert accepted == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra.txt": "x"}, "bundle"),
        ({"extra": "x"}, "does not have"),
        ({"lockgate_bundle": 2}, "form"),
        ({"policies": ["permit"]}, "expected a string"),
        ({"cases": {}}, "cases.json"),
        ({"data": []}, "data.json"),
        ({"manifest": {}}, "is missing"),
        ({"signatures": {}}, "signatures"),
    ],
)
def test_member_that_the_form_does_not_have_is_refused(changes: dict[str, Any], message: str) -> None:
    """
    C08: an unlisted member, a missing one, or one of another kind.
    """
    raw = json.dumps({**document(), **changes}).encode()

    with pytest.raises(PolicyFault, match=message):
        bundles.parse(raw)


def test_duplicate_member_is_refused() -> None:
    """
    A member given twice has two readings: a reviewer could see the one and the engine the other.
    """
    raw = bundles.sign(bundle(), SIGNER).raw
    doubled = b'{"policies":"",' + raw[1:]

    with pytest.raises(PolicyFault):
        bundles.parse(doubled)


def test_hidden_characters_are_refused() -> None:
    """
    Text that reads otherwise than it runs (bidi controls, zero-width characters) is no bundle.
    """
    with pytest.raises(PolicyFault):
        with_policies("// \u202e harmless")


def test_oversized_bundle_is_refused_before_it_is_read() -> None:
    """
    C08: a bomb is refused by its length alone; there is nothing to unpack.
    """
    with pytest.raises(PolicyFault, match="larger than"):
        bundles.parse(b"[" * (bundles.BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ('@id("x") @hint("h") permit (principal, action, resource) when { context.nothing };', "`nothing`"),
        ('@id("x") @hint("h") permit (principal, action == Action::"no_such_tool", resource);', "no_such_tool"),
        ('@id("x") permit (principal, action == Action::"get_order", resource);', "expected a `@hint`"),
        ('@hint("h") permit (principal, action == Action::"get_order", resource);', "needs an `@id`"),
        ('@id("agent-registered") @hint("h") permit (principal, action, resource);', "given twice"),
        ('@id("change-freeze") @hint("h") permit (principal, action, resource);', "given twice"),
        ('@id("x") @hint("h") permit (principal == ?principal, action, resource);', "templates"),
        ('@id("x") @hint("h") permit (principal, action == Action::"get_order", resource);', "no case expects it"),
        ("permit (", "not Cedar"),
    ],
)
def test_rule_that_is_untyped_unnamed_or_uncased_is_found(added: str, message: str) -> None:
    """
    A rule that validates against nothing, says nothing, or was never shown to decide is not published.
    """
    found = review.validate(with_policies(added), cedar_schema())

    assert any(message in finding.message for finding in found), found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "nothing to prove"),
        ('@id("x") @sentence("s") permit (principal, action, resource);', "expected a `forbid`"),
        ('@id("x") forbid (principal, action, resource) unless { context.risk < 4 };', "@sentence"),
        ('@id("x") @sentence("s") forbid (principal, action, resource) unless { context.nope };', "`nope`"),
    ],
)
def test_invariant_that_says_nothing_is_found(text: str, message: str) -> None:
    """
    Without invariants, or with ones that cannot be read or evaluated, there is nothing worth proving.
    """
    found = review.validate(bundle(invariants=text), cedar_schema())

    assert any(message in finding.message for finding in found), found


def test_bundle_for_another_schema_is_found() -> None:
    """
    A bundle that names the schema it was written for is not published over another.
    """
    manifest = {**bundle().manifest.document(), "schema_digest": "sha256:" + "0" * 64}
    other = bundles.parse(canonical.encode({**document(), "manifest": manifest, "signatures": []}))

    found = review.validate(other, cedar_schema())

    assert [finding.file for finding in found] == ["manifest"]


@pytest.mark.parametrize("guard", ["refund-within-paid", "ban-two-persons", "throttle-above-zero", "price-margin"])
def test_deleted_guard_is_noticed_by_its_cases(guard: str) -> None:
    """
    Taking a guard out fails the case that expects it, also when the reviewer takes its name out of the review.
    """
    text = bundles.base()["policies"]
    begin = text.index(f'@id("{guard}")')
    weaker = bundle(policies=text[:begin] + text[text.index(";", begin) + 1 :])

    report = cases.run_alone(weaker, contracts().values())

    assert any(f"did not decide: `{guard}`" in failure.explanation for failure in report.failures)
    assert any(guard in finding.message for finding in review.validate(weaker, cedar_schema()))
