"""A business in memory that misbehaves by chance: it acts, and then is slow, cut off, silent or wrong about it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.admission import Call
from gateway.connectors import Dispatch, Outcome
from gateway.errors import Unavailable
from gateway.facts import Reading
from gateway.ledger import State
from gateway.tools import PreparedFact, PreparedTool

EARLY, NO_ACT, ACTS_THEN_FAILS, LATE = "early", "no_act", "acts_then_fails", "late"


def paid_cents(order_id: str) -> int:
    """What was paid for an order: a little, which is soon given back, or a lot."""
    return 12_000 if order_id[-1] in "02468" else 120_000


@dataclass(slots=True)
class Applied:
    """What the business knows of one effect id."""

    result: dict[str, Any]
    at: float


@dataclass(slots=True)
class Business:
    """Orders, users, flags; idempotent by effect id, fenced, with a status query, as its contracts declare."""

    chance: random.Random
    now_ms: Callable[[], int]
    """The business's own clock."""
    has_intent: Callable[[str, str], bool]
    """Whether an intent for this tenant and effect id is durable now. What the guarantee is about."""
    fault_rate: float = 0.0
    effects: Counter[str] = field(default_factory=Counter)
    """How often each effect id took place."""
    refunded: Counter[str] = field(default_factory=Counter)
    dispatched: Counter[str] = field(default_factory=Counter)
    """How often each effect id was sent, whatever came of it."""
    wrong: list[str] = field(default_factory=list)
    """What no gateway may ever do."""
    _applied: dict[str, Applied] = field(default_factory=dict)
    _fences: dict[str, int] = field(default_factory=dict)

    async def execute(self, dispatch: Dispatch) -> Outcome:
        """As a `ToolConnector`: the effect, perhaps, and an answer, perhaps."""
        self.dispatched[dispatch.effect_id] += 1
        if not self.has_intent(dispatch.tenant, dispatch.effect_id):
            self.wrong.append(f"{dispatch.effect_id}: sent without a durable intent")
        fault = self._fault()
        deadline = dispatch.tool.contract.deadline_ms / 1000
        if fault == EARLY:
            return Outcome(state=State.NOT_DONE, reason="tool_unreachable")
        await asyncio.sleep(self.chance.choice((0.01, 0.2)) * self.chance.random())
        if fault == NO_ACT:
            await asyncio.sleep(self.chance.choice((0, deadline)))
            return Outcome(state=State.IN_DOUBT, reason="no_answer")
        if fault == LATE:
            asyncio.get_running_loop().call_later(deadline + self.chance.random() * 3, self._apply, dispatch)
            await asyncio.sleep(deadline)
            return Outcome(state=State.IN_DOUBT, reason="deadline_passed")
        outcome = self._apply(dispatch)
        if fault == ACTS_THEN_FAILS:
            await asyncio.sleep(self.chance.choice((0, deadline)))
            return Outcome(state=State.IN_DOUBT, reason="no_answer")
        return outcome

    async def status(self, dispatch: Dispatch) -> Outcome | None:
        """What became of an effect; None where the contract has no such query, or by chance."""
        if dispatch.tool.contract.status_path is None or self._fault() is not None:
            return None
        await asyncio.sleep(self.chance.random() * 0.01)
        self._fences[dispatch.effect_id] = max(self._fences.get(dispatch.effect_id, 0), dispatch.fence)
        applied = self._applied.get(dispatch.effect_id)
        if applied is None:
            return Outcome(state=State.NOT_DONE, reason="not_applied")
        return Outcome(state=State.EXECUTED, result=applied.result)

    async def view(self, tenant: str, tool: PreparedTool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Confirming reads are answered by nobody: they change nothing."""
        raise Unavailable("source_unreachable", "the source did not answer")

    async def read(self, call: Call, fact: PreparedFact) -> Reading | None:
        """As a `FactReader`: an order, as old as the way here takes."""
        at_ms, order = self.now_ms(), str(call.arguments.get("order_id", ""))
        values = {"paid_cents": paid_cents(order), "refunded_cents": self.refunded[f"{call.principal.tenant}/{order}"]}
        await asyncio.sleep(self.chance.random() * 0.01)
        if self._fault() is not None:
            raise Unavailable("source_unreachable", "the source did not answer")
        return Reading(at_ms=at_ms, values=values)

    def _fault(self) -> str | None:
        if self.chance.random() >= self.fault_rate:
            return None
        return self.chance.choice((EARLY, NO_ACT, ACTS_THEN_FAILS, LATE))

    def _apply(self, dispatch: Dispatch) -> Outcome:
        effect, contract = dispatch.effect_id, dispatch.tool.contract
        known = self._applied.get(effect)
        if known is not None and contract.is_idempotent:
            return Outcome(state=State.EXECUTED, result=known.result)
        is_past = self.now_ms() > dispatch.deadline_at_ms
        if contract.is_fenced and (dispatch.fence < self._fences.get(effect, 0) or is_past):
            return Outcome(state=State.FAILED, reason="fenced_off")
        self._fences[effect] = max(self._fences.get(effect, 0), dispatch.fence)
        arguments = orjson.loads(dispatch.canonical)["arguments"]
        result = self._result(dispatch.tenant, contract.name, arguments, effect)
        if result is None:
            return Outcome(state=State.FAILED, reason="more_than_paid")
        self.effects[effect] += 1
        if self.effects[effect] > 1:
            self.wrong.append(f"{effect}: took place {self.effects[effect]} times")
        self._applied[effect] = Applied(result, self.now_ms())
        return Outcome(state=State.EXECUTED, result=result)

    def _result(self, tenant: str, tool: str, arguments: Mapping[str, Any], effect: str) -> dict[str, Any] | None:
        if tool != "issue_refund":
            return {name: value for name, value in arguments.items() if name != "amount_cents"}
        order = f"{tenant}/{arguments['order_id']}"
        self.refunded[order] += arguments["amount_cents"]
        if self.refunded[order] > paid_cents(arguments["order_id"]):
            # A business that trusts its gateway: this is what the reservation in flight has to prevent.
            self.wrong.append(f"{effect}: {order} was given back more than was paid")
        return {
            "refund_id": "ref_" + effect[5:21],
            "order_id": arguments["order_id"],
            "amount_cents": arguments["amount_cents"],
            "refunded_cents": self.refunded[order],
        }
