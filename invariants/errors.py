"""What can go wrong while giving Cedar a meaning.

InvariantError
├─ Unsupported       a form outside the supported ones: refused a meaning, never approximated
├─ EvaluationError   a supported expression errs on this question, as it would in Cedar
├─ Unreadable        a set of invariants that does not have the agreed shape
└─ Busy              too many proofs wait for their turn
"""

from __future__ import annotations


class InvariantError(Exception):
    """Root of this package's exceptions."""


class Unsupported(InvariantError):
    """An expression uses a Cedar form to which this module gives no meaning."""

    def __init__(self, reason_code: str, where: str) -> None:
        super().__init__(f"{where}: `{reason_code}`")
        self.reason_code = reason_code
        """Stable and from a closed list, see `docs/invariants.md`."""
        self.where = where
        """The rule and clause, never text of the policy."""


class EvaluationError(InvariantError):
    """Cedar would report an error here: missing attribute, wrong type, overflow."""


class Unreadable(InvariantError):
    """Invariants must be `forbid` policies with a unique `@id` and a `@sentence`."""


class Busy(InvariantError):
    """Too many proofs wait for their turn already: the same upload may be tried again later."""
