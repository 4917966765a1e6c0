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
                requests.satisfied(rule)
                for rule in self.rules
                if rule.effect == effect and rule.id in requests.outcomes
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
    shared = frozenset(rule.id for rule in after.rules)
    told = dict(_strange(before.engine.rules, old, new))
    types, refused = surveys.encoded(
        (*after.rules, *(rule for rule in before.rules if rule.id not in shared)),
        new,
        [action for action in new.schema.typed.actions if action not in told],
    )
    for action in sorted({*old.schema.typed.actions, *new.schema.typed.actions}):
        if action not in new.schema.typed.actions:
            yield from _both(action, Verdict.REMOVED, "")
        elif action in told:
            yield from _both(action, Verdict.INCOMPARABLE, "old_rules_do_not_fit", f"rule `{told[action]}`")
        elif action in refused:
            yield from _both(action, Verdict.UNKNOWN, refused[action].reason_code, refused[action].where)
        for requests in (each for each in types if each.action.name == action):
            if action not in old.schema.typed.actions:
                yield _added(requests, after, new)
            else:
                reason = "" if _is_same_tool(action, old, new) else "contract_changed"
                yield _compared(requests, before, after, new, reason)


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


def _compared(requests: ToolRequests, before: _Side, after: _Side, new: Job, reason: str) -> Result:
    terms = requests.universe.terms
    once, now = before.permits(requests), after.permits(requests)
    claims = {_MORE: terms.both(now, terms.negation(once)), _LESS: terms.both(once, terms.negation(now))}
    goals = Goals(requests, claims, new)
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


def _added(requests: ToolRequests, after: _Side, new: Job) -> Result:
    """There was nothing before, so what of the tool is permitted now is all there is to say."""
    goals = Goals(requests, {_ALLOWED: after.permits(requests)}, new)
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


def _strange(rules: Iterable[Rule], old: Job, new: Job) -> Iterator[tuple[str, str]]:
    """Every tool whose contract changed so that an old rule about it is not well typed any more, and that rule."""
    listed = tuple(rules)
    both = [action for action in new.schema.typed.actions if action in old.schema.typed.actions]
    changed = [action for action in both if not _is_same_tool(action, old, new)]
    ill_typed = cedar.ill_typed(listed, new.schema) if changed else frozenset[str]()
    for action in changed:
        groups = {action: frozenset(new.schema.typed.actions[action].groups)}
        covering = {rule.id for rule in listed if cedar_syntax.action_is_covered(rule.node, action, groups)}
        if found := ill_typed & covering:
            yield action, min(found)


_VERDICTS = {
    (Answer.UNSATISFIABLE, Answer.UNSATISFIABLE): Verdict.EQUIVALENT,
    (Answer.SATISFIABLE, Answer.UNSATISFIABLE): Verdict.MORE_PERMISSIVE,
    (Answer.UNSATISFIABLE, Answer.SATISFIABLE): Verdict.LESS_PERMISSIVE,
    (Answer.SATISFIABLE, Answer.SATISFIABLE): Verdict.INCOMPARABLE,
}
