"""The prover: every invariant of a bundle, over every permitted question of every action it covers.

Runs inside the worker process (see `worker`); callers use `supervisor`. For each obligation, in this order:

1. write      what has to be shown, as terms; a form without exact meaning ends here: unknown
2. premise    some question is permitted under the assumptions; otherwise vacuous
3. show       no permitted question violates the invariant: proved
4. replay     a question that does is put to the real engine and the compiled check before anyone sees it: refuted

Solver limits end in unknown. Nothing but proved lets a bundle pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from invariants import checks, counterexamples, jobs, obligations, statements
from invariants.checks import CompiledInvariants
from invariants.errors import Unsupported
from invariants.jobs import Job
from invariants.obligations import Obligation
from invariants.reports import Finding, Verdict
from invariants.solving.z3_backend import Solver
from invariants.solving.z3_backend import Verdict as Answer
from invariants.statements import Statement
from policies.cedar import Engine, Rule, parse
from policies.questions import Question


def run(job: Job) -> Iterator[Finding]:
    """
    Give the verdict on each obligation, invariants in file order and actions by name.

    Raises `Unreadable` and `PolicyFault` when invariants or policies cannot be read at all.
    """
    read = statements.read(job.invariants, job.schema.typed)
    rules = parse(job.policies)
    replay = _Replay(job)
    for statement, name in jobs.planned(read):
        yield _judge(statement, name, rules, job, replay)


def _judge(statement: Statement, name: str, rules: tuple[Rule, ...], job: Job, replay: _Replay) -> Finding:
    blank = Finding(
        invariant=statement.id, sentence=statement.sentence, action=name, verdict=Verdict.UNKNOWN, reason="not_tried"
    )
    if not name:
        return replace(blank, verdict=Verdict.VACUOUS, reason="covers_no_action")
    try:
        action = job.schema.typed.actions[name]
        obligation = obligations.build(statement, rules, action, job.resource_arguments.get(name))
    except Unsupported as refused:
        return replace(blank, reason=refused.reason_code, where=refused.where)
    return _decide(replace(blank, digest=obligation.digest), statement, obligation, job, replay)


def _decide(blank: Finding, statement: Statement, obligation: Obligation, job: Job, replay: _Replay) -> Finding:
    resources = job.limits.resources
    if obligation.is_closed:
        # No permit names the action, so there is no premise that could be unreachable by mistake.
        return replace(blank, verdict=Verdict.PROVED, reason="nothing_permitted")
    solver = Solver((*obligation.assumptions, obligation.permitted), resources)
    premise = solver.check()
    if premise is Answer.UNKNOWN:
        return replace(blank, reason="solver_limit")
    if premise is Answer.UNSATISFIABLE:
        alone = Solver(obligation.assumptions, resources).check()
        reason = "assumptions_contradict" if alone is Answer.UNSATISFIABLE else "premise_unreachable"
        return replace(blank, verdict=Verdict.VACUOUS, reason=reason)
    match solver.check(obligation.violated):
        case Answer.UNSATISFIABLE:
            return replace(blank, verdict=Verdict.PROVED, reason="holds")
        case Answer.UNKNOWN:
            return replace(blank, reason="solver_limit")
        case Answer.SATISFIABLE:
            example = counterexamples.question(obligation, solver, job.samples.get(obligation.action, {}))
            return replay.judge(statement, blank, example)


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

    def judge(self, statement: Statement, finding: Finding, example: Question) -> Finding:
        """The finding with its counter-example, or an encoding bug when engine, check and solver do not agree."""
        refuted = replace(finding, verdict=Verdict.REFUTED, reason="violated", counter_example=example.document())
        answer = self._invariants.decide(example)
        is_violated = statement.id in {hit.id for hit in answer.rules} or statement.id in answer.errors
        if not self._policies.raw_allow(example) or not is_violated:
            return replace(finding, verdict=Verdict.ENCODING_BUG, reason="replay_differs")
        if self._checks is None:
            return refuted
        check = next(check for check in self._checks.evaluate(example) if check.id == statement.id)
        if check.holds:
            return replace(finding, verdict=Verdict.ENCODING_BUG, reason="check_differs")
        return replace(refuted, value=check.value, limit=check.limit)
