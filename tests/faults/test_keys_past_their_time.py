"""What becomes of a key when its answer is kept no longer: it stays the key of its call, for ever."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from deploy.demo.client import Answer
from gateway.opening import DATABASE
from tests.world import acts
from tests.world.ground import Ground, wait_for

KEEP_SECONDS = 4


@pytest.fixture
def brief(field: Ground) -> Iterator[Ground]:
    """The ground under a gateway that keeps answers for a few seconds."""
    field.restart(settings={"LOCKGATE_KEEP_SECONDS": str(KEEP_SECONDS)})
    yield field
    field.kill()


def test_a_key_gives_its_answer_until_its_time_and_never_a_second_effect(brief: Ground) -> None:
    """
    F16: one second before the end the key gives its answer; from one second after it 409 `key_expired` that names the
    call, also when the answer is gone from the tables, and another request under it is still another request.
    """
    key, began = secrets.token_hex(16), time.time()
    first = _refund(brief, key)
    answered = time.time()

    time.sleep(max(0.0, began + KEEP_SECONDS - 1 - time.time()))
    before = _refund(brief, key)
    time.sleep(max(0.0, answered + KEEP_SECONDS + 1 - time.time()))
    after = _refund(brief, key)
    wait_for(lambda: _answer_of(brief, first.call) is None, "the answer was kept")
    dropped = _refund(brief, key)
    other = _refund(brief, key, cents=10)
    told = brief.client().get(f"/v1/calls/{first.call}", brief.person("finance").token)

    assert (first.status, before.status, before.headers.get("Idempotency-Replayed")) == (200, 200, "true")
    assert before.document["result"] == first.document["result"]
    for expired in (after, dropped):
        assert (expired.status, expired.reason, expired.call) == (409, "key_expired", first.call)
    assert (other.status, other.reason) == (422, "key_reused")
    assert (told.status, told.document["status"], "result" in told.document) == (200, "executed", False)
    assert brief.oracle.effects()[first.call] == 1


def test_what_is_open_waits_or_counts_is_not_forgotten(brief: Ground) -> None:
    """
    F16, I06: past the same time an outcome in doubt and a parked call are what they were, what they reserved stays
    reserved, and what an executed call spent stays spent.
    """
    brief.fault("issue_refund", "garbage_200")
    doubt, parked = secrets.token_hex(16), secrets.token_hex(16)
    never = {"LOCKGATE_KEEP_SECONDS": "1", "LOCKGATE_SWEEP_SECONDS": "3600"}
    brief.restart(settings=never)

    spent = _refund(brief, secrets.token_hex(16), cents=8)
    brief.fault("issue_refund", "garbage_200")
    doubtful, waiting = _refund(brief, doubt), _refund(brief, parked, cents=6_000)
    time.sleep(1.5)
    gateway = brief.restart(settings={**never, "LOCKGATE_SWEEP_SECONDS": "0.1"})
    wait_for(lambda: _answer_of(brief, spent.call) is None, "the answer was kept")
    again = _refund(brief, parked, cents=6_000)
    brief.settled()
    found = brief.oracle.reconcile(gateway.url)

    assert (doubtful.status, waiting.status) == (504, 202)
    assert (again.status, again.call) == (202, waiting.call)
    assert found.stories[doubtful.call].closings == ["in_doubt", "executed"]
    assert found.wrong == ()


def test_an_undo_that_needs_a_forgotten_result_is_refused(brief: Ground) -> None:
    """
    F16: what the undo would be made of is gone with the answer: 409, and nothing is done.
    """
    client, operator = brief.client(), brief.person("operator").token
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    friction = {"target": "usr_1002", "friction_type": "captcha", "expires_at": until}
    applied = client.call(operator, "apply_friction", friction, reason="spam_suspected")
    lifted = client.call(operator, "lift_friction", {"target": "usr_1002"}, reason="false_positive")
    wait_for(lambda: lifted.status == 200 and _answer_of(brief, lifted.call) is None, "the answer was kept")
    effects = sum(brief.oracle.effects().values())

    undone = client.request(
        "POST", f"/v1/calls/{lifted.call}/undo", operator, body={}, headers={"Idempotency-Key": secrets.token_hex(16)}
    )

    assert (applied.status, undone.status, undone.reason) == (200, 409, "not_undoable")
    assert sum(brief.oracle.effects().values()) == effects


def _refund(field: Ground, key: str, *, cents: int = 9) -> Answer:
    asked = {"order_id": "ord_1003", "amount_cents": cents}
    return field.client().call(field.person("finance").token, "issue_refund", asked, reason="damaged_item", key=key)


def _answer_of(field: Ground, call: str) -> bytes | None:
    url = field.world.cluster.urls(DATABASE).auditor
    statement = f"select answer from lockgate.calls where call_id = '{call.removeprefix('call_')}'"
    ((answer,),) = acts.query(url, statement)
    return bytes(answer) if answer is not None else None
