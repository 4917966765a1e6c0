"""Clocks of fact sources that run ahead or behind: no amount may fall between the fact and what is in flight."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway import admission
from gateway.activation import Active
from gateway.admission import Call, Envelope
from gateway.facts import Reading
from gateway.gathering import Gather
from gateway.identity import Principal, PrincipalKind
from gateway.ledger import Act, Answer, Look, Seen
from gateway.tokens import Tokens
from gateway.tools import PreparedFact, prepare
from policies.schema import generate
from tool_registry.registry import load_catalogue

NOW_MS = 1_800_000_000_000
TOOL = "issue_refund"
SCHEMA = generate(load_catalogue().contracts.values())


class Still:
    """A clock that stands still."""

    def now_ms(self) -> int:
        return NOW_MS

    def monotonic(self) -> float:
        return 0.0


class Source:
    """A fact source whose clock is off by so much."""

    def __init__(self, ahead_ms: int) -> None:
        self._at_ms = NOW_MS + ahead_ms

    async def read(self, call: Call, fact: PreparedFact) -> Reading:
        return Reading(at_ms=self._at_ms, values={"paid_cents": 10_000, "refunded_cents": 0})


class Counters:
    """A ledger on which nothing is in flight; remembers what it was asked."""

    def __init__(self) -> None:
        self.looks: list[Look] = []

    async def commit(self, act: Act) -> Answer:
        raise AssertionError("gathering writes nothing")

    async def look(self, look: Look) -> Seen:
        self.looks.append(look)
        return Seen(budgets=tuple(0 for _ in look.budgets), in_flight=tuple(0 for _ in look.in_flight))


def refund() -> Call:
    """A small refund."""
    principal = Principal(
        tenant="acme",
        kind=PrincipalKind.PERSON,
        id="per_ada",
        subject=None,
        subject_person=None,
        delegates=(),
        roles=("finance",),
        tools=frozenset(),
        issued_at=0,
        expires_at=2**40,
    )
    document: dict[str, Any] = {
        "tool": TOOL,
        "arguments": {"order_id": "ord_1", "amount_cents": 1_000},
        "reason_code": "damaged_item",
    }
    return admission.admit(
        document,
        Envelope(key="key-1", correlation=None, is_dry_run=False),
        principal=principal,
        environment="dev",
        tools={TOOL: prepare(load_catalogue().contracts[TOOL], SCHEMA.typed)},
    )


@pytest.mark.parametrize(("ahead_ms", "since_ms"), [(4_000, NOW_MS), (0, NOW_MS), (-4_000, NOW_MS - 4_000)])
def test_what_settles_after_a_fact_was_asked_for_still_counts_as_in_flight(ahead_ms: int, since_ms: int) -> None:
    """
    A source whose clock runs ahead stamps its fact later than a refund that settled meanwhile and is not in the fact.
    That refund counts as in flight, when the question is built and again in the intent transaction.
    """
    ledger = Counters()
    gather = Gather(
        facts=Source(ahead_ms), ledger=ledger, tokens=cast(Tokens, None), clock=Still(), wall=Still(), environment="dev"
    )

    gathered = asyncio.run(gather.question(refund(), cast(Active, SimpleNamespace(schema=SCHEMA)), None))

    assert [since for _, since in ledger.looks[0].in_flight] == [since_ms]
    assert [each.since_ms for each in gathered.in_flight] == [since_ms]
