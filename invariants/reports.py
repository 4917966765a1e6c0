"""What a proof run found, as values that can be stored, signed and shown. Nothing here needs a solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from invariants.errors import InvariantError
from proofs.claims import Verdict

__all__ = ["Finding", "ProofReport", "SolverUsed", "Verdict", "finding", "hollow"]

_TEXTS = ("kind", "invariant", "sentence", "rule", "action", "principal", "resource", "reason", "where", "digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The verdict on one obligation."""

    kind: str = "invariant"
    """See `obligations.Kind`; or `lives`."""
    invariant: str = ""
    """Empty for the other kinds."""
    sentence: str = ""
    rule: str = ""
    """With kind `lives`: some question satisfies this rule."""
    action: str
    """Empty: the invariant covers no action, or the finding is about a rule."""
    principal: str = ""
    resource: str = ""
    """Entity types; with the action the type of request."""
    verdict: Verdict
    reason: str = ""
    """Why the verdict is what it is, from the closed list of `docs/invariants.md`."""
    where: str = ""
    """The rule, and where in it, that has no meaning here, or that errs."""
    digest: str = ""
    """Of the obligation's text. Empty where none could be written."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """Solver -> what it said to the question whether the obligation's goal can hold: `sat`, `unsat` or `unknown`."""
    counter_example: Mapping[str, Any] | None = None
    """A question document that the engine answers as said; set exactly when refuted."""
    value: int | None = None
    limit: int | None = None
    """Both sides of the comparison that the counter-example fails."""

    @property
    def key(self) -> tuple[str, ...]:
        """What was asked."""
        return self.kind, self.invariant, self.rule, self.action, self.principal

    def document(self) -> dict[str, Any]:
        """Canonical JSON members."""
        return {
            "kind": self.kind,
            "invariant": self.invariant,
            "sentence": self.sentence,
            "rule": self.rule,
            "action": self.action,
            "principal": self.principal,
            "resource": self.resource,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "where": self.where,
            "digest": self.digest,
            "answers": dict(self.answers),
            "counter_example": None if self.counter_example is None else dict(self.counter_example),
            "value": self.value,
            "limit": self.limit,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverUsed:
    """Who answered, and how it was set."""

    name: str
    version: str
    options: tuple[str, ...]
    """`name=value`, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofReport:
    """Every obligation of a bundle with its verdict, and what the verdicts rest on."""

    findings: tuple[Finding, ...]
    solvers: tuple[SolverUsed, ...]
    """Those that said who they are; a worker that died before it could is missing."""
    engine: str
    encoder: str
    assumptions: tuple[str, ...]

    @property
    def is_proved(self) -> bool:
        """Whether the bundle may be published. A bundle without invariants shows nothing, so it may not."""
        return any(finding.invariant for finding in self.findings) and not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """What stands in the way."""
        return tuple(finding for finding in self.findings if finding.verdict is not Verdict.PROVED)

    @property
    def solver_names(self) -> str:
        """For people."""
        return " and ".join(f"{solver.name} {solver.version}" for solver in self.solvers) or "no solver"

    def document(self) -> dict[str, Any]:
        """Canonical JSON members."""
        return {
            "solvers": {each.name: {"version": each.version, "options": list(each.options)} for each in self.solvers},
            "engine": self.engine,
            "encoder": self.encoder,
            "assumptions": list(self.assumptions),
            "obligations": [finding.document() for finding in self.findings],
        }


def hollow(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The same findings; where no request of any type is permitted, with vacuous premises: nothing was shown at all."""
    premises = [each for each in findings if each.kind == "premise"]
    if not premises or any(each.reason != "nothing_permitted" for each in premises):
        return findings
    return tuple(
        replace(each, verdict=Verdict.VACUOUS, reason="bundle_permits_nothing") if each.kind == "premise" else each
        for each in findings
    )


def finding(document: Mapping[str, Any]) -> Finding:
    """
    Read what `Finding.document` wrote.

    Raises `InvariantError` for anything else: a worker that ran out of memory may have written half of it.
    """
    try:
        read = Finding(**{**document, "verdict": Verdict(document["verdict"])})
    except (KeyError, TypeError, ValueError) as error:
        raise InvariantError("not a finding") from error
    if not all(isinstance(document.get(name, ""), str) for name in _TEXTS) or not _are_texts(read.answers):
        raise InvariantError("texts expected")
    if not all(isinstance(each, int | None) for each in (read.value, read.limit)):
        raise InvariantError("numbers expected")
    if not isinstance(read.counter_example, dict | None):
        raise InvariantError("a question as counter-example expected")
    if (read.verdict is Verdict.REFUTED) is not (read.counter_example is not None):
        raise InvariantError("a counter-example exactly where refuted expected")
    return read


def _are_texts(answers: object) -> bool:
    return isinstance(answers, dict) and all(isinstance(each, str) for each in (*answers, *answers.values()))
