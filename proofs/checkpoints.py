"""Checkpoints: a signed size and root of one tenant's tree.

One is signed with every batch of entries, in the same transaction. Whoever keeps a checkpoint can tell later whether
the log that it speaks of was cut or rewritten since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proofs import base64url, shapes, signatures
from proofs.errors import VerificationError
from proofs.keys import SIGNATURE_BYTES, KeyRing, PrivateKey, PublicKey

_MEMBERS = frozenset({"tenant", "environment", "size", "root", "at_ms", "key_id", "signature"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The log's word for its first `size` entries."""

    tenant: str
    environment: str
    size: int
    """Number of entries covered, which is also the `seq` of the last one."""
    root: bytes
    at_ms: int
    key_id: str
    signature: str
    """Base64url without padding, over every other member."""

    def statement(self) -> dict[str, Any]:
        """What is signed: every member but the signature."""
        return _statement(self.tenant, self.environment, self.size, self.root, self.at_ms, self.key_id)

    def document(self) -> dict[str, Any]:
        """The checkpoint as canonical JSON members."""
        return {**self.statement(), "signature": self.signature}


def sign(*, tenant: str, environment: str, size: int, root: bytes, at_ms: int, signer: PrivateKey) -> Checkpoint:
    """Sign a size and root."""
    statement = _statement(tenant, environment, size, root, at_ms, signer.key_id)
    context = signatures.context(signatures.Purpose.CHECKPOINT, environment, tenant)
    return Checkpoint(
        tenant=tenant,
        environment=environment,
        size=size,
        root=root,
        at_ms=at_ms,
        key_id=signer.key_id,
        signature=signatures.sign(signer, context, statement),
    )


def parse(document: Any) -> Checkpoint:
    """Read the members of a checkpoint. The signature is not checked. Raises `Misshapen`."""
    members = shapes.members(document, required=_MEMBERS, form="checkpoint")
    signature = shapes.text(members, "signature", shapes.SIGNATURE)
    base64url.decode(signature, length=SIGNATURE_BYTES)
    return Checkpoint(
        tenant=shapes.text(members, "tenant", shapes.NAME),
        environment=shapes.text(members, "environment", shapes.NAME),
        size=shapes.natural(members, "size"),
        root=shapes.hash_bytes(members["root"], "root"),
        at_ms=shapes.natural(members, "at_ms"),
        key_id=shapes.text(members, "key_id", shapes.KEY_ID),
        signature=signature,
    )


def verify(checkpoint: Checkpoint, keys: KeyRing) -> PublicKey:
    """
    Check that a trusted key signed this checkpoint, and was valid at its time and size, and return that key.

    Whether the log has this root is not checked: see `receipts.verify` and `verify`.

    Raises `VerificationError` (key_untrusted, signature_invalid).
    """
    purpose = signatures.Purpose.CHECKPOINT
    sought = (checkpoint.key_id, purpose.value, checkpoint.tenant, checkpoint.at_ms)
    public = keys.find(*sought, size=checkpoint.size)
    if public is None:
        cause = keys.why_not(*sought, size=checkpoint.size)
        raise VerificationError("key_untrusted", f"checkpoint of size {checkpoint.size}: {cause}")
    context = signatures.context(purpose, checkpoint.environment, checkpoint.tenant)
    if not signatures.verify(public, context, checkpoint.statement(), checkpoint.signature):
        raise VerificationError(
            "signature_invalid", f"checkpoint of size {checkpoint.size}: not signed so by `{checkpoint.key_id}`"
        )
    return public


def _statement(tenant: str, environment: str, size: int, root: bytes, at_ms: int, key_id: str) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "environment": environment,
        "size": size,
        "root": root.hex(),
        "at_ms": at_ms,
        "key_id": key_id,
    }
