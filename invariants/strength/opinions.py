"""The second opinion on every mutant that the prover lets through: is there a proof that should not be?

Two ways, neither of which asks the prover's solver. cvc5 settles the same claims from their text: nothing permitted
violates an invariant, no forbid errs, and of an equivalent mutant that nothing differs. And the real engine is asked,
under the mutant, thousands of questions that violate an invariant by the compiled checks: it must permit none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from invariants import checks
from invariants.errors import Unsupported
from invariants.jobs import Job
from invariants.solving import cvc5_backend, smtlib
from invariants.solving.answers import Verdict as Answer
from invariants.solving.terms import Term
from invariants.strength.boundaries import Edges
from invariants.strength.claims import Writer, concerns, written
from invariants.strength.measuring import Share
from invariants.strength.pools import Known, Pool
from invariants.strength.scores import Score, Verdict
from invariants.strength.trials import Asked, Stand, Trial, trial
from policies import cedar
from policies.cedar import PRINCIPAL_TYPES, Rule
from policies.questions import Question
from policies.replay import read

_LET_THROUGH = (Verdict.DEAD_RULE, Verdict.CASES, Verdict.EQUIVALENT, Verdict.SURVIVOR)
_TOGETHER_MAX = 64
_DRAWN = 1500  # Questions drawn for each type of request; some third of them violate an invariant.
# Of those, how many are asked about one mutant: such as nothing but the mutated rule stands against, and others.
_SHARP_MAX, _OTHERS_MAX = 60, 15


@dataclass(slots=True)
class Opinions:
    """What the second opinion found. `conflicts` and `permitted` name mutants, and must be empty."""

    mutants: int = 0
    """Let through by the prover."""
    claims: int = 0
    """Settled by cvc5 too."""
    undecided: int = 0
    """Claims that cvc5 gave up."""
    asked: int = 0
    """Questions put to the real engine under a mutant."""
    conflicts: list[str] = field(default_factory=list)
    """Mutants of which cvc5 says that a claim can be true."""
    permitted: list[str] = field(default_factory=list)
    """Mutants under which the engine permits what an invariant forbids."""
    refuted: int = 0
    """For control: mutants that the prover refutes,"""
    exposed: int = 0
    """and of those, how many the same kind of questions exposes without a prover."""

    def document(self) -> dict[str, Any]:
        """Canonical JSON members."""
        return {
            "mutants": self.mutants,
            "claims": self.claims,
            "undecided": self.undecided,
            "asked": self.asked,
            "conflicts": list(self.conflicts),
            "permitted": list(self.permitted),
            "refuted": self.refuted,
            "exposed": self.exposed,
        }


def second(score: Score, job: Job, cases: Iterable[Asked], *, seed: int = 0, share: Share | None = None) -> Opinions:
    """Ask cvc5 and the real engine about the mutants that the prover let through, all of them or a share."""
    rules, part = cedar.parse(job.policies), share or Share()
    mine = {rule.id: rule for rule in rules[part.place :: part.of]}
    judged = [each for each in score.judgements if each.mutant.rule in mine]
    through = [
        (trial(each.mutant, mine[each.mutant.rule]), each.verdict is Verdict.EQUIVALENT)
        for each in judged
        if each.verdict in _LET_THROUGH
    ]
    refuted = [
        trial(each.mutant, mine[each.mutant.rule])
        for each in judged
        if each.verdict is Verdict.PROOF and each.question is not None
    ]
    found = Opinions(mutants=len(through), refuted=len(refuted))
    for writer in written(rules, job):
        if isinstance(writer, Writer):
            _by_cvc5(writer, through, found, job.limits.resources)
    seeds = [case.question for case in cases]
    seeds += [read(each.question) for each in score.judgements if each.question is not None]
    to_refute = {each.mutant.id for each in refuted}
    exposed: set[str] = set()
    for mutant, asked, is_permitted in _by_engine(rules, job, [*(each for each, _ in through), *refuted], seeds, seed):
        if mutant in to_refute:
            exposed |= {mutant} if is_permitted else set()
        else:
            found.asked += asked
            found.permitted += [mutant] if is_permitted else []
    found.exposed = len(exposed)
    return found


def joined(parts: Iterable[Opinions]) -> Opinions:
    """The opinions on all shares as one."""
    whole = Opinions()
    for part in parts:
        for each in fields(Opinions):
            setattr(whole, each.name, getattr(whole, each.name) + getattr(part, each.name))
    return whole


def _by_cvc5(writer: Writer, trials: list[tuple[Trial, bool]], found: Opinions, resources: int) -> None:
    requests = writer.requests
    goals: list[tuple[str, Term]] = []
    for each, is_equivalent in trials:
        if not concerns(each, requests.action, requests.principal):
            continue
        try:
            claims = writer.claims(each)
        except Unsupported:
            found.undecided += 1
            continue
        if claims is not None:
            asked = (claims.breaks, claims.errs, *((claims.differs,) if is_equivalent else ()))
            goals += [(each.mutant.id, claim) for claim in asked if claim is not requests.universe.terms.false]
    given = requests.given()
    for start in range(0, len(goals), _TOGETHER_MAX):
        together = goals[start : start + _TOGETHER_MAX]
        script = smtlib.scripted(given, [claim for _, claim in together])
        for (mutant, _), answer in zip(together, cvc5_backend.settle_goals(script, resources), strict=True):
            found.claims += answer is not Answer.UNKNOWN
            found.undecided += answer is Answer.UNKNOWN
            if answer is Answer.SATISFIABLE:
                found.conflicts.append(mutant)


def _by_engine(
    rules: tuple[Rule, ...], job: Job, trials: list[Trial], seeds: list[Question], seed: int
) -> Iterator[tuple[str, int, bool]]:
    """For each mutant and type of request: how many questions were asked, and whether one was permitted."""
    stand, edges = Stand(rules, job), Edges(job, seed)
    for action in job.schema.typed.actions.values():
        for principal in PRINCIPAL_TYPES:
            near = [each for each in seeds if (each.action, each.principal.type) == (action.name, principal)]
            violating = _violating(rules, job, edges.around(near, _DRAWN))
            for each in trials:
                if violating and concerns(each, action, principal):
                    asked = _about(each, violating)
                    engine = stand.engine(each, violating[0].question)
                    yield each.mutant.id, len(asked), any(engine.raw_allow(known.question) for known in asked)


def _violating(rules: tuple[Rule, ...], job: Job, questions: Iterable[Question]) -> list[Known]:
    """Those that violate an invariant by the compiled checks, with what the rules make of them."""
    compiled = checks.compile(job.invariants, job.schema.typed)
    pool = Pool(rules, (), job.schema.typed)
    return [pool.evaluated(each) for each in questions if any(not check.holds for check in compiled.evaluate(each))]


def _about(each: Trial, violating: list[Known]) -> list[Known]:
    """First those that nothing but the mutated rule stands against, then some of the others."""
    sharp = [known for known in violating if known.forbids <= {each.base.id} and (known.permits or not known.forbids)]
    return [*sharp[:_SHARP_MAX], *violating[:_OTHERS_MAX]]
