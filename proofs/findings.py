"""What a verification found wrong, and where: one form for all checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with an export."""

    line: int
    """Line of the export, from 1."""
    seq: int | None
    """The entry concerned; for a missing one, the number that it should have. None where no entry is."""
    reason: str
    """Stable name."""
    cause: str
    """What is wrong, for people."""

    @property
    def message(self) -> str:
        """Place and cause in one line."""
        place = f"line {self.line}" if self.seq is None else f"entry {self.seq} (line {self.line})"
        return f"{place}: {self.cause}"

    def document(self) -> dict[str, Any]:
        """The finding as JSON members."""
        return {"line": self.line, "seq": self.seq, "reason": self.reason, "message": self.message}


Report = Callable[[str, str], None]
"""Takes reason and cause of something wrong with the entry at hand."""
