"""Governance by one's own hand: nobody admits their own key, no single person changes what governs the gateway."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from deploy.demo.client import Answer
from proofs.keys import PrivateKey
from tests.world.stories import Story


def ask(story: Story, token: str, tool: str, arguments: dict[str, Any], key: str, *approvals: str) -> Answer:
    """Ask for a governance call."""
    code = story.client.get(f"/v1/tools/{tool}", token).document["reason_codes"][0]
    return story.client.call(token, tool, arguments, reason=code, key=key, approvals=approvals)


ACTS: dict[str, dict[str, Any]] = {
    "set_autonomy": {"agent": "agent-usurped", "action": "*", "level": 3},
    "register_key": {"person": "per_usurper", "public_key": PrivateKey.generate().public.text},
    "revoke_key": {"key_id": "key_" + "0" * 16},
    "release_kill": {"scope": "agent", "target": "agent-usurped"},
    "erase_subject": {"subject": "usr_1099"},
}


@pytest.mark.parametrize("tool", ACTS)
def test_governance_waits_for_security_and_founder(story: Story, tool: str) -> None:
    """
    C13: asked by security or by a founder, each act waits for one person of both roles besides whoever asked.
    """
    for role in ("security", "founder"):
        parked = ask(story, story.person(role).token, tool, ACTS[tool], secrets.token_hex(8))

        assert parked.status == 202
        assert parked.document["persons"] == 2
        assert parked.document["needs"] == [{"role": "founder", "persons": 1}, {"role": "security", "persons": 1}]


@pytest.mark.parametrize("role", ["operator", "finance", "sre", "safety", "growth", "commerce", "auditor"])
def test_nobody_else_asks_for_governance(story: Story, role: str) -> None:
    """
    C13: other roles are refused, and nobody is asked to approve.
    """
    answers = [ask(story, story.person(role).token, tool, ACTS[tool], secrets.token_hex(8)) for tool in ACTS]

    assert {answer.status for answer in answers} == {403}


def test_one_person_of_both_roles_is_one_person(story: Story) -> None:
    """
    C13, E05: somebody who is security and founder at once counts as one; a second person is still needed.
    """
    asked, both, key = story.person("security"), story.hire("security", "founder"), secrets.token_hex(8)
    arguments = {"agent": "agent-twofold", "action": "*", "level": 2}
    parked = ask(story, asked.token, "set_autonomy", arguments, key)
    approval = str(story.client.approve(both, parked).document["approval"])

    alone = ask(story, asked.token, "set_autonomy", arguments, key, approval)
    second = str(story.client.approve(story.person("security", 2), parked).document["approval"])
    done = ask(story, asked.token, "set_autonomy", arguments, key, approval, second)

    assert alone.status == 202
    assert (done.status, done.document["status"]) == (200, "executed")


def test_nobody_approves_their_own_key(story: Story) -> None:
    """
    The person whose key is to be registered does not approve it, also when somebody else asked.
    """
    owner = story.hire("security")
    arguments = {"person": owner.id, "public_key": PrivateKey.generate().public.text}
    parked = ask(story, story.person("security").token, "register_key", arguments, secrets.token_hex(8))

    answer = story.client.approve(owner, parked)

    assert parked.status == 202
    assert (answer.status, answer.reason) == (403, "approver_excluded")


def test_a_key_of_one_person_is_not_registered_to_another(story: Story) -> None:
    """
    E08: a known key stays its owner's: registering it again fails, and the new name signs nothing with it.
    """
    owner = story.hire("finance")
    arguments = {"person": "per_thief", "public_key": owner.key.public.text}

    answer = story.client.governed(
        story.person("security"),
        [story.person("security", 2), story.person("founder")],
        "register_key",
        arguments,
        "new_approver",
    )

    assert (answer.document["status"], answer.document["reason"]) == ("failed", "key_known")
    parked = story.parked_refund()
    assert parked.present(parked.approved_by(owner)).document["status"] == "executed"


@pytest.mark.parametrize("public_key", ["A" * 43, "_" * 43, "AQ" + "A" * 41])
def test_a_weak_key_is_no_key(story: Story, public_key: str) -> None:
    """
    E08: points of small order and encodings of no point are refused: with them anybody's signature would hold.
    """
    answer = story.client.governed(
        story.person("security"),
        [story.person("security", 2), story.person("founder")],
        "register_key",
        {"person": "per_weak", "public_key": public_key},
        "new_approver",
    )

    assert (answer.status, answer.document["status"], answer.document["reason"]) == (200, "failed", "key_unusable")
