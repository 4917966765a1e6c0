"""Does a bundle permit anything that another did not, or forbid anything that it allowed?

Both sets of rules are encoded over one type of request, so texts may differ as they like: what is compared is what
they permit. Permitted is Cedar's raw Allow, as in every obligation. Tools may differ too:

- a tool that only one bundle's schema has was `added` or `removed`;
- a tool whose contract changed is compared over the new one, if the old rules are well typed there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from invariants.analyses import surveys
from invariants.analyses.results import Analysis, Result, Verdict
from invariants.analyses.surveys import Goals
from invariants.jobs import Job
from invariants.solving.answers import Verdict as Answer
from invariants.solving.terms import Term
from invariants.tool_requests import ToolRequests
from policies import cedar, cedar_syntax
from policies.cedar import PRINCIPAL_TYPES, Engine, Rule
from policies.questions import Question

_MORE, _LESS, _ALLOWED = ("newly_permitted", ""), ("newly_refused", ""), ("permitted", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two bundles, over the new schema."""

    engine: Engine
    rules: tuple[Rule, ...]
    """The engine's. An old one that no new one is equal to has a name of its own, so that the two are not mixed up."""

    def permits(self, requests: ToolRequests) -> Term:
        """Where this side alone would answer Allow."""
        terms = requests.universe.terms
        satisfied = {
            effect: terms.disjunction(
                requests.satisfied(rule) for rule in self.rules if rule.effect == effect and rule in requests.rules
            )
            for effect in ("permit", "forbid")
        }
        return terms.both(satisfied["permit"], terms.negation(satisfied["forbid"]))


def run(old: Job, new: Job) -> Iterator[Result]:
    """
    By tool and type of principal: `equivalent`, `more_permissive`, `less_permissive`, `incomparable` (some questions
    are newly permitted and others newly refused, or the old rules mean nothing over the new contract), `added`,
    `removed`.

    Raises `PolicyFault` when one of the bundles cannot be read at all.
    """
    before, after = _sides(old, new)
    for action in sorted({*old.schema.typed.actions, *new.schema.typed.actions}):
        if action not in new.schema.typed.actions:
            yield from _both(action, Verdict.REMOVED, "")
        elif action not in old.schema.typed.actions:
            yield from _asked(action, after, after, new, "")
        elif _is_same_tool(action, old, new):
            yield from _asked(action, before, after, new, "")
        elif strange := _ill_typed(action, before.engine.rules, new):
            yield from _both(action, Verdict.INCOMPARABLE, "old_rules_do_not_fit", f"rule `{strange[0]}`")
        else:
            yield from _asked(action, before, after, new, "contract_changed")


def _sides(old: Job, new: Job) -> tuple[_Side, _Side]:
    before, after = Engine(old.policies, new.schema), Engine(new.policies, new.schema)
    kept = {rule.id: rule for rule in after.rules}
    renamed = (rule if kept.get(rule.id) == rule else replace(rule, id=f"{rule.id} of old") for rule in before.rules)
    return _Side(engine=before, rules=tuple(renamed)), _Side(engine=after, rules=after.rules)


def _both(action: str, verdict: Verdict, reason: str, where: str = "") -> Iterator[Result]:
    """The same about both types of principal."""
    for principal in PRINCIPAL_TYPES:
        yield Result(
            analysis=Analysis.DIFFERENCE,
            action=action,
            principal=principal,
            verdict=verdict,
            reason=reason,
            where=where,
        )


def _asked(action: str, before: _Side, after: _Side, new: Job, reason: str) -> Iterator[Result]:
    """Ask the solver. A tool that was added has no rules before: what of it is permitted is all there is to say."""
    kept = tuple(rule for rule in before.rules if rule not in after.rules)
    types, refused = surveys.encoded((*after.rules, *kept), new, (action,))
    for unsupported in refused.values():
        yield from _both(action, Verdict.UNKNOWN, unsupported.reason_code, unsupported.where)
    for requests in types:
        if before is after:
            yield _added(surveys.Goals(requests, {_ALLOWED: after.permits(requests)}, new), after)
            continue
        terms = requests.universe.terms
        once, now = before.permits(requests), after.permits(requests)
        claims = {_MORE: terms.both(now, terms.negation(once)), _LESS: terms.both(once, terms.negation(now))}
        yield _compared(surveys.Goals(requests, claims, new), before, after, reason)


def _compared(goals: Goals, before: _Side, after: _Side, reason: str) -> Result:
    blank = goals.blank(Analysis.DIFFERENCE)
    more, less = goals.answer(*_MORE), goals.answer(*_LESS)
    verdict = _VERDICTS.get((more, less), Verdict.UNKNOWN)
    if verdict is Verdict.EQUIVALENT:
        return goals.resting(replace(blank, verdict=verdict, reason=reason))
    known = replace(blank, verdict=verdict, reason=reason)
    found = goals.unknown(blank) if verdict is Verdict.UNKNOWN else known
    for answer, claim, allows, denies in ((more, _MORE, after, before), (less, _LESS, before, after)):
        if answer is Answer.SATISFIABLE and found.verdict is verdict:
            found = goals.shown(found, claim, claim[0], _only(allows.engine, denies.engine))
    return found


def _added(goals: Goals, after: _Side) -> Result:
    added = replace(goals.blank(Analysis.DIFFERENCE), verdict=Verdict.ADDED, reason="permits_something")
    match goals.answer(*_ALLOWED):
        case Answer.SATISFIABLE:
            return goals.shown(added, _ALLOWED, "permitted", after.engine.raw_allow)
        case Answer.UNSATISFIABLE:
            return goals.resting(replace(added, reason="permits_nothing"))
        case Answer.UNKNOWN:
            return goals.unknown(added)


def _only(allows: Engine, denies: Engine) -> Callable[[Question], bool]:
    return lambda question: allows.raw_allow(question) and not denies.raw_allow(question)


def _is_same_tool(action: str, old: Job, new: Job) -> bool:
    """Whether questions about the tool are the same ones, risk and resource included."""
    return _question(action, old) == _question(action, new)


def _question(action: str, job: Job) -> tuple[object, ...]:
    kind = job.schema.typed.actions[action]
    return sorted(kind.groups), kind.resource_type, kind.context, kind.risk, job.resource_arguments.get(action)


def _ill_typed(action: str, rules: Iterable[Rule], new: Job) -> list[str]:
    """The old rules about a tool that say nothing sensible about its new contract."""
    groups = {action: frozenset(new.schema.typed.actions[action].groups)}
    covering = {rule.id for rule in rules if cedar_syntax.action_is_covered(rule.node, action, groups)}
    return sorted(covering & cedar.ill_typed(rules, new.schema))


_VERDICTS = {
    (Answer.UNSATISFIABLE, Answer.UNSATISFIABLE): Verdict.EQUIVALENT,
    (Answer.SATISFIABLE, Answer.UNSATISFIABLE): Verdict.MORE_PERMISSIVE,
    (Answer.UNSATISFIABLE, Answer.SATISFIABLE): Verdict.LESS_PERMISSIVE,
    (Answer.SATISFIABLE, Answer.SATISFIABLE): Verdict.INCOMPARABLE,
}
