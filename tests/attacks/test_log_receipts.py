"""Receipts, approvals, certificates and key files: what was altered, borrowed or left open does not pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proofs import approvals, canonical, certificates, chain, commitments, receipts
from proofs.__main__ import main
from proofs.errors import EvidenceError, KeyUnreadable, Misshapen, VerificationError
from proofs.keys import KeyRing, PrivateKey, TrustedKey

SIGNER = PrivateKey.from_seed(b"r" * 32)
PURPOSES = frozenset({"checkpoint", "certificate"})
KEYS = KeyRing((TrustedKey(public=SIGNER.public, purposes=PURPOSES),))
SALT = b"s" * 16
PAYLOAD = b'{"amount_cents":1250}'
DIGEST = "sha256:" + "0" * 64
STATEMENT: dict[str, Any] = {
    "call": DIGEST,
    "tool": DIGEST,
    "bundle": DIGEST,
    "requester": "agent/triage-7",
    "approver": "person/finley",
    "key": SIGNER.key_id,
    "verdict": "approve",
    "shown": "",
    "reason": "as agreed",
    "not_after": "2026-11-20T05:00:00Z",
    "nonce": "AAAAAAAAAAAAAAAAAAAAAA",
}
CERTIFICATE = certificates.Certificate(
    tenant="acme",
    environment="dev",
    bundle=DIGEST,
    policies=DIGEST,
    invariants=DIGEST,
    schema=DIGEST,
    tools={"issue_refund": DIGEST},
    engine="cedar 4.12.2",
    encoder="1",
    solvers={"z3": certificates.Solver(version="5.4.0", options=("rlimit=1",))},
    obligations=(
        certificates.Obligation(
            kind="invariant",
            subject="refund-cap",
            action="issue_refund",
            principal="Agent",
            resource="Order",
            digest=DIGEST,
            verdict=certificates.Verdict.PROVED,
            answers={"z3": certificates.Answer.UNSATISFIABLE},
        ),
    ),
    vacuity=(
        certificates.Vacuity(
            action="issue_refund",
            principal="Agent",
            resource="Order",
            premise=certificates.Premise.REACHABLE,
            digest=DIGEST,
            answers={"z3": certificates.Answer.SATISFIABLE},
        ),
    ),
    alive=("refunds",),
    accepted=(),
    mutation=None,
    unmeasured="not measured",
    assumptions=("Every integer lies in its declared range.",),
    at_ms=5,
)


def receipt(count: int = 5, seq: int = 3) -> dict[str, Any]:
    """A receipt out of a batch."""
    draft = {"tenant": "acme", "kind": "OUTCOME", "payload": commitments.commit("payload", SALT, PAYLOAD)}
    sealed = chain.seal(chain.Head(tenant="acme"), [draft] * count, environment="dev", at_ms=5, signer=SIGNER)
    link = sealed.entries[seq - 1]
    return receipts.issue(link.body, link.path, sealed.checkpoint.document(), payload_salt=SALT)


def test_no_bit_of_a_receipt_can_be_changed_unseen() -> None:
    """
    G01: every bit of a receipt counts, its payload's salt included.
    """
    raw = canonical.encode(receipt())
    unseen = []

    for bit in range(8 * len(raw)):
        changed = raw[: bit // 8] + bytes([raw[bit // 8] ^ 1 << bit % 8]) + raw[bit // 8 + 1 :]
        try:
            receipts.verify(canonical.parse(changed), KEYS, payload=PAYLOAD)
        except EvidenceError:
            continue
        unseen.append(bit)

    assert unseen == []


@pytest.mark.parametrize(
    "change",
    [
        {"path": []},
        {"path": ["00" * 32] * 65},
        {"path": "0"},
        {"entry": {}},
        {"entry": []},
        {"checkpoint": {}},
        {"more": 1},
        {"entry": receipt(seq=2)["entry"]},
        {"path": receipt(seq=2)["path"]},
        {"checkpoint": receipt(count=6)["checkpoint"]},
    ],
)
def test_receipt_put_together_from_others_is_refused(change: dict[str, Any]) -> None:
    """
    Entry, path and checkpoint hold together or not at all.
    """
    with pytest.raises(EvidenceError):
        receipts.verify({**receipt(), **change}, KEYS)


def test_receipt_opens_its_own_payload_only() -> None:
    """
    The salt opens the payload that the entry commits to, and no other.
    """
    entry = receipts.verify(receipt(), KEYS, payload=PAYLOAD)

    assert entry["seq"] == 3
    with pytest.raises(VerificationError, match="does not commit to this payload"):
        receipts.verify(receipt(), KEYS, payload=b'{"amount_cents":1251}')


@pytest.mark.parametrize(("damage", "status"), [("", 0), ("OUTCOME", 1)])
def test_command_line_checks_a_receipt(tmp_path: Path, damage: str, status: int) -> None:
    """
    A receipt in a file, printed prettily or not, exits with 0 when it holds and 1 when it does not.
    """
    text = json.dumps(receipt(), indent=2)
    (tmp_path / "receipt.json").write_text(text.replace(damage, "INTENT") if damage else text)
    (tmp_path / "keys.json").write_bytes(canonical.encode(KEYS.document()))

    assert main(["receipt", str(tmp_path / "receipt.json"), "--keys", str(tmp_path / "keys.json")]) == status


def test_verifier_needs_nothing_but_cryptography() -> None:
    """
    The verifier loads no third-party module but cryptography and what that brings along.
    """
    program = (
        "import sys; before = set(sys.modules); import proofs.__main__, proofs.certificates\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "print(*sorted(name for name in names if not name.startswith('_')))"
    )

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert set(loaded) <= {"cryptography", "proofs", "cffi"}


@pytest.mark.parametrize(
    "change",
    [
        {"call": "sha256:" + "0" * 63},
        {"tool": "issue_refund"},
        {"requester": "triage-7"},
        {"approver": "agent/triage-7"},
        {"key": "key_1"},
        {"verdict": "yes"},
        {"verdict": None},
        {"shown": "seen"},
        {"reason": 1},
        {"reason": "a" * 1001},
        {"reason": "\u202eno"},
        {"not_after": "2026-11-20T05:00:00+00:00"},
        {"not_after": "2026-02-30T05:00:00Z"},
        {"not_after": "2026-11-20T05:00:00Z\n"},
        {"nonce": "short"},
        {"more": ""},
    ],
)
def test_statement_of_another_form_is_refused(change: dict[str, Any]) -> None:
    """
    E08: a statement has exactly eleven members, each of its one form.
    """
    with pytest.raises(EvidenceError):
        approvals.parse({**STATEMENT, **change})


@pytest.mark.parametrize("missing", STATEMENT)
def test_statement_without_a_member_is_refused(missing: str) -> None:
    """
    E08: no member of a statement may be left out.
    """
    with pytest.raises(Misshapen, match=f"`{missing}` is missing"):
        approvals.parse({name: value for name, value in STATEMENT.items() if name != missing})


def test_approval_serves_one_environment_and_tenant() -> None:
    """
    E01: a signature holds for its statement, key, environment and tenant only.
    """
    statement = approvals.parse(STATEMENT)
    signature = approvals.sign(statement, key=SIGNER, environment="dev", tenant="acme")
    other = PrivateKey.generate()

    def holds(statement: approvals.Statement, environment: str = "dev", tenant: str = "acme") -> bool:
        return approvals.verify(statement, signature, SIGNER.public, environment=environment, tenant=tenant)

    assert holds(statement)
    assert not holds(statement, environment="prod")
    assert not holds(statement, tenant="other")
    assert not holds(replace(statement, reason="as agreed."))
    assert not holds(replace(statement, key=other.key_id))
    assert not approvals.verify(statement, signature, other.public, environment="dev", tenant="acme")
    assert not approvals.verify(statement, "", SIGNER.public, environment="dev", tenant="acme")


def test_certificate_reads_back_and_verifies() -> None:
    """
    A signed certificate survives the wire; its digest does not depend on who signed it.
    """
    signed = certificates.sign(CERTIFICATE, SIGNER)

    read = certificates.parse(canonical.parse(canonical.encode(signed.document())))

    assert certificates.verify(read, KEYS) == CERTIFICATE
    assert read.certificate.digest == certificates.sign(CERTIFICATE, PrivateKey.generate()).certificate.digest
    assert read.certificate.unproved == ()


@pytest.mark.parametrize(
    "change",
    [{"bundle": "sha256:" + "1" * 64}, {"tenant": "other"}, {"at_ms": 6}, {"assumptions": []}, {"obligations": []}],
)
def test_changed_certificate_is_refused(change: dict[str, Any]) -> None:
    """
    D06: a certificate says nothing about another bundle, tenant or time, nor with less in it.
    """
    document = {**certificates.sign(CERTIFICATE, SIGNER).document(), **change}

    with pytest.raises(VerificationError, match="not signed so"):
        certificates.verify(certificates.parse(document), KEYS)


def test_private_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    """
    M06: a key file is written with mode 0600, read back, never overwritten, and refused once others may read it.
    """
    path = tmp_path / "log.key"
    SIGNER.save(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert PrivateKey.load(path).public == SIGNER.public
    with pytest.raises(FileExistsError):
        SIGNER.save(path)
    os.chmod(path, 0o640)
    with pytest.raises(KeyUnreadable, match="mode is 0640"):
        PrivateKey.load(path)


def test_private_key_never_shows_itself() -> None:
    """
    H06: neither `repr` nor a refused text shows a seed.
    """
    with pytest.raises(KeyUnreadable) as refused:
        PrivateKey.from_text(SIGNER.text + "A")

    assert SIGNER.text[:8] not in repr(SIGNER) + str(refused.value) + repr(refused.value.__cause__)


@pytest.mark.parametrize(
    "change",
    [
        {"key_id": "key_" + "0" * 16},
        {"algorithm": "ed25519"},
        {"public_key": "AAAA"},
        {"purposes": "checkpoint"},
        {"tenant": "Acme"},
        {"not_before_ms": "0"},
        {"person": "finley"},
        {"trusted": True},
    ],
)
def test_keys_file_of_another_form_is_refused(change: dict[str, Any]) -> None:
    """
    M06: a keys file with a doubtful line is not used at all.
    """
    line = {**KEYS.keys[0].document(), **change}

    with pytest.raises(KeyUnreadable):
        KeyRing.parse(canonical.encode({"keys": [line]}))
