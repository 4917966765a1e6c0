"""What if the gateway dies in the middle of a batch, or a batch takes longer than its time."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Any

import httpx2
import pytest

from deploy.demo.client import Answer, Client
from tests.world.ground import Ground

ITEMS = 24
CENTS = 101


def batch(field: Ground, orders: list[str]) -> list[dict[str, Any]]:
    """Refunds of so many orders, each under its own key."""
    return [
        {
            "key": secrets.token_hex(8),
            "tool": "issue_refund",
            "arguments": {"order_id": order, "amount_cents": CENTS + place},
            "reason_code": "damaged_item",
        }
        for place, order in enumerate(orders)
    ]


def some_orders(field: Ground, count: int, start: int) -> list[str]:
    """Orders with something left."""
    rows = httpx2.get(
        f"{field.world.business.url}/state/orders",
        params={"limit": "500"},
        headers={"Lockgate-Tenant": "acme"},
        trust_env=False,
    ).json()["rows"]
    left = [row["id"] for row in rows if row["paid_cents"] - row["refunded_cents"] > 10 * CENTS]
    return [left[(start + place) % len(left)] for place in range(count)]


def send(client: Client, token: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items' answers; none when the gateway died."""
    try:
        answer: Answer = client.request("POST", "/v1/batches", token, body={"calls": items})
    except httpx2.TransportError:
        return []
    assert answer.status == 200, answer.document
    found: list[dict[str, Any]] = answer.document["answers"]
    return found


@pytest.mark.parametrize("after_ms", [15, 40, 80, 150])
def test_a_batch_cut_short_is_finished_by_sending_it_again(field: Ground, after_ms: int) -> None:
    """
    E12, F01: killed at any item, a batch that is sent again runs what had not run, and nothing twice.
    """
    token, items = field.person("finance").token, batch(field, some_orders(field, ITEMS, after_ms))
    before = field.oracle.effects()
    cut = threading.Thread(target=send, args=(field.client(), token, items))
    cut.start()
    time.sleep(after_ms / 1000)
    field.kill()
    cut.join()
    field.restart()
    field.settled()

    until, answers = time.monotonic() + 30, send(field.client(), token, items)
    while {each["status"] for each in answers} != {200} and time.monotonic() < until:
        time.sleep(0.2)
        answers = send(field.client(), token, items)
    calls = {each["body"]["call"] for each in answers}
    ran = field.oracle.effects() - before

    assert [(each["status"], each["body"]["status"]) for each in answers] == [(200, "executed")] * ITEMS
    assert {call: ran[call] for call in calls} == dict.fromkeys(calls, 1)
    assert len(calls) == ITEMS == sum(ran.values())


def test_a_batch_of_slow_calls_ends_in_time(field: Ground) -> None:
    """
    E12, F19: items whose turn comes after ten seconds are told so and were not begun; sent again, they run.
    """
    token, items = field.person("finance").token, batch(field, some_orders(field, 9, 300))
    field.fault("issue_refund", "hang_after", count=len(items), seconds=2)

    started = time.monotonic()
    answers = send(field.client(), token, items)
    took = time.monotonic() - started
    field.business_is_well()
    late = [item for item, each in zip(items, answers, strict=True) if each["status"] == 503]
    reasons = {each["body"].get("reason") for each in answers if each["status"] == 503}
    again = send(field.client(), token, late)

    assert reasons == {"batch_late"}
    assert 0 < len(late) < len(items)
    assert took < 20
    assert {each["status"] for each in again} == {200}
