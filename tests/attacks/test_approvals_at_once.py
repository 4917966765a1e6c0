"""Approvals used, swapped, given and taken back at the same moment, at one gateway and at two."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.demo.client import signed
from tests.world.crowd import Ask, rush
from tests.world.stories import REASON, REFUND, Story

PARALLEL = 100


@pytest.fixture(scope="module")
def elsewhere(story: Story) -> Iterator[Story]:
    """The same world through a second gateway."""
    gateway = story.world.gateway()
    yield Story(story.world, type(story.client)(gateway.url), story._numbers)
    gateway.stop()


def test_one_approval_used_a_hundred_times_at_once_has_one_effect(story: Story) -> None:
    """
    E02: of a hundred parallel presentations one runs; the others are told so, or given its answer.
    """
    parked = story.parked_refund()
    approval = parked.approved_by(story.person("finance", 2))

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: parked.present(approval), range(PARALLEL)))

    outcomes = {(answer.status, answer.reason, answer.headers.get("idempotency-replayed")) for answer in answers}
    assert outcomes <= {(200, "", None), (200, "", "true"), (409, "in_flight", None), (409, "key_taken", None)}
    assert sum(answer.status == 200 and "idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len(story.effects(parked.call)) == 1


def test_a_swap_at_the_same_moment_runs_what_was_approved(story: Story, elsewhere: Story) -> None:
    """
    E01, E02: the approved call, and under its approval other arguments, keys, calls and requesters, all at once, at two
    gateways: what was approved runs, once, and nothing else.
    """
    for _ in range(3):
        parked, other, stranger = story.parked_refund(), story.parked_refund(), story.hire("finance")
        approval = parked.approved_by(story.person("finance", 2))
        urls = itertools.cycle([story.client.url, elsewhere.client.url])

        def ask(key: str, order: str, cents: int, token: str = "") -> Ask:
            arguments = {"order_id": order, "amount_cents": cents}
            return Ask(
                token=token or parked.token,  # noqa: B023 - called before the next round
                tool=REFUND,
                arguments=arguments,
                reason=REASON,
                key=key,
                approvals=[approval],  # noqa: B023
                url=next(urls),  # noqa: B023
            )

        swaps = [
            ask(parked.key, parked.order, parked.cents + 1),
            ask(parked.key, other.order, parked.cents),
            ask(other.key, other.order, other.cents),
            ask(secrets.token_hex(8), parked.order, parked.cents),
            ask(parked.key, parked.order, parked.cents, stranger.token),
        ]
        asks = [each for swap in swaps for each in (swap, ask(parked.key, parked.order, parked.cents), swap)]
        answers = rush(story.client.url, asks)
        # A request that differs keeps the key busy as one that does not; where each met another, none has run yet.
        done = parked.present(approval)

        assert (done.status, done.document["status"]) == (200, "executed")
        assert {answer.call for answer in answers if answer.status == 200} <= {parked.call}
        assert {answer.status for answer in answers} <= {200, 403, 409, 422}
        assert [len(story.effects(call)) for call in (parked.call, other.call)] == [1, 0]
        assert len(story.effects_on(parked.order)) == 1


def test_of_racing_verdicts_the_first_committed_wins(story: Story) -> None:
    """
    E09: cancel, reject and execute at once: the call ends in exactly one state, and runs only if that is `executed`.
    """
    for _ in range(5):
        parked = story.parked_refund()
        approval = parked.approved_by(story.person("finance", 2))
        refuser = story.person("finance", 2)
        no = signed(refuser, parked.statement, "dev", verdict="reject")
        acts = [
            lambda: parked.present(approval),  # noqa: B023 - runs before the next round
            lambda: story.client.request("POST", f"/v1/calls/{parked.call}/rejections", refuser.token, body=no),  # noqa: B023
            lambda: story.client.request("POST", f"/v1/calls/{parked.call}/cancel", parked.token),  # noqa: B023
        ]

        with ThreadPoolExecutor(3) as pool:
            answers = [each.result() for each in [pool.submit(act) for act in acts]]

        won = [answer for answer in answers if answer.status in (200, 201)]
        state = story.client.get(f"/v1/calls/{parked.call}", parked.token).document["status"]
        assert len(won) == 1, [answer.document for answer in answers]
        assert won[0].document["status"] == state
        assert {answer.status for answer in answers if answer not in won} == {409}
        assert len(story.effects(parked.call)) == (1 if state == "executed" else 0)


def test_a_yes_and_a_no_at_two_gateways_leave_one_state(story: Story, elsewhere: Story) -> None:
    """
    E09: one approver approves here while another rejects there: a rejected call runs under no approval.
    """
    for _ in range(5):
        parked, approver = story.parked_refund(), story.person("finance", 2)
        no = signed(story.hire("finance"), parked.statement, "dev", verdict="reject")
        refuser = str(no["statement"]["approver"]).removeprefix("person/")
        token = story.token(refuser, ["finance"])

        with ThreadPoolExecutor(2) as pool:
            yes = pool.submit(story.client.approve, approver, parked.answer)
            other = pool.submit(elsewhere.client.request, "POST", f"/v1/calls/{parked.call}/rejections", token, body=no)
        given = [str(yes.result().document["approval"])] if yes.result().status == 201 else []
        used = parked.present(*given)

        assert (yes.result().status, yes.result().reason) in [(201, ""), (409, "call_closed")]
        assert other.result().status == 201
        assert (used.status, used.reason) == (409, "call_closed")
        assert story.effects(parked.call) == []


def test_a_role_lost_at_one_gateway_is_lost_at_another(story: Story, elsewhere: Story) -> None:
    """
    E06: the newest token that any gateway saw decides at all of them, for verdicts that were given and those to come.
    """
    approver, first, second = story.hire("finance"), story.parked_refund(), story.parked_refund()
    approval = first.approved_by(approver)
    claims = {"tenant": "acme", "kind": "person", "person": approver.id, "iat": int(time.time()) + 20, "roles": []}

    elsewhere.client.get("/v1/tools", story.world.cast.issuer._mint(claims, approver.id, 600))
    void = first.present(approval)
    late = [
        story.client.approve(approver, second.answer),
        story.client.approve(approver, second.answer, verdict="reject"),
    ]

    assert (void.status, void.reason) == (403, "approval_void")
    assert [(answer.status, answer.reason) for answer in late] == [(403, "role_missing")] * 2
    assert second.present().status == 202
    assert story.effects(first.call) == []


def test_two_approved_calls_do_not_share_what_is_left_for_one(story: Story, elsewhere: Story) -> None:
    """
    E13: two refunds, each approved and each within what is left, presented at once at two gateways: one runs.
    """
    order = story.order(paid=20_000)
    finance, approver, asks, cents = story.person("finance"), story.person("finance", 2), [], 10_001
    for url in (story.client.url, elsewhere.client.url):
        key = secrets.token_hex(8)
        parked = story.refund(finance.token, order, cents, key=key)
        approval = str(story.client.approve(approver, parked).document["approval"])
        arguments = {"order_id": order, "amount_cents": cents}
        asks.append(
            Ask(
                token=finance.token,
                tool=REFUND,
                arguments=arguments,
                reason=REASON,
                key=key,
                approvals=[approval],
                url=url,
            )
        )

    answers = rush(story.client.url, asks)

    assert sorted(answer.status for answer in answers) == [200, 403], [answer.document for answer in answers]
    assert len(story.effects_on(order)) == 1
