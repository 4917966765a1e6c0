"""Edits of parked calls: a new request with its own decision and approvals, everybody of the old one excluded."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor

from tests.world.stories import Story


def test_an_edit_is_a_new_request_with_its_own_decision(story: Story) -> None:
    """
    E10: an edit beyond the policy is refused and leaves the parked call; one within it parks anew and closes the old.
    """
    parked, editor = story.parked_refund(), story.hire("finance")
    too_much = story.refund(editor.token, parked.order, 90_000_000, edits=parked.call)
    still = story.client.get(f"/v1/calls/{parked.call}", parked.token).document["status"]

    edited = story.refund(editor.token, parked.order, 5_500, edits=parked.call)
    after = story.client.get(f"/v1/calls/{parked.call}", parked.token).document

    assert too_much.status == 403
    assert still == "parked"
    assert edited.status == 202
    assert edited.call != parked.call
    assert (after["status"], after["reason"]) == ("cancelled", "edited")


def test_an_approval_of_the_old_version_is_none_of_the_edit(story: Story) -> None:
    """
    E10: what was approved before the edit counts neither for the edit nor for the old arguments any more.
    """
    parked, editor = story.parked_refund(), story.hire("finance")
    approval, key = parked.approved_by(story.person("finance", 2)), secrets.token_hex(8)
    edited = story.refund(editor.token, parked.order, 5_500, key=key, edits=parked.call)

    new = story.refund(editor.token, parked.order, 5_500, key=key, approvals=[approval])
    old = parked.present(approval)

    assert edited.status == 202
    assert (new.status, new.reason) == (403, "approval_mismatch")
    assert (old.status, old.reason) == (409, "call_closed")
    assert story.effects_on(parked.order) == []


def test_an_edit_is_presented_again_as_it_was_sent(story: Story) -> None:
    """
    E10: the approved edit runs when the editor sends the same body again, the `edits` member included.
    """
    parked, editor, key = story.parked_refund(), story.hire("finance"), secrets.token_hex(8)
    edited = story.refund(editor.token, parked.order, 5_500, key=key, edits=parked.call)
    approval = str(story.client.approve(story.person("finance", 2), edited).document["approval"])

    done = story.refund(editor.token, parked.order, 5_500, key=key, edits=parked.call, approvals=[approval])

    assert (done.status, done.document.get("status")) == (200, "executed")
    assert [line["arguments"]["amount_cents"] for line in story.effects_on(parked.order)] == [5_500]


def test_nobody_who_took_part_in_an_edit_approves_it(story: Story) -> None:
    """
    E10: neither the editor nor the first requester approves the edited call, also after a second edit.
    """
    asked, editor, second = story.hire("finance"), story.hire("finance"), story.hire("finance")
    parked = story.parked_refund(asked.token)
    edited = story.refund(editor.token, parked.order, 5_500, edits=parked.call)
    again = story.refund(second.token, parked.order, 5_600, edits=edited.call)

    answers = [story.client.approve(person, again) for person in (asked, editor, second)]

    assert again.status == 202
    assert [(answer.status, answer.reason) for answer in answers] == [(403, "approver_excluded")] * 3
    assert story.client.approve(story.person("finance", 2), again).status == 201


def test_a_person_behind_an_agent_does_not_approve_the_edit_of_its_call(story: Story) -> None:
    """
    E10: subject and delegates of the first version stay excluded from the edited one.
    """
    subject, delegate, editor = story.hire("finance"), story.hire("finance"), story.hire("finance")
    parked = story.parked_refund(story.delegated(["agent-edited", delegate.id], subject.id), cents=1_000)
    edited = story.refund(editor.token, parked.order, 5_500, edits=parked.call)

    answers = [story.client.approve(person, edited) for person in (subject, delegate)]

    assert edited.status == 202
    assert [(answer.status, answer.reason) for answer in answers] == [(403, "approver_excluded")] * 2


def test_an_edit_needs_something_to_edit(story: Story) -> None:
    """
    E10: an unknown call, a closed one, another tenant's, or an editor without a role is refused, and nothing parks.
    """
    closed, foreign = story.parked_refund(), story.parked_refund(tenant="globex")
    story.client.request("POST", f"/v1/calls/{closed.call}/cancel", closed.token)
    editor, order = story.person("finance", 2), story.order(6_000)

    answers = [
        story.refund(editor.token, order, 5_500, edits="call_" + "0" * 32),
        story.refund(editor.token, order, 5_500, edits=foreign.call),
        story.refund(editor.token, order, 5_500, edits=closed.call),
        story.refund(story.agent(1).token, order, 5_500, edits=story.parked_refund().call),
        story.refund(editor.token, order, 5_500, edits="everything"),
    ]

    assert [(answer.status, answer.reason) for answer in answers] == [
        (404, "unknown_call"),
        (404, "unknown_call"),
        (409, "call_closed"),
        (403, "edit_not_allowed"),
        (422, "edits_malformed"),
    ]


def test_an_edit_to_another_tool_does_not_end_a_call(story: Story) -> None:
    """
    E10: a call that is permitted by itself is no edit of somebody else's call to another tool, and ends nothing.
    """
    parked, operator = story.parked_refund(), story.person("operator")
    user = story.state("users")[-1]["id"]

    answer = story.client.call(
        operator.token, "revoke_push_tokens", {"user_id": user}, reason="user_request", edits=parked.call
    )
    status = story.client.get(f"/v1/calls/{parked.call}", parked.token).document["status"]

    assert (answer.status, answer.reason, status) == (403, "edit_not_allowed", "parked")
    assert "entry" in answer.document


def test_a_call_does_not_edit_itself(story: Story) -> None:
    """
    E10: a parked call that names itself stays parked, and neither runs nor ends.
    """
    parked = story.parked_refund()
    approval = parked.approved_by(story.person("finance", 2))

    answer = story.refund(
        parked.token, parked.order, parked.cents, key=parked.key, approvals=[approval], edits=parked.call
    )

    assert (answer.status, answer.reason) == (403, "edit_not_allowed")
    assert parked.present(approval).document["status"] == "executed"
    assert len(story.effects(parked.call)) == 1


def test_of_two_edits_at_once_one_is_made(story: Story) -> None:
    """
    E10: two editors at the same moment: one edit parks, and the other is told that there is nothing left to edit.
    """
    for _ in range(3):
        parked, editors = story.parked_refund(), [story.hire("finance") for _ in range(2)]

        with ThreadPoolExecutor(2) as pool:
            edits = [
                pool.submit(story.refund, each.token, parked.order, 5_500 + place, edits=parked.call)
                for place, each in enumerate(editors)
            ]
        answers = sorted([each.result() for each in edits], key=lambda answer: answer.status)
        after = story.client.get(f"/v1/calls/{parked.call}", parked.token).document

        assert [(answer.status, answer.reason) for answer in answers] == [(202, ""), (409, "call_closed")]
        assert (after["status"], after["reason"]) == ("cancelled", "edited")


def test_an_edited_call_and_its_approved_former_version_do_not_both_run(story: Story) -> None:
    """
    E10: an edit that is permitted at once, and the approved call that it edits, presented together: one of them runs.
    """
    for _ in range(5):
        parked, editor = story.parked_refund(), story.hire("finance")
        approval = parked.approved_by(story.person("finance", 2))

        with ThreadPoolExecutor(2) as pool:
            old = pool.submit(parked.present, approval)
            new = pool.submit(story.refund, editor.token, parked.order, 1_000, edits=parked.call)
        statuses = sorted([old.result().status, new.result().status])

        assert statuses == [200, 409]
        assert len(story.effects_on(parked.order)) == 1
