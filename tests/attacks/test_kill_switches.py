"""Kill switches: what is switched off does not run from the next dispatch on, and nobody is locked out of releasing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.demo.client import Answer
from tests.world.stories import Story

KILLED = (403, "killed")


@contextmanager
def engaged(story: Story, scope: str, target: str, tenant: str = "acme") -> Iterator[Answer]:
    """The switch, engaged by one operator at once; released by two persons at the end."""
    arguments = {"scope": scope, "target": target, "reason": "a drill"}
    answer = story.client.call(story.person("operator", 1, tenant).token, "engage_kill", arguments, reason="drill")
    assert (answer.status, answer.document["status"]) == (200, "executed"), answer.document
    try:
        yield answer
    finally:
        story.govern("release_kill", {"scope": scope, "target": target}, "drill", tenant)


def refund(story: Story, token: str, tenant: str = "acme") -> Answer:
    """A small refund, which runs unless something stops it."""
    return story.refund(token, story.order(tenant=tenant), 1_000)


def told(answer: Answer) -> tuple[int, str]:
    """Status and reason, or status and state."""
    return answer.status, answer.reason or str(answer.document.get("status", ""))


def test_a_switched_off_agent_acts_no_more(story: Story) -> None:
    """
    An agent's switch stops its writes alone: others go on, and its reads too; released, it acts again.
    """
    agent, other, order = story.agent(2), story.agent(2), story.order(10_000)
    finance = story.person("finance")

    with engaged(story, "agent", agent.id):
        stopped = [story.refund(agent.token, order, 1_000), refund(story, other.token), refund(story, finance.token)]
        read = story.client.call(agent.token, "get_order", {"order_id": order})
        effects = story.effects_on(order)
    after = story.refund(agent.token, order, 1_000)

    assert [told(answer) for answer in stopped] == [KILLED, (200, "executed"), (200, "executed")]
    assert "entry" in stopped[0].document
    assert effects == []
    assert read.status == 200
    assert told(after) == (200, "executed")


def test_a_switched_off_tool_runs_for_nobody(story: Story) -> None:
    """
    A tool's switch stops everybody's calls to it, and no other tool.
    """
    product = story.state("products")[0]["id"]
    growth, finance = story.person("growth"), story.person("finance")
    ad_set = story.state("ad_sets")[0]["id"]

    with engaged(story, "tool", "scale_ad_set"):
        arguments = {"ad_set_id": ad_set, "daily_budget_cents": 0}
        stopped = story.client.call(growth.token, "scale_ad_set", arguments, reason="pause")
        other = refund(story, finance.token)

    assert product
    assert told(stopped) == KILLED
    assert story.effects(stopped.call) == []
    assert told(other) == (200, "executed")


def test_a_switched_off_tenant_rests_and_can_be_woken(story: Story) -> None:
    """
    A tenant's switch stops its writes and not its governance; the other tenant does not notice.
    """
    with engaged(story, "tenant", "globex", "globex"):
        stopped = refund(story, story.person("finance", 1, "globex").token, "globex")
        governed = story.govern(
            "set_autonomy", {"agent": "agent-resting", "action": "*", "level": 1}, "new_agent", "globex"
        )
        other = refund(story, story.person("finance").token)
    after = refund(story, story.person("finance", 1, "globex").token, "globex")

    assert told(stopped) == KILLED
    assert told(governed) == (200, "executed")
    assert told(other) == (200, "executed")
    assert told(after) == (200, "executed")


def test_everything_stops_at_once(story: Story) -> None:
    """
    The switch of tenant `system` stops every write of every tenant, and no governance.
    """
    with engaged(story, "everything", "*", "system"):
        stopped = [refund(story, story.person("finance", 1, tenant).token, tenant) for tenant in ("acme", "globex")]
        governed = story.govern("set_autonomy", {"agent": "agent-still", "action": "*", "level": 1}, "new_agent")
    after = [refund(story, story.person("finance", 1, tenant).token, tenant) for tenant in ("acme", "globex")]

    assert [told(answer) for answer in stopped] == [KILLED] * 2
    assert told(governed) == (200, "executed")
    assert [told(answer) for answer in after] == [(200, "executed")] * 2


@pytest.mark.parametrize(("scope", "target"), [("everything", "*"), ("tenant", "globex"), ("tenant", "system")])
def test_a_tenant_switches_off_nobody_else(story: Story, scope: str, target: str) -> None:
    """
    From one tenant neither everything nor another tenant is switched off; the attempt fails and stays on record.
    """
    arguments = {"scope": scope, "target": target, "reason": "mine"}

    answer = story.client.call(story.person("operator").token, "engage_kill", arguments, reason="drill")
    other = refund(story, story.person("finance", 1, "globex").token, "globex")

    assert (answer.status, answer.document["status"], answer.document["reason"]) == (200, "failed", "scope_not_yours")
    assert told(other) == (200, "executed")


def test_an_approval_waits_for_the_release(story: Story) -> None:
    """
    A switch engaged after the approval stops the call without using the approval up.
    """
    parked = story.parked_refund()
    approval = parked.approved_by(story.person("finance", 2))

    with engaged(story, "tool", "issue_refund"):
        stopped = parked.present(approval)
    after = parked.present(approval)

    assert told(stopped) == KILLED
    assert told(after) == (200, "executed")
    assert len(story.effects(parked.call)) == 1


def test_one_person_does_not_release(story: Story) -> None:
    """
    Releasing needs security and founder, two persons; with one of them, or one role twice, it waits.
    """
    with engaged(story, "agent", "agent-held"):
        arguments = {"scope": "agent", "target": "agent-held"}
        security = story.person("security")
        pairs = [[story.person("security", 2)], [story.person("security", 2), story.hire("security")]]
        waiting = [story.client.governed(security, pair, "release_kill", arguments, "drill") for pair in pairs]
        operator = story.client.call(story.person("operator").token, "release_kill", arguments, reason="drill")

    assert [answer.status for answer in waiting] == [202, 202]
    assert operator.status == 403


def test_who_may_switch_off(story: Story) -> None:
    """
    Operators, security and founders engage a switch at once; other roles and agents do not.
    """
    arguments = {"scope": "agent", "target": "agent-nobody", "reason": "a drill"}

    answers = {
        role: story.client.call(story.person(role).token, "engage_kill", arguments, reason="drill").status
        for role in ("operator", "security", "founder", "finance", "growth", "auditor")
    }
    answers["agent"] = story.client.call(story.agent(3).token, "engage_kill", arguments, reason="drill").status
    story.govern("release_kill", {"scope": "agent", "target": "agent-nobody"}, "drill")

    assert answers == {
        "operator": 200,
        "security": 200,
        "founder": 200,
        "finance": 403,
        "growth": 403,
        "auditor": 403,
        "agent": 403,
    }
