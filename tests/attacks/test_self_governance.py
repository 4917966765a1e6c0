"""Governance by one's own hand: nobody admits their own key, no single person changes what governs the gateway."""

from __future__ import annotations

import base64
import json
import secrets
from concurrent.futures import ThreadPoolExecutor
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


def register(story: Story, public_key: Any, person: str = "per_applicant") -> Answer:
    """Ask for a key to be registered."""
    arguments = {"person": person, "public_key": public_key}
    return ask(story, story.person("security").token, "register_key", arguments, secrets.token_hex(8))


def test_a_key_of_one_person_is_not_registered_to_another(story: Story) -> None:
    """
    E08: a known key stays its owner's, a revoked one too: nobody is asked to approve it under another name.
    """
    owner, former = story.hire("finance"), story.hire("finance")
    story.govern("revoke_key", {"key_id": former.key.key_id}, "key_lost")

    answers = [register(story, person.key.public.text, "per_thief") for person in (owner, former)]
    parked = story.parked_refund()

    assert [(answer.status, answer.reason) for answer in answers] == [(403, "key_known")] * 2
    assert parked.present(parked.approved_by(owner)).document["status"] == "executed"


def test_two_names_for_one_key_at_once_are_one(story: Story) -> None:
    """
    E08: two persons' registrations of one key, both approved before either ran: the first has it, the other failed.
    """
    key, tokens = PrivateKey.generate().public.text, [secrets.token_hex(8) for _ in range(2)]
    asked, people = story.person("security"), [story.person("security", 2), story.person("founder")]

    def present(number: int, *approvals: str) -> Answer:
        arguments = {"person": f"per_twin_{number}", "public_key": key}
        return ask(story, asked.token, "register_key", arguments, tokens[number], *approvals)

    parked = [present(number) for number in range(2)]
    given = [[str(story.client.approve(each, answer).document["approval"]) for each in people] for answer in parked]
    with ThreadPoolExecutor(2) as pool:
        answers = [each.result() for each in [pool.submit(present, number, *given[number]) for number in range(2)]]

    ran = [answer for answer in answers if answer.document["status"] == "executed"]
    assert len(ran) == 1
    assert [answer.reason for answer in answers if answer not in ran] == ["key_known"]


SMALL = [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18]
"""Points of order 1, 2 and 4, and the encodings of two of them that nobody may use."""
UNUSABLE = {
    "all zero": bytes(32),
    "all ones": b"\xff" * 32,
    **{f"small order {number}": number.to_bytes(32, "little") for number in SMALL},
    "small order, other sign": (1 | 1 << 255).to_bytes(32, "little"),
    "order 8": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "no point": (2).to_bytes(32, "little"),
    "y above the field": (2**255 - 16).to_bytes(32, "little"),
}


@pytest.mark.parametrize("raw", UNUSABLE.values(), ids=UNUSABLE)
def test_a_weak_key_is_no_key(story: Story, raw: bytes) -> None:
    """
    E08: points of small order, second encodings and encodings of no point are refused before anybody is asked.
    """
    before = story.size()

    answer = register(story, text(raw))

    assert (answer.status, answer.reason) == (403, "key_unusable")
    assert text(raw) not in json.dumps(story.entries(after=before))


def test_a_key_has_one_spelling(story: Story) -> None:
    """
    E08: 43 characters of base64url whose last bits are zero: no padding, no other alphabet, no shorter or longer key.
    """
    good = PrivateKey.generate().public
    padded = good.text + "="
    loose = good.text[:-1] + chr(ord(good.text[-1]) + 1)
    pem = "-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(bytes(294)).decode() + "\n-----END PUBLIC KEY-----\n"
    forms = [padded, good.text[:-1], good.text + "A", "", text(bytes(31)), text(bytes(33)), pem, 7, None, [good.text]]
    if any(sign in good.text for sign in "-_"):
        forms.append(good.text.replace("-", "+").replace("_", "/"))

    answers = [register(story, form) for form in forms]

    assert {(answer.status, answer.reason) for answer in answers} == {(422, "contract_violated")}
    assert register(story, loose).reason in ("key_unusable", "contract_violated")
    assert register(story, good.text).status == 202


def test_a_private_key_sent_by_mistake_is_not_kept(story: Story) -> None:
    """
    E08: in the form of a file, or as the bare seed of a key that is registered: refused, and nowhere in the log.
    """
    owner = story.hire("finance")
    marker = "PRIVATE " + "KEY-----"
    pem = f"-----BEGIN {marker}\n{base64.b64encode(bytes(48)).decode()}\n-----END {marker}\n"
    before = story.size()

    answers = [register(story, owner.key.text, owner.id), register(story, pem, owner.id)]
    export = story.client.text("/v1/audit/export", story.person("auditor").token)

    assert answers[0].reason in ("key_private", "key_unusable")
    assert answers[0].status == 403
    assert (answers[1].status, answers[1].reason) == (422, "contract_violated")
    assert story.size() > before
    assert owner.key.text.encode() not in export
    assert b"-----BEGIN" not in export


def text(raw: bytes) -> str:
    """As keys travel."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
