"""Many calls that wait: no requester floods the approvers, and none hides another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.world.crowd import Ask, rush
from tests.world.stories import REASON, REFUND, Story

FLOOD = 500
AT_ONCE = 30  # No divisor of what may wait: the cap is reached in the middle of a rush.
PARKED_MAX = 100
"""`LOCKGATE_PARKED_PER_PRINCIPAL_MAX`, by default."""


@pytest.fixture(scope="module")
def crowded(story: Story) -> Iterator[Story]:
    """A second gateway of the same world, under which three parked calls of a principal wait at most."""
    gateway = story.world.gateway(settings={"LOCKGATE_PARKED_PER_PRINCIPAL_MAX": "3"})
    yield Story(story.world, type(story.client)(gateway.url), story._numbers)
    gateway.stop()


def test_nobody_floods_the_approvers(crowded: Story) -> None:
    """
    E11: a principal keeps so many calls waiting and no more: 429 with Retry-After; others are not affected.
    """
    agent, other = crowded.agent(1), crowded.agent(1)
    order = crowded.order(20_000)

    answers = [crowded.refund(agent.token, order, cents) for cents in range(1_000, 1_006)]

    assert [answer.status for answer in answers] == [202] * 3 + [429] * 3
    assert {answer.reason for answer in answers[3:]} == {"too_many_parked"}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers[3:])
    assert crowded.refund(other.token, order, 1_000).status == 202


def test_five_hundred_calls_of_one_agent_are_cut_at_the_cap(story: Story) -> None:
    """
    E11: 500 calls of one agent that would wait, many at once: as many wait as the settings say by default, the others
    are 429; approvers see one group of a hundred, with five of it.
    """
    flooding, order = story.agent(1), story.order(20_000)
    asks = [
        Ask(token=flooding.token, tool=REFUND, arguments={"order_id": order, "amount_cents": cents}, reason=REASON)
        for cents in range(1_000, 1_000 + FLOOD)
    ]

    answers = [each for first in range(0, FLOOD, AT_ONCE) for each in rush(story.client.url, asks[first:][:AT_ONCE])]
    group = waiting(story, story.person("finance").token)[f"agent/{flooding.id}", REFUND]

    told = Counter((answer.status, answer.reason) for answer in answers)
    assert told == {(202, ""): PARKED_MAX, (429, "too_many_parked"): FLOOD - PARKED_MAX}
    assert (group["calls"], len(group["oldest"])) == (PARKED_MAX, 5)


def waiting(story: Story, token: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The groups of what waits, by who asks and for which tool."""
    answer = story.client.get("/v1/waiting", token)
    assert answer.status == 200, answer.document
    return {(each["principal"], each["tool"]): each for each in answer.document["groups"]}


def test_approvers_see_what_waits_grouped_and_capped(story: Story) -> None:
    """
    E11: 40 calls of one agent are one group with its sum and its five oldest; another's single call stands beside it.
    """
    flooding, other, finance = story.agent(1), story.agent(1), story.person("finance")
    order = story.order(20_000)
    flood = [story.refund(flooding.token, order, 1_000 + place) for place in range(40)]
    single = story.refund(other.token, order, 2_000)

    groups = waiting(story, finance.token)
    many, one = (groups[f"agent/{each.id}", "issue_refund"] for each in (flooding, other))

    assert (many["calls"], many["totals"]) == (40, {"amount_cents": sum(range(1_000, 1_040))})
    assert [each["call"] for each in many["oldest"]] == [answer.call for answer in flood[:5]]
    assert many["oldest"][0]["arguments"] == {"order_id": order, "amount_cents": 1_000}
    assert many["oldest"][0]["needs"] == [{"role": "finance", "persons": 1}]
    assert many["oldest_at"] <= many["newest_at"] < many["first_expires_at"]
    assert (one["calls"], [each["call"] for each in one["oldest"]]) == (1, [single.call])


def test_what_waits_is_shown_to_whom_it_concerns(story: Story) -> None:
    """
    E11: an agent sees its own groups; who may not see a tool's amounts gets no sum; another tenant sees nothing of it.
    """
    agent, other = story.agent(1), story.agent(1)
    call = story.refund(agent.token, story.order(20_000), 1_000).call
    name = (f"agent/{agent.id}", "issue_refund")

    own, strangers = waiting(story, agent.token), waiting(story, other.token)
    growth = waiting(story, story.person("growth").token)[name]
    foreign = waiting(story, story.person("finance", 1, "globex").token)

    assert list(own) == [name]
    assert own[name]["oldest"][0]["call"] == call
    assert strangers == {}
    assert "totals" not in growth
    assert 1_000 not in growth["oldest"][0]["arguments"].values()
    assert name not in foreign


def test_what_is_over_waits_no_more(story: Story) -> None:
    """
    E11: a call that was cancelled or ran is in no group.
    """
    requester = story.hire("finance")
    cancelled, done = story.parked_refund(requester.token), story.parked_refund(requester.token)
    story.client.request("POST", f"/v1/calls/{cancelled.call}/cancel", requester.token)
    done.present(done.approved_by(story.person("finance", 2)))

    groups = waiting(story, story.person("finance").token)

    assert (f"person/{requester.id}", "issue_refund") not in groups
