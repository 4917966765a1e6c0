"""Does some question satisfy this rule? The first rung of `decisive`, and the gate's cheap form of it.

No solver is loaded here: whoever asks brings one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from invariants.analyses.results import Analysis, Result, Verdict
from invariants.solving.answers import Verdict as Answer
from invariants.solving.terms import Term
from invariants.tool_requests import ToolRequests
from policies import cedar
from policies.cedar import Rule
from policies.schema import TypedSchema

Check = Callable[[Term], Answer]
"""Whether a term can hold for a type of request, under its assumptions."""


class Liveness:
    """The first rung alone, for the gate: asks of each type of request only about rules that none before it showed."""

    def __init__(self, rules: Iterable[Rule], schema: TypedSchema) -> None:
        self._unseen = {rule.id: rule for rule in rules}
        self._doubts: dict[str, str] = {}
        self._schema = schema

    def look(self, requests: ToolRequests, check: Check) -> None:
        """Take the next type of request."""
        for rule in requests.rules:
            claim = requests.satisfied(rule)
            if rule.id not in self._unseen or claim is requests.universe.terms.false:
                continue
            answer = check(claim)
            if answer is Answer.SATISFIABLE:
                del self._unseen[rule.id]
            elif answer is Answer.UNKNOWN:
                self._doubts[rule.id] = "solver_limit"

    def refuse(self, action: str, reason: str) -> None:
        """Take note of a tool that nobody can ask about."""
        for identity, rule in self._unseen.items():
            if covers(rule, self._schema, (action,)):
                self._doubts.setdefault(identity, reason)

    def results(self) -> tuple[Result, ...]:
        """`dead` or `unknown`, for every rule that nothing showed to live."""
        return tuple(bottom(rule, self._doubts.get(rule.id, ""), self._schema) for rule in self._unseen.values())


def bottom(rule: Rule, doubt: str, schema: TypedSchema) -> Result:
    """Of a rule that nothing showed to be satisfied."""
    if doubt:
        return replace(blank(rule), reason=doubt)
    reason = "never_satisfied" if covers(rule, schema, schema.actions) else "covers_no_request"
    return replace(blank(rule), verdict=Verdict.DEAD, reason=reason)


def blank(rule: Rule) -> Result:
    """A result about a rule before anything is known."""
    accepted = rule.annotations.get("accepted", "")
    return Result(analysis=Analysis.DECISIVE, subject=rule.id, verdict=Verdict.UNKNOWN, accepted=accepted)


def covers(rule: Rule, schema: TypedSchema, actions: Iterable[str]) -> bool:
    """Whether the rule's scope can match a request about one of the tools."""
    return any(
        cedar.covers(rule, schema.actions[action], principal)
        for action in actions
        for principal in cedar.PRINCIPAL_TYPES
    )
