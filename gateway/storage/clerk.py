"""One thread and one session that answer what requests ask of the database, together.

Questions that arrive while an answer is on its way share the next round trip. A session that ended between two of them
is opened anew, once; what a question did on the one that was lost may be done again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import psycopg

from gateway.ledger import LedgerUnavailable
from gateway.storage.connections import DatabaseUnavailable
from gateway.storage.link import Connect, Link
from gateway.storage.mailbox import Letter, Mailbox

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

TOGETHER_MAX = 256
"""Questions of one round trip."""
WAITING_MAX = 8192
"""Questions that wait. More is overload, and overload is told."""
_STOP_SECONDS = 5.0


class Clerk(Generic[Asked, Answered]):
    """Bound to the loop that asks."""

    def __init__(
        self,
        connect: Connect,
        answer: Callable[[Link, Sequence[Asked]], list[Answered]],
        *,
        name: str,
        first: bytes = b"",
    ) -> None:
        self._connect = connect
        self._answer = answer
        self._first = first
        """What each new session is told before it is used."""
        self._link: Link | None = None
        self._mailbox: Mailbox[Asked, Answered] = Mailbox(letters_max=WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name=f"lockgate-{name}", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more questions, answer those that wait, end the session. Blocks for seconds at most."""
        self._mailbox.close()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    async def ask(self, question: Asked) -> Answered:
        """Answer one question. Raises `LedgerUnavailable` within two seconds whatever the database does."""
        return await self._mailbox.send(question)

    def _run(self) -> None:
        while letters := self._mailbox.take(TOGETHER_MAX):
            self._mailbox.deliver(self._answers(letters))
        self._close()

    def _answers(
        self, letters: list[Letter[Asked, Answered]]
    ) -> list[tuple[Letter[Asked, Answered], Answered | Exception]]:
        asked = [letter.request for letter in letters]
        try:
            try:
                return list(zip(letters, self._answer(self._open(), asked), strict=True))
            except psycopg.OperationalError:
                # The session ended between two reads, or was cut; once more on a new one.
                self._close()
                return list(zip(letters, self._answer(self._open(), asked), strict=True))
        except Exception as error:  # noqa: BLE001 - the thread's outermost loop: askers are told, and it goes on
            self._close()
            return [(letter, _unavailable(error)) for letter in letters]

    def _open(self) -> Link:
        if self._link is None or self._link.is_lost:
            self._close()
            self._link = Link(self._connect())
            if self._first:
                self._link.command(self._first)
        return self._link

    def _close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


def _unavailable(error: Exception) -> LedgerUnavailable:
    told = "no connection to the database" if isinstance(error, DatabaseUnavailable) else "could not be read"
    unavailable = LedgerUnavailable(f"ledger: {told}", is_known=True)
    unavailable.__cause__ = error
    return unavailable
