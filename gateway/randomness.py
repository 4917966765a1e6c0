"""Randomness, passed in, so that a run can be replayed from a seed."""

from __future__ import annotations

import os
import threading
import uuid
from typing import Protocol


class Randomness(Protocol):
    """Unpredictable bytes and ids. Two implementations: `SystemRandomness`, and the tests' seeded one."""

    def bytes(self, count: int) -> bytes: ...

    def uuid(self) -> uuid.UUID: ...


_DRAWN = 4096  # One system call for about a hundred salts.


class SystemRandomness(threading.local):
    """The kernel's generator. Each thread draws in advance: a system call would let go of the interpreter each time."""

    def __init__(self) -> None:
        self._drawn = b""
        self._used = 0

    def bytes(self, count: int) -> bytes:
        end = self._used + count
        if end > len(self._drawn):
            self._drawn, self._used, end = os.urandom(max(count, _DRAWN)), 0, count
        taken = self._drawn[self._used : end]
        self._used = end
        return taken

    def uuid(self) -> uuid.UUID:
        return uuid.UUID(bytes=self.bytes(16), version=4)
