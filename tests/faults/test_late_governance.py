"""A governance act whose settlement came too late: it did not run, and no entry says that it did."""

from __future__ import annotations

import asyncio
from uuid import UUID

from gateway.connectors import Outcome
from gateway.ledger import Act, Answer, Late, Look, Seen, Settle, State
from gateway.redaction import Redactor
from gateway.settlement import OpenIntent, Settlement
from gateway.tools import prepare
from policies.schema import generate
from tool_registry.registry import load_catalogue


class Overtaken:
    """A ledger on which another has settled already."""

    def __init__(self) -> None:
        self.acts: list[Act] = []

    async def commit(self, act: Act) -> Answer:
        self.acts.append(act)
        return Late(placed=None, state=State.NOT_DONE)

    async def look(self, look: Look) -> Seen:
        raise AssertionError("settling looks nothing up")


def test_a_late_act_is_recorded_as_not_done() -> None:
    """
    The act runs inside the settlement, so one that is late never ran: its LATE entry must not say `executed`.
    """
    contracts = load_catalogue().contracts
    tool = next(each for each in contracts.values() if each.name == "set_autonomy")
    ledger = Overtaken()
    intent = OpenIntent(
        tenant="acme",
        claim=b"",
        call_id=UUID(int=1),
        fence=1,
        tool=prepare(tool, generate(contracts.values()).typed),
        canonical=b'{"arguments":{}}',
        correlation=None,
        subject={},
        reference={},
        decision={"decision": {}, "invariant_checks": []},
        about=None,
        intent_seq=1,
        budgets=(),
        in_flight=(),
        act=lambda cursor, seq: {},
    )

    settled = asyncio.run(
        Settlement(ledger, Redactor(bytes(32))).settle(intent, Outcome(state=State.EXECUTED, result={}))
    )

    (act,) = ledger.acts
    assert settled is None
    assert isinstance(act, Settle)
    assert act.late_entry is not None
    assert (act.late_entry.kind, act.late_entry.members["state"]) == ("LATE", "not_done")
