"""What a sweeper may conclude of an outcome in doubt, and do about it: no more than the call was cleared for."""

from __future__ import annotations

import secrets
import time

import pytest

from gateway.sweeper import BATCH
from tests.world.crowd import Ask, rush
from tests.world.ground import Ground, wait_for
from tests.world.notes import REASON, leave, register, repeatable, settle, state
from tests.world.tools import Tool, declaration


def test_not_applied_is_not_believed_while_the_first_request_may_still_act(field: Ground, tool: Tool) -> None:
    """
    F10: a tool that has read the request and not acted yet says truly that nothing is applied. The call is in doubt
    until the tool is bound to refuse that request; if it acts after all, nobody was told that it would not.
    """
    register(field, declaration("leave_late_note", tool.origin, can_say=True))
    tool.holds_back_seconds = 1.5

    answer = leave(field, "leave_late_note")
    tool.holds_back_seconds = 0
    client = field.client()
    wait_for(lambda: state(client, field, answer.call) != "in_doubt", "the call stayed in doubt")
    time.sleep(1)

    assert answer.status == 504
    assert state(client, field, answer.call) == "not_done"
    assert tool.effects[answer.call] == 0


@pytest.fixture
def doubtful(field: Ground, tool: Tool) -> tuple[str, str]:
    """A repeatable tool, and a call to it that is in doubt after one effect that was not answered."""
    name = f"repeat_note_{secrets.token_hex(3)}"
    register(field, repeatable(name, tool.origin))
    tool.is_silent = True
    answer = leave(field, name)
    assert answer.status == 504
    return name, answer.call


def test_a_doubt_is_not_ended_by_another_version_of_the_tool(
    field: Ground, tool: Tool, doubtful: tuple[str, str]
) -> None:
    """
    What was decided is what runs: once the tool is another one, no sweeper sends the call to it.
    """
    name, call = doubtful
    field.kill()  # Nobody sweeps while the tool changes.
    field.gateway()
    register(field, repeatable(name, tool.origin, version=2, path="/notes/elsewhere"), "new_version")
    time.sleep(1)  # What was sent under the old version is over: the tool is still silent.
    before = tool.effects[call]
    tool.is_silent = False
    time.sleep(2)

    now = state(field.client(), field, call)

    assert (now, tool.effects[call]) == ("in_doubt", before)
    assert settle(field, call, "executed").document.get("status") == "executed"


def test_an_engaged_switch_stops_the_sweeper_too(field: Ground, tool: Tool, doubtful: tuple[str, str]) -> None:
    """
    A switch is effective on the next dispatch, also where that is a second one of a call in doubt.
    """
    name, call = doubtful
    client, operator = field.client(), field.person("operator")
    switch = {"scope": "tool", "target": name}
    client.call(operator.token, "engage_kill", {**switch, "reason": "it repeats"}, reason="drill")
    time.sleep(1)
    before = tool.effects[call]
    tool.is_silent = False
    time.sleep(2)

    held = (state(client, field, call), tool.effects[call])
    approvers = [field.person("security", 2), field.person("founder")]
    client.governed(field.person("security"), approvers, "release_kill", switch, "drill")
    wait_for(lambda: state(client, field, call) == "executed", "the call was not reconciled after the release")

    assert held == ("in_doubt", before)


def test_a_refused_repetition_does_not_turn_doubt_into_failed(
    field: Ground, tool: Tool, doubtful: tuple[str, str]
) -> None:
    """
    A tool that refuses the second dispatch says nothing of the first, which had its effect.
    """
    _, call = doubtful
    tool.fences[call] = 1_000_000
    tool.is_silent = False
    time.sleep(2)

    now = state(field.client(), field, call)

    assert now == "in_doubt"
    assert settle(field, call, "executed").document.get("status") == "executed"


def test_calls_that_stay_in_doubt_do_not_keep_others_from_being_reconciled(
    field: Ground, tool: Tool, doubtful: tuple[str, str]
) -> None:
    """
    However many calls a mute tool leaves in doubt, the outcome of a later one, of a tool that can say, is found out.
    """
    name, _ = doubtful
    operator = field.person("operator")
    notes = [{"note_id": f"note_{secrets.token_hex(4)}"} for _ in range(BATCH)]
    mute = rush(
        field.gateway().url, [Ask(token=operator.token, tool=name, arguments=each, reason=REASON) for each in notes]
    )
    field.fault("revoke_push_tokens", "hang_after", seconds=5)
    late = field.client().call(
        operator.token, "revoke_push_tokens", {"user_id": "usr_1001"}, reason="account_takeover_suspected"
    )

    client = field.client()
    wait_for(lambda: state(client, field, late.call) == "executed", "the call of the business was never looked at")
    still = state(client, field, mute[0].call)
    tool.is_silent = False

    assert {answer.status for answer in [*mute, late]} == {504}
    assert still == "in_doubt"


def test_a_reconciled_call_names_every_entry_of_it(field: Ground, tool: Tool, doubtful: tuple[str, str]) -> None:
    """
    Whoever looks the call up finds the outcome in doubt too, not only the intent and what ended the doubt.
    """
    _, call = doubtful
    tool.is_silent = False
    client, operator = field.client(), field.person("operator").token
    wait_for(lambda: state(client, field, call) == "executed", "the call stayed in doubt")

    entries = client.get(f"/v1/calls/{call}", operator).document["entries"]

    assert [entry["kind"] for entry in entries] == ["INTENT", "OUTCOME", "RECONCILED"]
