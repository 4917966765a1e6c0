"""What a proof run found, as values that can be stored, signed and shown. Nothing here needs a solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from invariants.errors import InvariantError


@unique
class Verdict(StrEnum):
    """The closed list. Only `PROVED` lets a bundle be published; all else refuses."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"
    VACUOUS = "vacuous"
    ENCODING_BUG = "encoding_bug"
    """The solver's question is not permitted by the engine, or not a violation: one of the two meanings is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The verdict on one obligation."""

    invariant: str
    sentence: str
    action: str
    """Empty: the invariant covers no action."""
    verdict: Verdict
    reason: str = ""
    """Why the verdict is what it is, from the closed list of `docs/invariants.md`."""
    where: str = ""
    """With a refused form: the rule that uses it."""
    digest: str = ""
    """Of the obligation's text. Empty where none could be written."""
    counter_example: Mapping[str, Any] | None = None
    """A question document that the engine allows; set exactly when refuted."""
    value: int | None = None
    limit: int | None = None
    """Both sides of the comparison that the counter-example fails."""

    def document(self) -> dict[str, Any]:
        """Canonical JSON members."""
        return {
            "invariant": self.invariant,
            "sentence": self.sentence,
            "action": self.action,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "where": self.where,
            "digest": self.digest,
            "counter_example": None if self.counter_example is None else dict(self.counter_example),
            "value": self.value,
            "limit": self.limit,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofReport:
    """Every obligation of a bundle with its verdict, and what the verdicts rest on."""

    findings: tuple[Finding, ...]
    solver: str
    """Name and version. Empty when the worker died before it could say."""
    engine: str
    encoder: str
    assumptions: tuple[str, ...]

    @property
    def is_proved(self) -> bool:
        """Whether the bundle may be published. A bundle without obligations shows nothing, so it may not."""
        return bool(self.findings) and all(finding.verdict is Verdict.PROVED for finding in self.findings)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What stands in the way."""
        return tuple(finding for finding in self.findings if finding.verdict is not Verdict.PROVED)

    def document(self) -> dict[str, Any]:
        """Canonical JSON members."""
        return {
            "solver": self.solver,
            "engine": self.engine,
            "encoder": self.encoder,
            "assumptions": list(self.assumptions),
            "obligations": [finding.document() for finding in self.findings],
        }


def finding(document: Mapping[str, Any]) -> Finding:
    """
    Read what `Finding.document` wrote.

    Raises `InvariantError` for anything else: a worker that ran out of memory may have written half of it.
    """
    try:
        read = Finding(**{**document, "verdict": Verdict(document["verdict"])})
    except (KeyError, TypeError, ValueError) as error:
        raise InvariantError("not a finding") from error
    if (read.verdict is Verdict.REFUTED) is not (read.counter_example is not None):
        raise InvariantError("a counter-example exactly where refuted expected")
    return read
