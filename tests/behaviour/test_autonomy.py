"""How far agents go alone: each level of autonomy against each class of effect and risk, as the table of tools says."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from deploy.demo.cast import Agent
from deploy.demo.client import Answer
from tests.world.stories import AGENT_TOOLS, REASON, Story

RUNS = "executed"
REFUSED = "refused"

EXPECTED = {
    # tool: (arguments, reason): what L0, L1, L2, L3 meet; a role: parked for it
    "friction": (REFUSED, "operator", RUNS, RUNS),
    "flag to a few": (REFUSED, "sre", RUNS, RUNS),
    "flag to most": (REFUSED, "sre", "sre", "sre"),
    "refund, small": (REFUSED, "finance", RUNS, RUNS),
    "refund, large": (REFUSED, "finance", "finance", "finance"),
    "refund, huge": (REFUSED, REFUSED, REFUSED, REFUSED),
    "ban": (REFUSED, "safety", "safety", "safety"),
    "remove": (REFUSED, "safety", "safety", "safety"),
    "payout": (REFUSED, REFUSED, REFUSED, REFUSED),
    "read": (RUNS, RUNS, RUNS, RUNS),
}


def asked(story: Story, what: str) -> tuple[str, dict[str, Any], str]:
    """Tool, arguments and reason code of a line of the table."""
    soon = (datetime.now(UTC) + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    match what:
        case "friction":
            arguments = {"target": "usr_1050", "friction_type": "captcha", "expires_at": soon}
            return "apply_friction", arguments, "spam_suspected"
        case "flag to a few":
            return "toggle_feature_flag", _flag(30), "experiment"
        case "flag to most":
            return "toggle_feature_flag", _flag(80), "experiment"
        case "ban":
            return "ban_user", {"user_id": "usr_1051", "duration_days": 3}, "spam"
        case "remove":
            return "remove_content", {"content_id": "cnt_1050"}, ""
        case "payout":
            return "release_payout", {"creator_id": "crt_1001", "amount_cents": 100}, ""
        case "read":
            return "get_order", {"order_id": "ord_1001"}, ""
        case _:
            cents = {"small": 1_000, "large": 6_000, "huge": 60_000}[what.rpartition(" ")[2]]
            return "issue_refund", {"order_id": story.order(cents), "amount_cents": cents}, REASON


def _flag(percent: int) -> dict[str, Any]:
    return {"flag_key": "creator_tips", "value": True, "rollout_percent": percent}


def outcome(answer: Answer) -> str:
    """What the agent met."""
    if answer.status == 202:
        return "+".join(need["role"] for need in answer.document["needs"])
    return REFUSED if answer.status == 403 else str(answer.document.get("status"))


@pytest.mark.parametrize("what", EXPECTED)
def test_each_level_goes_as_far_as_the_table_says(story: Story, what: str) -> None:
    """
    L0 observes, L1 suggests, L2 does what is reversible or routine, L3 also what is approved; R3 is for people.
    """
    tool, arguments, reason = asked(story, what)
    agents = [story.agent(level) for level in range(4)]
    codes = story.client.get(f"/v1/tools/{tool}", agents[0].token).document["reason_codes"]

    met = []
    for agent in agents:
        tool, arguments, reason = asked(story, what)
        answer = story.client.call(agent.token, tool, arguments, reason=reason or codes[0])
        met.append(outcome(answer))
        if outcome(answer) not in {RUNS, "read"}:
            assert story.effects(answer.document.get("call", "")) == []

    assert tuple(met) == EXPECTED[what]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_what_is_parked_runs_with_the_tables_approval(story: Story, level: int) -> None:
    """
    A parked call of L1, L2 or L3 runs once somebody of the table's role has approved it, and only then.
    """
    agent = story.agent(level)
    parked = story.parked_refund(agent.token, cents=6_000)
    early = parked.present()

    done = parked.present(parked.approved_by(story.person("finance", 2)))

    assert early.status == 202
    assert (done.status, done.document["status"]) == (200, "executed")
    assert len(story.effects(parked.call)) == 1


def test_a_new_agent_suggests(story: Story) -> None:
    """
    An agent of which nobody ever set a level is at L1.
    """
    answer = story.refund(story.agent().token, story.order(), 1_000)

    assert (answer.status, answer.document["needs"]) == (202, [{"role": "finance", "persons": 1}])


def test_a_level_of_one_action_goes_before_the_level_of_all(story: Story) -> None:
    """
    A level set for one tool holds for that tool; the others keep the level set for all.
    """
    agent = story.agent(2)
    story.govern("set_autonomy", {"agent": agent.id, "action": "issue_refund", "level": 0}, "misbehaviour")

    refund = story.refund(agent.token, story.order(), 1_000)
    flag = story.client.call(agent.token, "toggle_feature_flag", _flag(31), reason="experiment")

    assert (refund.status, refund.reason) == (403, "invariant_violated")
    assert "autonomy-observe" in [rule["id"] for rule in refund.document["rules"]]
    assert flag.document["status"] == "executed"


def test_many_small_refunds_are_a_large_one(story: Story) -> None:
    """
    An agent's routine refunds above 20,000 cents a day in sum are R2: the next one waits for finance.
    """
    agent = story.agent(2)
    run = [story.refund(agent.token, story.order(5_000), 5_000) for _ in range(4)]

    fifth = story.refund(agent.token, story.order(5_000), 1_000)

    assert [answer.document["status"] for answer in run] == ["executed"] * 4
    assert (fifth.status, fifth.document.get("needs")) == (202, [{"role": "finance", "persons": 1}])


def test_level_four_is_reserved(story: Story) -> None:
    """
    No call sets a level above L3 or below L0.
    """
    answers = [
        story.client.call(
            story.person("security").token,
            "set_autonomy",
            {"agent": "agent-x", "action": "*", "level": level},
            reason="new_agent",
        )
        for level in (4, -1)
    ]

    assert [(answer.status, answer.reason) for answer in answers] == [(422, "contract_violated")] * 2


def test_an_agent_keeps_to_its_registration(story: Story) -> None:
    """
    A tool that the agent's token does not name is refused at every level, and not shown to it.
    """
    agent = story.agent(3)
    token = story.world.cast.issuer.agent("acme", agent.id, ["get_order"])

    refused = story.refund(token, story.order(), 1_000)
    shown = story.client.get("/v1/tools", token).document["tools"]

    assert refused.status == 403
    assert [tool["name"] for tool in shown] == ["get_order"]
    assert story.client.get("/v1/tools/issue_refund", token).status == 404


def test_people_are_not_subject_to_autonomy(story: Story) -> None:
    """
    A person's routine refund runs at once; above 5,000 cents finance approves, above 50,000 a founder too.
    """
    finance = story.person("finance").token

    small = story.refund(finance, story.order(), 1_000)
    large = story.refund(finance, story.order(6_000), 6_000)
    huge = story.refund(finance, story.order(60_000), 60_000, key=secrets.token_hex(8))

    assert small.document["status"] == "executed"
    assert large.document["needs"] == [{"role": "finance", "persons": 1}]
    assert "founder" in [need["role"] for need in huge.document["needs"]]


def level(story: Story, agent: Agent, action: str = "issue_refund") -> int:
    """Where the agent stands, as its tenant is told."""
    told = story.client.get(f"/v1/agents/{agent.id}", story.person("security").token)
    actions = {each["action"]: each for each in told.document["actions"]}
    return int(actions.get(action, actions["*"])["level"])


def denials(story: Story, agent: Agent, count: int) -> list[int]:
    """Refunds that nobody may ask for."""
    order = story.order(60_000)
    return [story.refund(agent.token, order, 60_000).status for _ in range(count)]


def test_repeated_denials_lower_an_agent_at_the_very_next_call(story: Story) -> None:
    """
    After 39 denials an agent still acts alone; with the fortieth it asks, and the log says by which rule.
    """
    agent, order = story.agent(2), story.order(50_000)
    size = story.size()

    before = denials(story, agent, 39), outcome(story.refund(agent.token, order, 1_000))
    denials(story, agent, 1)
    after = outcome(story.refund(agent.token, order, 1_000))
    lowered = [entry for entry in story.entries(after=size) if entry["kind"] == "LOWERED"]

    assert before == ([403] * 39, RUNS)
    assert after == "finance"
    assert [(entry["principal"], entry["rule"], entry["former"], entry["level"]) for entry in lowered] == [
        (f"agent/{agent.id}", "denied-again-and-again", 2, 1)
    ]
    assert len(lowered[0]["events"]) == 40


def lowered(story: Story, agent: Agent, after: int) -> list[tuple[str, str, int, int]]:
    """Rule, action, former and new level of every lowering of the agent since that entry."""
    return [
        (entry["rule"], entry["action"], entry["former"], entry["level"])
        for entry in story.entries(after=after)
        if entry["kind"] == "LOWERED" and entry["principal"] == f"agent/{agent.id}"
    ]


def raised(story: Story, agent: Agent, action: str, to: int) -> None:
    """Two persons raise the level."""
    story.govern("set_autonomy", {"agent": agent.id, "action": action, "level": to}, "proved_reliable")


def test_what_came_before_a_raise_counts_no_more(story: Story) -> None:
    """
    Raised by two persons, an agent acts alone again; the forty denials of before do not lower it a second time, and
    only forty new ones do.
    """
    agent, order, size = story.agent(2), story.order(50_000), story.size()
    denials(story, agent, 40)

    raised(story, agent, "issue_refund", 3)
    met = [outcome(story.refund(agent.token, order, 1_000))]
    denials(story, agent, 39)
    met.append(outcome(story.refund(agent.token, order, 1_000)))
    denials(story, agent, 1)
    met.append(outcome(story.refund(agent.token, order, 1_000)))

    assert met == [RUNS, RUNS, "finance"]
    assert [(former, to) for _, _, former, to in lowered(story, agent, size)] == [(2, 1), (3, 1)]


def test_a_lowered_action_leaves_the_others_as_they_are(story: Story) -> None:
    """
    Denied refunds lower refunds: flags of the same agent, and refunds of another, run as before.
    """
    agent, other = story.agent(2), story.agent(2)

    denials(story, agent, 41)
    flag = story.client.call(agent.token, "toggle_feature_flag", _flag(32), reason="experiment")
    others = story.refund(other.token, story.order(), 1_000)

    assert (level(story, agent), level(story, agent, "*"), level(story, other)) == (1, 2, 2)
    assert (outcome(flag), outcome(others)) == (RUNS, RUNS)


def test_denials_everywhere_lower_everything(story: Story) -> None:
    """
    Two hundred denials within the window, whatever was asked for, lower every action at once, and one entry says so.
    """
    agent, size = story.agent(2), story.size()
    order = story.order(60_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: story.refund(agent.token, order, 60_000), range(210)))

    met = outcome(story.client.call(agent.token, "toggle_feature_flag", _flag(33), reason="experiment"))

    assert met == "sre"
    assert lowered(story, agent, size) == [
        ("denied-again-and-again", "issue_refund", 2, 1),
        ("denied-everywhere", "*", 2, 1),
    ]


def test_unknown_outcomes_lower(story: Story) -> None:
    """
    Thirty refunds of which the tool gave no answer: the next waits, although all of them are found out later.
    """
    agent, order, size = story.agent(2), story.order(50_000), story.size()
    faults = story.world.business.url + "/faults"
    httpx2.post(faults, json={"tool": "issue_refund", "mode": "reset_after", "count": 30}, trust_env=False)

    met = [story.refund(agent.token, order, 100).status for _ in range(30)]
    after = outcome(story.refund(agent.token, order, 100))

    assert (met, after) == ([504] * 30, "finance")
    assert lowered(story, agent, size) == [("outcomes-unknown", "issue_refund", 2, 1)]


def test_rejections_lower(story: Story) -> None:
    """
    Ten calls of an agent that people rejected: what it may do alone with the tool is gone.
    """
    agent, size = story.agent(2), story.size()
    for _ in range(10):
        parked = story.parked_refund(agent.token)
        story.client.approve(story.person("finance", 2), parked.answer, verdict="reject")

    met = outcome(story.refund(agent.token, story.order(), 1_000))

    assert met == "finance"
    assert lowered(story, agent, size) == [("rejected-by-people", "issue_refund", 2, 1)]


def test_a_surge_lowers_before_the_call_that_makes_it(story: Story) -> None:
    """
    Two hundred changes within a window run; the next is decided at the level that is left. The switch back by two
    persons begins a new count within the same window.
    """
    agent, size = story.agent(2), story.size()

    def flags() -> int:
        """How many run before one waits; a window may end meanwhile."""
        for run in range(405):
            if outcome(story.client.call(agent.token, "toggle_feature_flag", _flag(34), reason="experiment")) != RUNS:
                return run
        return 405

    first = flags()
    raised(story, agent, "*", 2)
    second = flags()

    assert 200 <= first <= 400
    assert 200 <= second <= 400
    assert [rule for rule, *_ in lowered(story, agent, size)] == ["settings-surge"] * 2


def test_what_the_gateway_itself_brings_about_counts_for_nothing(story: Story) -> None:
    """
    Calls under a kill switch, unknown tools and calls of people never lower an agent.
    """
    agent, size = story.agent(2), story.size()
    order = story.order(50_000)
    arguments = {"scope": "agent", "target": agent.id, "reason": "a drill"}
    story.client.call(story.person("operator").token, "engage_kill", arguments, reason="drill")
    killed = [story.refund(agent.token, order, 1_000).reason for _ in range(25)]
    story.govern("release_kill", {"scope": "agent", "target": agent.id}, "drill")
    growth = story.person("growth").token
    people = [story.refund(growth, order, 1_000).status for _ in range(25)]

    met = outcome(story.refund(agent.token, order, 1_000))

    assert (set(killed), set(people)) == ({"killed"}, {403})
    assert met == RUNS
    assert lowered(story, agent, size) == []


def test_nobody_lowers_somebody_elses_agent(story: Story) -> None:
    """
    An agent of the same name in another tenant, an agent that acts for the same subject, and a delegate do nothing to
    the level of an agent whose token they do not hold.
    """
    agent, order, size = story.agent(2, subject="per_shared"), story.order(60_000), story.size()
    issuer = story.world.cast.issuer
    twin = issuer.agent("globex", agent.id, AGENT_TOOLS)
    beside = issuer.agent("acme", f"{agent.id}-2", AGENT_TOOLS, subject="per_shared")
    through = story.delegated(["agent-outermost", agent.id], "per_shared")

    for token in (twin, beside, through):
        for _ in range(42):
            story.refund(token, order, 60_000)
    met = outcome(story.refund(agent.token, story.order(), 1_000))

    assert met == RUNS
    assert lowered(story, agent, size) == []


def test_an_agent_and_its_tenant_see_the_level_and_why(story: Story) -> None:
    """
    Level, since when, and the rule with its entry: for people of the tenant and the agent itself; another agent,
    another tenant and an agent that there never was are the same 404.
    """
    agent, other = story.agent(2), story.agent(2)
    denials(story, agent, 45)
    denials(story, other, 3)

    own = story.client.get(f"/v1/agents/{agent.id}", agent.token)
    listed = story.client.get(f"/v1/agents?after={agent.id[:-1]}", story.person("auditor").token).document["agents"]
    counted = story.client.get(f"/v1/agents/{other.id}", story.person("operator").token).document["counted"]
    strangers = [
        story.client.get(f"/v1/agents/{agent.id}", other.token),
        story.client.get(f"/v1/agents/{agent.id}", story.person("security", 1, "globex").token),
        story.client.get("/v1/agents/agent-there-never-was", story.person("security").token),
        story.client.get("/v1/agents/NONAME", story.person("security").token),
    ]

    shown = {each["action"]: each for each in own.document["actions"]}
    assert (shown["issue_refund"]["level"], shown["issue_refund"]["rule"]) == (1, "denied-again-and-again")
    assert shown["issue_refund"]["since"] >= shown["*"]["since"]
    assert (shown["*"]["level"], shown["*"]["by"]) == (2, "persons")
    assert own.document in [{**each, "counted": own.document["counted"]} for each in listed]
    assert [(each["rule"], each["count"], each["times"]) for each in counted] == [
        ("denied-again-and-again", 3, 40),
        ("denied-everywhere", 3, 200),
    ]
    assert {(each.status, each.reason) for each in strangers} == {(404, "unknown_agent")}
