"""What if nobody reads what the gateway logs, or there is no room for it: calls go on, and the entries are whole."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator

import pytest

from deploy.demo.client import Client
from gateway.logs import Lines
from tests.world import log_sinks
from tests.world.crowd import Ask, rush
from tests.world.ground import Ground, wait_for

CALLS = 40
CALLS_SECONDS_MAX = 2.0


@pytest.fixture(scope="module")
def sinks(shared_ground: Ground) -> Iterator[None]:
    """A gateway whose standard error can be exchanged."""
    shared_ground.kill()
    shared_ground.current = shared_ground.world.gateway(program=("tests.world.log_sinks",))
    yield
    shared_ground.kill()


@pytest.mark.parametrize("trouble", [log_sinks.BLOCKED, log_sinks.FULL], ids=["nobody reads", "disk full"])
def test_calls_do_not_wait_for_their_log_lines(sinks: None, field: Ground, trouble: signal.Signals) -> None:
    """
    L05, F07: with standard error blocked or on a full disk every call is answered in time and has its entries, and the
    lines come later.
    """
    gateway, mark = field.gateway(), "run-" + secrets.token_hex(4)

    gateway.process.send_signal(trouble)
    time.sleep(0.1)
    before = gateway.log.stat().st_size
    answers = rush(gateway.url, [_ask(field) for _ in range(CALLS)])
    started = time.monotonic()
    healthy = Client(gateway.url).get("/healthz").status
    marked = Client(gateway.url).request("POST", "/v1/calls", None, body={}, headers={"X-Correlation-Id": mark}).status
    seconds = time.monotonic() - started
    during = gateway.log.stat().st_size
    gateway.process.send_signal(log_sinks.WELL)
    wait_for(lambda: mark in gateway.log.read_text(), "the lines that waited were not written")
    lines = [json.loads(line) for line in gateway.log.read_bytes()[before:].splitlines()]

    assert {each.status for each in answers} == {200}
    assert {field.oracle.effects()[each.call] for each in answers} == {1}
    assert (healthy, marked) == (200, 401)
    assert seconds < CALLS_SECONDS_MAX
    assert during == before
    assert {each.call for each in answers} <= {line.get("call") for line in lines}


def test_a_gateway_whose_log_nobody_reads_ends_when_told(sinks: None, field: Ground) -> None:
    """
    L05, F19: SIGTERM ends it although its last lines cannot be written.
    """
    gateway = field.gateway()
    gateway.process.send_signal(log_sinks.BLOCKED)
    answers = rush(gateway.url, [_ask(field) for _ in range(CALLS)])

    code = gateway.stop()

    assert {each.status for each in answers} == {200}
    assert code == 0


def test_lines_that_find_no_room_are_dropped_and_counted() -> None:
    """
    L05: up to the bound lines wait for their reader, those above are counted, and the next one tells of them.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    lines = Lines(writer, waiting_bytes_max=1000)
    line = b"x" * 99 + b"\n"

    async def story() -> bytes:
        for _ in range(1000):
            lines.write(line)
            await asyncio.sleep(0)
        read = b""
        for _ in range(20):
            read += _drained(reader)
            await asyncio.sleep(0.05)
        lines.write(b"after\n")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return read + _drained(reader)

    whole = asyncio.run(story()).splitlines()
    told = json.loads(whole[-2])

    assert whole[-1] == b"after"
    assert set(whole[:-2]) == {line.strip()}
    assert (told["event"], told["lines"]) == ("lines_dropped", 1000 - len(whole[:-2]))
    assert lines.dropped == told["lines"] > 0


def _ask(field: Ground) -> Ask:
    arguments = {"order_id": "ord_1003", "amount_cents": 1}
    return Ask(token=field.person("finance").token, tool="issue_refund", arguments=arguments, reason="damaged_item")


def _drained(reader: int) -> bytes:
    read = b""
    try:
        while piece := os.read(reader, 1 << 20):
            read += piece
    except BlockingIOError:
        return read
    return read
