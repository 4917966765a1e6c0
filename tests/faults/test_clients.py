"""What if the client leaves: before its request is whole, while it runs, or before it hears the answer."""

from __future__ import annotations

import json
import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

import pytest

from deploy.demo.client import Answer, Client
from deploy.demo.world import Gateway
from gateway.killpoints import STAGES
from gateway.opening import DATABASE
from tests.world import proxy
from tests.world.ground import SETTINGS, Ground, wait_for
from tests.world.proxy import Proxy
from tests.world.rigs import frozen

PAUSES_MS = (0, 1, 2, 4, 8, 16, 32, 64)
_FIGURE = r'^%s(?:\{stage="(\w+)"\})? (\S+)$'
RESET = struct.pack("ii", 1, 0)  # Lingering for 0 seconds: closing sends RST, not FIN.


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_client_that_leaves_while_its_call_runs_changes_nothing_about_it(field: Ground, is_reset: bool) -> None:
    """
    F18: whenever the client hangs up after its last byte, the call ends as if it had stayed, or was never begun; the
    same key gets the one answer.
    """
    keys = {pause: secrets.token_hex(16) for pause in PAUSES_MS}

    for pause, key in keys.items():
        _send_and_leave(field, key, until=partial(_pause, pause), is_reset=is_reset)
    field.settled()
    finals = {pause: field.finally_answered(partial(_again, field, key)) for pause, key in keys.items()}
    effects = field.oracle.effects()

    assert {pause: (each.status, each.document["status"]) for pause, each in finals.items()} == dict.fromkeys(
        PAUSES_MS, (200, "executed")
    )
    assert [effects[each.call] for each in finals.values()] == [1] * len(PAUSES_MS)


@pytest.fixture(scope="module")
def behind(shared_ground: Ground) -> Iterator[tuple[Gateway, Proxy]]:
    """A gateway that nobody else asks anything, and the proxy between it and its database."""
    urls = shared_ground.world.cluster.urls(DATABASE)
    shared_ground.gateway()  # It migrates the database.
    with proxy.before(urls.app) as through:
        settings = {**SETTINGS, "LOCKGATE_DATABASE_URL": through.url, "LOCKGATE_AUDITOR_URL": urls.auditor}
        gateway = shared_ground.world.gateway(settings=settings, port=0)
        _again(shared_ground, secrets.token_hex(16), Client(gateway.url))
        yield gateway, through
        gateway.stop()


@contextmanager
def _slow_facts(field: Ground, _: Proxy) -> Iterator[None]:
    """The business stands still, and what the call asks it first are facts."""
    with frozen(field.world.business.pid):
        yield


@contextmanager
def _slow_commit(_: Ground, through: Proxy) -> Iterator[None]:
    """The intent's COMMIT does not reach the database."""
    goes_on = threading.Event()
    through.hold_next(goes_on.wait)
    try:
        yield
    finally:
        goes_on.set()


@contextmanager
def _slow_tool(field: Ground, _: Proxy) -> Iterator[None]:
    """The tool acts at once and answers later."""
    field.fault("issue_refund", "hang_after", seconds=1)
    yield


HELD = {"gather": _slow_facts, "intend": _slow_commit, "execute": _slow_tool}


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("stage", HELD)
def test_client_that_leaves_within_a_stage_changes_nothing_about_its_call(
    field: Ground, behind: tuple[Gateway, Proxy], stage: str, is_reset: bool
) -> None:
    """
    F18: the client hangs up while its call is in a stage for certain, before, at and after the intent: the call itself
    goes on to its end, one effect between one intent and one outcome, and the same key gets the answer that was kept.
    """
    (gateway, through), key = behind, secrets.token_hex(16)
    before = _stages(gateway)

    def is_there() -> bool:
        return _is_within(stage, before, _stages(gateway))

    with HELD[stage](field, through):
        _send_and_leave(field, key, url=gateway.url, until=is_there, is_reset=is_reset)
        was_there = is_there()  # This was asked behind the client's leaving: the gateway has been told of it.
    wait_for(lambda: _metric(gateway, "lockgate_calls_in_flight") == {"": 0}, "the call does not end")
    again = _again(field, key, field.client())
    told = field.client().get(f"/v1/calls/{again.call}", field.person("auditor").token).document

    assert was_there
    assert (again.status, again.document["status"]) == (200, "executed")
    assert again.headers["idempotency-replayed"] == "true"
    assert [kind for entry in told["entries"] if (kind := entry["kind"]) != "CONFIRMED"] == ["INTENT", "OUTCOME"]
    assert field.oracle.effects()[again.call] == 1


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


def _send_and_leave(field: Ground, key: str, *, until: Callable[[], bool], is_reset: bool, url: str = "") -> None:
    with _connected(field, url) as connection:
        connection.sendall(_request(field, key))
        wait_for(until, "the call does not get so far")
        if is_reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def _pause(milliseconds: int) -> bool:
    time.sleep(milliseconds / 1000)
    return True


def _is_within(stage: str, before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Whether the one call since `before` has gone through what comes before the stage, and not through the stage."""
    gone = [each for each in STAGES if now.get(each, 0) > before.get(each, 0)]
    return gone == list(STAGES[: STAGES.index(stage)])


def _stages(gateway: Gateway) -> dict[str, int]:
    """How many calls went through each stage."""
    return _metric(gateway, "lockgate_stage_seconds_count")


def _metric(gateway: Gateway, name: str) -> dict[str, int]:
    """A figure of the gateway by its label, if it has one."""
    figures = Client(gateway.url).text("/metrics").decode()
    return {label: int(float(figure)) for label, figure in re.findall(_FIGURE % name, figures, re.MULTILINE)}


def _connected(field: Ground, url: str = "") -> socket.socket:
    where = urlsplit(url or field.gateway().url)
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
