"""The prover: every invariant of a bundle, over every permitted question of every action it covers.

Runs inside the worker process (see `worker`); callers use `supervisor`. For each obligation, in this order:

1. write      what has to be shown, as terms; a form without exact meaning ends here: unknown
2. premise    some question is permitted under the assumptions; otherwise vacuous
3. show       no permitted question violates the invariant: proved
4. replay     a question that does is put to the real engine and the compiled check before anyone sees it: refuted

Solver limits end in unknown. Nothing but proved lets a bundle pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from invariants import checks, counterexamples, obligations, statements
from invariants.checks import CompiledInvariants
from invariants.errors import Unsupported
from invariants.obligations import Obligation
from invariants.reports import Finding, Verdict
from invariants.statements import Statement
from invariants.z3_backend import Solver, SolverLimits
from invariants.z3_backend import Verdict as Answer
from policies.cedar import Engine, parse
from policies.questions import Question
from policies.schema import CedarSchema
from tool_registry.contracts import Contract, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a proof run needs to know, and nothing that it would have to look up."""

    policies: str
    invariants: str
    schema: CedarSchema
    resource_arguments: Mapping[str, str | None]
    """By action: the argument that names the resource."""
    samples: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By action and argument: a plausible text, for counter-examples."""
    limits: SolverLimits = field(default_factory=SolverLimits)


def job(files: Mapping[str, str], schema: CedarSchema, contracts: Iterable[Contract], limits: SolverLimits) -> Job:
    """A proof run over a bundle's files, the schema of the contracts, and the contracts."""
    listed = tuple(contracts)
    return Job(
        policies=files["policies.cedar"],
        invariants=files["invariants.cedar"],
        schema=schema,
        resource_arguments={contract.name: contract.resource_argument for contract in listed},
        samples={
            contract.name: {
                each.name: f"{each.prefix}_1"
                for each in contract.arguments
                if each.kind is Kind.IDENTIFIER and each.prefix is not None
            }
            for contract in listed
        },
        limits=limits,
    )


def run(job: Job) -> Iterator[Finding]:
    """
    Give the verdict on each obligation, invariants in file order and actions by name.

    Raises `Unreadable` and `PolicyFault` when invariants or policies cannot be read at all.
    """
    read = statements.read(job.invariants, job.schema.typed)
    rules = parse(job.policies)
    replay = _Replay(job)
    for statement in read:
        if not statement.actions:
            yield Finding(
                invariant=statement.id,
                sentence=statement.sentence,
                action="",
                verdict=Verdict.VACUOUS,
                reason="covers_no_action",
            )
        for name in statement.actions:
            action = job.schema.typed.actions[name]
            try:
                obligation = obligations.build(statement, rules, action, job.resource_arguments.get(name))
            except Unsupported as refused:
                yield Finding(
                    invariant=statement.id,
                    sentence=statement.sentence,
                    action=name,
                    verdict=Verdict.UNKNOWN,
                    reason=refused.reason_code,
                    where=refused.where,
                )
                continue
            yield _decide(statement, obligation, job, replay)


def _decide(statement: Statement, obligation: Obligation, job: Job, replay: _Replay) -> Finding:
    digest = obligation.digest

    def found(verdict: Verdict, reason: str) -> Finding:
        return Finding(
            invariant=statement.id,
            sentence=statement.sentence,
            action=obligation.action,
            verdict=verdict,
            reason=reason,
            digest=digest,
        )

    if obligation.is_closed:
        # No permit names the action, so there is no premise that could be unreachable by mistake.
        return found(Verdict.PROVED, "nothing_permitted")
    solver = Solver((*obligation.assumptions, obligation.permitted), job.limits)
    premise = solver.check()
    if premise is Answer.UNKNOWN:
        return found(Verdict.UNKNOWN, "solver_limit")
    if premise is Answer.UNSATISFIABLE:
        alone = Solver(obligation.assumptions, job.limits).check()
        return found(
            Verdict.VACUOUS, "assumptions_contradict" if alone is Answer.UNSATISFIABLE else "nothing_can_be_permitted"
        )
    match solver.check(obligation.violated):
        case Answer.UNSATISFIABLE:
            return found(Verdict.PROVED, "holds")
        case Answer.UNKNOWN:
            return found(Verdict.UNKNOWN, "solver_limit")
        case Answer.SATISFIABLE:
            example = counterexamples.question(obligation, solver, job.samples.get(obligation.action, {}))
            return replay.judge(statement, found(Verdict.REFUTED, "violated"), example)


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
        answer = self._invariants.decide(example)
        is_violated = statement.id in {hit.id for hit in answer.rules} or statement.id in answer.errors
        if not self._policies.raw_allow(example) or not is_violated:
            return replace(finding, verdict=Verdict.ENCODING_BUG, reason="replay_differs")
        if self._checks is None:
            return replace(finding, counter_example=example.document())
        check = next(check for check in self._checks.evaluate(example) if check.id == statement.id)
        if check.holds:
            return replace(finding, verdict=Verdict.ENCODING_BUG, reason="check_differs")
        return replace(finding, counter_example=example.document(), value=check.value, limit=check.limit)
