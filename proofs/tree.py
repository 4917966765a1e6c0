"""The Merkle tree of RFC 6962 over a tenant's entries: roots and inclusion.

leaf hash = SHA-256(0x00 || entry), node hash = SHA-256(0x01 || left || right). Everything here works on leaf hashes.
The tree only grows to the right, so its writer keeps a `Frontier`: the roots of the perfect subtrees that the size's
binary digits name, largest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
_SIZE_BYTES = 8


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf that holds `entry`."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node over two subtrees."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that a writer must keep of a tree in order to go on."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()
    """One for each binary 1 of `size`, from the largest perfect subtree to the smallest."""

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError(f"frontier: {len(self.hashes)} hashes do not fit the size {self.size}")

    def extend(self, leaf_hashes: Sequence[bytes]) -> Frontier:
        """Return the frontier after these leaves, without paths: see `append` for those."""
        stack = list(self.hashes)
        size = self.size
        for leaf in leaf_hashes:
            size += 1
            node, carry = leaf, size
            while not carry & 1:
                node = sha256(b"\x01" + stack.pop() + node).digest()
                carry >>= 1
            stack.append(node)
        return Frontier(size, tuple(stack))

    def root(self) -> bytes:
        """Return the tree's root; the root of the empty tree is the hash of nothing."""
        if not self.hashes:
            return sha256(b"").digest()
        node = self.hashes[-1]
        for left in self.hashes[-2::-1]:
            node = node_hash(left, node)
        return node

    def to_bytes(self) -> bytes:
        """Return the size as 8 big-endian bytes, then the hashes."""
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Frontier:
        """Read what `to_bytes` wrote. Raises `ValueError` where the length does not fit the size."""
        size = int.from_bytes(raw[:_SIZE_BYTES], "big")
        if len(raw) != _SIZE_BYTES + HASH_BYTES * size.bit_count():
            raise ValueError(f"frontier: {len(raw)} bytes do not fit the size {size}")
        return cls(size, tuple(raw[at : at + HASH_BYTES] for at in range(_SIZE_BYTES, len(raw), HASH_BYTES)))


@dataclass(frozen=True, slots=True)
class Appended:
    """A tree after a batch, with the inclusion path of every new leaf in it."""

    frontier: Frontier
    root: bytes
    paths: tuple[tuple[bytes, ...], ...]
    """Per new leaf the siblings from the leaf up to the root."""


def append(frontier: Frontier, leaf_hashes: Sequence[bytes]) -> Appended:
    """Add a batch of leaves to the tree in one pass over the nodes that change."""
    if not leaf_hashes:
        return Appended(frontier, frontier.root(), ())
    size = frontier.size + len(leaf_hashes)
    lefts = dict(zip(_levels(frontier.size), frontier.hashes, strict=True))
    levels = _grow(lefts, frontier.size, leaf_hashes, size)
    hashes = tuple(
        # The perfect subtree of this level is new, or it is still the old one.
        levels[level][1][last - levels[level][0]] if (last := (size >> level) - 1) >= levels[level][0] else lefts[level]
        for level in _levels(size)
    )
    return Appended(Frontier(size, hashes), levels[-1][1][0], _paths(levels, len(leaf_hashes)))


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree over all these leaves."""
    return Frontier().extend(leaf_hashes).root()


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the path of the leaf `index` (from 0) in the tree over all these leaves (RFC 6962 §2.1.1)."""
    if not 0 <= index < len(leaf_hashes):
        raise ValueError(f"leaf {index}: the tree has {len(leaf_hashes)} leaves")
    if len(leaf_hashes) == 1:
        return ()
    split = _split(len(leaf_hashes))
    left, right = leaf_hashes[:split], leaf_hashes[split:]
    if index < split:
        return (*inclusion_path(left, index), root(right))
    return (*inclusion_path(right, index - split), root(left))


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Say whether the leaf hash `leaf` stands at `index` (from 0) of that tree (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and node == root


def _levels(size: int) -> list[int]:
    """The heights of the perfect subtrees of a tree, largest first."""
    return [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]


def _grow(
    lefts: dict[int, bytes], old_size: int, leaf_hashes: Sequence[bytes], size: int
) -> list[tuple[int, list[bytes]]]:
    """The changed nodes of every level, each list with the index of its first node, which is always even."""
    levels = []
    first, nodes, level = old_size, list(leaf_hashes), 0
    while True:
        if first & 1:
            # The left sibling is a perfect subtree of the old tree, so the frontier holds it.
            first, nodes = first - 1, [lefts[level], *nodes]
        levels.append((first, nodes))
        if (size - 1) >> level == 0:
            return levels
        parents = [sha256(b"\x01" + nodes[at] + nodes[at + 1]).digest() for at in range(0, len(nodes) - 1, 2)]
        if len(nodes) & 1:
            # A last node without a sibling moves up as it is.
            parents.append(nodes[-1])
        first, nodes, level = first >> 1, parents, level + 1


def _paths(levels: list[tuple[int, list[bytes]]], count: int) -> tuple[tuple[bytes, ...], ...]:
    """From the root down, so that leaves share the work on their common ancestors."""
    above: list[tuple[bytes, ...]] = [()]
    above_first = 0
    for first, nodes in reversed(levels[:-1]):
        shift = (first >> 1) - above_first
        end = len(nodes)
        above = [
            (nodes[at ^ 1], *above[(at >> 1) + shift]) if at ^ 1 < end else above[(at >> 1) + shift]
            for at in range(end)
        ]
        above_first = first
    return tuple(above[-count:])


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return int(1 << (size - 1).bit_length() - 1)
