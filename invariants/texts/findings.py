"""What is said of one template and one banned pattern. Nothing here needs a solver.

A finding crosses from the process that solves as JSON, and is read strictly: whatever is missing stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from invariants.errors import InvariantError
from invariants.jobs import ProofLimits
from invariants.reports import Verdict
from invariants.texts.documents import Texts

RESOURCES = 20_000_000
"""Z3's own deterministic unit, for one template and one pattern: a template of four slots needs a hundredth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextJob:
    """What the process that solves is given."""

    texts: Texts
    limits: ProofLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A text, what its slots hold, and where the pattern is found in it."""

    values: Mapping[str, str]
    text: str
    start: int
    end: int

    def document(self) -> dict[str, Any]:
        """As JSON members."""
        return {"values": dict(self.values), "text": self.text, "start": self.start, "end": self.end}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFinding:
    """The verdict on one template and one pattern."""

    template: str
    banned: str
    verdict: Verdict
    reason: str
    """From the closed list of `docs/texts.md`."""
    digests: tuple[str, ...] = ()
    """Of what each solver was asked."""
    answers: Mapping[str, str] = field(default_factory=dict)
    example: Example | None = None
    """Set exactly when refuted."""

    @property
    def key(self) -> tuple[str, str]:
        """What was asked."""
        return self.template, self.banned

    def document(self) -> dict[str, Any]:
        """As JSON members."""
        return {
            "template": self.template,
            "banned": self.banned,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "digests": list(self.digests),
            "answers": dict(self.answers),
            "example": None if self.example is None else self.example.document(),
        }


def planned(texts: Texts, reason: str) -> Iterator[TextFinding]:
    """Every template against every banned pattern, not answered for that reason."""
    for template in texts.templates:
        for banned in texts.against(template):
            yield TextFinding(template=template.id, banned=banned.id, verdict=Verdict.UNKNOWN, reason=reason)


def read(document: Mapping[str, Any]) -> TextFinding:
    """The finding of a document. Raises `InvariantError`."""
    try:
        example = document["example"]
        return TextFinding(
            **{
                **document,
                "verdict": Verdict(document["verdict"]),
                "digests": tuple(document["digests"]),
                "example": None if example is None else Example(**example),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvariantError("a finding about a text expected") from error
