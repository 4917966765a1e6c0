"""The offline verifier: an export, public keys, and as many earlier or later checkpoints as the auditor kept.

It needs neither the gateway nor its database. In order:

1. read      every line is the canonical form of a header, an entry or a checkpoint
2. entries   sequence without gap or repetition, tenant and environment, shape of the common members
3. payloads  what stands beside an entry is what it commits to; approvals and certificates in it are signed
4. effects   no outcome without its intent, no effect twice
5. signed    every checkpoint is signed by a key that the auditor trusts for it, and whose turn it is (`log_keys`)
6. chain     each entry names the hash of the one before it; each signed root comes out
7. history   the checkpoints that the auditor brings are of this very history: nothing was cut or
             rewritten. What the log itself declares as lost (`losses`) is told apart, and is found all the same

What it cannot see: entries after the last checkpoint that anybody kept, and what never became an entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Never

from proofs import canonical, chain, checkpoints, continuity, export, losses, shapes, tree
from proofs.checkpoints import Checkpoint
from proofs.continuity import Run
from proofs.effects import Effects
from proofs.errors import EvidenceError, LineUnreadable, Misshapen, VerificationError
from proofs.export import Header, Read
from proofs.findings import Finding, Report
from proofs.keys import KeyRing
from proofs.log_keys import LogKeys
from proofs.losses import Loss
from proofs.payloads import Payloads

FINDINGS_MAX = 100  # The first is what matters; a forged export could have millions.


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the verifier says of an export."""

    tenant: str
    environment: str
    size: int
    """Entries read."""
    root: str
    """Root over them, in hexadecimal, to compare with other auditors."""
    checkpoints: int
    """Checkpoints whose signature holds."""
    payloads: int
    erased: int
    """Payloads that entries commit to and the export no longer has."""
    approvals: int
    certificates: int
    """Certificates in payloads, each checked as an approval is."""
    log_keys: int
    """Keys that the log names for its checkpoints; 0: it names none, and the keys file decided alone."""
    losses: tuple[Loss, ...]
    """What the log declares as lost. An export with one may hold; what it says of the past is not all there was."""
    effects: int
    unresolved: int
    """Effects intended of which no entry says that they took place."""
    findings: tuple[Finding, ...]
    """What is wrong, first line first. Empty: the export holds."""

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def document(self) -> dict[str, Any]:
        """The verdict as JSON members."""
        counts = {name: getattr(self, name) for name in self.__slots__ if name not in ("findings", "losses")}
        return {
            "good": self.is_good,
            "first": self.findings[0].document() if self.findings else None,
            **counts,
            "losses": [loss.document() for loss in self.losses],
            "findings": [finding.document() for finding in self.findings],
        }


def check(stream: BinaryIO, keys: KeyRing, kept: Sequence[Checkpoint] = ()) -> Verdict:
    """
    Check an export against `keys` and the checkpoints that the auditor `kept`.

    Everything that is wrong with the export becomes a finding. Raises `VerificationError` only for a kept checkpoint
    of another log, or that no key signed that `keys` trust, or that a good export names: it would say nothing.
    """
    reading = _Reading(keys)
    reading.take_all(export.read(stream))
    run, header = reading.run, reading.header
    findings = reading.findings + continuity.verify(run, reading.signed)
    if header is not None and not findings:
        # Only a reading without findings was one to the end.
        findings = _incomplete(reading, header) or _history(reading, header, kept)
    findings.sort(key=lambda finding: finding.line)
    return Verdict(
        tenant=header.tenant if header else "",
        environment=header.environment if header else "",
        size=len(run.leaves),
        root=tree.root(run.leaves).hex(),
        checkpoints=len(reading.signed),
        payloads=reading.payloads.opened if reading.payloads else 0,
        erased=reading.payloads.erased if reading.payloads else 0,
        approvals=reading.payloads.approvals if reading.payloads else 0,
        certificates=reading.payloads.certificates if reading.payloads else 0,
        log_keys=reading.log_keys.count if reading.log_keys else 0,
        losses=tuple(reading.losses),
        effects=reading.effects.executed,
        unresolved=reading.effects.open,
        findings=tuple(findings[:FINDINGS_MAX]),
    )


class _Stop(Exception):
    """From this line on, positions mean nothing any more."""


@dataclass(slots=True)
class _Reading:
    """One pass over the lines; steps 1 to 5."""

    keys: KeyRing
    header: Header | None = None
    log_keys: LogKeys | None = None
    payloads: Payloads | None = None
    effects: Effects = field(default_factory=Effects)
    run: Run = field(default_factory=Run)
    signed: list[Checkpoint] = field(default_factory=list)
    """Checkpoints whose signature holds, in order."""
    checkpoint_lines: int = 0
    losses: list[Loss] = field(default_factory=list)
    line: int = 0
    findings: list[Finding] = field(default_factory=list)

    def take_all(self, lines: Iterable[tuple[int, Header | Read | Checkpoint]]) -> None:
        """Read to the end, or to where reading on makes no sense."""
        try:
            for number, item in lines:
                self.line = number
                self._take(item)
            if self.header is None:
                self._stop(None, "header_missing", "the export is empty")
        except LineUnreadable as error:
            self.line = error.line
            self._find(len(self.run.leaves) + 1 if self.header else None, error.reason, f"cannot be read: {error}")
        except _Stop:
            pass

    def _take(self, item: Header | Read | Checkpoint) -> None:
        if isinstance(item, Header):
            if self.header is not None:
                self._stop(None, "header_repeated", "a second header")
            self.header = item
            self.log_keys = LogKeys(self.keys, tenant=item.tenant, environment=item.environment)
            self.payloads = Payloads(self.log_keys, tenant=item.tenant, environment=item.environment)
        elif self.header is None or self.log_keys is None or self.payloads is None:
            self._stop(None, "header_missing", "the first line is not the header")
        elif isinstance(item, Read):
            self._take_entry(item, self.header, self.log_keys, self.payloads)
        else:
            self._take_checkpoint(item, self.header, self.log_keys)

    def _take_entry(self, item: Read, header: Header, log_keys: LogKeys, payloads: Payloads) -> None:
        expected = len(self.run.leaves) + 1
        seq = item.entry.get("seq")
        if seq != expected or type(seq) is not int:
            self._out_of_sequence(expected, seq)
        if (named := log_keys.unsigned()) is not None:
            self._take_unsigned(named)
        found = self._reporter(seq)
        leaf, previous = tree.leaf_hash(item.record.body), bytes(tree.HASH_BYTES)
        try:
            previous = _common_members(item.entry, header)
        except EvidenceError as error:
            found(error.reason, str(error))
        else:
            log_keys.add(item.entry, found)
            payloads.add(item, found)
            if loss := losses.read(item.entry, log_keys.ring, found):
                self.losses.append(loss)
            self.effects.add(seq, item.entry, found)
        self.run.add(leaf=leaf, previous=previous, line=self.line)

    def _take_unsigned(self, named: int) -> None:
        """A key was named, and the checkpoint that had to follow did not; or it did, and is what is wrong."""
        place = self.run.lines[named - 1]
        if not any(finding.line > place for finding in self.findings):
            cause = "names a new key, and no checkpoint by the key before it ends with it"
            self.findings.append(self.run.finding(named - 1, "key_unsigned", cause))

    def _out_of_sequence(self, expected: int, seq: Any) -> Never:
        if type(seq) is not int:
            self._stop(expected, "member", "member `seq`: expected an integer")
        if seq > expected:
            self._stop(expected, "entry_missing", f"is missing: entry {seq} stands in its place")
        self._stop(expected, "entry_repeated", f"does not follow: entry {seq} stands here for the second time")

    def _take_checkpoint(self, checkpoint: Checkpoint, header: Header, log_keys: LogKeys) -> None:
        self.checkpoint_lines += 1
        size, count = checkpoint.size, len(self.run.leaves)
        if (checkpoint.tenant, checkpoint.environment) != (header.tenant, header.environment):
            self._find(size, "checkpoint_foreign", "the checkpoint is of another tenant or environment than the header")
            return
        try:
            if size == count:
                log_keys.verify(checkpoint)
            else:
                checkpoints.verify(checkpoint, log_keys.ring)
        except VerificationError as error:
            self._find(size, error.reason, str(error))
            return
        if size > count:
            self._stop(count + 1, "entry_missing", f"is missing: the checkpoint here covers {size} entries")
        if size < count or (self.signed and self.signed[-1].size == size):
            self._find(
                size, "checkpoint_misplaced", f"the checkpoint of size {size} does not stand once, after its entry"
            )
            return
        if not log_keys.is_dated(checkpoint):  # Its root counts all the same: perhaps the entry is the wrong one.
            cause = f"checkpoint of size {size}: its time is not that of its last entry"
            self._find(size, "back_dated", cause)
        self.signed.append(checkpoint)

    def _reporter(self, seq: int) -> Report:
        def report(reason: str, cause: str) -> None:
            self._find(seq, reason, cause)

        return report

    def _find(self, seq: int | None, reason: str, cause: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(line=self.line, seq=seq, reason=reason, cause=cause))

    def _stop(self, seq: int | None, reason: str, cause: str) -> Never:
        self._find(seq, reason, cause)
        raise _Stop


def _common_members(entry: dict[str, Any], header: Header) -> bytes:
    """Check what every entry has and return its `previous`."""
    required = {"v", "seq", "tenant", "environment", "kind", "at_ms", "previous"}
    shapes.members(entry, required=required, optional=entry.keys(), form="entry")
    if entry["v"] != chain.VERSION:
        raise Misshapen("version", f"member `v`: expected {chain.VERSION}")
    if (entry["tenant"], entry["environment"]) != (header.tenant, header.environment):
        raise Misshapen("entry_foreign", "is of another tenant or environment than the header")
    shapes.text(entry, "kind", shapes.KIND)
    shapes.natural(entry, "at_ms")
    return shapes.hash_bytes(entry["previous"], "previous")


def _incomplete(reading: _Reading, header: Header) -> list[Finding]:
    """Compare the end of the export with what its header says and with its last checkpoint."""
    size, covered = len(reading.run.leaves), reading.signed[-1].size if reading.signed else 0
    if covered < size:
        cause = f"no checkpoint covers it: the last one in the export has the size {covered}"
        return [reading.run.finding(covered, "entry_unsigned", cause)]
    if header.size != size:
        cause = f"the header on line 1 says {header.size} entries, and there are {size}"
        return [Finding(line=1, seq=min(size, header.size) + 1, reason="size_differs", cause=cause)]
    if header.checkpoints != reading.checkpoint_lines:
        cause = f"the header says {header.checkpoints} checkpoints, and there are {reading.checkpoint_lines}"
        return [Finding(line=1, seq=None, reason="checkpoint_missing", cause=cause)]
    return []


def _history(reading: _Reading, header: Header, kept: Sequence[Checkpoint]) -> list[Finding]:
    """Compare the export with checkpoints from elsewhere, smallest first."""
    run, own = reading.run, {checkpoint.size for checkpoint in reading.signed}
    last_line, ring = reading.line, reading.log_keys.ring if reading.log_keys else reading.keys
    for checkpoint in kept:
        if (checkpoint.tenant, checkpoint.environment) != (header.tenant, header.environment):
            raise VerificationError("checkpoint_foreign", "kept checkpoint: of another tenant or environment")
        checkpoints.verify(checkpoint, ring)
    frontier = tree.Frontier()
    for checkpoint in sorted(kept, key=lambda kept: kept.size):
        size = checkpoint.size
        if (loss := _loss(reading, checkpoint, frontier)) is not None:
            line = run.lines[loss.entry - 1]
            return [Finding(line=line, seq=loss.entry, reason="loss_acknowledged", cause=loss.sentence)]
        if size > len(run.leaves):
            cause = f"is missing: a kept checkpoint of {checkpoint.at_ms} ms covers {size} entries: the log was cut"
            return [Finding(line=last_line, seq=len(run.leaves) + 1, reason="truncated", cause=cause)]
        grown = frontier.extend(run.leaves[frontier.size : size])
        if grown.root() != checkpoint.root:
            line = run.lines[frontier.size] if size > frontier.size else run.lines[size - 1]
            reason = "forked" if size in own else "rewritten"
            cause = (
                f"a kept checkpoint of {checkpoint.at_ms} ms signs another history: the first difference is one of the "
                f"entries {frontier.size + 1} to {size}"
            )
            return [Finding(line=line, seq=min(frontier.size + 1, size), reason=reason, cause=cause)]
        frontier = grown
    return []


def _loss(reading: _Reading, kept: Checkpoint, frontier: tree.Frontier) -> Loss | None:
    """The declaration that says that the history of this kept checkpoint is gone, if it is not the present one."""
    leaves = reading.run.leaves
    if not reading.losses:
        return None
    is_present = kept.size <= len(leaves) and frontier.extend(leaves[frontier.size : kept.size]).root() == kept.root
    return None if is_present else next((loss for loss in reading.losses if loss.covers(kept)), None)


def read_checkpoints(raw: bytes) -> tuple[Checkpoint, ...]:
    """
    Read kept checkpoints: one JSON document, or JSON lines, each a checkpoint or `{"checkpoint": …}`.

    Raises `NotCanonical` or `Misshapen`.
    """
    try:
        documents = [canonical.parse(raw)]
    except canonical.Malformed:
        documents = [canonical.parse(line) for line in raw.split(b"\n") if line.strip()]
    inner = [each["checkpoint"] if isinstance(each, dict) and "checkpoint" in each else each for each in documents]
    return tuple(checkpoints.parse(each) for each in inner)
