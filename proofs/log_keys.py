"""Which key signs a chain's checkpoints, by the chain's own word.

Entry 1 names the first key (`log_key`). A KEY entry names the next one: it is the last entry of a checkpoint that the
key before it signed, and it carries the next key's own signature, so nobody can name a key that he does not hold. From
the size after it on that key signs, and no other; a key that was replaced never comes back. Whoever trusts the first
key can so follow the log to its end. In a log that names its keys, times never go back either, so that no key signs a
time before it was there.

A log of an earlier release names none until its first KEY entry: up to there the keys file alone decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proofs import base64url, checkpoints, shapes, signatures
from proofs.checkpoints import Checkpoint
from proofs.errors import EvidenceError, VerificationError
from proofs.findings import Report
from proofs.keys import SIGNATURE_BYTES, KeyRing, PrivateKey, PublicKey, TrustedKey

KIND = "KEY"
_INHERITED = frozenset({"checkpoint", "certificate"})
"""What a log's key is for, and so what the key that follows it is trusted for."""


def first(key: PublicKey) -> dict[str, Any]:
    """The member of entry 1 that names the chain's first key."""
    return {"log_key": key.text}


def follow(*, tenant: str, environment: str, seq: int, before: PublicKey, key: PrivateKey) -> dict[str, Any]:
    """The members of the KEY entry with the number `seq`, which hands the chain over to `key`."""
    named = {"log_key": key.public.text, "log_key_before": before.text}
    context = signatures.context(signatures.Purpose.LOG_KEY, environment, tenant)
    return {**named, "possession": signatures.sign(key, context, {**named, "seq": seq})}


class LogKeys:
    """Reads a chain in order: each entry, and each checkpoint after the entry that it ends with."""

    def __init__(self, ring: KeyRing, *, tenant: str, environment: str) -> None:
        self.ring = ring
        """What the verifier trusts, and what the log has named so far on the word of a key in it."""
        self.count = 0
        """Keys named so far."""
        self._tenant = tenant
        self._environment = environment
        self._in_force: PublicKey | None = None
        self._named: set[str] = set()
        self._next: tuple[int, PublicKey] | None = None
        """Entry and key of a KEY entry that no checkpoint ends with yet."""
        self._at_ms = 0

    def add(self, entry: Mapping[str, Any], report: Report) -> None:
        """Take the next entry, and report what is wrong with the key that it names, or with its time."""
        try:
            if entry["kind"] == KIND:
                self._take(entry)
            elif entry["seq"] == 1 and "log_key" in entry:
                self._in_force = self._name(entry, "log_key")
        except EvidenceError as error:
            report(error.reason if isinstance(error, VerificationError) else "key_misshapen", str(error))
        if self._in_force is not None and entry["at_ms"] < self._at_ms:
            report("back_dated", "its time lies before that of the entry before it")
        self._at_ms = entry["at_ms"]

    def unsigned(self) -> int | None:
        """The KEY entry before the next entry, when no good checkpoint ended with it: what it names is no key."""
        pending, self._next = self._next, None
        return None if pending is None else pending[0]

    def verify(self, checkpoint: Checkpoint) -> None:
        """
        Check the checkpoint that ends with the newest entry: signed by the key whose turn it is.

        Raises `VerificationError` (key_out_of_window, key_untrusted, signature_invalid).
        """
        place, in_force = f"checkpoint of size {checkpoint.size}", self._in_force
        if in_force is not None and checkpoint.key_id != in_force.key_id:
            cause = f"{place}: signed by `{checkpoint.key_id}`, where the log says `{in_force.key_id}`"
            raise VerificationError("key_out_of_window", cause)
        signer = checkpoints.verify(checkpoint, self.ring)
        if in_force is not None and signer != in_force:
            raise VerificationError("key_out_of_window", f"{place}: the keys file has another key under that name")
        if self._next is not None and self._next[0] == checkpoint.size:
            self._hand_over(self._next[1], checkpoint)
            self._next = None

    def is_dated(self, checkpoint: Checkpoint) -> bool:
        """Whether the checkpoint that ends with the newest entry has its time. Where no key is named none need to."""
        return self._in_force is None or checkpoint.at_ms == self._at_ms

    def _take(self, entry: Mapping[str, Any]) -> None:
        shapes.members(
            entry, required={"log_key", "log_key_before", "possession"}, optional=entry.keys(), form="KEY entry"
        )
        before = _key(entry, "log_key_before")
        if self._in_force is None:  # An older log begins to name its keys here.
            self._in_force = before
            self._named.add(before.key_id)
            self.count += 1
        if before != self._in_force:
            raise VerificationError("key_mismatch", "takes over from another key than the one whose turn it is")
        key = self._name(entry, "log_key")
        signature = shapes.text(entry, "possession", shapes.SIGNATURE)
        base64url.decode(signature, length=SIGNATURE_BYTES)
        statement = {"log_key": key.text, "log_key_before": before.text, "seq": entry["seq"]}
        context = signatures.context(signatures.Purpose.LOG_KEY, self._environment, self._tenant)
        if not signatures.verify(key, context, statement, signature):
            raise VerificationError("key_forged", "names a key whose holder did not sign so")
        self._next = (entry["seq"], key)

    def _name(self, entry: Mapping[str, Any], member: str) -> PublicKey:
        key = _key(entry, member)
        if key.key_id in self._named:
            raise VerificationError("key_mismatch", f"names `{key.key_id}`, which had its turn")
        self._named.add(key.key_id)
        self.count += 1
        return key

    def _hand_over(self, key: PublicKey, checkpoint: Checkpoint) -> None:
        """What a trusted key names is trusted as it was itself, unless the keys file has a word of its own on it."""
        self._in_force = key
        if not self.ring.lists(key.key_id):
            before = self.ring.purposes(checkpoint.key_id, self._tenant)
            self.ring = self.ring.extended(
                TrustedKey(public=key, purposes=_INHERITED & before, tenant=self._tenant, size_min=checkpoint.size + 1)
            )


def _key(entry: Mapping[str, Any], member: str) -> PublicKey:
    value = entry[member]
    if not isinstance(value, str):
        raise VerificationError("key_misshapen", f"member `{member}`: expected a public key")
    key = PublicKey.from_text(value)
    if key.text != value:
        raise VerificationError("key_misshapen", f"member `{member}`: is not the one spelling of its key")
    return key
