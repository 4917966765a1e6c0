"""What a mutation score is made of, as values that can be stored, signed and shown. Nothing here needs a solver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from typing import Any

from invariants.errors import InvariantError
from invariants.strength.mutants import Mistake, Mutant
from policies import cedar_syntax
from proofs.certificates import Mutation


@unique
class Verdict(StrEnum):
    """What became of a mutant."""

    PROOF = "proof"
    """A question is permitted that violates an invariant, or a tool is out of everybody's reach."""
    NEVER_ERRS = "never_errs"
    """A forbid errs on some question."""
    DEAD_RULE = "dead_rule"
    """No question satisfies the mutated rule."""
    CASES = "cases"
    """A case of the bundle is decided otherwise, or by other rules."""
    EQUIVALENT = "equivalent"
    """Permits and errs on the same questions as the rule itself: no mistake."""
    SURVIVOR = "survivor"
    """Nobody would notice."""
    UNKNOWN = "unknown"
    """The solver gave up, or a form has no exact meaning. Counts as not caught."""


CAUGHT = (Verdict.PROOF, Verdict.NEVER_ERRS, Verdict.DEAD_RULE, Verdict.CASES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One mutant and what became of it."""

    mutant: Mutant
    verdict: Verdict
    by: str = ""
    """The invariant (or `premise`), the erring or dead rule, the case; of an unknown the reason."""
    question: Mapping[str, Any] | None = None
    """The question that shows it. Of a survivor: one that the bundle and the mutant decide differently."""
    before: bool | None = None
    """Of a survivor: whether the bundle permits that question. The mutant does not, or the other way round."""

    def document(self) -> dict[str, Any]:
        """Canonical JSON members."""
        return {
            "mutant": self.mutant.id,
            "rule": self.mutant.rule,
            "mistake": self.mutant.mistake.value,
            "sentence": self.mutant.sentence,
            "text": self.mutant.text,
            "verdict": self.verdict.value,
            "by": self.by,
            "question": None if self.question is None else dict(self.question),
            "permitted_before": self.before,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What became of every mutant that strict validation lets through."""

    judgements: tuple[Judgement, ...]
    ill_typed: int
    """Mutants that are no policies of the schema. They are counted nowhere else."""

    @property
    def caught(self) -> int:
        """Mutants that somebody would notice."""
        return sum(each.verdict in CAUGHT for each in self.judgements)

    @property
    def to_catch(self) -> int:
        """Mutants that are mistakes, as far as anybody knows."""
        return sum(each.verdict is not Verdict.EQUIVALENT for each in self.judgements)

    @property
    def caught_bp(self) -> int:
        """Caught of those to catch, in basis points, rounded down."""
        return self.caught * 10_000 // self.to_catch if self.to_catch else 10_000

    def with_verdict(self, verdict: Verdict) -> tuple[Judgement, ...]:
        """Those mutants, in the order of the rules."""
        return tuple(each for each in self.judgements if each.verdict is verdict)

    def document(self) -> dict[str, Any]:
        """Canonical JSON members: the counts, and every mutant that was not caught."""
        counts = Counter(each.verdict for each in self.judgements)
        return {
            "mutants": len(self.judgements),
            "ill_typed": self.ill_typed,
            "equivalent": counts[Verdict.EQUIVALENT],
            "caught": self.caught,
            "caught_bp": self.caught_bp,
            "by": {verdict.value: counts[verdict] for verdict in CAUGHT},
            "survivors": _documents(self.with_verdict(Verdict.SURVIVOR)),
            "unknown": _documents(self.with_verdict(Verdict.UNKNOWN)),
        }


def mutation(score: Score) -> Mutation:
    """The score as a certificate states it. What the gate refuses, an erring forbid or a dead rule, counts as proof."""
    by_cases = len(score.with_verdict(Verdict.CASES))
    survivors = (*score.with_verdict(Verdict.SURVIVOR), *score.with_verdict(Verdict.UNKNOWN))
    return Mutation(
        mutants=len(score.judgements),
        equivalent=len(score.with_verdict(Verdict.EQUIVALENT)),
        caught=score.caught,
        by_proof=score.caught - by_cases,
        by_cases=by_cases,
        survivors=tuple(sorted(each.mutant.id for each in survivors)),
    )


def judgement(document: Mapping[str, Any]) -> Judgement:
    """
    Read what `Judgement.document` wrote.

    Raises `InvariantError` for anything else: a worker that ran out of memory may have written half of it.
    """
    try:
        policies = cedar_syntax.parse(document["text"])
        mutant = Mutant(
            id=document["mutant"],
            rule=document["rule"],
            mistake=Mistake(document["mistake"]),
            sentence=document["sentence"],
            node=replace(policies[0], id=document["rule"]) if policies else None,
        )
        return Judgement(
            mutant=mutant,
            verdict=Verdict(document["verdict"]),
            by=document["by"],
            question=document["question"],
            before=document["permitted_before"],
        )
    except (KeyError, TypeError, ValueError, cedar_syntax.SyntaxRefused) as error:
        raise InvariantError("not a judgement") from error


def _documents(judgements: Iterable[Judgement]) -> list[dict[str, Any]]:
    return [each.document() for each in judgements]
