"""Clear: decision and checks become a refusal, a wish for approvals, or the only thing that execution accepts.

Nothing outside this module makes a `Clearance` (a test holds that), and `execution.run` takes nothing else, so a
skipped gate does not type-check.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from gateway.activation import Active
from gateway.attempts import Attempt
from gateway.gathering import Gathered
from invariants.checks import Check, Status
from policies.decisions import Decision, Needs, Verdict, needs
from policies.questions import Question


class Ruling(Struct, frozen=True, kw_only=True):
    """What engines and checks say about one question. Entry, packet and answer share its documents."""

    decision: Decision
    checks: tuple[Check, ...]
    passes: bool
    """Permitted without an error, and every invariant holds."""
    contradicts: bool
    """The engines allow what a compiled check calls violated: an incident, never an ordinary refusal."""
    rules: list[Mapping[str, Any]]
    """The determining rules as answers and packets show them."""
    obligations: list[str]
    invariant_checks: list[Mapping[str, Any]]
    """The checks as answers and packets show them."""
    brief: Mapping[str, Any]
    """Rules and checks as entries name them: without numbers, because an entry can never be erased."""

    def refused_document(self) -> dict[str, Any]:
        """Rules and checks of a refusal; where no rule forbade, the permits that could have been met, with hints."""
        hints = self.decision.rules or self.decision.hints
        return {"rules": [rule.document for rule in hints], "invariant_checks": self.invariant_checks}


def rule(decision: Decision, checks: tuple[Check, ...]) -> Ruling:
    """Put together what engines and checks said."""
    is_permitted = decision.verdict is Verdict.PERMIT
    holds = all(check.holds for check in checks)
    shown = [check_document(check) for check in checks]
    return Ruling(
        decision=decision,
        checks=checks,
        passes=is_permitted and holds,
        contradicts=is_permitted and not holds,
        rules=[rule.document for rule in decision.rules],
        obligations=[duty.id for duty in decision.obligations],
        invariant_checks=shown,
        brief={
            "rules": [rule.name for rule in decision.rules],
            "checks": [{"id": check["id"], "status": check["status"]} for check in shown],
        },
    )


class Clearance(Struct, frozen=True, kw_only=True):
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
    """policy_error > invariant_violated > policy_denied > not_permitted."""
    decision = ruling.decision
    if decision.verdict is not Verdict.ERROR and not all(check.holds for check in ruling.checks):
        return "invariant_violated"
    return decision.reason or "not_permitted"


def _would_pass(active: Active, question: Question) -> bool:
    return active.engine.decide(question).allowed and all(check.holds for check in active.invariants.evaluate(question))


def _with(question: Question, wanted: Needs) -> Question:
    return question.with_approvals({"persons": wanted.persons, **wanted.roles})


def check_document(check: Check) -> Mapping[str, Any]:
    """A check as answers and packets show it; numbers only where a comparison decided."""
    if check.status is not Status.PASS:
        document: dict[str, Any] = {"id": check.id, "status": check.status.value, "sentence": check.sentence}
    elif check.value is None or check.limit is None:
        return {"id": check.id, "status": "pass"}
    else:
        return {"id": check.id, "status": "pass", "value": check.value, "limit": check.limit}
    if check.value is not None and check.limit is not None:
        document |= {"value": check.value, "limit": check.limit}
    return document
