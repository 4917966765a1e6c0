"""What can be wrong with texts before anything is proved.

InvariantError
├─ PatternRefused   a pattern that is malformed, too large, or beyond regular languages
└─ TextsUnreadable  a document of templates and banned patterns that does not have the agreed shape
"""

from __future__ import annotations

from invariants.errors import InvariantError


class PatternRefused(InvariantError):
    """A pattern to which no regular language is given."""

    def __init__(self, reason_code: str, position: int) -> None:
        super().__init__(f"pattern at {position}: `{reason_code}`")
        self.reason_code = reason_code
        """Stable and from a closed list, see `docs/texts.md`."""
        self.position = position
        """Characters before the one that is refused."""


class TextsUnreadable(InvariantError):
    """The document names what it expected, never what a stranger wrote."""
