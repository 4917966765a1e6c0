"""The prover: everything that has to be shown of a bundle, for every type of request about its tools.

Runs inside a worker process (see `worker`), once for each solver; callers use `supervisor`, which joins the two. Both
runs write the obligations anew from the bundle. The run with z3 finds out, in this order:

1. write      what has to be shown, as terms; a form without exact meaning ends here: unknown
2. settle     each goal, alone with the assumptions: can it hold?
3. replay     a question for which it does is put to the real engine and the compiled check before anyone sees it

Solver limits end in unknown. Nothing but proved lets a bundle pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from invariants import checks, counterexamples, declared, obligations
from invariants.analyses import results as analyses
from invariants.analyses.liveness import Liveness
from invariants.analyses.results import Result
from invariants.checks import CompiledInvariants
from invariants.declared import Invariant
from invariants.errors import Unsupported
from invariants.jobs import Job, blanks, covers_nothing, rule_blank
from invariants.obligations import Kind, Obligation, Refused, Sheet
from invariants.reports import Finding, Verdict
from invariants.solving import z3_backend
from invariants.solving.answers import Verdict as Answer
from invariants.solving.terms import is_hard
from invariants.solving.z3_backend import Solver
from policies.cedar import Engine, Rule, parse
from policies.questions import Question


def answers(job: Job, memory_bytes: int) -> Iterator[dict[str, Any]]:
    """What the worker says: who it is, then each verdict."""
    # The solver gives up before the address space ends, so that most memory bombs are an answer and not a death.
    z3_backend.limit_memory(memory_bytes * 3 // 4)
    yield {"solver": z3_backend.used(job.limits.resources)}
    for finding in run(job):
        yield finding.document()


def run(job: Job) -> Iterator[Finding]:
    """
    Give the verdict on each obligation by z3, in the order of `jobs.planned`.

    Raises `Unreadable` and `PolicyFault` when invariants or policies cannot be read at all.
    """
    read = {invariant.id: invariant for invariant in declared.read(job.invariants, job.schema.typed)}
    yield from (covers_nothing(invariant) for invariant in read.values() if not invariant.actions)
    replay = _Replay(job)
    rules = parse(job.policies)
    liveness = Liveness(rules, job.schema.typed)
    written = obligations.sheets(job)
    for pair in zip(written, written, strict=True):
        judged = [each if isinstance(each, Refused) else _Judged(each, job, replay) for each in pair]
        is_reachable = any(isinstance(each, _Judged) and each.is_reachable for each in judged)
        for each in judged:
            if isinstance(each, Refused):
                liveness.refuse(each.action.name, each.cause.reason_code)
                covering = tuple(one for one in read.values() if each.action.name in one.actions)
                yield from _refused(each, covering)
            else:
                each.look(liveness)
                yield from each.findings(read, is_reachable=is_reachable)
    idle = {result.subject: result for result in liveness.results()}
    yield from (_lives(rule, idle.get(rule.id)) for rule in rules)


def _lives(rule: Rule, idle: Result | None) -> Finding:
    """Some question satisfies the rule; one that none does is dead, and stays only where its bundle says why."""
    found = rule_blank(rule)
    if idle is None:
        return replace(found, verdict=Verdict.PROVED, reason="lives")
    if idle.verdict is not analyses.Verdict.DEAD:
        return replace(found, reason=idle.reason)
    if idle.accepted:
        return replace(found, verdict=Verdict.PROVED, reason="accepted")
    return replace(found, verdict=Verdict.VACUOUS, reason=idle.reason)


def _refused(refused: Refused, covering: tuple[Invariant, ...]) -> Iterator[Finding]:
    for blank in blanks(refused.action, refused.principal, covering):
        yield replace(blank, reason=refused.cause.reason_code, where=refused.cause.where)


class _Judged:
    """One sheet with z3's answers."""

    __slots__ = ("_answers", "_job", "_replay", "_sheet", "_solver")

    def __init__(self, sheet: Sheet, job: Job, replay: _Replay) -> None:
        goals = [obligation.goal for obligation in sheet.obligations]
        self._sheet, self._job, self._replay = sheet, job, replay
        self._solver = Solver(sheet.given, job.limits.resources, goals)
        self._answers = tuple(self._solver.settle(place) for place in range(len(goals)))

    @property
    def is_reachable(self) -> bool:
        """Whether some request of the type is permitted."""
        return self._answers[self._place(Kind.PREMISE)] is Answer.SATISFIABLE

    def look(self, liveness: Liveness) -> None:
        """Show which rules this type of request satisfies."""
        liveness.look(self._sheet.requests, self._solver.check)

    def findings(self, read: Mapping[str, Invariant], *, is_reachable: bool) -> Iterator[Finding]:
        """Every verdict. `is_reachable`: whether some request for the tool is permitted, whoever asks."""
        requests = self._sheet.requests
        covering = tuple(invariant for invariant in read.values() if requests.action.name in invariant.actions)
        places = {(each.kind.value, each.subject): place for place, each in enumerate(self._sheet.obligations)}
        refused = {invariant.id: cause for invariant, cause in self._sheet.refused}
        for blank in blanks(requests.action, requests.principal, covering):
            place = places.get((blank.kind, blank.invariant))
            if place is None:
                cause = refused[blank.invariant]
                yield replace(blank, reason=cause.reason_code, where=cause.where)
                continue
            obligation, answer = self._sheet.obligations[place], self._answers[place]
            asked = replace(blank, digest=self._sheet.digest(place), answers={"z3": answer.value})
            if answer is Answer.UNKNOWN:
                yield replace(asked, reason="solver_limit", where=self._hardest(obligation, read))
            elif obligation.kind is Kind.PREMISE:
                yield self._premise(asked, is_reachable=is_reachable)
            elif answer is obligation.wanted:
                yield replace(asked, verdict=Verdict.PROVED, reason=self._why(obligation))
            else:
                yield self._failed(asked, obligation, read)

    def _hardest(self, obligation: Obligation, read: Mapping[str, Invariant]) -> str:
        """The rules, and the invariant, that hold what solvers give up on: what to simplify."""
        requests = self._sheet.requests
        named = [(f"rule `{rule.id}`", requests.satisfied(rule)) for rule in requests.rules]
        if obligation.subject:
            where = f"invariant `{obligation.subject}`"
            named.insert(0, (where, requests.violated(read[obligation.subject].policy, where)))
        return ", ".join(name for name, term in named if is_hard(term))

    def _why(self, obligation: Obligation) -> str:
        if obligation.kind is Kind.ASSUMPTIONS:
            return "consistent"
        return "holds" if self.is_reachable else "nothing_permitted"

    def _premise(self, asked: Finding, *, is_reachable: bool) -> Finding:
        if self.is_reachable:
            if self._solver.settle(self._place(Kind.PREMISE)) is not Answer.SATISFIABLE:
                return replace(asked, reason="solver_limit")
            requests = self._sheet.requests
            roots = (*self._sheet.given, requests.permitted)
            return self._replay.permitted(asked, counterexamples.any_question(requests, self._solver, roots))
        if is_reachable or self._sheet.requests.is_closed:
            return replace(asked, verdict=Verdict.PROVED, reason="nothing_permitted")
        return replace(asked, verdict=Verdict.VACUOUS, reason="premise_unreachable")

    def _failed(self, asked: Finding, obligation: Obligation, read: Mapping[str, Invariant]) -> Finding:
        if obligation.kind is Kind.ASSUMPTIONS:
            return replace(asked, verdict=Verdict.VACUOUS, reason="assumptions_contradict")
        samples = self._job.samples.get(obligation.action, {})
        example = counterexamples.question(self._sheet.requests, obligation.goal, samples)
        if example is None:
            return replace(asked, reason="solver_limit")
        if obligation.kind is Kind.NEVER_ERRS:
            return self._replay.erring(asked, example)
        return self._replay.violating(asked, read[obligation.subject], example)

    def _place(self, kind: Kind) -> int:
        return next(place for place, each in enumerate(self._sheet.obligations) if each.kind is kind)


class _Replay:
    """The real engine and the compiled checks, asked about the solver's question."""

    __slots__ = ("_checks", "_invariants", "_policies")

    def __init__(self, job: Job) -> None:
        self._policies = Engine(job.policies, job.schema)
        self._invariants = Engine(job.invariants, job.schema)
        try:
            self._checks: CompiledInvariants | None = checks.compile(job.invariants, job.schema.typed)
        except Unsupported:
            # The invariant that uses the form is unknown already; the others are still judged by the engine.
            self._checks = None

    def permitted(self, finding: Finding, example: Question) -> Finding:
        """The premise is reached by a question that the engine allows too."""
        if not self._policies.raw_allow(example):
            return _differs(finding)
        return replace(finding, verdict=Verdict.PROVED, reason="reachable")

    def erring(self, finding: Finding, example: Question) -> Finding:
        """A forbid errs on the question, in the engine too."""
        erring = self._policies.decide(example).errors
        if not erring:
            return _differs(finding)
        return replace(
            finding,
            verdict=Verdict.REFUTED,
            reason="forbid_errs",
            where=", ".join(f"rule `{each}`" for each in erring),
            counter_example=example.document(),
        )

    def violating(self, finding: Finding, invariant: Invariant, example: Question) -> Finding:
        """The finding with its counter-example, or an encoding bug when engine, check and solver do not agree."""
        answer = self._invariants.decide(example)
        reason = "invariant_errs" if invariant.id in answer.errors else "violated"
        refuted = replace(finding, verdict=Verdict.REFUTED, reason=reason, counter_example=example.document())
        is_violated = invariant.id in {hit.id for hit in answer.rules} or invariant.id in answer.errors
        if not self._policies.raw_allow(example) or not is_violated:
            return _differs(finding)
        if self._checks is None:
            return refuted
        check = next(check for check in self._checks.evaluate(example) if check.id == invariant.id)
        if check.holds:
            return replace(finding, verdict=Verdict.ENCODING_BUG, reason="check_differs")
        return replace(refuted, value=check.value, limit=check.limit)


def _differs(finding: Finding) -> Finding:
    return replace(finding, verdict=Verdict.ENCODING_BUG, reason="replay_differs")
