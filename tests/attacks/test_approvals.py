"""Approvals forged, borrowed, repeated, outlived or given by the wrong person: what was approved is what ran, once."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.demo.cast import Person
from deploy.demo.client import Answer, signed
from proofs import signatures
from proofs.keys import PrivateKey
from tests.world.stories import Parked, Story, eventually


def verdict(person: Person, parked: Parked, environment: str = "dev", **changed: str) -> dict[str, Any]:
    """A signed yes whose statement says something else in some members."""
    return signed(person, {**parked.statement, **changed}, environment)


def hand_in(parked: Parked, person: Person, document: Any, where: str = "approvals") -> Answer:
    """Hand a verdict in with that person's token."""
    return parked.story.client.request("POST", f"/v1/calls/{parked.call}/{where}", person.token, body=document)


def test_a_parked_call_is_approved_presented_again_and_runs_once(story: Story) -> None:
    """
    Approving executes nothing; the requester presents the same call and key with the approval, and it runs, once.
    """
    parked = story.parked_refund()
    approval = parked.approved_by(story.person("finance", 2))
    before = story.effects(parked.call)

    done = parked.present(approval)
    again = parked.present(approval)

    assert before == []
    assert (done.status, done.document["status"], done.call) == (200, "executed", parked.call)
    assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.document["result"] == done.document["result"]
    assert len(story.effects(parked.call)) == 1
    assert parked.answer.document["needs"] == [{"role": "finance", "persons": 1}]


def test_presented_without_the_approval_it_stays_parked(story: Story) -> None:
    """
    The same call and key without approvals is the same parked call, with its id, its statement and its expiry.
    """
    parked = story.parked_refund()
    parked.approved_by(story.person("finance", 2))

    again = parked.present()

    assert (again.status, again.call) == (202, parked.call)
    assert again.document["statement"] == parked.statement
    assert story.effects(parked.call) == []


def test_an_approval_for_other_arguments_counts_for_nothing(story: Story) -> None:
    """
    E01: the approval of one refund, presented with another of the same requester, is `approval_mismatch`.
    """
    first, second = story.parked_refund(), story.parked_refund()
    approval = first.approved_by(story.person("finance", 2))

    answer = second.present(approval)

    assert (answer.status, answer.reason) == (403, "approval_mismatch")
    assert story.effects(second.call) == []


def test_an_approval_for_another_tool_counts_for_nothing(story: Story) -> None:
    """
    E01: the approval of a refund does not switch a flag.
    """
    approval = story.parked_refund().approved_by(story.person("finance", 2))
    sre, key = story.person("sre"), secrets.token_hex(8)
    arguments = {"flag_key": "dark_mode", "value": True, "rollout_percent": 100}
    parked = story.client.call(sre.token, "toggle_feature_flag", arguments, reason="experiment", key=key)

    answer = story.client.call(
        sre.token, "toggle_feature_flag", arguments, reason="experiment", key=key, approvals=[approval]
    )

    assert parked.status == 202
    assert (answer.status, answer.reason) == (403, "approval_mismatch")


def test_an_approval_of_another_tenant_is_no_approval(story: Story) -> None:
    """
    E01: what another tenant approved is as unknown as a made-up id.
    """
    approval = story.parked_refund().approved_by(story.person("finance", 2))
    foreign = story.parked_refund(tenant="globex")

    answers = [foreign.present(approval), foreign.present("appr_" + "0" * 32)]

    assert [(answer.status, answer.reason) for answer in answers] == [(403, "approval_mismatch")] * 2
    assert {name: value for name, value in answers[0].document.items() if name != "entry"} == {
        name: value for name, value in answers[1].document.items() if name != "entry"
    }


def test_an_approval_is_the_requesters_alone(story: Story) -> None:
    """
    E01: another requester with the very same arguments has a call of its own, which the approval does not fit.
    """
    parked = story.parked_refund()
    approval = parked.approved_by(story.person("finance", 2))
    other = story.hire("finance")
    twin = story.refund(other.token, parked.order, parked.cents, key=parked.key)

    answer = story.refund(other.token, parked.order, parked.cents, key=parked.key, approvals=[approval])

    assert twin.status == 202
    assert twin.call != parked.call
    assert (answer.status, answer.reason) == (403, "approval_mismatch")


def test_an_approval_signed_for_another_environment_or_tenant_does_not_verify(story: Story) -> None:
    """
    E01: environment and tenant are part of what is signed.
    """
    parked, approver = story.parked_refund(), story.person("finance", 2)
    elsewhere = Person(tenant="globex", id=approver.id, roles=approver.roles, token=approver.token, key=approver.key)

    answers = [
        hand_in(parked, approver, verdict(approver, parked, environment="prod")),
        hand_in(parked, approver, verdict(elsewhere, parked)),
    ]

    assert [(answer.status, answer.reason) for answer in answers] == [(403, "signature_invalid")] * 2


def test_a_statement_about_another_call_is_refused_when_it_is_given(story: Story) -> None:
    """
    E01: the statement names call, tool, bundle and requester; each of them, changed alone, is refused.
    """
    parked, other, approver = story.parked_refund(), story.parked_refund(), story.person("finance", 2)
    digest = "sha256:" + "0" * 64
    changes = [
        ({"call": other.statement["call"]}, 403, "approval_mismatch"),
        ({"requester": "person/per_finance_2"}, 403, "approval_mismatch"),
        ({"tool": digest}, 409, "approval_stale"),
        ({"bundle": digest}, 409, "approval_stale"),
    ]

    answers = [hand_in(parked, approver, verdict(approver, parked, **changed)) for changed, _, _ in changes]

    assert [(answer.status, answer.reason) for answer in answers] == [(status, reason) for _, status, reason in changes]


def test_an_approval_used_by_one_call_is_used(story: Story) -> None:
    """
    E02: after it was consumed, the same approval under a new key belongs to another call.
    """
    parked = story.parked_refund()
    approval = parked.approved_by(story.person("finance", 2))
    assert parked.present(approval).status == 200
    parked.key = secrets.token_hex(16)

    fresh = parked.present(approval)

    assert fresh.status == 403
    assert fresh.reason == "approval_mismatch"
    assert len(story.effects_on(parked.order)) == 1


def test_an_approval_expires_at_its_instant(story: Story) -> None:
    """
    E03: an approval whose `not_after` has passed is `approval_expired`, and one that says so already is not taken.
    """
    parked, approver = story.parked_refund(), story.person("finance", 2)
    late = int(time.time()) + 1
    given = hand_in(parked, approver, verdict(approver, parked, not_after=_rfc3339(late)))
    while time.time() < late:
        time.sleep(0.05)

    answer = parked.present(str(given.document["approval"]))
    again = hand_in(parked, approver, verdict(approver, parked, not_after=_rfc3339(late)))

    assert given.status == 201
    assert (answer.status, answer.reason) == (403, "approval_expired")
    assert (again.status, again.reason) == (403, "approval_expired")
    assert story.effects(parked.call) == []


def test_an_approval_does_not_outlive_the_call(story: Story) -> None:
    """
    E03: a `not_after` beyond the expiry that the gateway gave is refused.
    """
    parked, approver = story.parked_refund(), story.person("finance", 2)

    answer = hand_in(parked, approver, verdict(approver, parked, not_after="2099-01-01T00:00:00Z"))

    assert (answer.status, answer.reason) == (403, "approval_expired")


def test_a_requester_does_not_approve_themselves(story: Story) -> None:
    """
    E04: the requester of the right role is excluded, also through a second account of the same person.
    """
    requester = story.person("finance")
    parked = story.parked_refund(requester.token)
    second = story.world.cast.issuer._mint(
        {"tenant": "acme", "kind": "person", "person": requester.id, "roles": ["finance"]}, "second-account", 600
    )

    answers = [
        story.client.approve(requester, parked.answer),
        story.client.request(
            "POST", f"/v1/calls/{parked.call}/approvals", second, body=signed(requester, parked.statement, "dev")
        ),
    ]

    assert [(answer.status, answer.reason) for answer in answers] == [(403, "approver_excluded")] * 2


def test_the_subject_of_an_agent_does_not_approve_for_it(story: Story) -> None:
    """
    E04: an agent acts for a person; that person approves nothing of it, another one does.
    """
    subject = story.hire("finance")
    agent = story.agent(1, subject=subject.id)
    parked = story.parked_refund(agent.token, cents=1_000)

    own = story.client.approve(subject, parked.answer)
    approval = parked.approved_by(story.person("finance", 2))

    assert (own.status, own.reason) == (403, "approver_excluded")
    assert parked.present(approval).document["status"] == "executed"


def test_no_delegate_of_a_chain_approves(story: Story) -> None:
    """
    E04: every actor of a delegation chain is excluded, and so is the subject at its end.
    """
    subject, delegate = story.hire("finance"), story.hire("finance")
    parked = story.parked_refund(story.delegated(["agent-chained", delegate.id], subject.id), cents=1_000)

    answers = [story.client.approve(person, parked.answer) for person in (subject, delegate)]

    assert [(answer.status, answer.reason) for answer in answers] == [(403, "approver_excluded")] * 2


def test_who_asked_as_an_agents_subject_is_excluded_under_every_account(story: Story) -> None:
    """
    E04: person and role as always, under another account: the subject, and a person who is in the chain, stay excluded.
    """
    subject, delegate = story.hire("finance"), story.hire("finance")
    parked = story.parked_refund(story.delegated(["agent-accounts", delegate.id], subject.id), cents=1_000)
    answers = []
    for person in (subject, delegate):
        claims = {"tenant": "acme", "kind": "person", "person": person.id, "roles": ["finance"]}
        token = story.world.cast.issuer._mint(claims, "another-account", 600)
        document = signed(person, parked.statement, "dev")
        answers.append(story.client.request("POST", f"/v1/calls/{parked.call}/approvals", token, body=document))

    assert [(answer.status, answer.reason) for answer in answers] == [(403, "approver_excluded")] * 2


def test_whoever_decided_first_does_not_decide_the_appeal(story: Story) -> None:
    """
    E04: a contract excludes persons by a fact: the first decider's approval of the appeal is refused.
    """
    appeal = next(
        row for row in story.state("appeals") if row["first_decider"] == "per_safety_2" and not row["resolution"]
    )
    asked = story.hire("safety")
    arguments = {"appeal_id": appeal["id"], "resolution": "uphold"}
    parked = story.client.call(asked.token, "resolve_appeal", arguments, reason="evidence_confirms")

    first = story.client.approve(story.person("safety", 2), parked)
    other = story.client.approve(story.hire("safety"), parked)

    assert parked.status == 202
    assert (first.status, first.reason) == (403, "approver_excluded")
    assert other.status == 201


def test_two_persons_are_two_persons(story: Story) -> None:
    """
    E05: a ban over 30 days stays parked after one approver approved twice, also with two keys; a second person decides.
    """
    asked, approver, other = story.hire("safety"), story.hire("safety"), story.hire("safety")
    user = story.state("users")[-1]["id"]
    key = secrets.token_hex(8)

    def ask(*approvals: str) -> Answer:
        arguments = {"user_id": user, "duration_days": 90}
        return story.client.call(asked.token, "ban_user", arguments, reason="fraud", key=key, approvals=approvals)

    parked = ask()
    first, twice = (str(story.client.approve(approver, parked).document["approval"]) for _ in range(2))
    second_key = PrivateKey.generate()
    story.register(approver, second_key)
    two_keys = Person(tenant="acme", id=approver.id, roles=approver.roles, token=approver.token, key=second_key)
    third = str(story.client.approve(two_keys, parked).document["approval"])

    pending = [ask(first), ask(first, twice), ask(first, twice, third), ask(first, first)]
    done = ask(first, str(story.client.approve(other, parked).document["approval"]))

    assert parked.document["needs"] == [{"role": "safety", "persons": 2}]
    assert [answer.status for answer in pending] == [202] * 4
    assert (done.status, done.document["status"]) == (200, "executed")
    assert len(story.effects(parked.call)) == 1


def test_the_wrong_role_does_not_approve(story: Story) -> None:
    """
    Somebody without a role that the call waits for, or without any, is refused, and so is an agent.
    """
    parked = story.parked_refund()

    answers = [story.client.approve(story.hire(*roles), parked.answer) for roles in (["growth"], ["auditor"], [])]

    assert [(answer.status, answer.reason) for answer in answers] == [(403, "role_missing")] * 3


def test_an_approval_is_void_when_its_approver_lost_the_role(story: Story) -> None:
    """
    E06: after a newer token without the role was seen, the approval counts no more; with the role again it does.
    """
    approver, parked = story.hire("finance"), story.parked_refund()
    approval = parked.approved_by(approver)

    story.client.get("/v1/tools", story.token(approver.id, []))
    void = parked.present(approval)
    story.client.get("/v1/tools", story.token(approver.id, ["finance"]))
    valid = parked.present(approval)

    assert (void.status, void.reason) == (403, "approval_void")
    assert valid.document["status"] == "executed"
    assert len(story.effects(parked.call)) == 1


def test_an_older_token_does_not_give_a_lost_role_back(story: Story) -> None:
    """
    E06: the newest token decides; an approver who still holds an older one approves nothing that counts.
    """
    approver, parked = story.hire("finance"), story.parked_refund()
    now = int(time.time())
    claims = {"tenant": "acme", "kind": "person", "person": approver.id, "iat": now + 20, "roles": []}
    story.client.get("/v1/tools", story.world.cast.issuer._mint(claims, approver.id, 600))

    given = story.client.approve(approver, parked.answer)
    approvals = [str(given.document["approval"])] if given.status == 201 else []
    answer = parked.present(*approvals)

    assert answer.document["status"] != "executed"
    assert story.effects(parked.call) == []


def test_an_approval_is_void_when_its_key_is_revoked(story: Story) -> None:
    """
    E06: a key revoked between approval and execution voids what it signed, and signs nothing more.
    """
    approver, parked = story.hire("finance"), story.parked_refund()
    approval = parked.approved_by(approver)
    story.govern("revoke_key", {"key_id": approver.key.key_id}, "key_lost")

    answer = parked.present(approval)
    again = story.client.approve(approver, parked.answer)

    assert (answer.status, answer.reason) == (403, "approval_void")
    assert (again.status, again.reason) == (403, "key_unknown")
    assert story.effects(parked.call) == []


def test_a_signature_that_does_not_hold_is_refused(story: Story) -> None:
    """
    E08: stripped, swapped, of another key, over another form, or another purpose: none of them is an approval.
    """
    parked, approver, other = story.parked_refund(), story.person("finance", 2), story.person("finance", 1)
    good = verdict(approver, parked)
    spaced = json.dumps(good["statement"], indent=1).encode()
    context = signatures.context("approval", "dev", "acme")
    forms = [
        approver.key.sign(spaced),
        approver.key.sign(context.encode() if isinstance(context, str) else context + b"\x00" + spaced),
        other.key.sign(b"anything"),
        bytes(64),
    ]
    bundle_context = signatures.context("bundle", "dev", "acme")
    texts = [base64.urlsafe_b64encode(form).rstrip(b"=").decode() for form in forms]
    texts += [
        signatures.sign(approver.key, bundle_context, good["statement"]),
        verdict(other, parked)["signature"],
        good["signature"][:-4] + "AAAA",
        "",
        "not base64 at all",
    ]

    answers = [hand_in(parked, approver, {**good, "signature": text}) for text in texts]

    assert {answer.status for answer in answers} <= {403, 422}
    assert {answer.reason for answer in answers} <= {"signature_invalid", "statement_malformed"}
    assert hand_in(parked, approver, good).status == 201


@pytest.mark.parametrize(
    "change",
    [
        {"signature": None},
        {"signature": 1},
        {"statement": None},
        {"statement": "text"},
        {"statement": {}},
        {"extra": 1},
    ],
)
def test_a_verdict_has_exactly_its_form(story: Story, change: dict[str, Any]) -> None:
    """
    E08: a verdict is exactly a statement of eleven members and a signature; anything else is 422.
    """
    parked, approver = story.parked_refund(), story.person("finance", 2)

    answer = hand_in(parked, approver, {**verdict(approver, parked), **change})

    assert (answer.status, answer.reason) == (422, "statement_malformed")


def test_a_yes_is_no_no(story: Story) -> None:
    """
    E08: a signed approval handed in as a rejection, or the other way round, is refused.
    """
    parked, approver = story.parked_refund(), story.person("finance", 2)
    rejection = signed(approver, parked.statement, "dev", verdict="reject")

    answers = [
        hand_in(parked, approver, verdict(approver, parked), "rejections"),
        hand_in(parked, approver, rejection, "approvals"),
    ]

    assert [(answer.status, answer.reason) for answer in answers] == [(403, "approval_mismatch")] * 2


def test_somebody_elses_statement_is_not_mine_to_hand_in(story: Story) -> None:
    """
    E08: a statement signed by one person and handed in by another is refused.
    """
    parked, approver, other = story.parked_refund(), story.person("finance", 2), story.hire("finance")

    answer = hand_in(parked, other, verdict(approver, parked))

    assert (answer.status, answer.reason) == (403, "approval_mismatch")


def test_a_rejection_ends_the_call_and_its_words_reach_the_requester(story: Story) -> None:
    """
    E09: after a rejection nothing approves or runs the call, and the requester reads why.
    """
    parked, approver = story.parked_refund(), story.person("finance", 2)
    approval = parked.approved_by(approver)

    no = story.client.approve(story.hire("finance"), parked.answer, verdict="reject", reason="ask for a photograph")
    late = story.client.approve(approver, parked.answer)
    presented = parked.present(approval)
    told = story.client.get(f"/v1/calls/{parked.call}", parked.token)

    assert (no.status, no.document["status"]) == (201, "rejected")
    assert (late.status, late.reason) == (409, "call_closed")
    assert (presented.status, presented.reason) == (409, "call_closed")
    assert (told.document["status"], told.document["feedback"]) == ("rejected", "ask for a photograph")
    assert story.effects(parked.call) == []


def test_a_cancelled_call_is_over(story: Story) -> None:
    """
    E09: only the requester cancels; after it, approving, rejecting, presenting and cancelling again are 409.
    """
    parked, approver = story.parked_refund(), story.person("finance", 2)
    path = f"/v1/calls/{parked.call}/cancel"
    approval = parked.approved_by(approver)

    strangers = story.client.request("POST", path, approver.token)
    done = story.client.request("POST", path, parked.token)
    late = [
        story.client.request("POST", path, parked.token),
        story.client.approve(approver, parked.answer),
        story.client.approve(approver, parked.answer, verdict="reject"),
        parked.present(approval),
    ]

    assert (strangers.status, strangers.reason) == (403, "not_the_requester")
    assert (done.status, done.document["status"]) == (200, "cancelled")
    assert [(answer.status, answer.reason) for answer in late] == [(409, "call_closed")] * 4
    assert story.effects(parked.call) == []


def test_a_budget_consumed_meanwhile_refuses_the_approved_call(story: Story) -> None:
    """
    E13: an approval does not override a budget that others used up between approval and execution.
    """
    agent, approver = story.agent(3), story.person("finance", 2)
    waiting = story.parked_refund(agent.token, cents=50_000)
    approval = waiting.approved_by(approver)
    for _ in range(4):  # an agent's refunds of a day: 200,000 cents
        other = story.parked_refund(agent.token, cents=50_000)
        assert other.present(other.approved_by(approver)).document["status"] == "executed"

    answer = waiting.present(approval)

    assert (answer.status, answer.reason) == (403, "budget_exceeded")
    assert story.effects(waiting.call) == []


@pytest.fixture(scope="module")
def hurried(story: Story) -> Iterator[Story]:
    """A second gateway of the same world, under which parked calls wait for two seconds and three at most."""
    gateway = story.world.gateway(
        settings={
            "LOCKGATE_PARKED_SECONDS": "2",
            "LOCKGATE_PARKED_PER_PRINCIPAL_MAX": "3",
            "LOCKGATE_SWEEP_SECONDS": "0.1",
        }
    )
    yield Story(story.world, type(story.client)(gateway.url), story._numbers)
    gateway.stop()


def test_a_parked_call_expires(story: Story, hurried: Story) -> None:
    """
    E03: after its time a parked call is `expired` by itself; it is neither approved nor presented any more.
    """
    parked = hurried.parked_refund(story.hire("finance").token)
    approval = parked.approved_by(hurried.person("finance", 2))
    path = f"/v1/calls/{parked.call}"

    expired = eventually(lambda: hurried.client.get(path, parked.token).document["status"] == "expired")
    late = [hurried.client.approve(hurried.person("finance", 2), parked.answer), parked.present(approval)]

    assert expired
    assert [(answer.status, answer.reason) for answer in late] == [(409, "call_closed")] * 2
    assert hurried.effects(parked.call) == []


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
