"""What is found out about a plan, as values that can be shown and stored. Nothing here needs a solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from invariants.reports import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """How a call passes a ceiling: everything that the plan left open, as small as it can be."""

    failing: int | None
    """The call that fails before, from 1. None: every call before it succeeds."""
    amount: int
    standing: int
    """Reserved and spent on the counter before the call."""
    ceiling: int
    values: Mapping[str, int]
    """`call 1: arguments.amount_cents` and the like: every interval, and what was left out."""

    def document(self) -> dict[str, Any]:
        """JSON members."""
        return {
            "failing": self.failing,
            "amount": self.amount,
            "standing": self.standing,
            "ceiling": self.ceiling,
            "values": dict(self.values),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFinding:
    """The verdict on one call and one of its counters, over every way in which the calls before may end."""

    call: int
    """Its place in the plan, from 1: the prefix that ends with it."""
    tool: str
    limit: str
    counter: str
    is_soft: bool
    verdict: Verdict
    reason: str
    digest: str
    """Of the obligation's text."""
    example: Example | None = None

    def document(self) -> dict[str, Any]:
        """JSON members."""
        return {
            "call": self.call,
            "tool": self.tool,
            "limit": self.limit,
            "counter": self.counter,
            "soft": self.is_soft,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "digest": self.digest,
            "example": None if self.example is None else self.example.document(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What was found. It ends with the first prefix that is not proved: what comes after it would not happen."""

    calls: int
    """Of the plan."""
    findings: tuple[PlanFinding, ...]

    @property
    def verdict(self) -> Verdict:
        """Of the whole plan. A soft ceiling refuses nothing, so it decides nothing here."""
        found = {finding.verdict for finding in self.findings if not finding.is_soft}
        if found <= {Verdict.PROVED}:
            return Verdict.PROVED
        return Verdict.REFUTED if Verdict.REFUTED in found else Verdict.UNKNOWN

    def document(self) -> dict[str, Any]:
        """JSON members."""
        findings = [finding.document() for finding in self.findings]
        return {"verdict": self.verdict.value, "calls": self.calls, "findings": findings}
