"""Undo and dry run: back to what was recorded before, through the whole line; and a look that touches nothing."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.demo.client import Answer
from tests.world.stories import REASON, Story, eventually

DRY = {"Prefer": "dry-run"}


def flag(story: Story, name: str) -> tuple[bool, int]:
    """Value and share of a flag, as they really are."""
    (row,) = [each for each in story.state("flags", "globex") if each["id"] == name]
    return row["value"], row["rollout_percent"]


def toggle(story: Story, name: str, value: bool, percent: int) -> Answer:
    """Set a flag of globex, below half of the users so that it needs nobody."""
    arguments = {"flag_key": name, "value": value, "rollout_percent": percent}
    token = story.person("sre", 1, "globex").token
    return story.client.call(token, "toggle_feature_flag", arguments, reason="experiment")


def undo(story: Story, call: str, token: str, body: Any = None, key: str = "") -> Answer:
    """Ask for the undo of a call."""
    headers = {"Idempotency-Key": key or f"undo-{call}"}
    return story.client.request("POST", f"/v1/calls/{call}/undo", token, body=body or {}, headers=headers)


@pytest.fixture
def small_flag(story: Story) -> str:
    """A flag that few users have."""
    row = next(row for row in story.state("flags", "globex") if row["value"] and 0 < row["rollout_percent"] < 50)
    return str(row["id"])


def test_undo_brings_back_the_recorded_state(story: Story, small_flag: str) -> None:
    """
    The undo of a call is a call of its own to the undo tool, with the state that was recorded before the first.
    """
    sre = story.person("sre", 1, "globex")
    before = flag(story, small_flag)
    done = toggle(story, small_flag, False, 1)
    between = flag(story, small_flag)

    undone = undo(story, done.call, sre.token)

    assert done.document["status"] == "executed"
    assert between == (False, 1)
    assert (undone.status, undone.document["status"]) == (200, "executed")
    assert undone.call != done.call
    assert flag(story, small_flag) == before
    assert len(story.effects(undone.call)) == 1


def test_undo_takes_no_word_for_what_was_before(story: Story, small_flag: str) -> None:
    """
    The client does not say what to restore: arguments in the body are 422, and nothing runs.
    """
    done = toggle(story, small_flag, True, 12)

    answers = [
        undo(story, done.call, story.person("sre", 1, "globex").token, body)
        for body in ({"arguments": {"rollout_percent": 50}}, {"tool": "issue_refund"}, {"value": True})
    ]

    assert [(answer.status, answer.reason) for answer in answers] == [(422, "unknown_member")] * 3
    assert flag(story, small_flag) == (True, 12)


def test_undo_walks_the_whole_line(story: Story, small_flag: str) -> None:
    """
    Who may not ask for the undo tool does not undo; an agent that only suggests parks its undo.
    """
    agent = story.agent(2, "globex")
    arguments = {"flag_key": small_flag, "value": True, "rollout_percent": 14}
    done = story.client.call(agent.token, "toggle_feature_flag", arguments, reason="experiment")
    story.govern("set_autonomy", {"agent": agent.id, "action": "*", "level": 1}, "misbehaviour", "globex")

    finance = undo(story, done.call, story.person("finance", 1, "globex").token)
    suggested = undo(story, done.call, agent.token)

    assert done.document["status"] == "executed"
    assert finance.status == 403
    assert (suggested.status, suggested.document["needs"]) == (202, [{"role": "sre", "persons": 1}])
    assert flag(story, small_flag) == (True, 14)


def test_what_cannot_be_undone_says_so(story: Story) -> None:
    """
    A tool without an undo, a parked call and a refused one are 409 or 404, and nothing runs.
    """
    finance = story.person("finance")
    done = story.refund(finance.token, story.order(), 1_000)
    parked = story.parked_refund()
    refused = story.refund(finance.token, story.order(), 99_000_000)

    answers = [undo(story, call, finance.token) for call in (done.call, parked.call, refused.call)]

    assert [(answer.status, answer.reason) for answer in answers] == [(409, "not_undoable")] * 3


def test_an_undo_without_a_key_is_refused(story: Story, small_flag: str) -> None:
    """
    F15: an undo is a write: without an idempotency key it is 400.
    """
    done = toggle(story, small_flag, True, 16)

    answer = story.client.request(
        "POST", f"/v1/calls/{done.call}/undo", story.person("sre", 1, "globex").token, body={}
    )

    assert (answer.status, answer.reason) == (400, "key_missing")


def test_a_dry_run_has_no_effect(story: Story) -> None:
    """
    A dry run says what would become of the call, reserves nothing, uses no key, and the business hears nothing.
    """
    order, finance = story.order(10_000), story.person("finance")
    cases = [(1_000, "permit"), (6_000, "needs_approval"), (90_000_000, "deny")]

    answers = [story.refund(finance.token, order, cents, key=f"dry-{order}-key", headers=DRY) for cents, _ in cases]
    again = story.refund(finance.token, order, 1_000, key=f"dry-{order}-key")

    assert [(answer.status, answer.document["verdict"]) for answer in answers] == [
        (200, verdict) for _, verdict in cases
    ]
    assert {answer.headers["preference-applied"] for answer in answers} == {"dry-run"}
    assert again.document["status"] == "executed"
    assert len(story.effects_on(order)) == 1


def test_a_dry_run_consumes_no_budget(story: Story) -> None:
    """
    However often it is tried, a dry run leaves the counters as they were.
    """
    agent = story.agent(2)
    for _ in range(10):
        assert story.refund(agent.token, story.order(5_000), 5_000, headers=DRY).document["verdict"] == "permit"

    assert story.refund(agent.token, story.order(5_000), 5_000).document["status"] == "executed"


def test_a_dry_run_leaves_a_light_entry(story: Story) -> None:
    """
    G12: a dry run is recorded, as `DRY_RUN`, with its verdict and without arguments.
    """
    order, after = story.order(), story.size()

    story.client.call(
        story.person("finance").token,
        "issue_refund",
        {"order_id": order, "amount_cents": 100},
        reason=REASON,
        headers=DRY,
    )

    assert eventually(lambda: any(entry["kind"] == "DRY_RUN" for entry in story.entries(after=after)))
    assert order not in str(story.entries(after=after))


def test_a_governance_call_can_be_tried(story: Story) -> None:
    """
    A dry run of engaging a switch switches nothing off.
    """
    agent = story.agent(2)
    arguments = {"scope": "agent", "target": agent.id, "reason": "only trying"}

    tried = story.client.call(story.person("operator").token, "engage_kill", arguments, reason="drill", headers=DRY)

    assert tried.document["verdict"] == "permit"
    assert story.refund(agent.token, story.order(), 1_000).document["status"] == "executed"
