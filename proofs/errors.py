"""Everything that can be wrong with a piece of evidence.

EvidenceError                 every class has a stable `reason`
├─ NotCanonical               bytes or values without a canonical form
│  ├─ Malformed               not JSON as we read it
│  └─ OutsideProfile          JSON, but outside the narrow profile
├─ Misshapen                  a document lacks a member, has one too many, or one of another kind
├─ LineUnreadable            a line of an export that does not read, with its number
├─ KeyUnreadable              a key, key file or keys file that we will not use
└─ VerificationError          well formed, and wrong

No message holds a value out of the evidence beyond ids, digests and numbers.
"""

from __future__ import annotations


class EvidenceError(ValueError):
    """Evidence that cannot be used; `reason` is stable, the message is for people."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class NotCanonical(EvidenceError):
    """Bytes or a value that have no canonical form."""


class Malformed(NotCanonical):
    """Not JSON as we read it: a client gets 400."""


class OutsideProfile(NotCanonical):
    """JSON, but outside the profile of `canonical`: a client gets 422."""


class Misshapen(EvidenceError):
    """A document without exactly the members that its form asks for."""


class LineUnreadable(EvidenceError):
    """A line of an export that does not read."""

    def __init__(self, line: int, cause: EvidenceError) -> None:
        super().__init__(cause.reason, str(cause))
        self.line = line


class KeyUnreadable(EvidenceError):
    """A key, a key file or a keys file that we will not use."""


class VerificationError(EvidenceError):
    """Evidence that reads well and does not hold."""
