"""Settings with which a gateway must not run: it ends before it listens, says which one and why, and shows no value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.demo.client import Client
from deploy.demo.world import GatewayFailed
from tests.world.stories import REASON, REFUND, Story

SECRET = "hunter2-canary"
JSON = {"Content-Type": "application/json", "X-Other": SECRET}

UNSAFE = {
    # what: (settings, words of the refusal)
    "unknown": ({"LOCKGATE_FAIL_OPEN": SECRET}, "unknown settings: LOCKGATE_FAIL_OPEN"),
    "not of its type": ({"LOCKGATE_BODY_BYTES_MAX": SECRET}, "LOCKGATE_BODY_BYTES_MAX"),
    "issuers missing": ({"LOCKGATE_ISSUERS": "nowhere/issuers.json"}, "issuers file"),
    "root keys missing": ({"LOCKGATE_ROOT_KEYS": "nowhere/keys.json"}, "root keys file"),
    "bundle missing": ({"LOCKGATE_BASE_BUNDLE": "nowhere/bundle.json"}, "base bundle"),
    "development in production": (
        {"LOCKGATE_ENVIRONMENT": "prod", "LOCKGATE_DEV_LOOPBACK_ORIGINS": json.dumps(["http://127.0.0.1:9"])},
        "only allowed in `dev`",
    ),
    "a kill point in production": (
        {"LOCKGATE_ENVIRONMENT": "prod", "LOCKGATE_TEST_CRASH": "intend:after"},
        "only allowed in `dev`: LOCKGATE_TEST_CRASH",
    ),
    "an origin that is more than one": (
        {"LOCKGATE_ORIGINS": json.dumps({"backoffice": f"http://{SECRET}@127.0.0.1:9"})},
        "LOCKGATE_ORIGINS",
    ),
    "an origin of the link": ({"LOCKGATE_ORIGINS": json.dumps({"backoffice": "http://169.254.169.254"})}, "backoffice"),
    "an origin that is no loopback": (
        {"LOCKGATE_DEV_LOOPBACK_ORIGINS": json.dumps(["http://169.254.169.254:80"])},
        "LOCKGATE_DEV_LOOPBACK_ORIGINS",
    ),
}


@pytest.mark.parametrize("what", UNSAFE)
def test_an_unsafe_setting_keeps_the_gateway_from_starting(story: Story, what: str) -> None:
    """
    M06: unknown, misshapen, missing or unsafe settings: the refusal names the setting, and neither its value nor a
    trace.
    """
    settings, words = UNSAFE[what]

    with pytest.raises(GatewayFailed) as failed:
        story.world.gateway(settings=settings)

    assert words in str(failed.value)
    assert SECRET not in str(failed.value)
    assert "Traceback" not in str(failed.value)


def test_a_signing_key_that_others_may_read_keeps_the_gateway_from_starting(story: Story) -> None:
    """
    M06: the log's key, readable by its group or by all, is not used.
    """
    file: Path = story.world.home / "keys" / "log.key"
    messages = []

    for mode in (0o640, 0o604):
        file.chmod(mode)
        try:
            with pytest.raises(GatewayFailed) as failed:
                story.world.gateway()
        finally:
            file.chmod(0o600)
        messages.append(str(failed.value))

    assert all("expected 0600" in message and "Traceback" not in message for message in messages)


def test_the_debug_level_tells_nothing_more(story: Story) -> None:
    """
    M06: at `debug` a gateway writes no line that it would not write at `info`, and no word of a request, its token or
    its answer: the level is as safe as any other, so production may have it.
    """
    gateway = story.world.gateway(settings={"LOCKGATE_LOG_LEVEL": "debug"})
    start, finance, order = gateway.log.stat().st_size, story.person("finance").token, story.order()
    client = Client(gateway.url)

    answers = [
        client.call(finance, REFUND, {"order_id": order, "amount_cents": 1_100}, reason=REASON),
        client.call(finance, REFUND, {"order_id": order, "amount_cents": SECRET}, reason=REASON),
        client.call(finance, REFUND, {"order_id": order, SECRET: 1}, reason=SECRET, key=SECRET),
        client.request("POST", "/v1/calls", finance, body=f'{{"{SECRET}'.encode(), headers=JSON),
        client.request("GET", f"/v1/calls/{SECRET}?{SECRET}={SECRET}", SECRET),
    ]
    gateway.stop()
    told = gateway.log.read_bytes()[start:].decode()

    assert [answer.status for answer in answers] == [200, 422, 422, 400, 401]
    assert told.count('"call_answered"') >= 4
    assert '"level":"debug"' not in told
    assert [word for word in (SECRET, order, finance.rsplit(".", 1)[1]) if word in told] == []
