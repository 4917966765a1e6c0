"""One key, one call: what a key is, whose it is, and what comes with it."""

from __future__ import annotations

import json
import secrets
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.demo.client import Answer, Client
from deploy.demo.world import Gateway, World
from tests.world.stories import Story

ORDER = "ord_1003"


def test_key_belongs_to_its_first_request(world: World, client: Client) -> None:
    """
    F12: the same key with another amount or another reason is 422, and the first result is untouched.
    """
    key = secrets.token_hex(16)

    first = _refund(world, client, 4, key=key)
    other_amount = _refund(world, client, 5, key=key)
    other_reason = _refund(world, client, 4, key=key, reason="wrong_item")
    again = _refund(world, client, 4, key=key)

    assert (other_amount.status, other_amount.reason) == (422, "key_reused")
    assert (other_reason.status, other_reason.reason) == (422, "key_reused")
    assert (again.status, again.document["result"]) == (200, first.document["result"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert _effects(world, first) == 1


def test_key_of_somebody_else_or_for_something_else_is_another_key(world: World, client: Client) -> None:
    """
    F14: one key text, used by two persons, for two tools and in two tenants: four calls, and nobody sees another's.
    """
    key, cast = secrets.token_hex(16), world.cast
    finance = [cast.person("acme", "finance", number).token for number in (1, 2)]
    asked = {"order_id": ORDER, "amount_cents": 4}

    told = [client.call(token, "issue_refund", asked, reason="wrong_item", key=key) for token in finance]
    told.append(
        client.call(
            cast.person("acme", "operator").token,
            "revoke_push_tokens",
            {"user_id": "usr_1001"},
            reason="user_request",
            key=key,
        )
    )
    elsewhere = {"order_id": "ord_2003", "amount_cents": 4}
    told.append(
        client.call(cast.person("globex", "finance").token, "issue_refund", elsewhere, reason="wrong_item", key=key)
    )

    assert [each.status for each in told] == [200] * 4
    assert len({each.call for each in told}) == 4
    assert [_effects(world, each) for each in told] == [1] * 4
    assert not any("Idempotency-Replayed" in each.headers for each in told)


@pytest.mark.parametrize(
    "key",
    [None, "x", "k" * 256, "k" * 10_000, "two words", "tab\there", "bell\x07", "umlaut-\u00e4"],
    ids=["missing", "one character", "256", "10 kB", "space", "tab", "control", "not ASCII"],
)
def test_key_that_is_none_is_refused(world: World, gateway: Gateway, key: str | None) -> None:
    """
    F15: a key that is missing, too short, too long or of other characters is 400, before anything happens.
    """
    effects = world.business.journal.read_bytes()

    status = _raw(gateway, world.cast.person("acme", "finance").token, key)

    assert status in (400, 431)
    assert world.business.journal.read_bytes() == effects


@pytest.mark.parametrize(
    "amount",
    ["NaN", "Infinity", "1e400", "9223372036854775808", "9223372036854775807", "10.0", "-0", "9007199254740992"],
)
def test_amount_that_is_no_number_of_the_profile_is_malformed(world: World, client: Client, amount: str) -> None:
    """
    I03: numbers outside the profile are 400.
    """
    body = f'{{"tool":"issue_refund","arguments":{{"order_id":"{ORDER}","amount_cents":{amount}}},"reason_code":"x"}}'

    answer = _post(world, client, body.encode())

    assert answer.status == 400


@pytest.mark.parametrize("amount", [0, -1, -9007199254740991, 9007199254740991, True, "10", " 12 ", "1_000", None, [1]])
def test_amount_outside_the_contract_does_not_fit(world: World, client: Client, amount: Any) -> None:
    """
    I03: zero, negative, too large and of another type is 422.
    """
    arguments = {"order_id": ORDER, "amount_cents": amount}
    body = {"tool": "issue_refund", "arguments": arguments, "reason_code": "wrong_item"}

    answer = _post(world, client, json.dumps(body).encode())

    assert answer.status == 422


def test_amount_at_the_bound_of_an_invariant_is_exact(story: Story) -> None:
    """
    D05: of an order one cent more than is left is refused, one less and the last one are given back, and then nothing.
    """
    finance = story.person("finance").token
    left = 4_321  # No approval needed.
    order = story.order(paid=left)

    told = [story.refund(finance, order, cents) for cents in (left + 1, left - 1, 2, 1, 1)]

    assert [answer.status for answer in told] == [403, 200, 403, 200, 403]
    assert {answer.reason for answer in told if answer.status == 403} <= {"invariant_violated", "policy_denied"}
    assert sum(each["arguments"]["amount_cents"] for each in story.effects_on(order)) == left


def _refund(world: World, client: Client, amount: int, *, key: str, reason: str = "damaged_item") -> Answer:
    arguments = {"order_id": ORDER, "amount_cents": amount}
    return client.call(world.cast.person("acme", "finance").token, "issue_refund", arguments, reason=reason, key=key)


def _post(world: World, client: Client, body: bytes) -> Answer:
    headers = {"Idempotency-Key": secrets.token_hex(16), "Content-Type": "application/json"}
    token = world.cast.person("acme", "finance").token
    return client.request("POST", "/v1/calls", token, body=body, headers=headers)


def _effects(world: World, answer: Answer) -> int:
    return sum(answer.call in line for line in world.business.journal.read_text().splitlines())


def _raw(gateway: Gateway, token: str, key: str | None) -> int:
    """The status of a request whose key no HTTP library would send."""
    arguments = {"order_id": ORDER, "amount_cents": 4}
    body = json.dumps({"tool": "issue_refund", "arguments": arguments, "reason_code": "wrong_item"}).encode()
    head = (
        "POST /v1/calls HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    )
    if key is not None:
        head += f"Idempotency-Key: {key}\r\n"
    where = urlsplit(gateway.url)
    with socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=5) as connection:
        connection.sendall(head.encode() + b"\r\n" + body)
        answer = connection.recv(4096)
    return int(answer.split(b" ", 2)[1])
