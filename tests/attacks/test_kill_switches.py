"""Kill switches: what is switched off does not run from the next dispatch on, and nobody is locked out of releasing."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import httpx2
import pytest

from deploy.demo.client import Answer, Client
from gateway.connectors import Outcome
from gateway.execution import FRESH_SECONDS, Execution
from gateway.ledger import LedgerUnavailable, Look, Seen, State
from tests.world.stories import AGENT_TOOLS, REFUND, Story, eventually
from tool_registry.registry import load_catalogue

KILLED = (403, "killed")


@contextmanager
def engaged(story: Story, scope: str, target: str, tenant: str = "acme") -> Iterator[Answer]:
    """The switch, engaged by one operator at once; released by two persons at the end."""
    arguments = {"scope": scope, "target": target, "reason": "a drill"}
    answer = story.client.call(story.person("operator", 1, tenant).token, "engage_kill", arguments, reason="drill")
    assert (answer.status, answer.document["status"]) == (200, "executed"), answer.document
    try:
        yield answer
    finally:
        story.govern("release_kill", {"scope": scope, "target": target}, "drill", tenant)


def refund(story: Story, token: str, tenant: str = "acme") -> Answer:
    """A small refund, which runs unless something stops it."""
    return story.refund(token, story.order(tenant=tenant), 1_000)


def told(answer: Answer) -> tuple[int, str]:
    """Status and reason, or status and state."""
    return answer.status, answer.reason or str(answer.document.get("status", ""))


def test_a_switched_off_agent_acts_no_more(story: Story) -> None:
    """
    An agent's switch stops its writes alone: others go on, and its reads too; released, it acts again.
    """
    agent, other, order = story.agent(2), story.agent(2), story.order(10_000)
    finance = story.person("finance")

    with engaged(story, "agent", agent.id):
        stopped = [story.refund(agent.token, order, 1_000), refund(story, other.token), refund(story, finance.token)]
        read = story.client.call(agent.token, "get_order", {"order_id": order})
        effects = story.effects_on(order)
    after = story.refund(agent.token, order, 1_000)

    assert [told(answer) for answer in stopped] == [KILLED, (200, "executed"), (200, "executed")]
    assert "entry" in stopped[0].document
    assert effects == []
    assert read.status == 200
    assert told(after) == (200, "executed")


def test_a_switched_off_tool_runs_for_nobody(story: Story) -> None:
    """
    A tool's switch stops everybody's calls to it, and no other tool.
    """
    product = story.state("products")[0]["id"]
    growth, finance = story.person("growth"), story.person("finance")
    ad_set = story.state("ad_sets")[0]["id"]

    with engaged(story, "tool", "scale_ad_set"):
        arguments = {"ad_set_id": ad_set, "daily_budget_cents": 0}
        stopped = story.client.call(growth.token, "scale_ad_set", arguments, reason="pause")
        other = refund(story, finance.token)

    assert product
    assert told(stopped) == KILLED
    assert story.effects(stopped.call) == []
    assert told(other) == (200, "executed")


def test_a_switched_off_tenant_rests_and_can_be_woken(story: Story) -> None:
    """
    A tenant's switch stops its writes and not its governance; the other tenant does not notice.
    """
    with engaged(story, "tenant", "globex", "globex"):
        stopped = refund(story, story.person("finance", 1, "globex").token, "globex")
        governed = story.govern(
            "set_autonomy", {"agent": "agent-resting", "action": "*", "level": 1}, "new_agent", "globex"
        )
        other = refund(story, story.person("finance").token)
    after = refund(story, story.person("finance", 1, "globex").token, "globex")

    assert told(stopped) == KILLED
    assert told(governed) == (200, "executed")
    assert told(other) == (200, "executed")
    assert told(after) == (200, "executed")


def test_everything_stops_at_once(story: Story) -> None:
    """
    The switch of tenant `system` stops every write of every tenant, and no governance.
    """
    with engaged(story, "everything", "*", "system"):
        stopped = [refund(story, story.person("finance", 1, tenant).token, tenant) for tenant in ("acme", "globex")]
        governed = story.govern("set_autonomy", {"agent": "agent-still", "action": "*", "level": 1}, "new_agent")
    after = [refund(story, story.person("finance", 1, tenant).token, tenant) for tenant in ("acme", "globex")]

    assert [told(answer) for answer in stopped] == [KILLED] * 2
    assert told(governed) == (200, "executed")
    assert [told(answer) for answer in after] == [(200, "executed")] * 2


@pytest.mark.parametrize(("scope", "target"), [("everything", "*"), ("tenant", "globex"), ("tenant", "system")])
def test_a_tenant_switches_off_nobody_else(story: Story, scope: str, target: str) -> None:
    """
    From one tenant neither everything nor another tenant is switched off; the attempt fails and stays on record.
    """
    arguments = {"scope": scope, "target": target, "reason": "mine"}

    answer = story.client.call(story.person("operator").token, "engage_kill", arguments, reason="drill")
    other = refund(story, story.person("finance", 1, "globex").token, "globex")

    assert (answer.status, answer.document["status"], answer.document["reason"]) == (200, "failed", "scope_not_yours")
    assert told(other) == (200, "executed")


def test_an_approval_waits_for_the_release(story: Story) -> None:
    """
    A switch engaged after the approval stops the call without using the approval up.
    """
    parked = story.parked_refund()
    approval = parked.approved_by(story.person("finance", 2))

    with engaged(story, "tool", "issue_refund"):
        stopped = parked.present(approval)
    after = parked.present(approval)

    assert told(stopped) == KILLED
    assert told(after) == (200, "executed")
    assert len(story.effects(parked.call)) == 1


def test_one_person_does_not_release(story: Story) -> None:
    """
    Releasing needs security and founder, two persons; with one of them, or one role twice, it waits.
    """
    with engaged(story, "agent", "agent-held"):
        arguments = {"scope": "agent", "target": "agent-held"}
        security = story.person("security")
        pairs = [[story.person("security", 2)], [story.person("security", 2), story.hire("security")]]
        waiting = [story.client.governed(security, pair, "release_kill", arguments, "drill") for pair in pairs]
        operator = story.client.call(story.person("operator").token, "release_kill", arguments, reason="drill")

    assert [answer.status for answer in waiting] == [202, 202]
    assert operator.status == 403


def test_who_may_switch_off(story: Story) -> None:
    """
    Operators, security and founders engage a switch at once; other roles and agents do not.
    """
    arguments = {"scope": "agent", "target": "agent-nobody", "reason": "a drill"}

    answers = {
        role: story.client.call(story.person(role).token, "engage_kill", arguments, reason="drill").status
        for role in ("operator", "security", "founder", "finance", "growth", "auditor")
    }
    answers["agent"] = story.client.call(story.agent(3).token, "engage_kill", arguments, reason="drill").status
    story.govern("release_kill", {"scope": "agent", "target": "agent-nobody"}, "drill")

    assert answers == {
        "operator": 200,
        "security": 200,
        "founder": 200,
        "finance": 403,
        "growth": 403,
        "auditor": 403,
        "agent": 403,
    }


# -- every gateway, and after every start ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def elsewhere(story: Story) -> Iterator[list[Story]]:
    """The same world through two more gateways."""
    gateways = [story.world.gateway() for _ in range(2)]
    yield [Story(story.world, Client(gateway.url), story._numbers) for gateway in gateways]
    for gateway in gateways:
        gateway.stop()


def test_a_switch_stands_on_every_gateway_at_the_next_request(story: Story, elsewhere: list[Story]) -> None:
    """
    C12: engaged through one of three gateways it stops the very next call on all of them; released through another one
    they all run again.
    """
    agent, order = story.agent(2), story.order(20_000)
    everywhere = [story, *elsewhere]
    before = [each.refund(agent.token, order, 1_000) for each in everywhere]

    with engaged(elsewhere[0], "agent", agent.id):
        stopped = [each.refund(agent.token, order, 1_000) for each in everywhere]
    after = [each.refund(agent.token, order, 1_000) for each in everywhere]

    assert [told(answer) for answer in stopped] == [KILLED] * 3
    assert [told(answer) for answer in before + after] == [(200, "executed")] * 6
    assert len(story.effects_on(order)) == 6


def test_a_switch_survives_the_gateway(story: Story) -> None:
    """
    A gateway that starts after a switch was engaged, through another that was killed since, refuses its first call.
    """
    agent, order, first = story.agent(2), story.order(10_000), story.world.gateway()
    switch = {"scope": "agent", "target": agent.id}

    told_first = Client(first.url).call(
        story.person("operator").token, "engage_kill", {**switch, "reason": "a drill"}, reason="drill"
    )
    first.kill()
    second = story.world.gateway()
    try:
        stopped = Story(story.world, Client(second.url)).refund(agent.token, order, 1_000)
    finally:
        second.stop()
        story.govern("release_kill", switch, "drill")

    assert (told(told_first), told(stopped)) == ((200, "executed"), KILLED)
    assert story.effects_on(order) == []


# -- calls on their way ------------------------------------------------------------------------------------------------


def fault(story: Story, tool: str, mode: str, *, count: int = 1, seconds: int = 1) -> None:
    """Have the business misbehave."""
    order = {"tool": tool, "mode": mode, "count": count, "seconds": seconds}
    httpx2.post(story.world.business.url + "/faults", json=order, trust_env=False).raise_for_status()


def test_calls_that_are_being_decided_are_stopped_and_those_that_were_sent_end(story: Story) -> None:
    """
    Engaged while eight calls wait for facts and one waits for its tool: the eight are refused without a byte to the
    tool, the one is executed and told so.
    """
    agent, order, sent = story.agent(2), story.order(20_000), story.order(20_000)

    with ThreadPoolExecutor(9) as pool:
        fault(story, "issue_refund", "hang_after")
        under_way = pool.submit(story.refund, agent.token, sent, 1_000)
        assert eventually(lambda: len(story.effects_on(sent)) == 1)
        fault(story, "facts/order", "hang_before", count=8)
        waiting = [pool.submit(story.refund, agent.token, order, 1_000) for _ in range(8)]
        time.sleep(0.3)
        with engaged(story, "agent", agent.id):
            answers = [each.result() for each in waiting]
            ended = under_way.result()

    assert [told(answer) for answer in answers] == [KILLED] * 8
    assert story.effects_on(order) == []
    assert told(ended) == (200, "executed")


def test_a_parked_call_is_not_approved_under_a_switch(story: Story) -> None:
    """
    Approving and presenting are refused and used nothing up, rejecting ends the call; after the release the call is
    approved and runs, once.
    """
    parked, ended, finance = story.parked_refund(), story.parked_refund(), story.person("finance", 2)

    with engaged(story, "tool", "issue_refund"):
        early = story.client.approve(finance, parked.answer)
        presented = parked.present()
        rejected = story.client.approve(finance, ended.answer, verdict="reject")
    approvals = story.client.get(f"/v1/calls/{parked.call}", finance.token).document["approvals"]
    done = parked.present(parked.approved_by(finance))

    assert told(early) == KILLED
    assert presented.status == 202
    assert rejected.status == 201
    assert approvals == []
    assert told(done) == (200, "executed")
    assert len(story.effects(parked.call)) == 1


def test_a_key_tried_again_under_a_switch_waits_for_the_release(story: Story) -> None:
    """
    Refused under its key again and again, the call runs under the same key once the switch is released, once; an answer
    of before the switch is shown again under it.
    """
    agent, order, keys = story.agent(2), story.order(20_000), [secrets.token_hex(8) for _ in range(2)]
    first = story.refund(agent.token, order, 1_000, key=keys[0])

    with engaged(story, "agent", agent.id):
        stopped = [story.refund(agent.token, order, 1_000, key=keys[1]) for _ in range(3)]
        again = story.refund(agent.token, order, 1_000, key=keys[0])
    done = [story.refund(agent.token, order, 1_000, key=keys[1]) for _ in range(2)]

    assert [told(answer) for answer in stopped] == [KILLED] * 3
    assert (again.call, again.headers["idempotency-replayed"]) == (first.call, "true")
    assert [told(answer) for answer in done] == [(200, "executed")] * 2
    assert len(story.effects_on(order)) == 2


def test_looking_goes_on_under_a_switch(story: Story) -> None:
    """
    Reads and dry runs have no effect: they are answered under a switch over the tenant, and nothing reaches a tool.
    """
    agent, order = story.agent(2), story.order(10_000)

    with engaged(story, "tenant", "acme"):
        read = story.client.call(agent.token, "get_order", {"order_id": order})
        dry = story.refund(agent.token, order, 1_000, headers={"Prefer": "dry-run"})
        stopped = refund(story, agent.token)

    assert (read.status, dry.status) == (200, 200)
    assert told(stopped) == KILLED
    assert story.effects_on(order) == []


def test_an_undo_is_a_write_as_well(story: Story) -> None:
    """
    Taking an effect back is a call of its own, and stopped like any other.
    """
    agent = story.agent(2)
    arguments = {"flag_key": "creator_tips", "value": True, "rollout_percent": 12}
    done = story.client.call(agent.token, "toggle_feature_flag", arguments, reason="experiment")

    with engaged(story, "tool", "toggle_feature_flag"):
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        undone = story.client.request("POST", f"/v1/calls/{done.call}/undo", agent.token, body={}, headers=headers)

    assert told(done) == (200, "executed")
    assert told(undone) == KILLED


# -- whose switch it is ------------------------------------------------------------------------------------------------


def test_a_switch_on_a_name_reaches_its_own_tenant_alone(story: Story) -> None:
    """
    An agent and a tool of the same name in another tenant go on: a switch is looked up with its tenant.
    """
    agent = story.agent(2, tenant="globex")
    twin = story.world.cast.issuer.agent("acme", agent.id, AGENT_TOOLS)

    with engaged(story, "agent", agent.id), engaged(story, "tool", REFUND):
        theirs = story.refund(agent.token, story.order(tenant="globex"), 1_000)
        ours = story.refund(twin, story.order(), 1_000)

    assert told(theirs) == (200, "executed")
    assert ours.status in (202, 403)
    assert story.effects(ours.document.get("call", "")) == []


def test_a_flood_of_switches_stops_nobody_else(story: Story) -> None:
    """
    Two hundred switches on names that nobody has: each stands, calls of others run, and a switch that means somebody
    stops him among them.
    """
    operator, agent, other = story.person("operator"), story.agent(2), story.agent(2)

    def engage(number: int) -> int:
        arguments = {"scope": "agent", "target": f"nobody-{number}", "reason": "a flood"}
        return story.client.call(operator.token, "engage_kill", arguments, reason="drill").status

    with ThreadPoolExecutor(8) as pool:
        flood = list(pool.map(engage, range(200)))
    with engaged(story, "agent", agent.id):
        met = [told(refund(story, each.token)) for each in (agent, other)]

    assert set(flood) == {200}
    assert met == [KILLED, (200, "executed")]


# -- between the intent and the first byte -----------------------------------------------------------------------------


class Slow:
    """A process that was busy elsewhere for a while, a ledger that says what stands now, and a tool that counts."""

    def __init__(self, waited: float, seen: Seen | Exception) -> None:
        self.waited = waited
        self.seen = seen
        self.sent = 0
        self.asked: list[Look] = []

    def monotonic(self) -> float:
        return self.waited

    def now_ms(self) -> int:
        return 0

    async def look(self, look: Look) -> Seen:
        self.asked.append(look)
        if isinstance(self.seen, Exception):
            raise self.seen
        return self.seen

    async def execute(self, dispatch: Any) -> Outcome:
        self.sent += 1
        return Outcome(state=State.EXECUTED, result={})

    def run(self) -> Outcome:
        """Dispatch a call of an agent whose intent was sent to the ledger at 0."""
        contract = load_catalogue().contracts[REFUND]  # type: ignore[index]
        principal = SimpleNamespace(tenant="acme", reference="agent/slow", kind="agent", id="slow")
        call = SimpleNamespace(
            principal=principal, tool=SimpleNamespace(contract=contract), canonical=b"{}", correlation=None
        )
        cleared = SimpleNamespace(
            attempt=SimpleNamespace(call=call, text=f"call_{uuid4().hex}"), gathered=SimpleNamespace(resolved={})
        )
        one = cast(Any, self)
        execution = Execution(lambda connector: one, one, one, lease_grace_ms=5_000)
        return asyncio.run(execution.run(cast(Any, cleared), cast(Any, SimpleNamespace(fence=1)), intended_at=0.0))


@pytest.mark.parametrize(
    ("waited", "seen", "expected"),
    [
        (0.01, Seen(is_stopped=True), (State.EXECUTED, "", 1, 0)),
        (FRESH_SECONDS + 0.1, Seen(), (State.EXECUTED, "", 1, 1)),
        (FRESH_SECONDS + 0.1, Seen(is_stopped=True), (State.NOT_DONE, "killed", 0, 1)),
        (FRESH_SECONDS + 0.1, LedgerUnavailable("down", is_known=True), (State.NOT_DONE, "ledger_unavailable", 0, 1)),
        (6.0, Seen(), (State.NOT_DONE, "lease_over", 0, 1)),
    ],
    ids=["at once", "late and free", "late and stopped", "late and nobody knows", "too late"],
)
def test_an_intent_that_waited_asks_for_switches_before_its_first_byte(
    waited: float, seen: Seen | Exception, expected: tuple[State, str, int, int]
) -> None:
    """
    What waited between its intent and its dispatch looks at the switches again, within the bound that is published:
    stopped, or not to be told, nothing is sent.
    """
    process = Slow(waited, seen)

    outcome = process.run()

    assert (outcome.state, outcome.reason, process.sent, len(process.asked)) == expected
    assert all(("system", "everything", "*") in look.kills for look in process.asked)
