"""Receipts: what a caller takes away, and can check years later with the public keys alone.

A receipt is one entry, its inclusion path, and the signed checkpoint of the batch that the entry came in with. Where
the receipt carries `payload_salt`, its holder can also show what the entry's payload commitment stands for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from proofs import base64url, canonical, checkpoints, commitments, shapes, tree
from proofs.errors import Misshapen, VerificationError
from proofs.keys import KeyRing

PATH_LENGTH_MAX = 64  # A tree of 2^64 entries is no deeper.
DEPTH_MAX = canonical.ENCODED_DEPTH_MAX + 2  # The receipt wraps an entry.

_REQUIRED = frozenset({"entry", "path", "checkpoint"})
_OPTIONAL = frozenset({"payload_salt"})


def issue(
    body: bytes, path: Sequence[bytes], checkpoint: Mapping[str, Any], *, payload_salt: bytes | None = None
) -> dict[str, Any]:
    """Return the receipt for the entry with the canonical bytes `body`."""
    receipt: dict[str, Any] = {
        "entry": json.loads(body),
        "path": [node.hex() for node in path],
        "checkpoint": dict(checkpoint),
    }
    if payload_salt is not None:
        receipt["payload_salt"] = base64url.encode(payload_salt)
    return receipt


def issue_bytes(body: bytes, path: Sequence[bytes], checkpoint: bytes, *, payload_salt: bytes | None = None) -> bytes:
    """As `issue`, in canonical bytes, from an entry's and a checkpoint's own; neither is read."""
    salt = b',"payload_salt":"%b"' % base64url.encode(payload_salt).encode() if payload_salt is not None else b""
    nodes = b'"%b"' % '","'.join(map(bytes.hex, path)).encode() if path else b""
    return b'{"checkpoint":%b,"entry":%b,"path":[%b]%b}' % (checkpoint, body, nodes, salt)


def verify(receipt: Any, keys: KeyRing, *, payload: bytes | None = None) -> dict[str, Any]:
    """
    Check a receipt and return its entry.

    Holds: a trusted key signed a checkpoint of a log that has exactly this entry at this place. With `payload`, the
    canonical bytes of the payload, also that the entry commits to it. Not checked: what the entry says, and
    whether the log still is what it was, for which see `verify`.

    Raises `Misshapen` or `NotCanonical` for what is no receipt, `VerificationError` for one that does not hold.
    """
    members = shapes.members(receipt, required=_REQUIRED, optional=_OPTIONAL, form="receipt")
    checkpoint = checkpoints.parse(members["checkpoint"])
    entry = members["entry"]
    if not isinstance(entry, dict):
        raise Misshapen("form", "receipt: member `entry`: expected an object")
    body = canonical.encode(entry)
    seq = entry.get("seq")
    if type(seq) is not int or (entry.get("tenant"), entry.get("environment")) != (
        checkpoint.tenant,
        checkpoint.environment,
    ):
        raise VerificationError("entry_foreign", "receipt: the entry is not of the checkpoint's tenant and environment")
    checkpoints.verify(checkpoint, keys)
    if not tree.verify_inclusion(
        tree.leaf_hash(body), seq - 1, checkpoint.size, _path(members["path"]), checkpoint.root
    ):
        raise VerificationError("not_included", f"receipt: entry {seq} is not in the tree of the checkpoint")
    if payload is not None:
        _open(entry, members.get("payload_salt"), payload)
    return entry


def _path(path: Any) -> list[bytes]:
    if not isinstance(path, list) or len(path) > PATH_LENGTH_MAX:
        raise Misshapen("member", f"receipt: member `path`: expected a list of at most {PATH_LENGTH_MAX} hashes")
    return [shapes.hash_bytes(node, "path") for node in path]


def _open(entry: dict[str, Any], salt: Any, payload: bytes) -> None:
    if not isinstance(salt, str):
        raise VerificationError("payload_unopened", f"receipt: entry {entry['seq']} comes without `payload_salt`")
    commitment = entry.get("payload")
    opening = base64url.decode(salt, length=commitments.SALT_BYTES)
    if not isinstance(commitment, str) or not commitments.opens(commitment, "payload", opening, payload):
        raise VerificationError("payload_changed", f"receipt: entry {entry['seq']} does not commit to this payload")
