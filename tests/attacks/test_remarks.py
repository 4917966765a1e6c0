"""What is said of a call is part of its record, and neither hides what was decided nor fills the log."""

from __future__ import annotations

import secrets

from tests.world.stories import Parked, Story

REMARKS_MAX = 20
"""Of one principal on one call."""
TALKERS = 13
"""Together they say more than a page of entries holds."""


def _talkers(story: Story, count: int) -> list[str]:
    """Tokens of so many persons."""
    return [story.token(f"per_talking_{secrets.token_hex(4)}", ["operator"]) for _ in range(count)]


def _say(story: Story, parked: Parked, token: str, text: str = "seen") -> tuple[int, str]:
    path = f"/v1/calls/{parked.call}/feedback"
    answer = story.client.request("POST", path, token, body={"text": text})
    return answer.status, answer.reason


def test_remarks_hide_neither_the_decision_nor_the_effect(story: Story) -> None:
    """
    250 remarks, then the call runs: intent and outcome are among its entries, and the auditor's packet is that of the
    decision under which it ran.
    """
    parked, auditor = story.parked_refund(), story.person("auditor")
    for talker in _talkers(story, TALKERS):
        said = {_say(story, parked, talker) for _ in range(REMARKS_MAX)}
        assert said == {(201, "")}
    done = parked.present(parked.approved_by(story.person("finance", 2)))
    _say(story, parked, auditor.token)

    entries = story.client.get(f"/v1/calls/{parked.call}", auditor.token).document["entries"]
    packet = story.client.get(f"/v1/calls/{parked.call}/packet", auditor.token).document

    decided = [entry for entry in entries if entry["kind"] != "FEEDBACK"]
    assert done.document["status"] == "executed"
    assert [entry["kind"] for entry in decided[:4]] == ["PARKED", "APPROVED", "INTENT", "OUTCOME"]
    assert [entry["seq"] for entry in entries] == sorted(entry["seq"] for entry in entries)
    assert packet["receipt"]["entry"]["seq"] == decided[2]["seq"]


def test_nobody_says_more_of_a_call_than_a_conversation(story: Story) -> None:
    """
    Twenty remarks of one principal, and the next is 409 and recorded nowhere; others are heard, also of another call.
    """
    parked, other = story.parked_refund(), story.parked_refund()
    talker, listener = _talkers(story, 2)
    for _ in range(REMARKS_MAX):
        _say(story, parked, talker)

    too_many = _say(story, parked, talker)

    entries = story.client.get(f"/v1/calls/{parked.call}", talker).document["entries"]
    assert too_many == (409, "feedback_full")
    assert [entry["kind"] for entry in entries].count("FEEDBACK") == REMARKS_MAX
    assert _say(story, parked, listener) == (201, "")
    assert _say(story, other, talker) == (201, "")
