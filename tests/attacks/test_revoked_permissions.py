"""Permissions taken away between two requests: the next one is decided by what holds now, and never by a memory."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from deploy.demo.cast import Agent
from deploy.demo.client import Answer, Client
from tests.world.stories import Story


@pytest.fixture(scope="module")
def elsewhere(story: Story) -> Iterator[Story]:
    """The same world through a second gateway."""
    gateway = story.world.gateway()
    yield Story(story.world, Client(gateway.url), story._numbers)
    gateway.stop()


def level(story: Story, agent: Agent, to: int) -> None:
    """Set an agent's autonomy for everything."""
    story.govern("set_autonomy", {"agent": agent.id, "action": "*", "level": to}, "new_agent")


REFUSED = {(403, reason) for reason in ("policy_denied", "not_permitted", "invariant_violated")}


def told(answer: Answer) -> tuple[int, str]:
    """Status and reason, or status and state."""
    return answer.status, answer.reason or str(answer.document.get("status", ""))


def test_a_lowered_agent_is_refused_at_the_next_request_on_every_gateway(story: Story, elsewhere: Story) -> None:
    """
    C12: permitted through two gateways a moment ago, an agent whose level was lowered is refused by both at once, and
    the answers to its former keys are repeated without a second effect.
    """
    agent, order, key = story.agent(2), story.order(20_000), secrets.token_hex(16)
    before = [story.refund(agent.token, order, 1_000, key=key), elsewhere.refund(agent.token, order, 1_000)]

    level(story, agent, 0)
    after = [each.refund(agent.token, order, 1_000) for each in (elsewhere, story)]
    again = elsewhere.refund(agent.token, order, 1_000, key=key)

    assert [told(answer) for answer in before] == [(200, "executed")] * 2
    assert {told(answer) for answer in after} <= REFUSED
    assert (again.call, again.headers["idempotency-replayed"]) == (before[0].call, "true")
    assert len(story.effects_on(order)) == 2


def test_a_person_without_the_role_any_more_is_refused_at_the_next_request(story: Story, elsewhere: Story) -> None:
    """
    C12: what a newer token does not say any more is gone for that token; no gateway remembers the role for it.
    """
    person, order = story.hire("finance"), story.order(20_000)
    before = [each.refund(person.token, order, 1_000) for each in (story, elsewhere)]

    without = story.token(person.id, ["growth"])
    after = [each.refund(without, order, 1_000) for each in (story, elsewhere)]

    assert [told(answer) for answer in before] == [(200, "executed")] * 2
    assert {told(answer) for answer in after} <= REFUSED
    assert len(story.effects_on(order)) == 2


def test_a_denied_call_is_decided_anew_under_its_key(story: Story) -> None:
    """
    F17: a refusal burns no key: as long as the rules say no the same key is refused, and once they say yes it runs, by
    a decision of its own and once.
    """
    agent, order, key = story.agent(0), story.order(20_000), secrets.token_hex(16)

    denied = [story.refund(agent.token, order, 1_000, key=key) for _ in range(2)]
    level(story, agent, 2)
    done = [story.refund(agent.token, order, 1_000, key=key) for _ in range(2)]
    level(story, agent, 0)
    late = story.refund(agent.token, order, 1_000, key=key)

    assert {told(answer) for answer in denied} <= REFUSED
    assert "idempotency-replayed" not in denied[1].headers
    assert [told(answer) for answer in (*done, late)] == [(200, "executed")] * 3
    assert [answer.headers.get("idempotency-replayed") for answer in (*done, late)] == [None, "true", "true"]
    assert len(story.effects_on(order)) == 1
