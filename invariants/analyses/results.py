"""What an analysis found, as values that can be stored and shown. Nothing here needs a solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from invariants.errors import InvariantError


@unique
class Analysis(StrEnum):
    """The questions in the order in which a reviewer asks, by the name that commands and documents use."""

    NEVER_ERRS = "never_errs"
    DECISIVE = "decisive"
    ALWAYS = "always"
    IRREVERSIBLE_APPROVED = "irreversible_approved"
    DUTIES_SEPARATED = "duties_separated"
    TENANTS_ISOLATED = "tenants_isolated"
    NOBODY_LOCKED_OUT = "nobody_locked_out"
    DIFFERENCE = "difference"


@unique
class Verdict(StrEnum):
    """The closed list; `docs/analyses.md` says what each means for which question."""

    HOLDS = "holds"
    FAILS = "fails"
    OUTSIDE = "outside"
    """Not a matter of rules: something else holds it, or nothing does. The reason says which."""
    DECISIVE = "decisive"
    REDUNDANT = "redundant"
    SHADOWED = "shadowed"
    DEAD = "dead"
    EQUIVALENT = "equivalent"
    MORE_PERMISSIVE = "more_permissive"
    LESS_PERMISSIVE = "less_permissive"
    INCOMPARABLE = "incomparable"
    ADDED = "added"
    REMOVED = "removed"
    ALWAYS_ALLOWS = "always_allows"
    ALWAYS_DENIES = "always_denies"
    DEPENDS = "depends"
    UNKNOWN = "unknown"
    """Nobody found out. Never a yes."""
    ENCODING_BUG = "encoding_bug"
    """The engine does not do with the solver's question what the solver says: one of the two meanings is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A question that shows something, put to the real engine before anyone sees it."""

    shows: str
    """What the engine does with it, from the closed list of `docs/analyses.md`."""
    question: Mapping[str, Any]
    """As `Question.document` writes it."""

    def document(self) -> dict[str, Any]:
        """Canonical JSON members."""
        return {"shows": self.shows, "question": dict(self.question)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to one question about one subject."""

    analysis: Analysis
    subject: str = ""
    """A rule, where the question is about rules."""
    action: str = ""
    principal: str = ""
    """With the action the type of request. Both empty: the answer is about all of them together."""
    verdict: Verdict
    reason: str = ""
    where: str = ""
    """With a refused form: the rule that uses it."""
    witnesses: tuple[Witness, ...] = ()
    rules: tuple[str, ...] = ()
    """Each of these alone makes the subject redundant or shadowed."""
    accepted: str = ""
    """Why the bundle's author says that the rule may stay although it decides nothing."""

    def document(self) -> dict[str, Any]:
        """Canonical JSON members."""
        return {
            "analysis": self.analysis.value,
            "subject": self.subject,
            "action": self.action,
            "principal": self.principal,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "where": self.where,
            "witnesses": [witness.document() for witness in self.witnesses],
            "rules": list(self.rules),
            "accepted": self.accepted,
        }


def read(document: Mapping[str, Any]) -> Result:
    """
    Read what `Result.document` wrote.

    Raises `InvariantError` for anything else: a worker that ran out of memory may have written half of it.
    """
    try:
        return Result(
            **{
                **document,
                "analysis": Analysis(document["analysis"]),
                "verdict": Verdict(document["verdict"]),
                "witnesses": tuple(Witness(**each) for each in document["witnesses"]),
                "rules": tuple(document["rules"]),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvariantError("not a result") from error
