"""What if thousands of clients connect and say nothing, or nearly nothing: whoever asks is answered as ever."""

from __future__ import annotations

import resource
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from deploy.demo.client import Client
from deploy.demo.world import Gateway
from gateway.doors.lobby import WAIT_SECONDS
from gateway.serving import DESCRIPTORS_KEPT, connections_max
from tests.world.ground import Ground

CROWD = 2_000
CONNECTIONS_MAX = 500
SLACK_SECONDS = 6
"""Over what the contract promises, for a busy machine."""
HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture
def small(field: Ground) -> Iterator[Gateway]:
    """A gateway with room for a few hundred connections."""
    gateway = field.world.gateway(port=0, settings={"LOCKGATE_CONNECTIONS_MAX": str(CONNECTIONS_MAX)})
    yield gateway
    gateway.stop()


@contextmanager
def crowd(url: str, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections, each of which says that much and waits."""
    host, _, port = url.removeprefix("http://").partition(":")
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            opened.append(socket.create_connection((host, int(port)), timeout=SLACK_SECONDS))
            if first:
                with suppress(OSError):
                    opened[-1].sendall(first)
        yield opened
    finally:
        for each in opened:
            each.close()


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has not ended it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def asked(connection: socket.socket) -> bytes:
    """The status line's beginning of one more answer on a connection."""
    connection.sendall(HEAD + b"\r\n")
    told = b""
    while not told.endswith(b"}"):
        told += connection.recv(65536)
    return told[:12]


def is_well(field: Ground, gateway: Gateway) -> bool:
    """Whether a newcomer's write is answered, soon."""
    began = time.monotonic()
    answer = Client(gateway.url).call(
        field.person("finance").token,
        "issue_refund",
        {"order_id": "ord_1003", "amount_cents": 1},
        reason="damaged_item",
        key=secrets.token_hex(16),
    )
    return answer.status == 200 and time.monotonic() - began < SLACK_SECONDS


@pytest.mark.parametrize("first", [b"", b"POST /v1/calls HT", HEAD], ids=["silent", "half a line", "half a head"])
def test_a_crowd_that_asks_nothing_keeps_nobody_out(field: Ground, small: Gateway, first: bytes) -> None:
    """
    L02: four times as many connections as there is room for, each idle or in the middle of a head: newcomers are let in
    and answered, and of the crowd only so many are kept.
    """
    with crowd(small.url, CROWD, first) as connections:
        answered = [is_well(field, small) for _ in range(3)]
        time.sleep(0.5)
        kept = sum(map(is_open, connections))

    assert answered == [True] * 3
    assert 0 < kept <= CONNECTIONS_MAX
    assert is_well(field, small)


def test_a_head_that_never_ends_is_not_waited_for(field: Ground) -> None:
    """
    L02: heads that arrive one byte after the other: each connection ends after the time for a head, whatever comes on
    it, and one that was answered after the same time, when common clients have given it up themselves.
    """
    url = field.gateway().url
    with crowd(url, 1) as (kept,), crowd(url, 50, HEAD + b"X-Slow: ") as connections:
        began = time.monotonic()
        assert asked(kept) == b"HTTP/1.1 200"
        while any(map(is_open, [kept, *connections])) and time.monotonic() - began < WAIT_SECONDS + SLACK_SECONDS:
            for each in connections:
                with suppress(OSError):
                    each.send(b"a")
            time.sleep(0.5)
            assert is_open(kept) or time.monotonic() - began >= WAIT_SECONDS
        took = time.monotonic() - began

    assert WAIT_SECONDS <= took < WAIT_SECONDS + SLACK_SECONDS
    assert is_well(field, field.gateway())


def test_a_request_under_way_is_never_sent_away(field: Ground, small: Gateway) -> None:
    """
    L02: a call that waits for a slow tool keeps its connection, however many come after it.
    """
    field.fault("revoke_push_tokens", "hang_after", seconds=2)
    told: list[int] = []
    arguments = {"user_id": "usr_1001"}
    under_way = threading.Thread(
        target=lambda: told.append(
            Client(small.url)
            .call(
                field.person("operator").token,
                "revoke_push_tokens",
                arguments,
                reason="user_request",
                key=secrets.token_hex(16),
            )
            .status
        )
    )
    under_way.start()
    time.sleep(0.5)
    with crowd(small.url, CROWD):
        under_way.join()

    assert told == [200]


def test_an_answer_leaves_the_connection_to_wait_again(field: Ground, small: Gateway) -> None:
    """
    A kept connection is used again, and is the last to go of those that wait.
    """
    with crowd(small.url, 1) as (kept,), crowd(small.url, CONNECTIONS_MAX // 2):
        answers = [asked(kept) for _ in range(3)]
        with crowd(small.url, CONNECTIONS_MAX * 3 // 4):
            is_kept = is_open(kept)

    assert answers == [b"HTTP/1.1 200"] * 3
    assert is_kept


def test_connections_leave_descriptors_to_everything_else() -> None:
    """
    The bound lies below what the system lets the process open; the soft limit is raised to the hard one first.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    most = connections_max(10**9)

    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    assert most == 10**9 if hard == resource.RLIM_INFINITY else most <= max(hard - DESCRIPTORS_KEPT, hard // 4)
    assert connections_max(7) == 7
