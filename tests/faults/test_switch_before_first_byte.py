"""What if a kill switch is engaged when the intent of a call is durable, and its gateway has not heard so yet."""

from __future__ import annotations

import secrets
import time

from deploy.demo.client import Client
from gateway.execution import FRESH_SECONDS
from gateway.opening import DATABASE
from tests.world import proxy
from tests.world.ground import SETTINGS, Ground, wait_for

SWITCH = {"scope": "tool", "target": "issue_refund"}


def test_a_switch_between_intent_and_first_byte_is_obeyed(field: Ground) -> None:
    """
    F04: the answer to the intent's COMMIT is lost, and while the gateway finds out that it was written, an operator
    engages a switch through another one: nothing is sent, 403 `killed`, recorded as not done. After the release the
    same key runs, once.
    """
    urls, key, operator = field.world.cluster.urls(DATABASE), secrets.token_hex(16), field.person("operator")
    arguments = {"order_id": "ord_1003", "amount_cents": 7}
    elsewhere = field.client()
    engaged = []
    with proxy.before(urls.app) as through:
        settings = {**SETTINGS, "LOCKGATE_DATABASE_URL": through.url, "LOCKGATE_AUDITOR_URL": urls.auditor}
        slow = field.world.gateway(settings=settings, port=0)
        client, finance = Client(slow.url), field.person("finance").token
        client.call(finance, "issue_refund", arguments, reason="damaged_item")
        time.sleep(1)  # Every connection is open by now, and what follows a call is written.

        def engage() -> None:
            given = {**SWITCH, "reason": "a drill"}
            engaged.append(elsewhere.call(operator.token, "engage_kill", given, reason="drill").status)
            time.sleep(FRESH_SECONDS * 1.5)
            through.is_refusing = False

        through.is_refusing = True  # Until the switch stands the gateway cannot read its commit back.
        through.cut_next(landed=True, then=engage)
        stopped = client.call(finance, "issue_refund", arguments, reason="damaged_item", key=key)
        through.is_refusing = False
        people = [field.person("security", 2), field.person("founder")]
        released = elsewhere.governed(field.person("security"), people, "release_kill", SWITCH, "drill")
        before = field.oracle.effects()[stopped.document.get("call", "")]
        told = elsewhere.get(f"/v1/calls/{stopped.call}", field.person("auditor").token).document
        done = client.call(finance, "issue_refund", arguments, reason="damaged_item", key=key)
        slow.stop()

    assert engaged == [200]
    assert (stopped.status, stopped.reason) == (403, "killed")
    assert released.document["status"] == "executed"
    assert before == 0
    assert (told["status"], [entry["kind"] for entry in told["entries"]]) == ("not_done", ["INTENT", "OUTCOME"])
    assert (done.call, done.document["status"]) == (stopped.call, "executed")
    wait_for(lambda: field.oracle.effects()[done.call] == 1, "the released call had no effect")
