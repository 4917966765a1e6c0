"""The chain of entries: each names the hash of the one before it, and is a leaf of the tenant's tree.

An entry is one canonical JSON object. Its hash is its RFC 6962 leaf hash, so one hash serves chain and tree. `seq`
counts from 1 without gaps; the leaf index is `seq - 1`, and a checkpoint's size is the `seq` of its last entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proofs import canonical, checkpoints, tree
from proofs.checkpoints import Checkpoint
from proofs.keys import PrivateKey

VERSION = 1
"""Member `v` of every entry: the version of `docs/evidence-format.md`."""
FIRST_PREVIOUS = bytes(tree.HASH_BYTES)
"""What the first entry names as its predecessor: 32 zero bytes."""

_ADDED = frozenset({"v", "seq", "previous", "at_ms", "environment"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a tenant's chain ends. INVARIANT: read and moved under one lock, or two writers fork the chain."""

    tenant: str
    size: int = 0
    """Number of entries, which is also the `seq` of the last one."""
    hash: bytes = FIRST_PREVIOUS
    """Hash of the last entry."""
    frontier: tree.Frontier = field(default_factory=tree.Frontier)


@dataclass(frozen=True, slots=True)
class Link:
    """An entry in its place."""

    seq: int
    body: bytes
    """Canonical bytes of the entry."""
    leaf: bytes
    """Hash of the entry."""
    path: tuple[bytes, ...]
    """Inclusion path to the root of the batch's checkpoint."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch that is linked and signed, and where the chain stands after it."""

    entries: tuple[Link, ...]
    head: Head
    checkpoint: Checkpoint


def seal(
    head: Head,
    drafts: Sequence[Mapping[str, Any]],
    *,
    environment: str,
    at_ms: int,
    signer: PrivateKey,
    encode: Callable[[Any], bytes] = canonical.encode,
) -> Sealed:
    """
    Link a batch of one tenant's drafts to its chain and sign the checkpoint that covers them.

    A draft holds the members that an entry says in clear, `tenant` and `kind` among them, and `payload` where it
    commits to one; `v`, `seq`, `previous`, `at_ms` and `environment` are added here. `encode` must equal
    `canonical.encode` on every draft.

    Raises `ValueError` for an empty batch, and for a draft of another tenant, without a kind or with an added member.
    """
    if not drafts:
        raise ValueError("batch: expected at least one draft")
    seq, previous = head.size, head.hash
    placed: list[tuple[int, bytes, bytes]] = []
    for draft in drafts:
        if draft["tenant"] != head.tenant or "kind" not in draft or not _ADDED.isdisjoint(draft):
            raise ValueError(
                f"draft for entry {seq + 1}: its tenant is not the chain's, or it sets a member added here"
            )
        seq += 1
        body = encode(
            {
                **draft,
                "v": VERSION,
                "seq": seq,
                "previous": previous.hex(),
                "at_ms": at_ms,
                "environment": environment,
            }
        )
        previous = tree.leaf_hash(body)
        placed.append((seq, body, previous))
    appended = tree.append(head.frontier, [leaf for _, _, leaf in placed])
    return Sealed(
        tuple(Link(*place, path) for place, path in zip(placed, appended.paths, strict=True)),
        Head(tenant=head.tenant, size=seq, hash=previous, frontier=appended.frontier),
        checkpoints.sign(
            tenant=head.tenant, environment=environment, size=seq, root=appended.root, at_ms=at_ms, signer=signer
        ),
    )
