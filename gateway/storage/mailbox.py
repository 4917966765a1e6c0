"""How requests pass from the asyncio loop to a worker thread, and answers back.

What arrives while the thread is busy is taken together, so a batch forms without a timer. Everyone is answered in time:
whoever waits longer than `patience_seconds` is told what is known. A letter that was not yet *sealed* (its commit not
yet sent) is withdrawn, and the thread will not carry it out; a sealed one may have happened.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Generic, TypeVar

from gateway.ledger import PATIENCE_SECONDS, LedgerUnavailable

Request = TypeVar("Request")
Reply = TypeVar("Reply")

_WATCH_SECONDS = 0.1


class Letter(Generic[Request, Reply]):
    """One request on its way, and the future that its sender awaits."""

    __slots__ = ("ends_at", "future", "is_sealed", "is_withdrawn", "request")

    def __init__(self, request: Request, future: asyncio.Future[Reply], ends_at: float) -> None:
        self.request = request
        self.future = future
        self.ends_at = ends_at
        self.is_sealed = False
        self.is_withdrawn = False


class Mailbox(Generic[Request, Reply]):
    """A bounded queue between one asyncio loop and one thread."""

    def __init__(self, *, letters_max: int, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._letters_max = letters_max
        self._patience = patience_seconds
        self._queue: SimpleQueue[list[Letter[Request, Reply]] | None] = SimpleQueue()
        self._outgoing: list[Letter[Request, Reply]] = []
        """Sent in this turn of the loop: handed over together, since each hand-over wakes the thread."""
        self._left: list[Letter[Request, Reply]] = []
        """The thread's own: what a batch had no room for."""
        self._lock = threading.Lock()
        self._waiting: dict[Letter[Request, Reply], None] = {}
        self._watching: asyncio.TimerHandle | None = None
        self._is_closed = False

    # On the loop.

    def send(self, request: Request, *, patience_seconds: float | None = None) -> asyncio.Future[Reply]:
        """
        Hand over a request; the future gives its reply. An asker of less patience than the box is told earlier.

        Raises `LedgerUnavailable`, with nothing done, when the box is full, closed, or its thread has been stuck.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._is_closed:
            raise LedgerUnavailable("ledger: closed", is_known=True)
        if len(self._waiting) >= self._letters_max:
            raise LedgerUnavailable(f"ledger: {self._letters_max} requests are waiting", is_known=True)
        patience = self._patience if patience_seconds is None else min(patience_seconds, self._patience)
        letter: Letter[Request, Reply] = Letter(request, loop.create_future(), now + patience)
        self._waiting[letter] = None
        if not self._outgoing:
            loop.call_soon(self._hand_over)
        self._outgoing.append(letter)
        if self._watching is None:
            self._watching = loop.call_later(_WATCH_SECONDS, self._watch, loop)
        return letter.future

    def close(self) -> None:
        """Take nothing more. What is queued is still carried out."""
        self._is_closed = True
        self._hand_over()
        self._queue.put(None)

    def _hand_over(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing:
            self._queue.put(outgoing)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watching = None
        now = loop.time()
        for letter in [letter for letter in self._waiting if letter.ends_at <= now]:
            with self._lock:
                letter.is_withdrawn = not letter.is_sealed
            del self._waiting[letter]
            if not letter.future.done():
                letter.future.set_exception(
                    LedgerUnavailable("ledger: no answer in time", is_known=letter.is_withdrawn)
                )
        if self._waiting:
            self._watching = loop.call_later(_WATCH_SECONDS, self._watch, loop)

    # On the thread.

    def take(self, letters_max: int) -> list[Letter[Request, Reply]]:
        """Wait for letters and take what is there. An empty list: the box is closed and empty."""
        while True:
            letters, self._left = self._left, []
            while not letters or (len(letters) < letters_max and not self._queue.empty()):
                more = self._queue.get()
                if more is None:
                    self._queue.put(None)  # Seen again once these are done.
                    break
                letters += more
            if not letters:
                return []
            letters, self._left = letters[:letters_max], letters[letters_max:]
            letters = [letter for letter in letters if not letter.is_withdrawn]
            if letters:
                return letters

    def seal(self, letters: Sequence[Letter[Request, Reply]]) -> bool:
        """Say that these are about to become durable. False, sealing none, when one was withdrawn meanwhile."""
        with self._lock:
            if any(letter.is_withdrawn for letter in letters):
                return False
            for letter in letters:
                letter.is_sealed = True
            return True

    def unseal(self, letters: Iterable[Letter[Request, Reply]]) -> None:
        """Say that these are known not to have become durable, so that they may be tried again."""
        with self._lock:
            for letter in letters:
                letter.is_sealed = False
                letter.is_withdrawn = letter.future.done()  # Told "unknown", or gone: nobody waits for a second try.

    def deliver(self, answered: Sequence[tuple[Letter[Request, Reply], Reply | Exception]]) -> None:
        """Answer letters, with one wake-up of the loop for all of them."""
        if not answered:
            return
        with suppress(RuntimeError):  # The loop has ended, and with it everyone who waited.
            answered[0][0].future.get_loop().call_soon_threadsafe(self._resolve, answered)

    def _resolve(self, answered: Sequence[tuple[Letter[Request, Reply], Reply | Exception]]) -> None:
        for letter, reply in answered:
            self._waiting.pop(letter, None)
            if letter.future.done():
                continue  # Its sender left, or was told earlier that no answer came.
            if isinstance(reply, Exception):
                letter.future.set_exception(reply)
            else:
                letter.future.set_result(reply)
