"""What if the tool acts, and its answer is late, cut, nonsense or missing."""

from __future__ import annotations

import secrets
import time
from functools import partial

import pytest

from deploy.demo.client import Answer, Client, signed
from gateway.clock import rfc3339
from tests.world.crowd import Ask, rush
from tests.world.ground import Ground, wait_for
from tests.world.notes import leave, register, settle, state
from tests.world.tools import Tool, declaration

ORDER = "ord_1003"
NEVER = {"LOCKGATE_SWEEP_SECONDS": "3600"}
MODES = ("reset_after", "half_answer", "garbage_200", "error_500_after", "hang_after")
SWEPT_AT_ONCE = 50  # What the sweeper takes of one kind in a round.


def test_answer_that_proves_nothing_leaves_the_call_in_doubt_and_is_never_repeated(field: Ground) -> None:
    """
    F09, I06: the tool acts and then times out, resets, sends half an answer, garbage or 500: 504, the key is blocked,
    the amount stays reserved and the effect is there once; the sweeper asks the tool and the key gets its answer.
    """
    client = Client(field.restart(settings=NEVER).url)
    keys = {mode: secrets.token_hex(16) for mode in MODES}
    first, again, other = {}, {}, {}

    for mode, key in keys.items():
        field.fault("issue_refund", mode, seconds=30)
        first[mode] = _refund(client, field, key)
        again[mode] = _refund(client, field, key)
        other[mode] = _refund(client, field, key, amount_cents=8)
    open_calls, in_doubt = field.oracle.open_calls("acme"), field.reconcile()
    field.restart()
    final = {mode: field.finally_answered(partial(_again, field, key)) for mode, key in keys.items()}
    field.settled()
    found = field.reconcile()

    assert {mode: (each.status, each.reason) for mode, each in first.items()} == dict.fromkeys(MODES, (504, "in_doubt"))
    assert {mode: (each.status, each.reason) for mode, each in again.items()} == dict.fromkeys(MODES, (409, "in_doubt"))
    assert {mode: each.status for mode, each in other.items()} == dict.fromkeys(MODES, 422)
    assert (open_calls, in_doubt.wrong) == (len(MODES), ())
    assert {mode: (each.status, each.call) for mode, each in final.items()} == {
        mode: (200, each.call) for mode, each in first.items()
    }
    assert [found.effects[each.call] for each in first.values()] == [1] * len(MODES)


def test_answer_after_the_deadline_is_found_by_reconciliation(field: Ground) -> None:
    """
    F10: a tool that acts and answers after the gateway stopped listening is asked, and its answer is recorded.
    """
    client = field.client()
    field.fault("issue_refund", "hang_after", seconds=4)
    key = secrets.token_hex(16)

    late = _refund(client, field, key)
    final = field.finally_answered(lambda client: _refund(client, field, key))

    told = client.get(f"/v1/calls/{late.call}", field.person("finance").token)
    assert (late.status, late.reason) == (504, "in_doubt")
    assert (final.status, final.document["status"]) == (200, "executed")
    assert [each["kind"] for each in told.document["entries"]] == ["INTENT", "OUTCOME", "RECONCILED"]


def test_approval_used_in_time_holds_while_the_tool_is_slow(field: Ground) -> None:
    """
    E03: an approval consumed before its `not_after` is not taken back when the tool answers after it.
    """
    client, finance, key = field.client(), field.person("finance"), secrets.token_hex(16)
    parked = _refund(client, field, key, amount_cents=6_000)
    not_after = int(time.time()) + 2
    statement = {**parked.document["statement"], "not_after": rfc3339(not_after * 1000)}
    approver = field.person("finance", 2)
    given = client.request(
        "POST", f"/v1/calls/{parked.call}/approvals", approver.token, body=signed(approver, statement, "dev")
    )
    approvals = [str(given.document["approval"])]
    field.fault("issue_refund", "hang_after", seconds=2)

    asked = {"order_id": ORDER, "amount_cents": 6_000}
    done = client.call(finance.token, "issue_refund", asked, reason="damaged_item", key=key, approvals=approvals)
    answered = time.time()

    assert (parked.status, given.status) == (202, 201)
    assert answered > not_after
    assert (done.status, done.document["status"]) == (200, "executed")
    assert field.oracle.effects()[parked.call] == 1


def test_request_that_arrives_late_is_refused_by_its_fence(field: Ground, tool: Tool) -> None:
    """
    F10, F20: once the tool has said `not_applied` and the log has believed it, the first request can no longer act,
    also where the tool's clock lets every deadline pass.
    """
    name = _registered(field, tool, "leave_note_late", can_say=True)
    tool.holds_back_seconds = 2
    key = secrets.token_hex(16)

    late = leave(field, name, key)
    tool.holds_back_seconds = 0
    wait_for(lambda: state(field.client(), field, late.call) != "in_doubt", "the call was not reconciled")
    reconciled = state(field.client(), field, late.call)
    time.sleep(2)
    effects_of_first = tool.effects[late.call]
    final = field.finally_answered(lambda _: leave(field, name, key))

    assert (late.status, reconciled, effects_of_first) == (504, "not_done", 0)
    assert (final.status, tool.effects[late.call]) == (200, 1)


@pytest.mark.parametrize("finding", ["executed", "failed", "not_done"])
def test_call_that_no_tool_can_explain_waits_for_a_person(field: Ground, tool: Tool, finding: str) -> None:
    """
    F09: a tool with neither status query nor idempotency is not asked twice; the call stays in doubt until two persons
    approve what a third found out, and then the key answers accordingly.
    """
    name = _registered(field, tool, "leave_note", can_say=False)
    tool.is_silent = True
    key = secrets.token_hex(16)

    silent = leave(field, name, key)
    time.sleep(1.5)  # Several sweeps, and nothing that was sent may act any more.
    before = state(field.client(), field, silent.call)
    tool.is_silent = False
    settled = settle(field, silent.call, finding)
    again = leave(field, name, key)

    assert (silent.status, before) == (504, "in_doubt")
    assert (settled.status, settled.document["result"]["state"]) == (200, finding)
    assert again.status == 200
    # Not done: the key is free, and the tool is called for the second time, by a fresh decision.
    assert again.document["status"] == ("failed" if finding == "failed" else "executed")
    assert tool.effects[silent.call] == (2 if finding == "not_done" else 1)


def test_doubts_that_nobody_can_settle_do_not_hide_later_ones(field: Ground, tool: Tool) -> None:
    """
    F09: more calls in doubt than one sweep takes, none of which the tool can explain: a later one is still reconciled.
    """
    name = _registered(field, tool, "leave_note", can_say=False, tenant="globex")
    token = field.person("operator", tenant="globex").token
    tool.is_silent = True
    asks = [
        Ask(token=token, tool=name, arguments={"note_id": f"note_{number}"}, reason="for_the_test")
        for number in range(SWEPT_AT_ONCE + 1)
    ]

    unknown = rush(field.gateway().url, asks)
    tool.is_silent = False
    field.fault("issue_refund", "garbage_200")
    key = secrets.token_hex(16)
    doubtful = _refund(field.client(), field, key)
    final = field.finally_answered(lambda client: _refund(client, field, key))

    assert {each.status for each in unknown} == {504}
    assert (doubtful.status, final.status) == (504, 200)


def _refund(client: Client, field: Ground, key: str, *, amount_cents: int = 7) -> Answer:
    arguments = {"order_id": ORDER, "amount_cents": amount_cents}
    return client.call(field.person("finance").token, "issue_refund", arguments, reason="damaged_item", key=key)


def _again(field: Ground, key: str, client: Client) -> Answer:
    return _refund(client, field, key)


def _registered(field: Ground, tool: Tool, name: str, *, can_say: bool, tenant: str = "acme") -> str:
    """The tool's name, registered by governed calls unless it is already."""
    if field.client().get(f"/v1/tools/{name}", field.person("security", tenant=tenant).token).status != 200:
        register(field, declaration(name, tool.origin, can_say=can_say), tenant=tenant)
    return name
