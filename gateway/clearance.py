"""Clear: decision and checks become a refusal, a wish for approvals, or the only thing that execution accepts.

Nothing outside this module makes a `Clearance` (a test holds that), and `execution.run` takes nothing else, so a
skipped gate does not type-check.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gateway.activation import Active
from gateway.attempts import Attempt
from gateway.gathering import Gathered
from invariants.checks import Check
from policies.cedar import RuleHit
from policies.decisions import Decision, Needs, Verdict, needs
from policies.questions import Question


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What engines and checks say about one question. Entry, packet and answer share its documents."""

    decision: Decision
    checks: tuple[Check, ...]

    @property
    def passes(self) -> bool:
        """Permitted without an error, and every invariant holds."""
        return self.decision.verdict is Verdict.PERMIT and all(check.holds for check in self.checks)

    @property
    def contradicts(self) -> bool:
        """The engines allow what a compiled check calls violated: an incident, never an ordinary refusal."""
        return self.decision.verdict is Verdict.PERMIT and not all(check.holds for check in self.checks)

    @cached_property
    def rules(self) -> list[dict[str, Any]]:
        """The determining rules as answers and packets show them."""
        return [rule_document(rule) for rule in self.decision.rules]

    @cached_property
    def invariant_checks(self) -> list[dict[str, Any]]:
        """The checks as answers and packets show them."""
        return [check_document(check) for check in self.checks]

    def document(self) -> dict[str, Any]:
        """Rules and checks as an answer shows them."""
        return {"rules": self.rules, "invariant_checks": self.invariant_checks}

    def refused_document(self) -> dict[str, Any]:
        """The same for a refusal; where no rule forbade, the permits that could have been met, with their hints."""
        hints = self.decision.rules or self.decision.hints
        return {**self.document(), "rules": [rule_document(rule) for rule in hints]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """This call, on these facts, under this bundle, may run once."""

    attempt: Attempt
    gathered: Gathered
    ruling: Ruling


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A no, with its one reason by precedence."""

    reason: str
    ruling: Ruling


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanting:
    """A no that some approvals would turn into a yes; the smallest such counts."""

    needs: Needs
    ruling: Ruling
    """Of the question as it stands, without them."""

    def document(self) -> list[dict[str, Any]]:
        """`needs` of a 202: distinct persons per role."""
        return [{"role": role, "persons": count} for role, count in sorted(self.needs.roles.items())]


Rule = Callable[[Question], Awaitable[Ruling]]


async def clear(attempt: Attempt, gathered: Gathered, ruling: Ruling, *, rule: Rule) -> Clearance | Wanting | Refusal:
    """
    Stage 8. `rule` asks engines and checks again, for the approvals that would make the call pass.

    A permit counts only with a valid certificate for this action; a contradiction between engines and checks refuses.
    """
    if ruling.passes:
        if not attempt.active.proves(attempt.call.tool.contract.name):
            return Refusal(reason="invariant_unproven", ruling=ruling)
        return Clearance(attempt=attempt, gathered=gathered, ruling=ruling)
    if attempt.call.tool.is_write and not ruling.contradicts and ruling.decision.verdict is not Verdict.ERROR:
        wanted = needs(gathered.question, lambda question: _would_pass(attempt.active, question))
        # Rego reads the counts too: the engines joined must agree before anybody is asked to sign.
        if wanted is not None and (await rule(_with(gathered.question, wanted))).passes:
            return Wanting(needs=wanted, ruling=ruling)
    return Refusal(reason=_reason(ruling), ruling=ruling)


def _reason(ruling: Ruling) -> str:
    """policy_error > invariant_violated > policy_denied > not_permitted (design §4, stage 8)."""
    decision = ruling.decision
    if decision.verdict is not Verdict.ERROR and not all(check.holds for check in ruling.checks):
        return "invariant_violated"
    return decision.reason or "not_permitted"


def _would_pass(active: Active, question: Question) -> bool:
    return active.engine.decide(question).allowed and all(check.holds for check in active.invariants.evaluate(question))


def _with(question: Question, wanted: Needs) -> Question:
    return question.with_approvals({"persons": wanted.persons, **wanted.roles})


def rule_document(rule: RuleHit) -> dict[str, Any]:
    """A determining rule as answers and packets show it."""
    document = {"engine": rule.engine, "id": rule.id, "effect": rule.effect}
    return {**document, "hint": rule.hint} if rule.hint else document


def check_document(check: Check) -> dict[str, Any]:
    """A check as answers and packets show it; numbers only where a comparison decided."""
    # Most checks hold, and an enum's value is dear on a line that runs for each check of each call.
    document: dict[str, Any] = {"id": check.id, "status": "pass" if check.holds else check.status.value}
    if check.value is not None and check.limit is not None:
        document |= {"value": check.value, "limit": check.limit}
    return document if check.holds else {**document, "sentence": check.sentence}
