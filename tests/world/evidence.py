"""Evidence for tests: a certificate of the base bundle, made by the real prover once, and what goes with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from invariants import certifying, packets
from invariants.reports import ProofReport
from invariants.supervisor import Prover
from policies.bundles import Bundle
from policies.questions import Question
from proofs import canonical, certificates, chain, commitments, receipts
from proofs.certificates import Certificate, SignedCertificate
from proofs.keys import KeyRing, PrivateKey, TrustedKey
from tests.world.bundles import AT_MS, bundle, cedar_schema, contracts

SIGNER = PrivateKey.from_seed(b"log key of tests about evidence!")
STRANGER = PrivateKey.from_seed(b"nobody's key, for forgeries only")
PURPOSES = frozenset({"certificate", "checkpoint"})
KEYS = KeyRing((TrustedKey(public=SIGNER.public, purposes=PURPOSES),))


@cache
def report() -> ProofReport:
    """What the prover finds out about the base bundle, with both solvers."""
    return asyncio.run(Prover().prove(bundle().files, cedar_schema(), contracts().values()))


@cache
def certificate() -> Certificate:
    """The certificate of the base bundle."""
    return certified(report(), bundle())


def certified(found: ProofReport, certain: Bundle) -> Certificate:
    """What a report comes to, for a bundle over the catalogue."""
    return certifying.certificate(
        found,
        bundle=certain,
        tenant="acme",
        environment="dev",
        schema=cedar_schema(),
        contracts=contracts().values(),
        at_ms=AT_MS,
    )


def signed(certain: Certificate | None = None, signer: PrivateKey = SIGNER) -> SignedCertificate:
    """It, signed."""
    return certificates.sign(certain or certificate(), signer)


@dataclass(frozen=True)
class Files:
    """What an auditor has on disk."""

    certificate: Path
    bundle: Path
    keys: Path


def written(folder: Path, certain: SignedCertificate, of: Bundle | None = None) -> Files:
    """Certificate, bundle and keys as files."""
    files = Files(folder / "certificate.json", folder / "bundle.json", folder / "keys.json")
    files.certificate.write_bytes(canonical.encode(certain.document()))
    files.bundle.write_bytes((of or bundle()).raw)
    files.keys.write_text(json.dumps(KEYS.document()))
    return files


def packet(question: Question, rules: Mapping[str, str], **members: Any) -> dict[str, Any]:
    """A packet of a call that was permitted under the base bundle by these rules, in a log of its own."""
    contract = contracts()[question.action]
    listed = [{"engine": "cedar", "id": name, "effect": effect} for name, effect in rules.items()]
    payload = {"question": question.document(), "decision": {"rules": listed}, "checks": [], "approvals": []}
    salt = bytes(range(16))
    entry = {
        "tenant": "acme",
        "kind": "INTENT",
        "call": "call_1",
        "tool": contract.name,
        "tool_digest": contract.digest,
        "bundle": bundle().digest,
        "payload": commitments.commit("payload", salt, canonical.encode(payload)),
        **members,
    }
    sealed = chain.seal(chain.Head(tenant="acme"), [entry], environment="dev", at_ms=AT_MS, signer=SIGNER)
    link = sealed.entries[0]
    checkpoint = sealed.checkpoint.document()
    receipt = receipts.issue(link.body, link.path, checkpoint, payload_salt=salt)
    sheet = packets.write(payload, receipt["entry"], bundle().files, contract)
    return packets.document(receipt, payload, sheet)
