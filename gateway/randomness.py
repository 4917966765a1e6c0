"""Randomness, passed in, so that a run can be replayed from a seed."""

from __future__ import annotations

import os
import uuid
from typing import Protocol


class Randomness(Protocol):
    """Unpredictable bytes and ids. Two implementations: `SystemRandomness`, and the tests' seeded one."""

    def bytes(self, count: int) -> bytes: ...

    def uuid(self) -> uuid.UUID: ...


class SystemRandomness:
    """The kernel's generator."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def uuid(self) -> uuid.UUID:
        return uuid.uuid4()
