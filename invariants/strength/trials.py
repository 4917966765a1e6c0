"""One mutant on trial: what is known of it so far, and what the real engine makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from invariants import checks
from invariants.errors import Unsupported
from invariants.jobs import Job
from invariants.solving.terms import Term
from invariants.strength.mutants import Mutant
from invariants.strength.pools import Known, Meaning, meaning
from invariants.strength.scores import Judgement, Verdict
from invariants.tool_requests import ToolRequests
from policies import decisions
from policies.bundles import Bundle
from policies.case_form import question
from policies.cedar import Engine, Rule, RuleHit, covers
from policies.decisions import Decision
from policies.fitting import misfit
from policies.questions import Question
from policies.rego_answers import RegoAnswer
from policies.schema import TypedSchema
from tool_registry.contracts import Contract, Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A case of the bundle, ready to be asked: the question, and what Rego answers to it, whatever Cedar says."""

    name: str
    question: Question
    narrowing: RegoAnswer | None
    """None: a question that Rego does not decide."""


def asked(bundle: Bundle, contracts: Iterable[Contract], schema: TypedSchema) -> tuple[Asked, ...]:
    """The cases of a bundle that passes them; cases that expect an error say nothing about a single rule."""
    known = {str(contract.name): contract for contract in contracts}
    found = []
    for case in bundle.cases:
        action = schema.actions.get(case.action)
        if action is None or case.expect.decision == "error":
            continue
        whole = question(case, action, known[case.action])
        deny = tuple(_hit(name, "deny") for name in case.expect.rules or () if name in bundle.rego.deny)
        obligations = tuple(_hit(name, "obligation") for name in case.expect.obligations)
        is_governance = known[case.action].family is Family.GOVERNANCE
        narrowing = None if is_governance else RegoAnswer(deny=deny, obligations=obligations)
        if misfit(whole, schema) is None:
            found.append(Asked(name=case.name, question=whole, narrowing=narrowing))
    return tuple(found)


@dataclass(slots=True)
class Trial:
    """One mutant and what was found out."""

    mutant: Mutant
    base: Rule
    rule: Rule | None
    """The mutated one. None: it was removed."""
    meaning: Meaning
    lives: bool = False
    """Some question satisfies the mutated rule."""
    case: str = ""
    """The first case that is decided otherwise."""
    differs: tuple[ToolRequests, Term] | None = None
    """Where the mutant permits or errs and the bundle does not, or the other way round."""
    doubt: str = ""
    """Why something could not be found out."""
    judgement: Judgement | None = None

    def judge(self, verdict: Verdict, by: str, found: Question | None = None) -> None:
        """Settle what became of it."""
        document = None if found is None else found.document()
        self.judgement = Judgement(mutant=self.mutant, verdict=verdict, by=by, question=document)

    def permits(self, known: Known) -> bool:
        """Cedar's raw Allow with the mutated rule."""
        permits, forbids, _ = self.made_of(known)
        return bool(permits) and not forbids

    def made_of(self, known: Known) -> tuple[frozenset[str], ...]:
        """Satisfied permits, satisfied forbids and erring rules of a question, with the mutated rule."""
        return known.with_rule(self.base.id, self.rule, self.meaning)


def trial(mutant: Mutant, base: Rule) -> Trial:
    """A trial of which nothing is known. A rule that was removed cannot be dead."""
    node = mutant.node
    rule = None if node is None else replace(base, effect=node.effect, node=node)
    return Trial(mutant, base, rule, meaning(base.node if node is None else node), lives=rule is None)


class Stand:
    """The real engine and the compiled checks, asked about mutants."""

    __slots__ = ("_base", "_checks", "_job", "_rules")

    def __init__(self, rules: tuple[Rule, ...], job: Job) -> None:
        self._rules = rules
        self._job = job
        self._base = Engine(rules, job.schema)
        try:
            self._checks: checks.CompiledInvariants | None = checks.compile(job.invariants, job.schema.typed)
        except Unsupported:
            self._checks = None

    def violated(self, trial: Trial, found: Question) -> str | None:
        """The first invariant that a question violates although the engine allows it. None: it does not show that."""
        if misfit(found, self._job.schema.typed) is not None or not self.engine(trial, found).raw_allow(found):
            return None
        evaluated = self._checks.evaluate(found) if self._checks is not None else ()
        return next((check.id for check in evaluated if not check.holds), None)

    def errs(self, trial: Trial, found: Question) -> bool:
        """Whether the mutated rule errs in the engine."""
        return trial.base.id in self.engine(trial, found).decide(found).errors

    def permits(self, found: Question) -> bool:
        """Whether the bundle itself permits."""
        return self._base.raw_allow(found)

    def differs(self, trial: Trial, found: Question) -> bool:
        """Whether the engine permits, or errs, under one of bundle and mutant only."""
        one, two = self._base, self.engine(trial, found)
        errs = (bool(one.decide(found).errors), bool(two.decide(found).errors))
        return one.raw_allow(found) is not two.raw_allow(found) or errs[0] is not errs[1]

    def fails(self, trial: Trial, case: Asked) -> bool:
        """Whether the mutant fails a case that the bundle passes."""
        decided = (self._base.decide(case.question), self.engine(trial, case.question).decide(case.question))
        before, after = (_seen(decisions.join(answer, case.narrowing)) for answer in decided)
        return before != after

    def engine(self, trial: Trial, found: Question) -> Engine:
        """The real engine under the mutant, for questions of one type: with what can match them, made in a moment."""
        schema = self._job.schema
        action, principal = schema.typed.actions[found.action], found.principal.type
        rules = mutated(self._rules, trial)
        matching = tuple(rule for rule in rules if covers(rule, action, principal))  # type: ignore[arg-type]  # fits
        return Engine(matching, replace(schema, typed=replace(schema.typed, actions={action.name: action})))


def mutated(rules: tuple[Rule, ...], trial: Trial) -> tuple[Rule, ...]:
    """The rules with the mutated one in its place."""
    changed = (trial.rule if rule.id == trial.base.id else rule for rule in rules)
    return tuple(rule for rule in changed if rule is not None)


def _seen(decision: Decision) -> Mapping[str, object]:
    """What a case looks at."""
    return {"verdict": decision.verdict, "rules": sorted(hit.id for hit in decision.rules), "errors": decision.errors}


def _hit(name: str, effect: str) -> RuleHit:
    return RuleHit(engine="rego", id=name, effect="deny" if effect == "deny" else "obligation")
