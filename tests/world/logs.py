"""Logs of any size for tests of the verifier: calls with payloads, batches, and keys that take turns."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proofs import canonical, chain, commitments, export, log_keys, verify
from proofs.checkpoints import Checkpoint
from proofs.export import Header, Record
from proofs.keys import KeyRing, PrivateKey, TrustedKey
from proofs.verify import Verdict

START_MS = 1_790_000_000_000
DIGEST = "sha256:" + "ab" * 32
PURPOSES = frozenset({"checkpoint", "certificate"})


@dataclass(frozen=True)
class Log:
    """An export and what went into it."""

    lines: tuple[bytes, ...]
    """Header first."""
    checkpoints: tuple[Checkpoint, ...]
    signers: tuple[PrivateKey, ...]
    """Who signed, in turn."""

    @property
    def raw(self) -> bytes:
        """The whole file."""
        return b"".join(self.lines)

    @property
    def ring(self) -> KeyRing:
        """What an auditor has who knows the first key alone."""
        return KeyRing((TrustedKey(public=self.signers[0].public, purposes=PURPOSES),))

    def check(self, raw: bytes | None = None, kept: Sequence[Checkpoint] = ()) -> Verdict:
        """
        What the verifier says of it, or of these bytes in its place.

        Who kept checkpoints kept the keys file of that time with them: a log cut short does not name their keys.
        """
        ring = self.ring
        for signer in self.signers[1:] if kept else ():
            ring = ring.extended(TrustedKey(public=signer.public, purposes=PURPOSES))
        return verify.check(io.BytesIO(self.raw if raw is None else raw), ring, kept)


@dataclass(slots=True)
class Writer:
    """Writes a log as a gateway does, and, where a test says so, as a thief of its key would."""

    signer: PrivateKey
    head: chain.Head = field(default_factory=lambda: chain.Head(tenant="acme"))
    at_ms: int = START_MS
    items: list[Record | Checkpoint] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    signers: list[PrivateKey] = field(default_factory=list)
    is_named: bool = True
    """Whether entry 1 names the key."""

    def __post_init__(self) -> None:
        self.signers.append(self.signer)

    def batch(self, drafts: Sequence[Mapping[str, Any]], payloads: Mapping[int, bytes] | None = None) -> Checkpoint:
        """Append these entries under one checkpoint; payloads by their place in the batch."""
        payloads = payloads or {}
        members = []
        for place, draft in enumerate(drafts):
            commitment = None
            if place in payloads:
                salt = _salt(self.head.size + place + 1)
                commitment = commitments.commit("payload", salt, payloads[place])
            members.append({"tenant": "acme", "kind": "NOTE", "payload": commitment, **draft})
        if self.is_named and self.head.size == 0:
            members[0] |= log_keys.first(self.signer.public)
        sealed = chain.seal(self.head, members, environment="dev", at_ms=self.at_ms, signer=self.signer)
        for place, link in enumerate(sealed.entries):
            is_kept = place in payloads
            self.items.append(
                Record(
                    body=link.body,
                    salt=_salt(link.seq) if is_kept else None,
                    payload=payloads[place] if is_kept else None,
                )
            )
        self.items.append(sealed.checkpoint)
        self.checkpoints.append(sealed.checkpoint)
        self.head = sealed.head
        return sealed.checkpoint

    def hand_over(self, key: PrivateKey, **altered: Any) -> Checkpoint:
        """A KEY entry, after which `key` signs; `altered` are members that the gateway would not write so."""
        members = log_keys.follow(
            tenant="acme", environment="dev", seq=self.head.size + 1, before=self.signer.public, key=key
        )
        checkpoint = self.batch([{"kind": log_keys.KIND, **members, **altered}])
        self.signer = key
        self.signers.append(key)
        return checkpoint

    def log(self) -> Log:
        """What was written so far."""
        header = Header(tenant="acme", environment="dev", size=self.head.size, checkpoints=len(self.checkpoints))
        return Log(tuple(export.write(header, self.items)), tuple(self.checkpoints), tuple(self.signers))


def random_log(draw: random.Random, entries: int, *, turns: int = 0, is_named: bool = True) -> Log:
    """A log of about so many entries, of calls and notes in batches of any size, whose key is exchanged so often."""
    writer = Writer(_key(draw), is_named=is_named)
    turning = sorted(draw.sample(range(1, max(entries, turns + 2)), turns))
    while writer.head.size < entries:
        writer.at_ms += draw.choice((0, 1, 7, 1000))
        if turning and writer.head.size >= turning[0]:
            turning.pop(0)
            writer.hand_over(_key(draw))
            continue
        size = min(draw.choice((1, 1, 2, 3, 8, 20)), entries - writer.head.size)
        drafts, payloads = [], {}
        for place in range(size):
            seq = writer.head.size + place + 1
            drafts.append(_members(draw, seq))
            if draw.random() < 0.6:
                payloads[place] = canonical.encode(
                    {"question": {"amount_cents": draw.randrange(10**6)}, "text": "ü\u2028/"}
                )
        writer.batch(drafts, payloads)
    return writer.log()


def _members(draw: random.Random, seq: int) -> dict[str, Any]:
    call = f"call_{seq:032x}"
    if draw.random() < 0.5:
        return {"kind": "NOTE", "principal": "agent/triage-7", "reason": draw.choice(("a", "b" * 40, "\u00e9"))}
    return {"kind": "INTENT", "call": call, "effect": call, "tool": "issue_refund", "call_digest": DIGEST}


def _key(draw: random.Random) -> PrivateKey:
    return PrivateKey.from_seed(draw.randbytes(32))


def _salt(seq: int) -> bytes:
    return seq.to_bytes(commitments.SALT_BYTES, "big")
