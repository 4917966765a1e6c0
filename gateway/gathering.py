"""Gather: a call becomes a question, with facts nobody has to take the client's word for.

Facts come from the business's read endpoints or from the gateway's own ledger, each with the source's own time
stamp and a greatest age. Counters are read here and checked again inside the intent transaction; approvals are
counted only after `approvals.verify` found them signed for exactly this call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import Struct

from gateway import autonomy
from gateway.activation import Active
from gateway.admission import Call
from gateway.approvals import ApprovalsCounted, Presented, verify
from gateway.autonomy import Surge
from gateway.clock import Clock, parse_rfc3339
from gateway.errors import Denied, Unavailable
from gateway.facts import FactReader, Reading
from gateway.identity import PrincipalKind
from gateway.ledger import Budget, InFlight, Ledger, LedgerUnavailable, Look, Seen, Strike
from gateway.tokens import NOTHING, Resolved, Tokens
from gateway.tools import Expression, PreparedFact, PreparedLimit, PreparedTool
from invariants.errors import EvaluationError
from policies.fitting import misfit
from policies.questions import Entity, Question, approval_counts
from tool_registry.contracts import INTEGER_MAX
from tool_registry.shapes import ContractViolation

FUTURE_MS_MAX = 5_000  # A source's clock may run ahead of ours by this much; more is no trustworthy time stamp.
AGENTS_MAX = 16_384  # Agents, and their tools, of which it is remembered when their level was set.


class Gathered(Struct, frozen=True, kw_only=True):
    """A question and everything that went into it."""

    question: Question
    facts: Mapping[str, Reading]
    budgets: tuple[Budget, ...]
    in_flight: tuple[InFlight, ...]
    is_unsettled: bool
    """Something was in flight against a fact of this question: a moment later the fact may hold it itself."""
    approvals: ApprovalsCounted
    resolved: Resolved
    """What tokens among the arguments stand for: for the body of the dispatch, and no part of the question."""
    surges: tuple[Strike, ...] = ()
    """The call would make a surge: the agent is lowered before it is decided."""


class Gather:
    """Builds questions."""

    def __init__(
        self, *, facts: FactReader, ledger: Ledger, tokens: Tokens, clock: Clock, wall: Clock, environment: str
    ) -> None:
        """`wall` is the machine's own clock: facts are as old as it says, in both directions."""
        self._facts = facts
        self._tokens = tokens
        self._ledger = ledger
        self._clock = clock
        self._wall = wall
        self._environment = environment
        self._set_at: dict[tuple[str, str, str], int] = {}
        """By tenant, agent and tool: the entry that last set the level, as of the last look. Surges count since it."""

    async def question(self, call: Call, active: Active, presented: Presented | None) -> Gathered:
        """
        The question that the call asks now.

        Raises `Denied` (`fact_missing`, `fact_stale`, `question_unfit`, `approval_*`), `Conflict` (approval used or
        stale), `BadRequest` (`token_unknown`) and `Unavailable` (a source or the ledger cannot answer).
        """
        now_ms, wall_ms = self._clock.now_ms(), self._wall.now_ms()
        facts, resolved = await self._read(call, active, wall_ms)
        counters = _counters(call, facts, now_ms=now_ms, wall_ms=wall_ms)
        try:
            seen, surges = await self._look(call, counters, active, now_ms)
        except LedgerUnavailable as error:
            raise Unavailable("ledger_unavailable", "the ledger cannot be read") from error
        approvals = verify(call, presented, seen.approvals, facts=facts, now_ms=now_ms)
        readings = _readings(counters, seen)
        context = self._context(call, facts, readings, seen, now_ms)
        context["risk"] = _long(call.tool.risk, context, "risk")
        budgets, in_flight = _reservations(readings, context)
        usual, strikes = _usual(call, active, surges, seen, context["autonomy"])
        context["approvals"] = approval_counts(approvals.counts)
        question = Question(
            principal=Entity(type=call.principal.kind.value.capitalize(), id=call.principal.id),
            roles=call.principal.roles,
            action=call.tool.contract.name,
            resource=Entity(
                type=active.schema.typed.actions[call.tool.contract.name].resource_type,
                id=call.tool.resource_id(call.principal.tenant, call.arguments),
            ),
            context=context,
        )
        if misfit(question, active.schema.typed) is not None:
            # An integer outside its declared range: the proofs say nothing about such a question.
            raise Denied("question_unfit", "a fact or argument lies outside its declared range")
        return Gathered(
            question=question,
            facts=facts,
            budgets=budgets + usual,
            in_flight=in_flight,
            is_unsettled=any(seen.in_flight),
            approvals=approvals,
            resolved=resolved,
            surges=strikes,
        )

    async def _read(self, call: Call, active: Active, wall_ms: int) -> tuple[dict[str, Reading], Resolved]:
        """Facts, and what tokens stand for, at the same time: slow sources must not add up."""
        facts = self._read_facts(call, wall_ms)
        if not call.tool.resolving:
            return await facts, NOTHING
        tokens = self._tokens.resolve(call.principal.tenant, call.tool, call.arguments, active.tools)
        return await asyncio.gather(facts, tokens)

    async def _read_facts(self, call: Call, now_ms: int) -> dict[str, Reading]:
        sources = call.tool.facts
        if not sources:
            return {}
        if len(sources) == 1:
            readings = [await self._facts.read(call, sources[0])]
        else:
            readings = await asyncio.gather(*(self._facts.read(call, fact) for fact in sources))
        return {
            fact.source.name: _trusted(fact, reading, now_ms) for fact, reading in zip(sources, readings, strict=True)
        }

    async def _look(
        self, call: Call, counters: list[_Counter], active: Active, now_ms: int
    ) -> tuple[Seen, tuple[Surge, ...]]:
        """What the ledger knows, in one read: but a second one where the level was set since the last call."""
        principal, tool = call.principal, call.tool.contract.name
        is_agent = principal.kind is PrincipalKind.AGENT
        if not (counters or call.approvals or is_agent):
            return Seen(), ()
        rules = autonomy.counting(active, principal.tenant, principal.reference, tool)
        agent = (principal.tenant, principal.id, tool)
        while True:
            since = self._set_at.get(agent, 0)
            surges = autonomy.surges(call, rules, since=since, now_ms=now_ms)
            own = [each.key for each in counters if each.since_ms is None]
            seen = await self._ledger.look(
                Look(
                    tenant=principal.tenant,
                    budgets=tuple(own + [key for surge in surges for key in (surge.key, surge.before)]),
                    in_flight=tuple([(each.key, each.since_ms) for each in counters if each.since_ms is not None]),
                    approvals=call.approvals,
                    autonomy=agent[1:] if is_agent else None,
                )
            )
            if not surges or seen.autonomy is None or seen.autonomy.since == since:
                return seen, surges
            if len(self._set_at) >= AGENTS_MAX:
                self._set_at.clear()
            self._set_at[agent] = seen.autonomy.since

    def _context(
        self, call: Call, facts: Mapping[str, Reading], readings: list[tuple[_Counter, int]], seen: Seen, now_ms: int
    ) -> dict[str, Any]:
        is_agent = call.principal.kind is PrincipalKind.AGENT
        groups: dict[str, dict[str, Any]] = {name: dict(reading.values) for name, reading in facts.items()}
        for limit in call.tool.limits:
            if limit.limit.shows:
                group, _, member = limit.limit.shows.partition(".")
                groups.setdefault(group, {})[member] = 0  # Where the limit does not apply to this call.
        for each, reading in readings:
            shows = each.prepared.limit.shows
            if shows:
                group, _, member = shows.partition(".")
                groups[group][member] = reading
        return {
            "arguments": _arguments(call.tool, call.arguments),
            "facts": groups,
            "approvals": {},
            "risk": 0,
            "autonomy": autonomy.level_of(call.principal, seen.autonomy),
            "registered": is_agent and call.tool.contract.name in call.principal.tools,
            "reason_code": call.reason_code,
            "environment": self._environment,
            "tenant": call.principal.tenant,
            "now": now_ms // 1000,
        }


class _Counter(NamedTuple):
    """One limit of this call, with the key that it counts under."""

    prepared: PreparedLimit
    key: bytes
    since_ms: int | None


def _counters(call: Call, facts: Mapping[str, Reading], *, now_ms: int, wall_ms: int) -> list[_Counter]:
    """The limits that apply to this call."""
    principal, tool, arguments = call.principal, call.tool.contract.name, call.arguments
    is_agent = principal.kind is PrincipalKind.AGENT
    counters = []
    for prepared in call.tool.limits:
        if prepared.limit.agents_only and not is_agent:
            continue
        key = prepared.key(
            tenant=principal.tenant, tool=tool, principal=principal.reference, arguments=arguments, now_ms=now_ms
        )
        since = prepared.limit.since
        # Never after we asked: what settles while the fact is on its way is not in it for sure, and by a source
        # whose clock runs ahead it would count neither as in flight nor as settled.
        counters.append(_Counter(prepared, key, min(facts[since].at_ms, wall_ms) if since else None))
    return counters


def _trusted(fact: PreparedFact, reading: Reading | None, now_ms: int) -> Reading:
    name = fact.source.name
    if reading is None:
        raise Denied("fact_missing", f"`{name}` is not known to its source")
    try:
        fact.shape.check(reading.values)
    except ContractViolation as error:
        raise Denied("fact_missing", f"`{name}` came in another shape than declared") from error
    age_ms = now_ms - reading.at_ms
    if age_ms > fact.source.age_seconds_max * 1000 or age_ms < -FUTURE_MS_MAX:
        raise Denied("fact_stale", f"`{name}` is older than {fact.source.age_seconds_max} s")
    return reading


def _arguments(tool: PreparedTool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    if not tool.timestamps:
        return arguments
    converted = dict(arguments)
    for name in tool.timestamps:
        if name in converted:
            converted[name] = parse_rfc3339(converted[name]) // 1000
    return converted


def _readings(counters: list[_Counter], seen: Seen) -> list[tuple[_Counter, int]]:
    budgets = iter(seen.budgets)
    in_flight = iter(seen.in_flight)
    return [(each, next(budgets) if each.since_ms is None else next(in_flight)) for each in counters]


def _reservations(
    readings: list[tuple[_Counter, int]], context: Mapping[str, Any]
) -> tuple[tuple[Budget, ...], tuple[InFlight, ...]]:
    budgets: list[Budget] = []
    in_flight: list[InFlight] = []
    amounts: dict[Expression, int] = {}
    for each, reading in readings:
        prepared, limit = each.prepared, each.prepared.limit
        amount = amounts.get(prepared.amount)
        if amount is None:
            amount = amounts[prepared.amount] = _long(prepared.amount, context, limit.name)
        if amount <= 0:
            continue
        ceiling = prepared.ceiling
        if not isinstance(ceiling, int):
            ceiling = _long(ceiling, context, limit.name)
        if each.since_ms is not None:
            in_flight.append(
                InFlight(
                    key=each.key,
                    name=limit.name,
                    amount=amount,
                    ceiling=ceiling,
                    since_ms=each.since_ms,
                    known=reading,
                )
            )
        else:
            # A soft ceiling already passed has done its work: the risk expression saw the reading.
            passed = limit.soft and reading + amount > ceiling
            budgets.append(
                Budget(
                    key=each.key, name=limit.name, amount=amount, ceiling=None if passed else ceiling, soft=limit.soft
                )
            )
    return tuple(budgets), tuple(in_flight)


def _usual(
    call: Call, active: Active, surges: tuple[Surge, ...], seen: Seen, level: int
) -> tuple[tuple[Budget, ...], tuple[Strike, ...]]:
    """What the call adds to its agent's own usual, or by which rules it goes far beyond it."""
    if not surges:
        return (), ()
    principal, tool = call.principal, call.tool.contract.name
    rules = autonomy.counting(active, principal.tenant, principal.reference, tool)
    since = 0 if seen.autonomy is None else seen.autonomy.since
    read = seen.budgets[len(seen.budgets) - 2 * len(surges) :]
    budgets, strikes = [], []
    for place, surge in enumerate(surges):
        if level <= surge.rule.to:
            continue  # It could lower nobody any more.
        budget = surge.budget(read[2 * place], read[2 * place + 1])
        if budget is not None:
            budgets.append(budget)
        elif rules is not None:
            strikes.append(rules.surge(surge.rule, since))
    return tuple(budgets), tuple(strikes)


def _long(expression: Any, context: Mapping[str, Any], name: str) -> int:
    try:
        value: int = expression(context)
    except EvaluationError as error:
        raise Denied("policy_error", f"`{name}` of the contract cannot be evaluated") from error
    if abs(value) > INTEGER_MAX:
        raise Denied("question_unfit", f"`{name}` lies outside the profile")
    return value
