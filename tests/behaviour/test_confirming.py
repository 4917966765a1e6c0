"""Confirming reads: asked for what the effect was about, by arguments, facts and result of the call."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

from gateway.confirming import Confirming
from gateway.ledger import State
from gateway.tools import referenced


class Source:
    """A view that remembers what it was asked, and a ledger that takes every entry."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.kinds: list[str] = []

    async def view(self, tenant: str, read: Any, arguments: Any) -> dict[str, Any]:
        self.asked.append(arguments)
        return {}

    async def commit(self, act: Any) -> None:
        self.kinds.append(act.entry.kind)


def executed(arguments: dict[str, Any]) -> Any:
    """A call that executed, whose contract has it confirmed by a read with these arguments."""
    read = SimpleNamespace(
        contract=SimpleNamespace(name="get_user", digest="sha256:r", connector=None, result=()),
        result=SimpleNamespace(check=lambda found: None),
    )
    contract = SimpleNamespace(confirm=SimpleNamespace(tool="get_user", arguments=arguments))
    call = SimpleNamespace(
        principal=SimpleNamespace(tenant="acme"),
        tool=SimpleNamespace(contract=contract, subject=lambda arguments: None),
        arguments={"order_id": "ord_1"},
        correlation=None,
    )
    attempt = SimpleNamespace(
        call=call, active=SimpleNamespace(tools={"get_user": read}), call_id=uuid4(), text="call_1"
    )
    facts = {"order": SimpleNamespace(at_ms=1, values={"customer_id": "usr_7"})}
    return SimpleNamespace(attempt=attempt, gathered=SimpleNamespace(facts=facts))


def test_a_confirming_read_is_given_the_facts_that_the_call_was_decided_on() -> None:
    """
    `facts.order.customer_id` is the customer of the order, and not that text.
    """
    source = Source()
    wanted = {"user_id": "facts.order.customer_id", "order_id": "arguments.order_id", "refund_id": "result.refund_id"}

    async def story() -> None:
        redactor = SimpleNamespace(record=lambda fields, found, tenant: {})
        confirming = Confirming(lambda connector: cast(Any, source), cast(Any, source), cast(Any, redactor))
        settled = SimpleNamespace(state=State.EXECUTED, answer=b'{"result":{"refund_id":"ref_3"}}')
        confirming.later(executed(wanted), cast(Any, settled))
        await confirming.drain()

    asyncio.run(story())

    assert source.asked == [{"user_id": "usr_7", "order_id": "ord_1", "refund_id": "ref_3"}]
    assert source.kinds == ["CONFIRMED"]


def test_a_literal_that_only_sounds_like_a_source_stays_literal() -> None:
    """
    A reference has a dot, as at its declaration; the word alone is text.
    """
    known = {"arguments": {"x": 1}, "facts": {}, "result": {}}

    assert referenced({"a": "result", "b": "arguments.x", "c": 3}, known) == {"a": "result", "b": 1, "c": 3}
