"""One batch, one transaction, over all its tenants: the only code that writes the ledger.

1. lock     the heads of the tenants, in order of name
2. read     claims, budgets, approvals, switches: new statements, after the lock
3. decide   each act alone (`batch`), and what the refused and failed ones lower (`lowering`)
4. seal     entries, tree and checkpoint of each tenant (`proofs.chain`)
5. write    one statement, which fails unless the guarded rows are as read
6. commit   an answer lost here is read back from the chain itself, on a new connection

1 and 2 are one round trip, 5 and 6 another. A crash before 6 leaves nothing. What fails before it is tried again;
what fails for one act's sake is tried act by act.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

import psycopg
from psycopg.pq.abc import PGresult

from gateway.ledger import (
    SYSTEM,
    Act,
    ActRefused,
    Answer,
    Append,
    Approve,
    Close,
    Intend,
    LedgerUnavailable,
    Lower,
    Park,
    Placed,
    Settle,
)
from gateway.logs import log
from gateway.storage import lowering, packed, reading, statements, writing
from gateway.storage.batch import Batch, BatchBroken, Due, Finished, decide, is_governance
from gateway.storage.connections import DatabaseUnavailable
from gateway.storage.continuity import Continuity, SetBack
from gateway.storage.link import Connect, ConnectionLost, Link, rows
from gateway.storage.sealing import Pen, Sealing, Standing, seal
from gateway.storage.signers import SignerMissing
from proofs import chain, tree
from proofs.checkpoints import Checkpoint

"""The tenant whose chain holds what belongs to no tenant, and whose switch stops everything."""

_TRIES = 4
"""Two gateways that keep moving each other's rows are rare, and a refusal is better than a wait."""
_PAUSE_SECONDS = 0.05
_READ_BACK_SECONDS = 1.2
"""Long enough for a database that restarts, short enough to say `unknown` before the asker gives up."""

IN_THE_WAY = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.QueryCanceled,
    psycopg.errors.UniqueViolation,
)
"""Another writer was there first; nothing was written, and the next try reads what it did."""


class RowsMoved(Exception):
    """A head, a fence or a hold is not what was read. Nothing was committed; read again."""


class CommitUnknown(Exception):
    """The answer to COMMIT was lost. The batch took effect exactly if the chain holds its first entry."""

    def __init__(self, written: Written, tenant: str, entry: chain.Link) -> None:
        super().__init__("answer to commit was lost")
        self.written = written
        self.tenant = tenant
        self.entry = entry


class Withdrawn(Exception):
    """Somebody of the batch was told meanwhile that nothing happened, so nothing may."""


@dataclass(frozen=True, slots=True)
class Written:
    """A committed batch: an answer or an exception for each act, and the new checkpoint of each tenant."""

    answers: list[Answer | Exception]
    checkpoints: tuple[Checkpoint, ...]


class Gate(Protocol):
    """Asked about acts, by their positions, where a refusal must not cross a commit."""

    def seal(self, positions: Sequence[int]) -> bool:
        """Asked just before the batch and its COMMIT are sent; False gives the batch up."""

    def unseal(self, positions: Sequence[int]) -> None:
        """Told that a commit whose answer was lost did not happen."""


class OpenGate:
    """Lets every batch pass: for writers whose askers wait as long as it takes."""

    def seal(self, positions: Sequence[int]) -> bool:
        return True

    def unseal(self, positions: Sequence[int]) -> None:
        pass


class Writer:
    """Owns one connection and reopens it. Used by one thread."""

    def __init__(self, connect: Connect, pen: Pen) -> None:
        self._connect = connect
        self._pen = pen
        self._link: Link | None = None
        self._continuity = Continuity()
        self.is_refusing = False
        """Whether nothing is written until a person has acted: the database was set back, or a key is missing."""

    def write(self, acts: Sequence[Act], gate: Gate) -> Written:
        """
        Make the acts durable and answer each alone.

        Raises `Withdrawn` when the gate said no, `LedgerUnavailable` for the batch as a whole.
        """
        written = self._write(acts, range(len(acts)), gate)
        self._continuity.note(written.checkpoints)
        if written.checkpoints:
            self.is_refusing = False
        return written

    def close(self) -> None:
        """End the session. The next batch would open another."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _write(self, acts: Sequence[Act], positions: Sequence[int], gate: Gate) -> Written:
        cause: Exception | None = None
        for attempt in range(_TRIES):
            if attempt > 1:
                time.sleep(_PAUSE_SECONDS * attempt)
            try:
                return self._transact(self._open(), acts, positions, gate)
            except CommitUnknown as lost:
                self.close()
                if self._is_on_chain(lost):
                    return lost.written
                gate.unseal(positions)
                cause = lost
            except DatabaseUnavailable as error:
                if cause is None:  # Down since before this batch: whoever waits behind it hears so at once.
                    raise LedgerUnavailable("ledger: no connection to the database", is_known=True) from error
            except psycopg.errors.ReadOnlySqlTransaction as error:
                # A standby, or a primary that was set aside: another session may reach one that takes writes.
                self.close()
                raise LedgerUnavailable("ledger: the database may only be read", is_known=True) from error
            except SetBack as error:
                self.is_refusing = True
                self.close()
                log().error("ledger_set_back", cause=str(error))
                raise LedgerUnavailable("ledger: the database was set back", is_known=True) from error
            except (BatchBroken, ConnectionLost, RowsMoved, *IN_THE_WAY) as error:
                self._give_up()
                cause = error
            except Withdrawn:
                self._give_up()
                raise
            except (SignerMissing, psycopg.Error, ValueError, TypeError, LookupError, AssertionError) as error:
                self.is_refusing |= isinstance(error, SignerMissing)
                self._give_up()
                return self._one_by_one(acts, positions, gate, error)
        raise LedgerUnavailable("ledger: the batch could not be written", is_known=True) from cause

    def _one_by_one(self, acts: Sequence[Act], positions: Sequence[int], gate: Gate, error: Exception) -> Written:
        """Something of the batch cannot be written: only the act that brought it fails."""
        if len(acts) == 1:
            failed = LedgerUnavailable("act could not be written", is_known=True)
            failed.__cause__ = error
            return Written([failed], ())
        answers: list[Answer | Exception] = []
        checkpoints: dict[str, Checkpoint] = {}
        for act, position in zip(acts, positions, strict=True):
            try:
                written = self._write([act], [position], gate)
            except LedgerUnavailable as unavailable:
                answers.append(unavailable)
            except Withdrawn:
                answers.append(LedgerUnavailable("act was withdrawn", is_known=True))
            else:
                answers += written.answers
                checkpoints.update((checkpoint.tenant, checkpoint) for checkpoint in written.checkpoints)
        return Written(answers, tuple(checkpoints.values()))

    def _transact(self, link: Link, acts: Sequence[Act], positions: Sequence[int], gate: Gate) -> Written:
        tenants = sorted({tenant for act in acts for tenant in _tenants(act)})
        admitted = sorted({*tenants, *(tenant for act in acts for tenant in _tenants_read(act))})
        questions = reading.Questions(acts)
        _, locked, *answers = link.run(  # (1) (2)
            (statements.BEGIN, ()),
            (statements.LOCK_HEADS, [packed.texts(tenants)]),
            *questions.statements,
            admitting=admitted,
        )
        standing = standings(locked)
        self._continuity.require_heads(standing)
        if len(standing) < len(tenants):
            _open_chains(link, [tenant for tenant in tenants if tenant not in standing], self._pen)
            raise RowsMoved
        heads = {tenant: each.head for tenant, each in standing.items()}
        batch = decide(questions.snapshot(answers, heads), acts, lambda act, seq: _run(link, act, seq))  # (3)
        if batch.struck:
            # One more round trip, for acts of agents that went wrong alone.
            lowering.lower(batch, *lowering.read(link, batch))
        if not batch.drafts:
            link.rollback()
            return Written(_answers(batch, {}), ())
        sealings = {  # (4)
            tenant: seal(self._pen, standing[tenant], drafts, batch.snapshot.now_ms)
            for tenant, drafts in batch.drafts.items()
        }
        written = Written(_answers(batch, sealings), tuple(one.sealed.checkpoint for one in sealings.values()))
        if not gate.seal(positions):
            raise Withdrawn
        try:  # (5) (6)
            link.run(*writing.written(batch, sealings), (statements.COMMIT, ()))
        except psycopg.errors.DivisionByZero as error:
            raise RowsMoved from error
        except psycopg.Error as error:
            if not _ends_session(error):
                raise
            first = next(iter(sealings.values()))
            raise CommitUnknown(written, first.before.tenant, first.sealed.entries[0]) from error
        return written

    def _open(self) -> Link:
        if self._link is None or self._link.is_lost:
            self.close()
            connection = self._connect()
            try:
                self._continuity.require_stored(connection)
            except BaseException:
                connection.close()
                raise
            self._link = Link(connection)
        return self._link

    def _give_up(self) -> None:
        try:
            if self._link is not None:
                self._link.rollback()
        except psycopg.Error:
            self.close()

    def _is_on_chain(self, lost: CommitUnknown) -> bool:
        """
        Whether a batch whose commit went unanswered took effect.

        Locking the head waits for the transaction in question: afterwards it has happened or it never will.
        """
        give_up_at = time.monotonic() + _READ_BACK_SECONDS
        while True:
            try:
                link = self._open()
                _, _, entry, _ = link.run(
                    (statements.BEGIN, ()),
                    (statements.LOCK_HEADS, [packed.texts([lost.tenant])]),
                    (statements.READ_ENTRY, [lost.tenant.encode(), packed.long_bytes(lost.entry.seq)]),
                    # What is seen here may still wait for the standby; the lock on the head is written behind it, so
                    # this commit waits for both.
                    (statements.COMMIT, ()),
                    admitting=[lost.tenant],
                )
                return [[lost.entry.body]] == rows(entry)
            except (DatabaseUnavailable, psycopg.Error) as error:
                self.close()
                if time.monotonic() > give_up_at:
                    raise LedgerUnavailable("ledger: commit could not be read back", is_known=False) from error
                time.sleep(_PAUSE_SECONDS)


def _ends_session(error: psycopg.Error) -> bool:
    """
    Whether the server is gone, or said as its last word why it ends the session.

    That word may follow a COMMIT that took effect: it comes with the results of the whole round trip, or in the place
    of their end, which the driver finds strange. What the server refuses has a state.
    """
    return error.sqlstate is None or error.diag.severity_nonlocalized in ("FATAL", "PANIC")


def standings(locked: PGresult) -> dict[str, Standing]:
    """The rows of `LOCK_HEADS`, by tenant."""
    return {
        tenant.decode(): Standing(
            head=chain.Head(
                tenant=tenant.decode(), size=packed.long(size), hash=last, frontier=tree.Frontier.from_bytes(frontier)
            ),
            signer=signer.decode() if signer is not None else None,
            at_ms=packed.long(at_ms) if at_ms is not None else 0,
        )
        for tenant, size, last, frontier, signer, at_ms in rows(locked)
    }


def _open_chains(link: Link, tenants: Sequence[str], pen: Pen) -> None:
    """A tenant's first entry. Its head must be committed before it can be locked; then everything is read again."""
    link.rollback()
    fresh = chain.Head(tenant=tenants[0])
    signer = pen.signers.current.key_id.encode()
    parameters = [packed.texts(tenants), fresh.hash, fresh.frontier.to_bytes(), signer, SYSTEM.encode()]
    link.run((statements.ADD_HEADS, parameters), admitting=sorted({*tenants, SYSTEM}))


def _run(link: Link, act: Settle, seq: int) -> Finished:
    """A governance act and its `finish`, of which nothing stays when either fails."""
    if act.act is None or act.finish is None:
        raise ValueError("governance settlement: expected both `act` and `finish`")
    link.command(b"savepoint act")
    try:
        with link.connection.cursor() as cursor:
            result = act.act(cursor, seq)
        finished = act.finish(result)
    except ActRefused as refused:
        link.command(b"rollback to savepoint act")
        return act.finish(refused)
    except Exception as error:
        if link.is_lost:
            raise BatchBroken from error
        link.command(b"rollback to savepoint act")
        raise
    link.command(b"release savepoint act")
    return finished


def _answers(batch: Batch, sealings: Mapping[str, Sealing]) -> list[Answer | Exception]:
    documents = {tenant: sealing.sealed.checkpoint.document() for tenant, sealing in sealings.items()}
    answers: list[Answer | Exception] = []
    for verdict in batch.verdicts:
        if not isinstance(verdict, Due):
            answers.append(verdict)
            continue
        sealing = sealings[verdict.tenant]
        entry = sealing.sealed.entries[verdict.index]
        placed = Placed(
            seq=entry.seq,
            at_ms=sealing.sealed.checkpoint.at_ms,
            body=entry.body,
            path=entry.path,
            checkpoint=documents[verdict.tenant],
            salt=sealing.salts[verdict.index],
        )
        answers.append(verdict.complete(placed))
    return answers


def _tenants(act: Act) -> Iterator[str]:
    """Whose chains the act may write to."""
    match act:
        case Append():
            yield act.entry.tenant
        case Park() | Intend():
            yield act.row.tenant
            yield act.entry.tenant
        case Settle() | Close():
            yield act.tenant
            yield act.entry.tenant
        case Approve():
            yield act.approval.tenant
            yield act.entry.tenant
        case Lower():
            yield act.tenant
        case _:
            assert_never(act)


def _tenants_read(act: Act) -> Iterator[str]:
    """Whose rows the act may see besides: a switch may stand at the system tenant, and governance may move it there."""
    if isinstance(act, Intend | Approve):
        yield from (tenant for tenant, _, _ in act.kills)
    elif is_governance(act):
        yield SYSTEM
