"""A read or a dry run looked up by its id: what it was, and not a refusal that never happened."""

from __future__ import annotations

from deploy.demo.client import Answer
from tests.world.stories import Story, eventually


def looked_up(story: Story, call: str, token: str) -> Answer:
    """The call, as soon as its light entry is there."""
    assert eventually(lambda: story.client.get(f"/v1/calls/{call}", token).status == 200)
    return story.client.get(f"/v1/calls/{call}", token)


def test_a_permitted_read_is_told_as_a_read(story: Story) -> None:
    """
    The entry of a permitted read says so, with the rules that permitted it.
    """
    operator = story.person("operator")
    read = story.client.call(operator.token, "get_order", {"order_id": story.order()})

    found = looked_up(story, read.call, operator.token)

    assert read.status == 200
    assert (found.document["status"], found.document["verdict"]) == ("read", "permit")
    assert found.document["rules"]
    assert all(set(rule) == {"engine", "id"} for rule in found.document["rules"])
    assert [entry["kind"] for entry in found.document["entries"]] == ["READ"]


def test_a_refused_read_is_told_as_refused(story: Story) -> None:
    """
    A read that no rule permits stays a refusal.
    """
    token = story.world.cast.issuer.agent("acme", "agent-of-orders", ["get_order"])
    read = story.client.call(token, "get_user_360", {"user_id": "usr_1"})

    found = looked_up(story, read.call, story.person("operator").token)

    assert (read.status, found.document["status"], found.document["verdict"]) == (403, "refused", "deny")


def test_feedback_does_not_take_a_refused_call_from_its_requester(story: Story) -> None:
    """
    What somebody says of a refused call later changes neither whose it is nor what became of it.
    """
    agent, operator = story.agent(), story.person("operator")
    refused = story.refund(agent.token, story.order(), 900_000)

    said = story.client.request(
        "POST", f"/v1/calls/{refused.call}/feedback", operator.token, body={"text": "ask for less"}
    )
    found = story.client.get(f"/v1/calls/{refused.call}", agent.token)

    assert (refused.status, said.status, found.status) == (403, 201, 200)
    assert (found.document["status"], found.document["principal"]) == ("refused", f"agent/{agent.id}")
    assert found.document["reason"] == refused.reason
