"""Confirming reads: asked for what the effect was about, by arguments, facts and result of the call."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from gateway.confirming import Confirming
from gateway.errors import NotFound, Unavailable
from gateway.ledger import Draft, State
from gateway.tools import referenced
from tests.world.bundles import bundle


class Source:
    """A view that remembers what it was asked, and a ledger that takes every entry."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.kinds: list[str] = []
        self.entries: list[Draft] = []
        self.shows: dict[str, Any] | Exception = {}

    async def view(self, tenant: str, read: Any, arguments: Any) -> dict[str, Any]:
        self.asked.append(arguments)
        if isinstance(self.shows, Exception):
            raise self.shows
        return self.shows

    async def commit(self, act: Any) -> None:
        self.kinds.append(act.entry.kind)
        self.entries.append(act.entry)


def executed(arguments: dict[str, Any], expects: dict[str, Any] | None = None) -> Any:
    """A call that executed, whose contract has it confirmed by a read with these arguments."""
    read = SimpleNamespace(
        contract=SimpleNamespace(name="get_user", digest="sha256:r", connector=None, result=()),
        result=SimpleNamespace(check=lambda found: None),
    )
    confirm = SimpleNamespace(tool="get_user", arguments=arguments, expects=expects)
    contract = SimpleNamespace(name="issue_refund", confirm=confirm)
    call = SimpleNamespace(
        principal=SimpleNamespace(tenant="acme", reference="agent/a"),
        tool=SimpleNamespace(contract=contract, subject=lambda arguments: None),
        arguments={"order_id": "ord_1"},
        correlation=None,
    )
    attempt = SimpleNamespace(
        call=call,
        active=SimpleNamespace(tools={"get_user": read}, bundle=bundle(), reference={}),
        call_id=uuid4(),
        text="call_1",
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


@pytest.mark.parametrize(
    ("shows", "kind", "counts"),
    [
        ({"status": "banned", "days": 3, "more": 1}, "CONFIRMED", False),
        ({"status": "active", "days": 3}, "UNCONFIRMED", True),
        ({"status": "banned", "days": 4}, "UNCONFIRMED", True),
        ({"status": "banned"}, "UNCONFIRMED", True),
        (NotFound("unknown_subject"), "UNCONFIRMED", True),
        (Unavailable("source_unreachable"), "UNCONFIRMED", False),
    ],
    ids=["as expected", "another state", "another number", "nothing", "unknown", "no answer"],
)
def test_a_read_that_shows_something_else_contradicts_the_effect(
    shows: dict[str, Any] | Exception, kind: str, counts: bool
) -> None:
    """
    The read shows what the contract expects of it, or the entry says that it contradicts, and counts against the agent;
    that there was no answer counts against nobody.
    """
    source = Source()
    source.shows = shows

    async def story() -> None:
        redactor = SimpleNamespace(record=lambda fields, found, tenant: dict(found))
        confirming = Confirming(lambda connector: cast(Any, source), cast(Any, source), cast(Any, redactor))
        expects = {"status": "banned", "days": "result.days"}
        settled = SimpleNamespace(state=State.EXECUTED, answer=b'{"result":{"days":3}}')
        confirming.later(executed({"order_id": "arguments.order_id"}, expects), cast(Any, settled))
        await confirming.drain()

    asyncio.run(story())

    (entry,) = source.entries
    assert entry.kind == kind
    assert (entry.members.get("reason") == "contradicted") == counts
    assert [strike.rule for strike in entry.strikes] == (["effects-contradicted"] if counts else [])
