"""The tree and the chain against the recursive definitions of RFC 6962."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from proofs import canonical, chain, receipts, tree
from proofs.keys import KeyRing, PrivateKey, TrustedKey

SIGNER = PrivateKey.from_seed(b"s" * 32)
KEYS = KeyRing((TrustedKey(public=SIGNER.public, purposes=frozenset({"checkpoint"})),))
BATCHES = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def leaves(count: int) -> list[bytes]:
    """Leaf hashes of so many different entries."""
    return [tree.leaf_hash(b"%d" % number) for number in range(count)]


def naive_root(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962 §2.1, word by word, over leaf hashes."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\x01" + naive_root(hashes[:split]) + naive_root(hashes[split:])).digest()


@given(BATCHES)
def test_tree_grown_in_batches_has_the_root_of_the_whole(batches: list[int]) -> None:
    """
    However the leaves are cut into batches, root and frontier are those of all leaves at once.
    """
    hashes = leaves(sum(batches))
    frontier = tree.Frontier()

    for size in batches:
        appended = tree.append(frontier, hashes[frontier.size : frontier.size + size])
        frontier = tree.Frontier.from_bytes(appended.frontier.to_bytes())

        assert appended.root == frontier.root() == naive_root(hashes[: frontier.size])
    assert frontier == tree.Frontier().extend(hashes)


@given(BATCHES)
def test_paths_of_a_batch_are_inclusion_paths_in_the_grown_tree(batches: list[int]) -> None:
    """
    Each new leaf gets the path that RFC 6962 defines, and the path verifies.
    """
    hashes = leaves(sum(batches))
    before = tree.Frontier().extend(hashes[: -batches[-1]])

    appended = tree.append(before, hashes[before.size :])

    for index, path in enumerate(appended.paths, start=before.size):
        assert path == tree.inclusion_path(hashes, index)
        assert tree.verify_inclusion(hashes[index], index, len(hashes), path, appended.root)


@given(st.integers(1, 70), st.data())
def test_path_serves_one_leaf_at_one_place(size: int, data: st.DataObject) -> None:
    """
    A path shows no other leaf, place, size or root, and no shortened or lengthened path shows anything.
    """
    hashes = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size + 2).filter(lambda other: other != index))
    path, root = tree.inclusion_path(hashes, index), tree.root(hashes)

    assert not tree.verify_inclusion(hashes[index], other, size, path, root)
    assert not tree.verify_inclusion(tree.leaf_hash(b"other"), index, size, path, root)
    assert not tree.verify_inclusion(hashes[index], index, size, path, tree.leaf_hash(b"other"))
    assert not tree.verify_inclusion(hashes[index], index, size, (*path, root), root)
    assert not path or not tree.verify_inclusion(hashes[index], index, size, path[:-1], root)


@settings(deadline=None)
@given(BATCHES)
def test_every_entry_gets_a_receipt_that_verifies(batches: list[int]) -> None:
    """
    Entries are gap-free and linked, and each one's receipt verifies, in both of its forms.
    """
    head = chain.Head(tenant="acme")

    for size in batches:
        drafts = [{"tenant": "acme", "kind": "NOTE", "count": number} for number in range(size)]
        sealed = chain.seal(head, drafts, environment="dev", at_ms=1, signer=SIGNER)
        document = sealed.checkpoint.document()

        assert [link.seq for link in sealed.entries] == list(range(head.size + 1, head.size + size + 1))
        previous = head.hash
        for link in sealed.entries:
            receipt = receipts.issue(link.body, link.path, document, payload_salt=b"s" * 16)
            raw = receipts.issue_bytes(link.body, link.path, canonical.encode(document), payload_salt=b"s" * 16)
            assert canonical.encode(receipt) == raw
            entry = receipts.verify(receipt, KEYS)
            assert (entry["seq"], entry["previous"]) == (link.seq, previous.hex())
            previous = link.leaf
        head = sealed.head
