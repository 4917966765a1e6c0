"""G01 to G03: whoever changes, removes, moves, adds or cuts what was logged is found, offline, at the right place."""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from proofs import approvals, base64url, canonical, chain, checkpoints, commitments, export, verify
from proofs.__main__ import main
from proofs.checkpoints import Checkpoint
from proofs.export import Header, Record
from proofs.keys import KeyRing, PrivateKey, TrustedKey
from proofs.verify import Verdict

LOG_KEY = PrivateKey.from_seed(b"log key of the tampering tests!!")
PERSON_KEY = PrivateKey.from_seed(b"person's key of these tests!!!!!")
KEYS = KeyRing(
    (
        TrustedKey(public=LOG_KEY.public, purposes=frozenset({"checkpoint"})),
        TrustedKey(public=PERSON_KEY.public, purposes=frozenset({"approval"}), tenant="acme", person="person/finley"),
    )
)
DIGEST = "sha256:" + "ab" * 32
START_MS = 1_790_000_000_000


@dataclass(frozen=True)
class Log:
    """An export and everything that went into it."""

    lines: tuple[bytes, ...]
    """Header first."""
    checkpoints: tuple[Checkpoint, ...]
    head: chain.Head

    @property
    def raw(self) -> bytes:
        return b"".join(self.lines)

    def line_of(self, seq: int) -> int:
        """Index into `lines` of an entry."""
        found = [at for at, line in enumerate(self.lines) if line.startswith(b'{"entry"') and b'"seq":%d,' % seq in line]
        assert len(found) == 1
        return found[0]


def log(batches: Sequence[int] = (1, 3, 1, 2, 5, 1, 1, 4), *, rewritten_from: int | None = None) -> Log:
    """A log of calls, each an INTENT with an approved packet and its OUTCOME, in batches of these sizes."""
    head = chain.Head(tenant="acme")
    items: list[Record | Checkpoint] = []
    signed = []
    for size in batches:
        drafts = [_draft(seq, is_rewritten=seq == rewritten_from) for seq in range(head.size + 1, head.size + size + 1)]
        sealed = chain.seal(
            head,
            [members for members, _ in drafts],
            environment="dev",
            at_ms=START_MS + head.size,
            signer=LOG_KEY,
        )
        for link, (_, payload) in zip(sealed.entries, drafts, strict=True):
            items.append(Record(body=link.body, salt=_salt(link.seq) if payload else None, payload=payload))
        items.append(sealed.checkpoint)
        signed.append(sealed.checkpoint)
        head = sealed.head
    header = Header(tenant="acme", environment="dev", size=head.size, checkpoints=len(signed))
    return Log(tuple(export.write(header, items)), tuple(signed), head)


def _draft(seq: int, *, is_rewritten: bool) -> tuple[dict[str, Any], bytes | None]:
    number = (seq + 1) // 2
    members: dict[str, Any] = {
        "tenant": "acme",
        "call": f"call_{number:032x}",
        "call_digest": DIGEST,
        "effect": f"call_{number:032x}",
        "tool": "issue_refund",
        "principal": "agent/triage-7",
    }
    if seq % 2 == 0:
        return {**members, "kind": "OUTCOME", "state": "failed" if is_rewritten else "executed"}, None
    statement = approvals.parse(
        {
            "call": DIGEST,
            "tool": DIGEST,
            "bundle": DIGEST,
            "requester": "agent/triage-7",
            "approver": "person/finley",
            "key": PERSON_KEY.key_id,
            "verdict": "approve",
            "shown": "",
            "reason": "Für den Kunden, \u2028 wie besprochen",
            "not_after": "2026-12-01T00:00:00Z",
            "nonce": f"{seq:022d}",
        }
    )
    signature = approvals.sign(statement, key=PERSON_KEY, environment="dev", tenant="acme")
    payload = canonical.encode(
        {"approvals": [{"statement": statement.document(), "signature": signature}], "question": {"amount_cents": 1250}}
    )
    kind = "NOTE" if is_rewritten else "INTENT"
    return {**members, "kind": kind, "payload": commitments.commit("payload", _salt(seq), payload)}, payload


def _salt(seq: int) -> bytes:
    return seq.to_bytes(commitments.SALT_BYTES, "big")


def check(raw: bytes | Sequence[bytes], kept: Sequence[Checkpoint] = ()) -> Verdict:
    return verify.check(io.BytesIO(raw if isinstance(raw, bytes) else b"".join(raw)), KEYS, kept)


def test_untouched_export_is_good() -> None:
    """
    An export as written holds, and the verdict counts what was checked.
    """
    written = log()

    verdict = check(written.raw, written.checkpoints)

    assert verdict.is_good, verdict.findings
    assert (verdict.size, verdict.checkpoints, verdict.approvals, verdict.effects) == (18, 8, 9, 9)
    assert verdict.root == written.checkpoints[-1].root.hex()


def test_any_flipped_bit_is_found_at_its_own_line() -> None:
    """
    G01: a flipped bit of an export is found, and blamed on the line that it is in.
    """
    written = log()
    ends = list(itertools.accumulate(len(line) for line in written.lines))
    draw = random.Random(7)

    for bit in draw.sample(range(8 * len(written.raw)), 1500):
        raw = bytearray(written.raw)
        raw[bit // 8] ^= 1 << bit % 8
        line = next(number for number, end in enumerate(ends, start=1) if bit // 8 < end)

        verdict = check(bytes(raw))

        assert not verdict.is_good, f"bit {bit}"
        first = verdict.findings[0]
        is_size = line == 1 and first.reason == "entry_missing"
        assert first.line == line or is_size, f"bit {bit} of line {line}: {first.message}"


def test_every_bit_of_one_entry_and_its_checkpoint_counts() -> None:
    """
    G01: in an export of two entries not one bit can be changed unseen.
    """
    written = log((1, 1))

    unseen = [
        bit
        for bit in range(8 * len(written.raw))
        if check(written.raw[: bit // 8] + bytes([written.raw[bit // 8] ^ 1 << bit % 8]) + written.raw[bit // 8 + 1 :])
        .is_good
    ]

    assert unseen == []
