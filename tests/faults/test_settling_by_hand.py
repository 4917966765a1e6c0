"""What if somebody says that the tool did nothing, while it still may."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import pytest

from tests.world.ground import Ground, wait_for
from tests.world.notes import leave, register, repeatable, settle, state
from tests.world.tools import Tool, declaration

GRACE_MS = 5_000
DEADLINE_MS = 700  # Of the tool's declaration.


@pytest.fixture
def patient(field: Ground) -> Iterator[Ground]:
    """The ground under a gateway whose leases last so long that people are faster."""
    field.restart(settings={"LOCKGATE_LEASE_GRACE_MS": str(GRACE_MS)})
    yield field
    field.kill()


@pytest.mark.parametrize("finding", ["not_done", "failed"])
def test_nobody_settles_as_not_executed_what_the_tool_may_still_do(patient: Ground, tool: Tool, finding: str) -> None:
    """
    F09, F10: until every deadline that was given to the tool has passed, with grace, two persons' word that it did
    nothing is refused, the key stays blocked, and what the tool does after all is found executed.
    """
    name = f"leave_{finding}_{secrets.token_hex(3)}"
    register(patient, declaration(name, tool.origin, can_say=False))
    tool.is_silent = True
    key = secrets.token_hex(16)

    asked = time.monotonic()
    silent = leave(patient, name, key)
    early = settle(patient, silent.call, finding)
    told_early = time.monotonic() - asked
    again = leave(patient, name, key)
    tool.is_silent = False
    time.sleep(max(0.0, asked + (DEADLINE_MS + GRACE_MS) / 1000 + 1 - time.monotonic()))
    in_time = settle(patient, silent.call, finding)

    assert told_early < GRACE_MS / 1000
    assert (silent.status, early.document["status"], early.document["reason"]) == (504, "failed", "tool_may_act")
    assert (again.status, again.reason) == (409, "in_doubt")
    assert (in_time.document["status"], in_time.document["result"]["state"]) == ("executed", finding)


def test_what_the_tool_did_may_be_said_at_once(patient: Ground, tool: Tool) -> None:
    """
    F09: that the effect is there frees nothing and waits for nothing.
    """
    name = f"leave_at_once_{secrets.token_hex(3)}"
    register(patient, declaration(name, tool.origin, can_say=False))
    tool.is_silent = True

    silent = leave(patient, name)
    settled = settle(patient, silent.call, "executed")
    tool.is_silent = False

    assert (silent.status, settled.document["result"]["state"]) == (504, "executed")


def test_nobody_settles_as_not_executed_what_the_sweeper_is_sending_again(field: Ground, tool: Tool) -> None:
    """
    F09: a call that the sweeper repeats may act for as long as a repetition is under way; once a switch stops the
    repetitions, and the last one's time has passed, it may be settled.
    """
    name = f"repeat_note_{secrets.token_hex(3)}"
    register(field, repeatable(name, tool.origin))
    tool.is_silent = True
    doubtful = leave(field, name)
    sent = tool.effects[doubtful.call]
    wait_for(lambda: tool.effects[doubtful.call] > sent, "the sweeper did not send again")

    early = settle(field, doubtful.call, "not_done")
    switch = {"scope": "tool", "target": name}
    operator, client = field.person("operator"), field.client()
    client.call(operator.token, "engage_kill", {**switch, "reason": "it repeats"}, reason="drill")
    time.sleep(2)  # The deadline and the grace of the repetition that was under way.
    sent = tool.effects[doubtful.call]
    in_time = settle(field, doubtful.call, "not_done")
    time.sleep(1)

    assert (early.document["status"], early.document["reason"]) == ("failed", "tool_may_act")
    assert in_time.document["status"] == "executed"
    assert (state(client, field, doubtful.call), tool.effects[doubtful.call]) == ("not_done", sent)
    approvers = [field.person("security", 2), field.person("founder")]
    client.governed(field.person("security"), approvers, "release_kill", switch, "drill")
