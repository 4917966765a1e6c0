"""From the decisions of a batch to its one statement, with the row counts that its guards must see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.ledger import ApprovalRow
from gateway.storage import packed, statements
from gateway.storage.batch import Batch
from gateway.storage.link import Statement
from gateway.storage.sealing import Sealing
from gateway.storage.snapshot import Row
from gateway.storage.statements import Part


@dataclass(slots=True)
class _Parts:
    parts: list[Part]
    parameters: list[bytes]
    counts: list[bytes]

    def add(self, part: Part, count: int, *columns: bytes) -> None:
        self.parts.append(part)
        self.parameters += columns
        if statements.is_counted(part):
            self.counts.append(packed.long_bytes(count))


def written(batch: Batch, sealings: Mapping[str, Sealing]) -> list[Statement]:
    """
    The statements that write everything the batch decided, for the transaction that read its snapshot.

    The first fails with a division by zero when a guarded row is not as read.
    """
    whole = _Parts([], [], [])
    _log(whole, list(sealings.values()))
    _calls(whole, list(batch.changed.values()))
    _budgets(whole, batch)
    _holds(whole, batch)
    if batch.uses:
        uses = list(batch.uses.items())
        whole.add(
            Part.USES,
            len(uses),
            packed.uuids([approval for approval, _ in uses]),
            packed.texts([tenant for _, (tenant, _, _) in uses]),
            packed.uuids([call for _, (_, call, _) in uses]),
            packed.longs([seq for _, (_, _, seq) in uses]),
        )
    _autonomy(whole, batch, {tenant: sealing.sealed.checkpoint.at_ms for tenant, sealing in sealings.items()})
    approvals = [_approval(approval, seq) for approval, seq in batch.approvals]
    return [(statements.write(tuple(whole.parts)), [*whole.parameters, *whole.counts]), *approvals]


def entries_alone(sealings: Sequence[Sealing]) -> Statement:
    """The statement that writes entries which change nothing else."""
    whole = _Parts([], [], [])
    _log(whole, sealings)
    return statements.write(tuple(whole.parts)), [*whole.parameters, *whole.counts]


def _autonomy(whole: _Parts, batch: Batch, at_ms: Mapping[str, int]) -> None:
    """`at_ms`: the time of each tenant's entries, which never goes back. Rules count the newest by the log's order."""
    if batch.strikes:
        whole.add(
            Part.STRIKES,
            len(batch.strikes),
            packed.texts([tenant for tenant, _, _ in batch.strikes]),
            packed.texts([strike.agent for _, strike, _ in batch.strikes]),
            packed.texts([strike.rule for _, strike, _ in batch.strikes]),
            packed.texts([strike.action for _, strike, _ in batch.strikes]),
            packed.longs([seq for _, _, seq in batch.strikes]),
            packed.longs([at_ms[tenant] for tenant, _, _ in batch.strikes]),
        )
    if batch.lowerings:
        whole.add(
            Part.LOWERINGS,
            len(batch.lowerings),
            packed.texts([tenant for tenant, _, _ in batch.lowerings]),
            packed.texts([strike.agent for _, strike, _ in batch.lowerings]),
            packed.texts([strike.action for _, strike, _ in batch.lowerings]),
            packed.integers([strike.to for _, strike, _ in batch.lowerings]),
            packed.texts([strike.rule for _, strike, _ in batch.lowerings]),
            packed.longs([seq for _, _, seq in batch.lowerings]),
            packed.longs([at_ms[tenant] for tenant, _, _ in batch.lowerings]),
        )


def _approval(approval: ApprovalRow, seq: int) -> Statement:
    return statements.ADD_APPROVAL, [
        approval.approval_id.bytes,
        approval.tenant.encode(),
        approval.call_id.bytes,
        approval.person.encode(),
        approval.key_id.encode(),
        approval.verdict.encode(),
        packed.texts(approval.roles),
        approval.statement,
        approval.signature,
        packed.moment(approval.not_after_ms),
        packed.long_bytes(seq),
    ]


def _log(whole: _Parts, sealings: Sequence[Sealing]) -> None:
    entries = [(draft, link) for one in sealings for draft, link in zip(one.drafts, one.sealed.entries, strict=True)]
    sizes = [one.sealed.head.size for one in sealings]
    covered = [one.sealed.head.size for one in sealings for _ in one.drafts]
    checkpoints = [one.sealed.checkpoint for one in sealings]
    whole.add(
        Part.LOG,
        len(sealings),
        packed.texts([draft.tenant for draft, _ in entries]),
        packed.longs([link.seq for _, link in entries]),
        packed.texts([draft.kind for draft, _ in entries]),
        packed.uuids([draft.call_id for draft, _ in entries]),
        packed.texts([draft.correlation for draft, _ in entries]),
        packed.blobs([link.body for _, link in entries]),
        packed.blobs([link.leaf for _, link in entries]),
        packed.blobs([b"".join(link.path) for _, link in entries]),
        packed.longs(covered),
        packed.blobs([salt for one in sealings for salt in one.salts]),
        packed.blobs([payload for one in sealings for payload in one.payloads]),
        packed.texts([draft.subject for draft, _ in entries]),
        packed.texts([checkpoint.tenant for checkpoint in checkpoints]),
        packed.longs(sizes),
        packed.longs([checkpoint.at_ms for checkpoint in checkpoints]),
        packed.blobs([checkpoint.root for checkpoint in checkpoints]),
        packed.texts([checkpoint.key_id for checkpoint in checkpoints]),
        packed.texts([checkpoint.signature for checkpoint in checkpoints]),
        packed.longs([one.before.size for one in sealings]),
        packed.blobs([one.sealed.head.hash for one in sealings]),
        packed.blobs([one.sealed.head.frontier.to_bytes() for one in sealings]),
        packed.texts([one.signer for one in sealings]),
    )


def _calls(whole: _Parts, rows: Sequence[Row]) -> None:
    made = [(row, row.made_from) for row in rows if row.made_from is not None]
    moved = [row for row in rows if row.made_from is None]
    if made:
        whole.add(
            Part.CALLS_NEW,
            len(made),
            packed.blobs([row.claim for row, _ in made]),
            packed.texts([row.tenant for row, _ in made]),
            packed.uuids([row.call_id for row, _ in made]),
            packed.texts([call.principal for _, call in made]),
            packed.texts([call.tool for _, call in made]),
            packed.blobs([call.request_digest for _, call in made]),
            packed.blobs([call.request for _, call in made]),
            packed.blobs([call.call_salt for _, call in made]),
            packed.texts([call.correlation for _, call in made]),
            packed.blobs([call.requester for _, call in made]),
            packed.texts([row.state for row, _ in made]),
            packed.integers([row.fence for row, _ in made]),
            packed.moments([row.lease_until_ms for row, _ in made]),
            packed.longs([row.intent_seq for row, _ in made]),
            packed.longs([row.outcome_seq for row, _ in made]),
            packed.longs([row.parked_seq for row, _ in made]),
            packed.integers([row.status for row, _ in made]),
            packed.blobs([row.answer for row, _ in made]),
            packed.blobs([row.reservations for row, _ in made]),
            packed.moments([row.expires_at_ms for row, _ in made]),
            packed.moments([call.keep_until_ms for _, call in made]),
        )
    if moved:
        whole.add(
            Part.CALLS_MOVED,
            len(moved),
            packed.blobs([row.claim for row in moved]),
            packed.texts([row.read_state for row in moved]),
            packed.integers([row.read_fence for row in moved]),
            packed.texts([row.state for row in moved]),
            packed.integers([row.fence for row in moved]),
            packed.moments([row.lease_until_ms for row in moved]),
            packed.longs([row.intent_seq for row in moved]),
            packed.longs([row.outcome_seq for row in moved]),
            packed.longs([row.parked_seq for row in moved]),
            packed.integers([row.status for row in moved]),
            packed.blobs([row.answer for row in moved]),
            packed.blobs([row.reservations for row in moved]),
            packed.moments([row.expires_at_ms for row in moved]),
            packed.blobs([row.sent_again.request if row.sent_again else None for row in moved]),
            packed.texts([row.sent_again.correlation if row.sent_again else None for row in moved]),
            packed.moments([row.sent_again.keep_until_ms if row.sent_again else None for row in moved]),
        )


def _budgets(whole: _Parts, batch: Batch) -> None:
    made = [(key, delta) for key, delta in batch.budgets.items() if delta.is_new]
    moved = [(key, delta) for key, delta in batch.budgets.items() if not delta.is_new]
    if made:
        whole.add(
            Part.BUDGETS_NEW,
            len(made),
            packed.blobs([key for key, _ in made]),
            packed.texts([delta.tenant for _, delta in made]),
            packed.texts([delta.name for _, delta in made]),
            packed.longs([delta.reserved for _, delta in made]),
            packed.longs([delta.spent for _, delta in made]),
        )
    if moved:
        whole.add(
            Part.BUDGETS_MOVED,
            len(moved),
            packed.blobs([key for key, _ in moved]),
            packed.longs([delta.reserved for _, delta in moved]),
            packed.longs([delta.spent for _, delta in moved]),
            packed.longs([delta.room for _, delta in moved]),
        )


def _holds(whole: _Parts, batch: Batch) -> None:
    made = [(place, hold) for place, hold in batch.holds.items() if hold.is_new]
    settled = [(place, hold) for place, hold in batch.holds.items() if not hold.is_new]
    if made:
        whole.add(
            Part.HOLDS_NEW,
            len(made),
            packed.uuids([call for (call, _), _ in made]),
            packed.blobs([key for (_, key), _ in made]),
            packed.texts([hold.tenant for _, hold in made]),
            packed.longs([hold.amount for _, hold in made]),
            packed.texts([hold.state for _, hold in made]),
        )
    if settled:
        whole.add(
            Part.HOLDS_SETTLED,
            len(settled),
            packed.uuids([call for (call, _), _ in settled]),
            packed.blobs([key for (_, key), _ in settled]),
            packed.texts([hold.state for _, hold in settled]),
        )
