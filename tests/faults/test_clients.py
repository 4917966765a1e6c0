"""What if the client leaves: before its request is whole, while it runs, or before it hears the answer."""

from __future__ import annotations

import json
import secrets
import socket
import struct
import time
from functools import partial
from urllib.parse import urlsplit

import pytest

from deploy.demo.client import Answer, Client
from tests.world.ground import Ground, wait_for

PAUSES_MS = (0, 1, 2, 4, 8, 16, 32, 64)
RESET = struct.pack("ii", 1, 0)  # Lingering for 0 seconds: closing sends RST, not FIN.


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_client_that_leaves_while_its_call_runs_changes_nothing_about_it(field: Ground, is_reset: bool) -> None:
    """
    F18: whenever the client hangs up after its last byte, the call ends as if it had stayed, or was never begun; the
    same key gets the one answer.
    """
    keys = {pause: secrets.token_hex(16) for pause in PAUSES_MS}

    for pause, key in keys.items():
        _send_and_leave(field, key, pause_ms=pause, is_reset=is_reset)
    field.settled()
    finals = {pause: field.finally_answered(partial(_again, field, key)) for pause, key in keys.items()}
    effects = field.oracle.effects()

    assert {pause: (each.status, each.document["status"]) for pause, each in finals.items()} == dict.fromkeys(
        PAUSES_MS, (200, "executed")
    )
    assert [effects[each.call] for each in finals.values()] == [1] * len(PAUSES_MS)


def test_client_that_leaves_before_its_request_is_whole_has_asked_for_nothing(field: Ground) -> None:
    """
    F18: a request cut at any byte does nothing, and its key is free.
    """
    whole = _request(field, secrets.token_hex(16))
    effects_before = field.oracle.effects()

    for cut in range(1, len(whole), len(whole) // 12):
        with _connected(field) as connection:
            connection.sendall(whole[:cut])
    wait_for(lambda: field.client().get("/healthz").status == 200, "the gateway is gone")

    assert field.oracle.effects() == effects_before


def _again(field: Ground, key: str, client: Client) -> Answer:
    arguments = {"order_id": "ord_1003", "amount_cents": 5}
    return client.call(field.person("finance").token, "issue_refund", arguments, reason="damaged_item", key=key)


def _send_and_leave(field: Ground, key: str, *, pause_ms: int, is_reset: bool) -> None:
    with _connected(field) as connection:
        connection.sendall(_request(field, key))
        time.sleep(pause_ms / 1000)
        if is_reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def _connected(field: Ground) -> socket.socket:
    where = urlsplit(field.gateway().url)
    return socket.create_connection((str(where.hostname), int(where.port or 0)), timeout=5)


def _request(field: Ground, key: str) -> bytes:
    arguments = {"order_id": "ord_1003", "amount_cents": 5}
    body = json.dumps({"tool": "issue_refund", "arguments": arguments, "reason_code": "damaged_item"}).encode()
    head = (
        "POST /v1/calls HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {field.person('finance').token}\r\nIdempotency-Key: {key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
