"""Certificates and packets with anything at all in any place: refused, or looked at, never a crash and never a yes."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from invariants import packet_checks, packets
from invariants.recheck import Outcome
from invariants.sources import Source
from proofs import canonical, certificates
from proofs.errors import EvidenceError
from proofs.keys import KeyRing, TrustedKey
from tests.vectors.test_certificate_bytes import CERTIFICATE, SIGNER
from tests.world import evidence
from tests.world.bundles import bundle, contracts, refund
from tests.world.evidence import KEYS

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.sampled_from(["", "proved", "sat", "refund-cap", "sha256:" + "0" * 64, "(exit)", "ü", "\U0001f600"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["z3", "id", "type"]), inner, max_size=3)
    ),
    max_leaves=4,
)

VECTOR_KEYS = KeyRing((TrustedKey(public=SIGNER.public, purposes=frozenset({"certificate"})),))


@cache
def signed() -> str:
    """A signed certificate as JSON."""
    return canonical.encode(certificates.sign(CERTIFICATE, SIGNER).document()).decode()


@cache
def packet() -> str:
    """The packet of an honest call as JSON, with little text: what is changed is seldom the script."""
    return canonical.encode(evidence.packet(refund(100), {"agent-registered": "permit"})).decode()


def changed(raw: str, data: Any) -> Any:
    """The document with junk in a random place, or without what was there."""
    document = json.loads(raw)
    inner = document
    while True:
        name = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        if not isinstance(inner[name], dict | list) or not inner[name] or data.draw(st.booleans()):
            break
        inner = inner[name]
    if isinstance(inner, dict) and data.draw(st.booleans()):
        del inner[name]
    else:
        inner[name] = data.draw(JUNK)
    return document


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_certificate_is_never_another_one_that_verifies(data: Any) -> None:
    """
    Whatever stands anywhere in it: it is misshapen, or not signed so, or the very same certificate.
    """
    document = changed(signed(), data)

    try:
        read = certificates.parse(document)
        canonical.encode(read.document())
        certificates.verify(read, VECTOR_KEYS)
    except EvidenceError:
        return

    assert read.certificate == CERTIFICATE


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_changed_packet_is_never_confirmed(data: Any) -> None:
    """
    Whatever stands anywhere in it: it is no packet, or some step says that it differs or that nothing is known.
    """
    document = changed(packet(), data)

    try:
        steps = packet_checks.settle(
            packets.parse(document),
            keys=KEYS,
            source=Source(files=bundle().files, digest=bundle().digest),
            contract=contracts()["issue_refund"],
        )
    except EvidenceError:
        return

    is_confirmed = not {each.outcome for each in steps} & {Outcome.DIFFERS, Outcome.UNKNOWN}
    assert not is_confirmed or document == json.loads(packet())
