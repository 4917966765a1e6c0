"""Trials: a changed question put to everything that decides a call, before anybody is shown it.

Cedar, Rego, the compiled checks and the limits, as for a call that is presented; nothing is gathered, reserved or
recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.activation import Active
from gateway.clearance import Ruling, rule
from gateway.logs import log
from gateway.tools import PreparedTool
from invariants.errors import EvaluationError
from invariants.explanations.alternatives import Alternative, Change, Scalar, changed
from policies.cedar import RuleHit
from policies.fitting import misfit
from policies.questions import Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What became of some alternatives."""

    passing: tuple[Alternative, ...]
    denials: tuple[RuleHit, ...]
    """Rules of Rego that refuse others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A recorded question, and what decides it now."""

    call: str
    question: Question
    active: Active
    tool: PreparedTool

    async def refusing(self) -> frozenset[tuple[str, str]] | None:
        """
        The rules (engine, id) that refuse the question as it is recorded. None: it passes, or is not what was asked.

        The log keeps some values as tokens; where they matter, fit, risk or rules are other than they were.
        """
        question = self.question
        if misfit(question, self.active.schema.typed) is not None:
            return None
        try:
            is_same_risk = self.tool.risk(question.context) == question.context["risk"]
        except EvaluationError:
            return None
        ruling = rule(await self.active.decide(question), self.active.invariants.evaluate(question))
        if ruling.passes or not is_same_risk:
            return None
        return frozenset((hit.engine, hit.id) for hit in ruling.decision.rules)

    async def of(self, alternatives: Iterable[Alternative]) -> Tried:
        """Try each. What Cedar, checks or limits refuse is told to nobody but the operators."""
        passing: list[Alternative] = []
        denials: dict[str, RuleHit] = {}
        for alternative in alternatives:
            is_granted, ruling = await self._try(alternative)
            if not is_granted or ruling is None:
                # The solver says yes and the engine no: one of the two is wrong about Cedar.
                log().error("encoding_bug", call=self.call, tool=self.question.action)
            elif ruling.passes:
                passing.append(await self._within_reason(alternative))
            else:
                denials |= {hit.name: hit for hit in ruling.decision.rules if hit.engine == "rego"}
        return Tried(passing=tuple(passing), denials=tuple(denials.values()))

    async def _try(self, alternative: Alternative) -> tuple[bool, Ruling | None]:
        """Whether Cedar, checks and limits permit the changed question, and what all engines say of it."""
        try:
            question = changed(self.question, alternative, self.tool.risk)
            has_room = self._has_room(question)
        except EvaluationError:
            return False, None
        ruling = rule(await self.active.decide(question), self.active.invariants.evaluate(question))
        is_granted = self.active.engine.decide(question).allowed and all(check.holds for check in ruling.checks)
        return is_granted and has_room, ruling

    async def _within_reason(self, alternative: Alternative) -> Alternative:
        """With no more beside the nearest values than was tried too: the far end of a range, each other choice."""

        async def passes(change: Change, value: Scalar) -> bool:
            others = tuple(replace(each, value=value) if each is change else each for each in alternative.changes)
            is_granted, ruling = await self._try(replace(alternative, changes=others))
            return is_granted and ruling is not None and ruling.passes

        changes: list[Change] = []
        for change in alternative.changes:
            ends = {each for each in (change.low, change.high) if each is not None} - {change.value}
            is_whole = all([await passes(change, end) for end in ends])
            low, high = (change.low, change.high) if is_whole else (int(change.value), int(change.value))
            others = tuple([each for each in change.others if await passes(change, each)])
            changes.append(replace(change, low=low, high=high, others=others))
        return replace(alternative, changes=tuple(changes))

    def _has_room(self, question: Question) -> bool:
        """Whether the limits leave room, by the readings that the facts show. Raises `EvaluationError`."""
        context = question.context
        for prepared in self.tool.limits:
            limit = prepared.limit
            if limit.soft or (limit.agents_only and question.principal.type != "Agent"):
                continue
            amount = prepared.amount(context)
            ceiling = prepared.ceiling if isinstance(prepared.ceiling, int) else prepared.ceiling(context)
            group, _, member = (limit.shows or "").partition(".")
            reading = context["facts"][group][member] if limit.shows else 0
            if amount > 0 and reading + amount > ceiling:
                return False
        return True
