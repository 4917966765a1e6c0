"""Autonomy rules that lower nobody, everybody or the wrong agent; and events spread so that nobody counts them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import pytest

from admin.candidates import Candidate, Toolbox
from admin.comparing import Difference
from deploy.demo.client import Client
from policies import bundles, review
from policies.bundles import Bundle
from policies.errors import PolicyFault
from proofs import canonical
from proofs.errors import EvidenceError
from proofs.keys import PrivateKey
from tests.world.bundles import bundle, cedar_schema, contracts
from tests.world.stories import Story

Edit = Callable[[dict[str, Any]], Any]


def autonomy(edit: Edit) -> dict[str, Any]:
    """The base bundle's document, edited."""
    document: dict[str, Any] = copy.deepcopy(bundles.base()["autonomy"])
    edit(document)
    return document


def rule(document: dict[str, Any], name: str) -> dict[str, Any]:
    """One rule of it."""
    found: dict[str, Any] = next(each for each in document["rules"] if each["id"] == name)
    return found


DENIED, SURGE, STOCK = "denied-again-and-again", "settings-surge", "stock-surge"

MISSHAPEN: dict[str, Edit] = {
    "another member": lambda d: d.update(note="x"),
    "no cases": lambda d: d.pop("cases"),
    "rules as an object": lambda d: d.update(rules={}),
    "a rule twice": lambda d: d["rules"].append(d["rules"][0]),
    "too many rules": lambda d: d.update(rules=[{**d["rules"][0], "id": f"r{n}"} for n in range(65)]),
    "a member too many": lambda d: rule(d, DENIED).update(raises=True),
    "a member too few": lambda d: rule(d, DENIED).pop("times"),
    "an id with spaces": lambda d: rule(d, DENIED).update(id="denied again"),
    "no sentence": lambda d: rule(d, DENIED).update(sentence=""),
    "a sentence with a line break": lambda d: rule(d, DENIED).update(sentence="one\ntwo"),
    "an event that there is not": lambda d: rule(d, DENIED).update(counts="executed"),
    "an event that is no text": lambda d: rule(d, DENIED).update(counts=["denied"]),
    "no reasons": lambda d: rule(d, DENIED).update(reasons=[]),
    "reasons of the gateway's own": lambda d: rule(d, DENIED).update(reasons=["engine_unavailable"]),
    "a switch as a reason": lambda d: rule(d, DENIED).update(reasons=["killed"]),
    "reasons of another event": lambda d: rule(d, "outcomes-unknown").update(reasons=["policy_denied"]),
    "never": lambda d: rule(d, DENIED).update(times=0),
    "always": lambda d: rule(d, DENIED).update(times=-1),
    "more than is named": lambda d: rule(d, DENIED).update(times=201),
    "times as text": lambda d: rule(d, DENIED).update(times="40"),
    "times as truth": lambda d: rule(d, DENIED).update(times=True),
    "no window": lambda d: rule(d, DENIED).update(within_seconds=0),
    "a window of years": lambda d: rule(d, DENIED).update(within_seconds=10**9),
    "a raise": lambda d: rule(d, DENIED).update(to=3),
    "below nought": lambda d: rule(d, DENIED).update(to=-1),
    "lowers people": lambda d: rule(d, DENIED).update(lowers="person"),
    "no tools": lambda d: rule(d, DENIED).update(tools=[]),
    "all tools and one": lambda d: rule(d, DENIED).update(tools=["*", "issue_refund"]),
    "a pattern of tools": lambda d: rule(d, DENIED).update(tools=["issue_*"]),
    "an agent of another tenant": lambda d: rule(d, DENIED).update(agents=["globex/agent-1"]),
    "a surge over every tool": lambda d: rule(d, SURGE).update(tools=["*"]),
    "a surge over the agent": lambda d: rule(d, SURGE).update(lowers="agent"),
    "a surge without a factor": lambda d: rule(d, SURGE).update(factor=0),
    "a surge with times": lambda d: rule(d, SURGE).update(times=3),
    "a sum without its argument": lambda d: rule(d, STOCK).pop("argument"),
    "a sum over a path": lambda d: rule(d, STOCK).update(argument="facts.quantity"),
    "cases twice": lambda d: d["cases"].append(d["cases"][0]),
    "a case without end": lambda d: d["cases"][0]["events"][0].update(times=10**6),
    "an event of a case that there is not": lambda d: d["cases"][0]["events"][0].update(event="raised"),
}

UNFIT: dict[str, tuple[Edit, str]] = {
    "a tool that there is not": (lambda d: rule(d, STOCK).update(tools=["reorder_everything"]), "no tool is called"),
    "effects of a read": (lambda d: rule(d, SURGE)["tools"].append("get_order"), "is a read"),
    "an argument that there is not": (lambda d: rule(d, STOCK).update(argument="amount"), "no integer argument"),
    "an argument that is no number": (lambda d: rule(d, STOCK).update(argument="sku"), "no integer argument"),
    "a rule without a case": (
        lambda d: d["rules"].append({**rule(d, DENIED), "id": "never-tried", "times": 200}),
        "`never-tried`: lowered in no case",
    ),
    "a threshold beyond its case": (lambda d: rule(d, DENIED).update(times=41), "expected L1"),
    "a threshold that its neighbour notices": (lambda d: rule(d, DENIED).update(times=39), "39 denials lower nothing"),
    "a window that its neighbour notices": (lambda d: rule(d, DENIED).update(within_seconds=700), "over more than ten"),
    "a lower level": (lambda d: rule(d, DENIED).update(to=0), "expected L1"),
    "another reason": (lambda d: rule(d, DENIED)["reasons"].append("budget_exceeded"), "counts against nobody"),
}


@pytest.mark.parametrize("name", MISSHAPEN)
def test_a_document_of_another_form_is_no_bundle(name: str) -> None:
    """
    C08: what is not exactly of the form is refused when it is read, and its values are not repeated.
    """
    with pytest.raises((PolicyFault, EvidenceError), match=r"."):
        bundle(autonomy=autonomy(MISSHAPEN[name]))


@pytest.mark.parametrize("name", UNFIT)
def test_rules_that_their_cases_do_not_bear_out_are_not_published(name: str) -> None:
    """
    Rules about tools that there are not, untried rules, and every number that was moved by one: the review says which.
    """
    edit, told = UNFIT[name]

    found = review.validate(bundle(autonomy=autonomy(edit)), cedar_schema())

    assert any(finding.file == "autonomy.json" and told in finding.message for finding in found), found


def test_rules_are_under_the_signature_and_a_bundle_without_them_is_what_it_was() -> None:
    """
    C08: a changed threshold voids digest and signature. A bundle of before there were rules is read with its digest.
    """
    signer = PrivateKey.from_seed(b"s" * 32)
    whole = json.loads(bundles.sign(bundle(), signer).raw)
    members = {name: value for name, value in bundles.base().items() if name != "autonomy"}
    without = bundles.compose(members, bundle().manifest)

    changed = copy.deepcopy(whole)
    rule(changed["autonomy"], DENIED)["times"] = 200
    edited = bundles.parse(canonical.encode(changed))

    assert edited.digest != bundle().digest
    assert bundles.parse(without.raw).digest == without.digest
    assert (without.autonomy, "autonomy" in without.content) == ((), False)
    assert review.validate(without, cedar_schema()) == ()


def test_a_reviewer_is_told_of_every_rule_that_changed() -> None:
    """
    Added, removed and changed rules are named, with the numbers before and after.
    """

    def edit(document: dict[str, Any]) -> None:
        rule(document, DENIED).update(times=41)
        document["rules"] = [each for each in document["rules"] if each["id"] != STOCK]
        document["rules"].append({**rule(document, SURGE), "id": "another-surge"})

    tools = Toolbox(contracts=tuple(contracts().values()), schema=cedar_schema())

    def side(name: str, found: Bundle) -> Candidate:
        return Candidate(name=name, bundle=found, tools=tools, folder=None)

    found = Difference(
        old=side("old", bundle()), new=side("new", bundle(autonomy=autonomy(edit))), results=(), missing=""
    )

    assert found.autonomy == {"another-surge": "added", DENIED: "times: 40 -> 41", STOCK: "removed"}
    assert "autonomy.json" in found.beside


def test_denials_over_two_gateways_and_a_crash_are_one_count(story: Story) -> None:
    """
    C12: 20 denials through one gateway, 19 through another that is killed then, and one through a third: lowered
    with that one, and each of the forty entries is named once.
    """
    agent, order, size = story.agent(2), story.order(60_000), story.size()
    killed = story.world.gateway()

    def deny(client: Client, times: int) -> None:
        for _ in range(times):
            answer = Story(story.world, client).refund(agent.token, order, 60_000)
            assert answer.status == 403

    deny(story.client, 20)
    deny(Client(killed.url), 19)
    killed.kill()
    before = story.refund(agent.token, story.order(), 1_000)
    third = story.world.gateway()
    deny(Client(third.url), 1)
    after = [story.refund(agent.token, story.order(), 1_000).status]
    after.append(Story(story.world, Client(third.url)).refund(agent.token, story.order(), 1_000).status)
    third.stop()

    entries = story.entries(after=size)
    lowered = [entry for entry in entries if entry["kind"] == "LOWERED"]
    refused = [entry["seq"] for entry in entries if entry["kind"] == "REFUSED"]
    assert (before.document["status"], after) == ("executed", [202, 202])
    assert [entry["events"] for entry in lowered] == [refused]


def test_nobody_raises_an_agent_but_two_persons(story: Story) -> None:
    """
    An agent that asks for its own level, one person, and the two persons' approvals of a lower level bring nothing.
    """
    agent = story.agent(1)
    security, founder = story.person("security", 2), story.person("founder")
    raise_to = {"agent": agent.id, "action": "*", "level": 3}

    own = story.client.call(agent.token, "set_autonomy", raise_to, reason="proved_reliable")
    alone = story.client.governed(story.person("security"), [security], "set_autonomy", raise_to, "proved_reliable")
    asker = story.person("security")
    parked = story.client.call(
        asker.token, "set_autonomy", {**raise_to, "level": 0}, reason="misbehaviour", key="aut-1"
    )
    approvals = [str(story.client.approve(each, parked).document["approval"]) for each in (security, founder)]
    swapped = story.client.call(
        asker.token, "set_autonomy", raise_to, reason="misbehaviour", key="aut-2", approvals=approvals
    )

    assert own.status == 403
    assert alone.status == 202
    assert swapped.status in (403, 409)
    assert story.client.get(f"/v1/agents/{agent.id}", story.person("security").token).status == 404


@pytest.mark.parametrize("stops", ["rule", "persons", "switch"])
def test_no_intent_stands_behind_what_forbids_it(story: Story, stops: str) -> None:
    """
    C12: with calls of an agent under way over two gateways, a rule or persons lower it, or an operator stops it: in the
    log no INTENT of the agent comes after that entry, and the business did nothing that has none.
    """
    other = story.world.gateway()
    clients = [story.client, Client(other.url)]
    agent, size = story.agent(2), story.size()
    orders = [story.order(20_000) for _ in range(4)]

    def act(number: int) -> None:
        if stops == "rule" and number % 3 == 0:
            Story(story.world, clients[number % 2]).refund(agent.token, orders[0], 60_000)
        Story(story.world, clients[number % 2]).refund(agent.token, orders[number % 4], 50)

    with ThreadPoolExecutor(12) as pool:
        acting = [pool.submit(act, number) for number in range(150)]
        wait(acting[12:14], return_when=FIRST_COMPLETED)  # Calls are under way, and some of them are through.
        if stops == "persons":
            story.govern("set_autonomy", {"agent": agent.id, "action": "*", "level": 1}, "misbehaviour")
        if stops == "switch":
            switch = {"scope": "agent", "target": agent.id, "reason": "a drill"}
            story.client.call(story.person("operator").token, "engage_kill", switch, reason="drill")
        for each in acting:
            each.result()
    other.stop()

    entries = story.entries(after=size)
    tool = {"rule": None, "persons": "set_autonomy", "switch": "engage_kill"}[stops]
    kind = "LOWERED" if stops == "rule" else "OUTCOME"
    stop = next(entry["seq"] for entry in entries if (entry["kind"], entry.get("tool")) == (kind, tool))
    intents = [entry for entry in entries if entry["kind"] == "INTENT" and entry["principal"] == f"agent/{agent.id}"]
    done = {line["effect_id"] for order in orders for line in story.effects_on(order)}
    assert intents
    assert [entry["seq"] for entry in intents if entry["seq"] > stop] == []
    assert done <= {entry["effect"] for entry in intents}
