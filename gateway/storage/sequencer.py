"""Group commit: one writer thread gathers what arrived during the last flush into one transaction.

There is no timer. At one client a batch is one act and nothing waits; under load the flush itself makes the batch.
Answers go back to the asyncio loop after the commit, one wake-up for each batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from gateway.ledger import Act, Answer, Intend, LedgerUnavailable
from gateway.storage.mailbox import Letter, Mailbox
from gateway.storage.writer import Withdrawn, Writer
from proofs.checkpoints import Checkpoint

ACTS_MAX = 256
"""Acts of one transaction: beyond it the batch takes longer than its flush, and nothing more is saved."""
WAITING_MAX = 4096
"""Acts that wait for the writer. More is overload, and overload is told."""
_STOP_SECONDS = 5.0

ActLetter = Letter[Act, Answer]


class Sequencer:
    """The one writer of this process. Bound to the loop that calls `commit`."""

    def __init__(
        self,
        writer: Writer,
        *,
        on_checkpoints: Callable[[Sequence[Checkpoint]], None] = lambda checkpoints: None,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._writer = writer
        self._on_checkpoints = on_checkpoints
        self._mailbox: Mailbox[Act, Answer] = Mailbox(letters_max=waiting_max)
        self._thread = threading.Thread(target=self._run, name="lockgate-sequencer", daemon=True)

    def start(self) -> None:
        """Begin to take acts."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more acts, carry out what waits, end the session. Blocks for seconds at most."""
        self._mailbox.close()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    @property
    def is_refusing(self) -> bool:
        """Whether nothing is written until a person has acted."""
        return self._writer.is_refusing

    async def commit(self, act: Act) -> Answer:
        """
        Make an act durable; the answer comes after the commit. A caller who is cancelled does not undo it.

        Raises `LedgerUnavailable` within two seconds whatever the database does.
        """
        if isinstance(act, Intend):
            return await self._mailbox.send(act, patience_seconds=act.patience_seconds)
        return await self._mailbox.send(act)

    def _run(self) -> None:
        while letters := self._mailbox.take(ACTS_MAX):
            self._mailbox.deliver(self._write(letters))
        self._writer.close()

    def _write(self, letters: list[ActLetter]) -> list[tuple[ActLetter, Answer | Exception]]:
        while letters:
            try:
                written = self._writer.write([letter.request for letter in letters], _Seal(self._mailbox, letters))
            except Withdrawn:
                letters = [letter for letter in letters if not letter.is_withdrawn]
                continue
            except LedgerUnavailable as unavailable:
                return [(letter, _copy(unavailable)) for letter in letters]
            except Exception as error:  # noqa: BLE001 - the thread's outermost loop: askers are told, and it goes on
                return [(letter, _unforeseen(error)) for letter in letters]
            self._on_checkpoints(written.checkpoints)
            return list(zip(letters, written.answers, strict=True))
        return []


class _Seal:
    """The gate between the writer's commits and what the mailbox has told the askers."""

    def __init__(self, mailbox: Mailbox[Act, Answer], letters: Sequence[ActLetter]) -> None:
        self._mailbox = mailbox
        self._letters = letters

    def seal(self, positions: Sequence[int]) -> bool:
        return self._mailbox.seal([self._letters[position] for position in positions])

    def unseal(self, positions: Sequence[int]) -> None:
        self._mailbox.unseal([self._letters[position] for position in positions])


def _copy(unavailable: LedgerUnavailable) -> LedgerUnavailable:
    """One exception for each asker: a shared one would gather every asker's traceback."""
    copy = LedgerUnavailable(str(unavailable), is_known=unavailable.is_known)
    copy.__cause__ = unavailable.__cause__
    return copy


def _unforeseen(error: Exception) -> LedgerUnavailable:
    # How far the batch came is not known here, so neither is its outcome.
    unavailable = LedgerUnavailable("ledger: unforeseen failure", is_known=False)
    unavailable.__cause__ = error
    return unavailable
