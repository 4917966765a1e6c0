"""Whether entries form one chain, and the tree that was signed; and if not, which entry is the wrong one.

A wrong hash shows between two places: an entry and the `previous` of the next, or a batch and its signed root. Blame
falls on the entry without which everything else would agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from proofs import chain, tree
from proofs.checkpoints import Checkpoint
from proofs.findings import Finding


@dataclass(slots=True)
class Run:
    """The hashes of the entries read so far. Index 0 is entry 1."""

    leaves: list[bytes] = field(default_factory=list)
    """Hash of each entry as it stands in the export."""
    previous: list[bytes] = field(default_factory=list)
    """Hash that each entry names as its predecessor's."""
    lines: list[int] = field(default_factory=list)

    def add(self, *, leaf: bytes, previous: bytes, line: int) -> None:
        """Take the next entry."""
        self.leaves.append(leaf)
        self.previous.append(previous)
        self.lines.append(line)

    def root(self, size: int) -> bytes:
        """The root over the first `size` entries."""
        return tree.root(self.leaves[:size])

    def claimed(self, index: int) -> bytes | None:
        """The hash that the successor of the entry at `index` names; None for the last one."""
        return self.previous[index + 1] if index + 1 < len(self.previous) else None

    def finding(self, index: int, reason: str, cause: str) -> Finding:
        """A finding about the entry at `index`."""
        return Finding(line=self.lines[index], seq=index + 1, reason=reason, cause=cause)


def verify(run: Run, signed: Sequence[Checkpoint]) -> list[Finding]:
    """
    Compare the run with checkpoints, whose signatures hold and whose sizes rise, and with itself.

    Returns nothing or the first thing that is wrong. Entries beyond the last checkpoint are only compared among
    themselves.
    """
    frontier = tree.Frontier()
    for checkpoint in signed:
        grown = frontier.extend(run.leaves[frontier.size : checkpoint.size])
        if grown.root() != checkpoint.root:
            # What the signed roots cover up to here is genuine, so a bad link there is the signer's own.
            return _broken_link(run, 0, frontier.size) or [_culprit(run, frontier, checkpoint)]
        frontier = grown
    return _broken_link(run, 0, frontier.size) or _unsigned_break(run, frontier.size)


def _broken_link(run: Run, start: int, end: int) -> list[Finding]:
    for index in range(start, end):
        if run.previous[index] != _expected(run, index):
            cause = "`previous` is not the hash of the entry before it, and was signed so"
            return [run.finding(index, "link_broken", cause)]
    return []


def _unsigned_break(run: Run, start: int) -> list[Finding]:
    """The first bad link among entries that no valid checkpoint covers; a successor's word is all there is."""
    for index in range(start, len(run.leaves)):
        if run.previous[index] == _expected(run, index):
            continue
        is_attested = run.claimed(index) == run.leaves[index]
        if index > start and (is_attested or index + 1 == len(run.leaves)):
            return [_changed(run, index - 1)]
        cause = f"`previous` is not the hash of {'the first entry' if index == 0 else f'entry {index}'}"
        return [run.finding(index, "link_broken", cause + (": expected zeros" if index == 0 else ""))]
    return []


def _culprit(run: Run, verified: tree.Frontier, checkpoint: Checkpoint) -> Finding:
    """Which entry of the batch after `verified` does not give the signed root."""
    first, last = verified.size, checkpoint.size - 1
    if run.previous[first] != _expected(run, first):
        return run.finding(first, "entry_changed", "`previous` is not the hash of the entry before it")
    for index in range(first, last + 1):
        claimed = run.claimed(index)
        if claimed is None or claimed == run.leaves[index]:
            continue
        # Either this entry was changed, or the `previous` of the next. The signed root tells which.
        if index < last and not _gives_root(run, verified, checkpoint, index, claimed):
            after = run.claimed(index + 1)
            is_last = after is None
            if is_last or (after is not None and _gives_root(run, verified, checkpoint, index + 1, after)):
                return _changed(run, index + 1)
        return _changed(run, index)
    if last + 1 == len(run.leaves) or first == last:
        return run.finding(
            last,
            "entry_changed",
            f"does not give the root signed at size {checkpoint.size}: it, or with their links anew also entries from "
            f"{first + 1} on, changed after signing",
        )
    cause = f"entries {first + 1} to {last + 1} do not give the root signed at size {checkpoint.size}, all links hold"
    return run.finding(first, "rewritten", cause + ": the chain was linked anew")


def _gives_root(run: Run, verified: tree.Frontier, checkpoint: Checkpoint, index: int, leaf: bytes) -> bool:
    """Say whether the signed root comes out with `leaf` in the place of the hash at `index`."""
    if index >= checkpoint.size:
        return False
    leaves = run.leaves[verified.size : checkpoint.size]
    leaves[index - verified.size] = leaf
    return verified.extend(leaves).root() == checkpoint.root


def _changed(run: Run, index: int) -> Finding:
    is_last = index + 1 == len(run.leaves)
    witness = "the signed root needs" if is_last else f"entry {index + 2} names as its predecessor's"
    return run.finding(index, "entry_changed", f"its hash is not the one that {witness}: it changed after signing")


def _expected(run: Run, index: int) -> bytes:
    return run.leaves[index - 1] if index else chain.FIRST_PREVIOUS
