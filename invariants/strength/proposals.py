"""Cases for mutants that survive: as few questions as distinguish them all, decided as the bundle decides them now.

What is proposed fixes what the rules say today. A person reads each case before it goes into the bundle: the mutant may
be the better rule. Cedar decides here; what Rego denies or obliges to is for that person to add.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from invariants import declared
from invariants.jobs import Job
from invariants.strength.pools import Known, Pool
from invariants.strength.scores import Score, Verdict
from invariants.strength.trials import Trial, trial
from policies import cedar
from policies.case_form import Case, Expectation, question
from policies.cedar import Engine
from policies.fitting import misfit
from policies.questions import APPROVALS_MAX, Question
from policies.replay import read
from policies.schema import ActionType
from tool_registry.contracts import Contract

_ORDINARY = ("environment", "tenant", "now", "reason_code")
_PRINCIPAL = {"Agent": "agent/triage-7", "Person": "person/ada"}
_COUNTS = ("no", "one", "two", "three")


def propose(score: Score, job: Job, contracts: Iterable[Contract]) -> tuple[dict[str, Any], ...]:
    """Cases, in the form of `cases.json`, that together distinguish every survivor of the score from the bundle."""
    rules = cedar.parse(job.policies)
    by_id = {rule.id: rule for rule in rules}
    survivors = score.with_verdict(Verdict.SURVIVOR)
    trials = [trial(each.mutant, by_id[each.mutant.rule]) for each in survivors]
    author = _Author(job, contracts, Pool(rules, declared.read("", job.schema.typed), job.schema.typed), trials)
    candidates = [author.ordinary(read(each.question)) for each in survivors]
    chosen = _cover(candidates)
    engine = Engine(rules, job.schema)
    written = [author.case(known, engine) for known in chosen]
    return tuple(sorted(written, key=lambda case: (case["question"]["action"], case["name"])))


def _cover(candidates: Iterable[tuple[Known, frozenset[str]]]) -> Iterator[Known]:
    """The question that distinguishes most of what is left, again and again."""
    left = [(known, set(told)) for known, told in candidates]
    while left:
        best, told = max(left, key=lambda each: len(each[1]))
        if not told:
            return
        yield best
        gone = frozenset(told)
        left = [(known, others - gone) for known, others in left]


class _Author:
    """Who writes questions as cases."""

    def __init__(self, job: Job, contracts: Iterable[Contract], pool: Pool, trials: Iterable[Trial]) -> None:
        self._job = job
        self._contracts = {str(contract.name): contract for contract in contracts}
        self._pool = pool
        self._trials = tuple(trials)

    def ordinary(self, found: Question) -> tuple[Known, frozenset[str]]:
        """The question on an ordinary day, as far as it tells the same mutants apart; and which it does."""
        best = self._pool.evaluated(found)
        told = self._told(best)
        quiet = self._quiet(found)
        for name in _ORDINARY:
            plain = replace(best.question, context={**best.question.context, name: quiet.context[name]})
            plain = replace(plain, principal=quiet.principal, resource=self._resource(plain))
            known = self._pool.evaluated(plain)
            if self._told(known) >= told and misfit(plain, self._job.schema.typed) is None:
                best = known
        return best, self._told(best)

    def case(self, known: Known, engine: Engine) -> dict[str, Any]:
        """The question in short, with what the bundle decides."""
        asked = known.question
        quiet = self._quiet(asked)
        context = _said(asked.context, quiet.context)
        if "approvals" in context:
            counts = {name: count for name, count in asked.context["approvals"].items() if count}
            persons = counts.pop("persons", 0)
            exact = persons == min(sum(counts.values()), APPROVALS_MAX)
            context["approvals"] = counts if exact else {**counts, "persons": persons}
        answer = engine.decide(asked)
        document: dict[str, Any] = {"principal": _PRINCIPAL[asked.principal.type], "action": asked.action}
        if asked.roles:
            document["roles"] = list(asked.roles)
        if context:
            document["context"] = context
        expect = {"decision": "permit" if answer.allowed else "deny", "rules": sorted(hit.id for hit in answer.rules)}
        return {"name": _name(asked, context, allowed=answer.allowed), "question": document, "expect": expect}

    def _told(self, known: Known) -> frozenset[str]:
        before = (known.permits, known.forbids, known.erring)
        return frozenset(each.mutant.id for each in self._trials if each.made_of(known) != before)

    def _quiet(self, asked: Question) -> Question:
        """What a case that says nothing would ask."""
        kind, _, identity = _PRINCIPAL[asked.principal.type].partition("/")
        expect = Expectation(decision="deny", rules=())
        principal = replace(asked.principal, id=identity)
        case = Case(name=kind, principal=principal, roles=asked.roles, action=asked.action, context={}, expect=expect)
        return question(case, self._action(asked), self._contracts[asked.action])

    def _resource(self, asked: Question) -> Any:
        argument = self._contracts[asked.action].resource_argument
        named = asked.context["tenant"] if argument is None else asked.context["arguments"].get(argument, "")
        return replace(asked.resource, id=named)

    def _action(self, asked: Question) -> ActionType:
        return self._job.schema.typed.actions[asked.action]


def _said(whole: Mapping[str, Any], quiet: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the quiet value; identifiers are said always, so that a case names what it is about."""
    said: dict[str, Any] = {}
    for name, value in whole.items():
        if isinstance(value, Mapping):
            if inner := _said(value, quiet.get(name, {})):
                said[name] = inner
        elif name not in quiet or value != quiet[name]:
            said[name] = value
    return said


def _name(asked: Question, context: Mapping[str, Any], *, allowed: bool) -> str:
    who = f"an agent at L{asked.context['autonomy']}"
    if asked.principal.type == "Person":
        who = f"a person of the role {' and '.join(asked.roles)}" if asked.roles else "a person without a role"
    elif not asked.context["registered"]:
        who += " that is not registered"
    figures = [*_figures(context.get("arguments", {})), *_figures(context.get("facts", {}))]
    about = f" with {', '.join(figures)}" if figures else ""
    counts = [
        f"{_COUNTS[count]} of {name}" for name, count in context.get("approvals", {}).items() if name != "persons"
    ]
    approved = f", approved by {' and '.join(counts)}" if counts else ""
    decided = "is permitted" if allowed else "is refused"
    return f"{who} {decided} {asked.action} at R{asked.context['risk']}{about}{approved}"


def _figures(members: Mapping[str, Any]) -> Iterator[str]:
    for name, value in members.items():
        if isinstance(value, Mapping):
            yield from _figures(value)
        elif isinstance(value, bool):
            yield name if value else f"no {name}"
        elif isinstance(value, int):
            yield f"{name} {value}"
