"""Agents that try one shape after another: rules that count what does not fit a contract count it on every route."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from policies import bundles, review
from policies.bundles import Bundle, Manifest
from tests.world import wire
from tests.world.bundles import bundle, cedar_schema
from tests.world.stories import AGENT_TOOLS, Story, eventually

TENANT = "globex"
TIMES = 3
REFUND, FLAG = "issue_refund", "toggle_feature_flag"
SHAPES = ["contract_violated", "reason_code_unknown", "unknown_member"]
PROBER, NOISY = "agent-prober", "agent-noisy"
TOOLLESS = ["malformed_json", "outside_profile", "rate_exceeded", "unknown_tool"]
Rule = dict[str, Any]


def rule(name: str, reasons: list[str], **members: Any) -> Rule:
    """A rule about three refusals within ten minutes."""
    common = {"id": name, "sentence": "An agent that tries shapes asks.", "counts": "denied", "reasons": reasons}
    return {**common, "times": TIMES, "within_seconds": 600, "agents": [PROBER], "to": 1, **members}


PROBING = rule("probing", SHAPES, tools=[REFUND, FLAG], lowers="action")
NOISE = rule("noise", TOOLLESS, tools=["*"], lowers="agent", agents=[NOISY])


def case(counted: Rule, reason: str, level: int) -> dict[str, Any]:
    """Three refusals of a refund for that reason, and the level that they leave."""
    return {
        "name": f"{counted['id']} by {reason} to {level}",
        "agent": counted["agents"][0],
        "events": [{"event": "denied", "tool": REFUND, "reason": reason, "times": TIMES}],
        "expect": {"action": REFUND, "level": level, "rules": [counted["id"]] if level == 1 else []},
    }


def autonomy(*added: Rule, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """The base bundle's document with more rules and cases."""
    document: dict[str, Any] = copy.deepcopy(bundles.base()["autonomy"])
    return {"rules": document["rules"] + list(added), "cases": document["cases"] + cases}


BOTH = autonomy(PROBING, NOISE, cases=[case(PROBING, SHAPES[0], 1), case(NOISE, TOOLLESS[0], 1)])


def findings(document: dict[str, Any]) -> list[str]:
    """What a review says of a bundle with that document."""
    return [each.message for each in review.validate(bundle(autonomy=document), cedar_schema())]


def test_rules_that_count_are_rules() -> None:
    """
    Shapes of a call to a tool, by action; what is of no tool, over all of them.
    """
    assert findings(BOTH) == []


@pytest.mark.parametrize("reason", TOOLLESS)
@pytest.mark.parametrize(
    "scope", [{"tools": [REFUND], "lowers": "agent"}, {"tools": ["*"], "lowers": "action"}], ids=["tools", "action"]
)
def test_a_rule_that_no_gateway_could_count_is_refused(reason: str, scope: Rule) -> None:
    """
    What is told before a tool is known counts for no tool: the review names rule, reason and what would count.
    """
    dead = rule("dead", [reason, "policy_denied"], **scope)

    told = findings(autonomy(dead, cases=[case(dead, "policy_denied", 1)]))

    assert told == [f"rule `dead`: `{reason}` is of no tool: it needs `tools` `*` and `lowers` `agent`"]


def test_a_case_counts_as_a_gateway_does() -> None:
    """
    A case in which such a rule lowers fails, although the case names the tool.
    """
    dead = rule("dead", ["malformed_json"], tools=[REFUND], lowers="action")

    told = findings(autonomy(dead, cases=[case(dead, "malformed_json", 1)]))

    assert any("came to L3" in each for each in told)


@dataclass(slots=True)
class Prober:
    """An agent, and the shapes that it tries."""

    story: Story
    id: str
    token: str
    flag: str

    def call(self, tool: str, arguments: dict[str, Any], *, reason: str = "") -> tuple[int, str]:
        """A call as it is."""
        answer = self.story.client.call(self.token, tool, arguments, reason=reason)
        return answer.status, answer.reason

    def toggled(self) -> str:
        """A call that fits and can be undone."""
        arguments = {"flag_key": self.flag, "value": True, "rollout_percent": 9}
        return self.story.client.call(self.token, FLAG, arguments, reason="experiment").call

    def post(self, path: str, body: bytes) -> tuple[int, str]:
        """Bytes to a route."""
        headers = [
            ("Authorization", f"Bearer {self.token}"),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", secrets.token_hex(8)),
        ]
        sent = [each for each in headers if path != "/v1/batches" or each[0] != "Idempotency-Key"]
        answer = wire.send(self.story.client.url, wire.request("POST", path, headers=sent, body=body))
        return answer.status, answer.reason

    def level(self, action: str) -> int:
        """Where it stands, for an action."""
        told = self.story.client.get(f"/v1/agents/{self.id}", self.token).document["actions"]
        by_action = {each["action"]: int(each["level"]) for each in told}
        return by_action.get(action, by_action["*"])


def composed(story: Story) -> Bundle:
    """The next bundle of the tenant: the base with both rules."""
    now = datetime.now(UTC).replace(microsecond=0)
    in_force = story.client.get("/v1/bundles", story.person("founder", 1, TENANT).token).document["in_force"]
    manifest = Manifest(
        tenant=TENANT,
        environment="dev",
        revision=int(in_force["revision"]) + 1,
        created_at=now,
        not_after=now + timedelta(days=30),
    )
    return bundles.compose({**bundles.base(), "autonomy": BOTH}, manifest)


@pytest.fixture(scope="module")
def hired(story: Story) -> Callable[[str], Prober]:
    """The tenant with both rules in force; agents whom they name, at L2 each time anew."""
    raw = bundles.sign(composed(story), story.world.cast.bundle_key).raw
    uploaded = story.client.request("POST", "/v1/bundles", story.person("security", 1, TENANT).token, body=raw)
    assert uploaded.status == 201, uploaded.document
    for tool in ("publish_bundle", "activate_bundle"):
        story.govern(tool, {"digest": uploaded.document["digest"]}, "policy_change", TENANT)
    flag = next(str(row["id"]) for row in story.state("flags", TENANT) if row["rollout_percent"] < 50)

    def hire(name: str) -> Prober:
        for action in ("*", REFUND, FLAG):
            story.govern("set_autonomy", {"agent": name, "action": action, "level": 2}, "new_agent", TENANT)
        return Prober(story, name, story.world.cast.issuer.agent(TENANT, name, AGENT_TOOLS), flag)

    return hire


PROBES: dict[str, Callable[[Prober], tuple[int, str]]] = {
    "contract_violated": lambda agent: agent.call(REFUND, {"order_id": "ord_1001", "amount_cents": "all"}),
    "reason_code_unknown": lambda agent: agent.call(
        REFUND, {"order_id": "ord_1001", "amount_cents": 1}, reason="because"
    ),
    "unknown_member": lambda agent: agent.post("/v1/calls", b'{"tool": "issue_refund", "approved": true}'),
}


@pytest.mark.parametrize("reason", PROBES)
def test_what_does_not_fit_a_contract_counts_against_its_tool(hired: Callable[[str], Prober], reason: str) -> None:
    """
    C12: three calls that do not fit lower the agent for the tool that they named, and for no other.
    """
    agent = hired(PROBER)

    met = [PROBES[reason](agent) for _ in range(TIMES)]

    assert met == [(422, reason)] * TIMES
    assert eventually(lambda: agent.level(REFUND) == 1)
    assert agent.level(FLAG) == 2


UNDOES = {"unknown_member": b'{"value": true}', "reason_code_unknown": b'{"reason_code": "because"}'}


@pytest.mark.parametrize("reason", UNDOES)
def test_an_undo_that_does_not_fit_counts_against_the_undoing_tool(hired: Callable[[str], Prober], reason: str) -> None:
    """
    C12: the same through the route of an undo.
    """
    agent = hired(PROBER)
    done = agent.toggled()

    met = [agent.post(f"/v1/calls/{done}/undo", UNDOES[reason]) for _ in range(TIMES)]

    assert met == [(422, reason)] * TIMES
    assert eventually(lambda: agent.level(FLAG) == 1)
    assert agent.level(REFUND) == 2


NOISES: dict[str, Callable[[Prober], tuple[int, str]]] = {
    "a call": lambda agent: agent.post("/v1/calls", b"{"),
    "a batch": lambda agent: agent.post("/v1/batches", b"{"),
    "an undo": lambda agent: agent.post("/v1/calls/call_" + "0" * 32 + "/undo", b"{"),
}


@pytest.mark.parametrize("what", NOISES)
def test_what_is_of_no_tool_counts_for_the_agent(hired: Callable[[str], Prober], what: str) -> None:
    """
    C12: bytes that are no JSON lower every action of the agent, whatever route they came by.
    """
    agent = hired(NOISY)

    met = [NOISES[what](agent) for _ in range(TIMES)]

    assert met == [(400, "malformed_json")] * TIMES
    assert eventually(lambda: agent.level("change_price") == 1)


def test_unknown_tools_count_for_the_agent(hired: Callable[[str], Prober]) -> None:
    """
    C12: names of tools that there are not are of no tool.
    """
    agent = hired(NOISY)

    met = [agent.call(name, {}) for name in ("issue_refunds", "refund", "ban_everybody")]

    assert met == [(404, "unknown_tool")] * TIMES
    assert eventually(lambda: agent.level("change_price") == 1)
