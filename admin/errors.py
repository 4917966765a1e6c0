"""How a command ends other than well: one sentence, the next step, and an exit code that scripts can rely on.

code  meaning
0     done: executed, answered, verified
1     a definite no: refused, failed, not verified, a check did not pass
2     the command itself cannot be understood
3     could not find out: unreachable, unavailable, rate limited
4     parked: somebody has to approve
5     in doubt: the outcome is unknown, ask again by call id

What a solver is asked has codes of its own (`Found`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, unique
from typing import Any


@unique
class Exit(IntEnum):
    """What the shell sees."""

    DONE = 0
    NO = 1
    USAGE = 2
    UNKNOWN = 3
    PARKED = 4
    IN_DOUBT = 5


@unique
class Found(IntEnum):
    """What the shell sees of a command that asks a solver."""

    YES = 0
    NO = 1
    UNKNOWN = 2
    BAD_INPUT = 3


class CommandError(Exception):
    """The command cannot go on. `next_step` is something that the reader can do now."""

    def __init__(
        self, sentence: str, next_step: str, *, code: IntEnum = Exit.USAGE, document: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.next_step = next_step
        self.code = code
        self.document = document
        """What the gateway answered, for `--json`."""
