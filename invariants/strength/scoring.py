"""The mutation score: of the small mistakes that could be made in a bundle, how many would somebody notice.

Mutants that strict validation refuses are left out: the gate never sees them. Of each other one it is found out, in
this order, whether

1. it breaks a proof     some question is permitted and violates an invariant, a forbid errs, or a tool that somebody
                         could use is out of everybody's reach
2. it means the same     the solver shows that no question is permitted or errs that was not, and the other way round
3. its rule is dead      no question satisfies it
4. it breaks a case      a case of the bundle is decided otherwise, or by other rules
5. it survives           nobody would notice; a question shows what has changed

Questions that are known already are tried before the solver is asked. Whatever is shown by a question is put to the
real engine before it counts; what cannot be settled is unknown, and counts as not caught. The bundle itself is taken to
be proved and to pass its cases. Runs where solvers run: in a worker process or at a terminal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from invariants import counterexamples, declared
from invariants.errors import Unsupported
from invariants.jobs import Job
from invariants.solving import z3_backend
from invariants.solving.answers import Verdict as Answer
from invariants.solving.terms import Term
from invariants.solving.z3_backend import Solver
from invariants.strength.assumptions import Assumptions
from invariants.strength.claims import Claims, Refused, Writer, concerns, written
from invariants.strength.measuring import Share, Task
from invariants.strength.mutants import mutants
from invariants.strength.pools import Known, Pool
from invariants.strength.scores import Judgement, Score, Verdict
from invariants.strength.trials import Asked, Stand, Trial, trial
from invariants.tool_requests import ToolRequests
from policies import cedar
from policies.cedar import PRINCIPAL_TYPES, PrincipalType, Rule
from policies.cedar_syntax import nodes as pst
from policies.questions import Question
from policies.schema import CedarSchema

Progress = Callable[[int, int], None]
"""Types of request done, and in all."""

_NICENESS = 10  # Nobody waits for a score; calls and proofs go first.
_TOGETHER_MAX = 64  # Mutants in one text: each costs every other a little, and a solver of its own costs more.


def score(job: Job, cases: Sequence[Asked], progress: Progress | None = None, share: Share | None = None) -> Score:
    """What becomes of the mutants of a proved bundle, of all or of a share. Raises `Unreadable` and `PolicyFault`."""
    rules, part = cedar.parse(job.policies), share or Share()
    trials, ill_typed = tried(rules, job.schema, rules[part.place :: part.of])
    run = _Run(rules, trials, job, cases)
    run.all(progress or (lambda _done, _total: None))
    return Score(judgements=tuple(run.judged()), ill_typed=ill_typed)


def answers(task: Task, memory_bytes: int) -> Iterator[dict[str, Any]]:
    """What the worker says: how many mutants are refused by validation, then what becomes of each other one."""
    os.nice(_NICENESS)
    z3_backend.limit_memory(memory_bytes * 3 // 4)
    found = score(task.job, task.cases, share=task.share)
    yield {"ill_typed": found.ill_typed, "judged": len(found.judgements)}
    for each in found.judgements:
        yield each.document()


def tried(rules: tuple[Rule, ...], schema: CedarSchema, share: Iterable[Rule]) -> tuple[tuple[Trial, ...], int]:
    """A trial for every mutant of some rules that strict validation lets through, and how many it does not."""
    by_id = {rule.id: rule for rule in share}
    trials = [trial(mutant, by_id[mutant.rule]) for mutant in mutants(rules) if mutant.rule in by_id]
    # All at once, each under a name of its own.
    numbered = [_named(each.rule, f"m{number}") for number, each in enumerate(trials) if each.rule is not None]
    refused = cedar.ill_typed(numbered, schema)
    kept = tuple(each for number, each in enumerate(trials) if f"m{number}" not in refused)
    return kept, len(trials) - len(kept)


def _named(rule: Rule, name: str) -> Rule:
    annotations = pst.FrozenMap({**rule.node.annotations, "id": name})
    return replace(rule, id=name, node=replace(rule.node, id=name, annotations=annotations))


class _Run:
    """All mutants of one bundle."""

    def __init__(self, rules: tuple[Rule, ...], trials: tuple[Trial, ...], job: Job, cases: Sequence[Asked]) -> None:
        self._rules = rules
        self._job = job
        self._cases = cases
        self.trials = trials
        self.pool = Pool(rules, declared.read(job.invariants, job.schema.typed), job.schema.typed)
        self.stand = Stand(rules, job)

    def all(self, progress: Progress) -> None:
        """Find out everything."""
        assumptions = Assumptions(self._job)
        for case in self._cases:
            known = self.pool.evaluated(case.question)
            self._try_case(case, known)
            if assumptions.hold(case.question):
                self.pool.keep(known)
        types = written(self._rules, self._job)
        actions = tuple(self._job.schema.typed.actions.values())
        for number, (action, pair) in enumerate(zip(actions, zip(types, types, strict=True), strict=True), start=1):
            reach = _Reach()
            for principal, each in zip(PRINCIPAL_TYPES, pair, strict=True):
                concerned = tuple(one for one in self.trials if concerns(one, action, principal))
                if isinstance(each, Refused):
                    _doubt(concerned, each.reason)
                else:
                    _Stage(self, each, self._job, reach).judge(concerned)
            for one in self.trials:
                if one.judgement is None and reach.is_lost(one.mutant.id):
                    one.judge(Verdict.PROOF, "premise")
            progress(number, len(actions))

    def judged(self) -> Iterator[Judgement]:
        """The verdicts, once everything is found out."""
        for each in self.trials:
            if each.judgement is None:
                self._conclude(each)
            if each.judgement is not None:
                yield each.judgement

    def _conclude(self, each: Trial) -> None:
        if each.differs is None:
            each.judge(Verdict.UNKNOWN if each.doubt else Verdict.EQUIVALENT, each.doubt)
        elif not each.lives and not each.doubt:
            each.judge(Verdict.DEAD_RULE, each.base.id)
        elif each.case:
            each.judge(Verdict.CASES, each.case)
        elif each.doubt:
            each.judge(Verdict.UNKNOWN, each.doubt)
        else:
            self._survives(each, *each.differs)

    def _survives(self, each: Trial, requests: ToolRequests, differs: Term) -> None:
        found = counterexamples.question(requests, differs, self._job.samples.get(requests.action.name, {}))
        if found is None:
            each.judge(Verdict.UNKNOWN, "solver_limit")
        elif not self.stand.differs(each, found):
            each.judge(Verdict.UNKNOWN, "replay_differs", found)
        else:
            each.judge(Verdict.SURVIVOR, "", found)
            if each.judgement is not None:
                each.judgement = replace(each.judgement, before=self.stand.permits(found))

    def _try_case(self, case: Asked, known: Known) -> None:
        before = (known.permits, known.forbids, known.erring)
        for each in self.trials:
            if not each.case and each.made_of(known) != before and self.stand.fails(each, case):
                each.case = case.name


@dataclass(slots=True)
class _Reach:
    """Who is permitted anything with one tool."""

    before: set[PrincipalType] = field(default_factory=set)
    """By the bundle."""
    kept: set[str] = field(default_factory=set)
    """Mutants that permit somebody something."""
    lost: dict[str, set[PrincipalType]] = field(default_factory=dict)
    """By mutant: to whom it permits nothing, although a permit covers the tool."""

    def is_lost(self, mutant: str) -> bool:
        """Whether the mutant permits nobody anything where the bundle does."""
        lost = self.lost.get(mutant)
        return bool(self.before) and lost is not None and self.before <= lost and mutant not in self.kept


class _Stage:
    """One type of request."""

    def __init__(self, run: _Run, writer: Writer, job: Job, reach: _Reach) -> None:
        self._run = run
        self._writer = writer
        self._requests = writer.requests
        self._job = job
        self._reach = reach

    def judge(self, trials: Iterable[Trial]) -> None:
        """Find out what this type of request says about each mutant."""
        permitted = self._writer.permitted
        if self._answers((permitted,)).settle(permitted) is Answer.SATISFIABLE:
            self._reach.before.add(self._requests.principal)
        waiting = [each for each in trials if each.judgement is None]
        for start in range(0, len(waiting), _TOGETHER_MAX):
            # What the mutants before them have brought to light settles most of these.
            unsettled = [each for each in waiting[start : start + _TOGETHER_MAX] if not self._is_broken(each)]
            together = tuple(self._claims(unsettled))
            answers = self._answers(term for each in together for term in each.terms)
            for each in together:
                self._look(each, answers)

    def _claims(self, trials: Iterable[Trial]) -> Iterator[Claims]:
        for each in trials:
            try:
                claims = self._writer.claims(each)
            except Unsupported as refused:
                _doubt((each,), refused.reason_code)
                continue
            if claims is not None:
                yield claims

    def _answers(self, claims: Iterable[Term]) -> _Answers:
        """To be made once all claims have been translated: only then is their footprint closed."""
        return _Answers(self._requests, claims, self._job)

    def _look(self, claims: Claims, answers: _Answers) -> None:
        each, requests = claims.trial, self._requests
        if self._is_broken(each) or self._can_break(claims, answers):
            return
        known = self._known()
        if not each.lives:
            each.lives = any(each.meaning(one.scene) for one in known) or self._can(claims, claims.lives, answers)
        if each.differs is None:
            is_shown = any(each.permits(one) is not one.is_permitted for one in known)
            if is_shown or self._can(claims, claims.differs, answers):
                each.differs = requests, claims.differs
        if any(map(each.permits, known)) or self._can(claims, claims.permitted, answers):
            self._reach.kept.add(each.mutant.id)
        elif claims.is_open:
            self._reach.lost.setdefault(each.mutant.id, set()).add(requests.principal)

    def _is_broken(self, each: Trial) -> bool:
        """Whether a question that is known breaks a proof."""
        return any(one.violated and each.permits(one) and self._shows(each, one) for one in self._known())

    def _can_break(self, claims: Claims, answers: _Answers) -> bool:
        """Whether the solver finds a question that breaks a proof."""
        each = claims.trial
        found = self._found(claims, claims.breaks, answers)
        if found is not None and self._shows(each, found):
            return True
        erring = self._found(claims, claims.errs, answers)
        if erring is None:
            return False
        if not self._run.stand.errs(each, erring.question):
            each.doubt = "replay_differs"
            return False
        each.judge(Verdict.NEVER_ERRS, each.base.id, erring.question)
        return True

    def _shows(self, each: Trial, found: Known) -> bool:
        """Whether the engine permits what an invariant forbids, as solver and closures say."""
        invariant = self._run.stand.violated(each, found.question)
        if invariant is None:
            each.doubt = "replay_differs"
            return False
        each.judge(Verdict.PROOF, invariant, found.question)
        return True

    def _known(self) -> tuple[Known, ...]:
        return self._run.pool.about(self._requests.action.name, self._requests.principal)

    def _can(self, claims: Claims, claim: Term, answers: _Answers) -> bool:
        return self._found(claims, claim, answers) is not None

    def _found(self, claims: Claims, claim: Term, answers: _Answers) -> Known | None:
        """A question for which the claim is true, kept in the pool."""
        match answers.settle(claim):
            case Answer.SATISFIABLE:
                return self._run.pool.learn(answers.question(claim))
            case Answer.UNSATISFIABLE:
                return None
            case Answer.UNKNOWN:
                claims.trial.doubt = "solver_limit"
                return None


class _Answers:
    """Claims about one type of request in one text. The solver is asked only about those that somebody looks at."""

    def __init__(self, requests: ToolRequests, claims: Iterable[Term], job: Job) -> None:
        self._requests = requests
        self._job = job
        self._claims = tuple({claim.number: claim for claim in claims}.values())
        self._given = requests.given()
        self._places = {claim.number: place for place, claim in enumerate(self._claims)}
        self._solver: Solver | None = None

    def settle(self, claim: Term) -> Answer:
        """Whether a claim can be true."""
        if claim is self._requests.universe.terms.false:
            return Answer.UNSATISFIABLE
        if self._solver is None:
            self._solver = Solver(self._given, self._job.limits.resources, self._claims)
        return self._solver.settle(self._places[claim.number])

    def question(self, claim: Term) -> Question:
        """The question behind the last answer, which was that the claim can be true."""
        if self._solver is None:
            raise ValueError("nothing was asked")
        samples = self._job.samples.get(self._requests.action.name, {})
        return counterexamples.any_question(self._requests, self._solver, (*self._given, claim), samples)


def _doubt(trials: Iterable[Trial], reason: str) -> None:
    for each in trials:
        each.doubt = reason
