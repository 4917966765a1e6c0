"""What if everything is asked at the same moment, through one gateway or two, on one chain."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import httpx2
import pytest

from deploy.demo.client import Answer
from deploy.demo.world import Gateway
from tests.world.crowd import Ask, rush
from tests.world.ground import SETTINGS, Ground

CROWD = 64
ROUNDS = 4
SHARE = 10
"""What an order is worth is this many refunds, and not one more."""
ORDERS_FROM = 1_009  # The first eight are small change or examples of other tests.
AMOUNT_MAX_CENTS = 2_000


@pytest.fixture
def second(field: Ground) -> Iterator[Gateway]:
    """Another gateway beside the ground's, on the same database."""
    gateway = field.world.gateway(port=0, settings=SETTINGS)
    yield gateway
    gateway.stop()


def test_parallel_spends_stop_exactly_at_the_cap(field: Ground) -> None:
    """
    I01: 64 parallel refunds of an order that is worth exactly ten of them: ten succeed, the others are refused, and the
    business never paid more than was paid to it. Several rounds, an order each.
    """
    outcomes = []

    for order, amount in _orders(field, ROUNDS):
        told = rush(field.gateway().url, [_refund(field, order, amount) for _ in range(CROWD)])
        effects = field.oracle.effects()
        outcomes.append(
            (
                sum(each.status == 200 and each.document["status"] == "executed" for each in told),
                sum(each.status == 403 for each in told),
                sum(effects[each.call] for each in told if "call" in each.document),
            )
        )

    assert outcomes == [(SHARE, CROWD - SHARE, SHARE)] * ROUNDS


def test_two_gateways_share_a_chain_and_its_caps(field: Ground, second: Gateway) -> None:
    """
    I01, M08, F13: the same through two gateways at once, and 100 times one key through both: one effect, one chain.
    """
    urls = (field.gateway().url, second.url)
    ((order, amount),) = _orders(field, 1, skip=ROUNDS)
    key = secrets.token_hex(16)

    spends = [_refund(field, order, amount, url=urls[number % 2]) for number in range(CROWD)]
    told = rush(urls[0], spends)
    twins = rush(urls[0], [_refund(field, "ord_1003", 11, key=key, url=urls[number % 2]) for number in range(100)])
    effects = field.oracle.effects()

    assert sum(each.status == 200 for each in told) == SHARE
    assert {each.status for each in told} == {200, 403}
    assert {each.status for each in twins} <= {200, 409}
    assert [effects[call] for call in {each.call for each in twins if each.status == 200}] == [1]


def test_one_approval_used_by_many_at_once_is_used_once(field: Ground) -> None:
    """
    E02: one approval presented 100 times in parallel, under its own key and under others: exactly one effect.
    """
    key, client = secrets.token_hex(16), field.client()
    asked = {"order_id": "ord_1003", "amount_cents": 6_000}
    parked = client.call(field.person("finance").token, "issue_refund", asked, reason="wrong_item", key=key)
    given = client.approve(field.person("finance", 2), parked)
    approvals = [str(given.document["approval"])]

    asks = [
        _refund(field, "ord_1003", 6_000, key=key if number % 2 else secrets.token_hex(16), approvals=approvals)
        for number in range(100)
    ]
    told = rush(field.gateway().url, asks)
    effects = field.oracle.effects()

    assert (parked.status, given.status) == (202, 201)
    assert _statuses(told[1::2]) <= {(200, ""), (409, "in_flight"), (409, "key_taken"), (409, "in_doubt")}
    # Another call than the one that was signed for, or one that came after it was used.
    assert {each.status for each in told[::2]} <= {403, 409}
    assert sum(effects[call] for call in {each.call for each in told if "call" in each.document}) == 1
    assert effects[parked.call] == 1


def test_identical_keys_in_parallel_have_one_effect_and_one_answer(field: Ground) -> None:
    """
    F13: 100 identical requests at once: one effect; each of the others is told 409 or the same answer.
    """
    key = secrets.token_hex(16)

    told = rush(field.gateway().url, [_refund(field, "ord_1003", 13, key=key) for _ in range(100)])
    again = rush(field.gateway().url, [_refund(field, "ord_1003", 13, key=key)])[0]
    effects = field.oracle.effects()

    assert _statuses(told) <= {(200, ""), (409, "in_flight"), (409, "key_taken")}
    results = [each.document["result"] for each in told if each.status == 200]
    assert results == [again.document["result"]] * len(results)
    assert len(results) >= 1
    assert effects[again.call] == 1


def _statuses(told: list[Answer]) -> set[tuple[int, str]]:
    return {(each.status, each.reason) for each in told}


def _refund(
    field: Ground, order: str, amount: int, *, key: str = "", url: str = "", approvals: list[str] | None = None
) -> Ask:
    return Ask(
        token=field.person("finance").token,
        tool="issue_refund",
        arguments={"order_id": order, "amount_cents": amount},
        reason="wrong_item" if approvals else "damaged_item",
        key=key or secrets.token_hex(16),
        approvals=approvals or (),
        url=url,
    )


def _orders(field: Ground, count: int, *, skip: int = 0) -> list[tuple[str, int]]:
    """Orders from which nothing was refunded, and the amount that fits exactly ten times."""
    found = []
    for number in range(ORDERS_FROM, ORDERS_FROM + 200):
        answer = httpx2.get(
            f"{field.world.business.url}/facts/order/ord_{number}",
            headers={"Lockgate-Tenant": "acme"},
            trust_env=False,
        )
        facts = answer.json()["facts"]
        left = facts["paid_cents"] - facts["refunded_cents"]
        if SHARE * (SHARE + 1) < left <= AMOUNT_MAX_CENTS * SHARE and not facts["refunded_cents"]:
            found.append((f"ord_{number}", left // SHARE))
    return found[skip : skip + count]
