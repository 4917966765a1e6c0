"""Explanations over HTTP and at the terminal: advice that holds, told to whoever may know it."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from admin.__main__ import app
from admin.errors import Found
from deploy.demo import dev
from deploy.demo.client import Answer
from policies import bundles
from tests.attacks.test_bundle_uploads import composed, govern, revision, signed, upload
from tests.attacks.test_kill_switches import engaged
from tests.world.stories import Story, eventually

TENANT = "globex"
QUOTED = """\
name: quote_price
version: 1
title: Offer a product to one customer at a price of its own.
family: business
effect: reversible
resource_type: Product
resource_argument: product_id
arguments:
  product_id: {kind: identifier, prefix: prd}
  price_cents: {kind: integer, minimum: 1, maximum: 100000000}
result:
  product_id: {kind: identifier, prefix: prd}
reason_codes: [goodwill]
risk: if context.arguments.price_cents < context.facts.product.unit_cost_cents then 2 else 1
approver: commerce
facts:
  product:
    path: /facts/product/{product_id}
    age_seconds_max: 60
    fields:
      unit_cost_cents: {kind: integer, minimum: 0, maximum: 100000000}
      price_cents: {kind: integer, minimum: 0, maximum: 100000000}
      preflight_passed: {kind: flag}
visible_to:
  internal: [commerce, auditor]
is_idempotent: true
is_fenced: true
connector: {kind: http, origin: backoffice, path: /operations/quote_price}
"""


def explained(story: Story, call: str, token: str) -> Answer:
    return story.client.get(f"/v1/calls/{call}/explanation", token)


def verdict(answer: Answer) -> tuple[str, list[str]]:
    """The verdict, and the sentences of the alternatives."""
    assert answer.status == 200, answer.document
    return answer.document["verdict"], [each["sentence"] for each in answer.document.get("alternatives", [])]


def test_advice_that_is_followed_passes(story: Story) -> None:
    """
    The value that a refused agent is told of executes when it is asked for, and one cent more does not.
    """
    agent, order = story.agent(2), story.order(5_001)
    refused = story.refund(agent.token, order, 90_000)

    answer = explained(story, refused.call, agent.token)

    (alone, *_) = answer.document["alternatives"]
    assert (refused.status, alone["approvals"]) == (403, [])
    assert alone["changes"] == [
        {
            "member": "arguments.amount_cents",
            "now": 90_000,
            "would_pass": 5_000,
            "from": 1,
            "to": 5_000,
            "range": "5000 or less",
        }
    ]
    assert story.refund(agent.token, order, 5_001).status == 202
    assert story.refund(agent.token, order, 5_000).document["status"] == "executed"


def test_a_parked_call_is_told_of_the_approval_first(story: Story) -> None:
    """
    What a parked call needs, and with which amount it would need nobody.
    """
    parked = story.parked_refund(cents=6_000)

    answer = explained(story, parked.call, parked.token)

    assert verdict(answer) == (
        "would_pass",
        ["It would pass with one approval of finance.", "It would pass with amount_cents 5000 or less."],
    )


def test_what_only_people_may_ask_for_is_said(story: Story) -> None:
    """
    An agent that asks for a payout learns the rule and the role, and nothing of the balance that it may not see.
    """
    agent = story.agent(3)
    creator, eligible = _creator(story)
    refused = story.client.call(
        agent.token, "release_payout", {"creator_id": creator, "amount_cents": 7}, reason="monthly_payout"
    )

    answer = explained(story, refused.call, agent.token)

    assert verdict(answer) == ("nothing_would_pass", [])
    assert [each["id"] for each in answer.document["stands_in_the_way"]] == ["r3-people-only"]
    assert answer.document["could_ask"] == ["founder"]
    assert "founder could ask for it" in answer.document["sentence"]
    assert str(eligible) not in json.dumps(answer.document)


def test_a_deny_list_stands_in_the_way(story: Story) -> None:
    """
    What Rego refuses whatever is changed is named with its hint.
    """
    operator = story.person("operator").token
    refused = story.client.call(operator, "revoke_push_tokens", {"user_id": "usr_platform"}, reason="device_lost")

    answer = explained(story, refused.call, operator)

    assert refused.status == 403, refused.document
    assert verdict(answer) == ("nothing_would_pass", [])
    (standing,) = answer.document["stands_in_the_way"]
    assert (standing["engine"], standing["id"]) == ("rego", "denied-resource")


def test_a_kill_switch_stands_in_the_way(story: Story) -> None:
    """
    What a switch stopped no change would have let through.
    """
    agent, order = story.agent(2), story.order(2_000)
    with engaged(story, "agent", agent.id):
        killed = story.refund(agent.token, order, 1_000)

    answer = explained(story, killed.call, agent.token)

    assert verdict(answer) == ("nothing_would_pass", [])
    assert answer.document["stands_in_the_way"] == [{"kind": "kill_switch"}]


def test_a_reader_sees_no_argument_that_is_not_for_it(story: Story) -> None:
    """
    Somebody of growth may see that a refund was refused, and not what was asked for, nor what could have been.
    """
    agent, order = story.agent(2), story.order(5_000)
    refused = story.refund(agent.token, order, 90_123)

    answer = explained(story, refused.call, story.person("growth").token)

    told = json.dumps([answer.document["alternatives"], answer.document.get("sentence")])
    assert answer.document["verdict"] == "would_pass"
    assert "an argument that you may not see" in told
    assert not any(each in told for each in ("90123", "5000", "amount_cents", order))


def test_an_agent_is_not_told_a_bound_that_follows_from_a_hidden_fact(story: Story) -> None:
    """
    A price whose bound is the unit cost: commerce is told the cost, the agent that asked only that more is needed.
    """
    token = _quoting_agent(story)
    product = next(row for row in story.state("products", TENANT) if row["unit_cost_cents"] > 10)
    asked = story.client.call(token, "quote_price", {"product_id": product["id"], "price_cents": 3}, reason="goodwill")

    own = explained(story, asked.call, token)
    seeing = explained(story, asked.call, story.person("commerce", 1, TENANT).token)

    cost = product["unit_cost_cents"]
    assert verdict(seeing)[1] == [
        "It would pass with one approval of commerce.",
        f"It would pass with price_cents {cost} or more.",
    ]
    assert verdict(own)[1] == [
        "It would pass with one approval of commerce.",
        "It would pass with a larger price_cents, which follows from a fact that you may not see.",
    ]
    assert str(cost) not in json.dumps(own.document["alternatives"])


def _quoting_agent(story: Story) -> str:
    """An agent of L2 that is registered for a tool whose facts are not for agents."""
    security = story.person("security", 1, TENANT)
    uploaded = story.client.request("POST", "/v1/tools", security.token, body=QUOTED.encode())
    assert uploaded.status == 201, uploaded.document
    story.govern("register_tool", {"digest": uploaded.document["digest"]}, "new_tool", TENANT)
    agent = story.agent(2, TENANT)
    token: str = story.world.cast.issuer.agent(TENANT, agent.id, ["quote_price"], subject="")
    return token


def test_unknown_and_foreign_calls_are_the_same_404(story: Story) -> None:
    """
    Another's call, another tenant's call and one that never was: the same answer, for agents and people.
    """
    order = story.order(5_000)
    refused = story.refund(story.agent(2).token, order, 90_000)
    readers = [story.agent(2).token, story.agent(2, TENANT).token, story.person("founder", 1, TENANT).token]

    answers = [
        explained(story, call, token) for token in readers for call in (refused.call, f"call_{uuid.uuid4().hex}")
    ]

    documents = [{**each.document, "instance": ""} for each in answers]
    assert [each.status for each in answers] == [404] * 6
    assert all(document == documents[0] for document in documents)


@pytest.mark.parametrize("kind", ["OUTCOME", "DRY_RUN", "READ", "REFUSED"])
def test_what_was_not_refused_by_rules_is_not_explained(story: Story, kind: str) -> None:
    """
    An executed call, a dry run, a read and a refusal without a question: 409, and the reason says so.
    """
    agent, order, size = story.agent(2), story.order(5_000), story.size()
    match kind:
        case "OUTCOME":
            story.refund(agent.token, order, 1_000)
        case "DRY_RUN":
            story.refund(agent.token, order, 90_000, headers={"Prefer": "dry-run"})
        case "READ":
            story.client.call(agent.token, "get_order", {"order_id": order})
        case _:
            story.refund(agent.token, "ord_unheard_of", 1_000)

    def written() -> list[str]:
        # Light entries are not waited for by the answer.
        return [each["call"] for each in story.entries(after=size) if each["kind"] == kind]

    assert eventually(lambda: bool(written()))
    answer = explained(story, written()[-1], agent.token)

    assert (answer.status, answer.reason) == (409, "nothing_to_explain")


def test_what_was_erased_is_not_explained(story: Story) -> None:
    """
    Once the records about an order are erased, no explanation brings back what was asked of it.
    """
    agent, order = story.agent(2), story.order(5_000)
    refused = story.refund(agent.token, order, 90_000)
    story.govern("erase_subject", {"subject": order}, "subject_request")

    answer = explained(story, refused.call, agent.token)

    assert (answer.status, answer.reason) == (409, "record_erased")


@pytest.fixture
def frozen(story: Story) -> Iterator[Answer]:
    """A refusal from before a bundle came into force that freezes one tool; the base rules come back at the end."""
    refused = story.refund(story.person("finance", 1, TENANT).token, story.order(5_000, TENANT), 900_000_00)
    base = bundles.base()["data"]
    window = {"name": "audit", "begins": int(time.time()) - 60, "ends": 2**40, "tools": ["unpublish_listing"]}
    activate(story, data={**base, "freezes": [*base["freezes"], window]})
    yield refused
    activate(story)


def activate(story: Story, **members: Any) -> None:
    """Upload, publish and activate the base bundle with some members changed."""
    uploaded = upload(story, signed(story, composed(revision(story) + 1, **members)))
    assert uploaded.status == 201, uploaded.document
    for tool in ("publish_bundle", "activate_bundle"):
        assert govern(story, tool, str(uploaded.document["digest"])).document["status"] == "executed"


def test_rules_that_are_gone_explain_nothing_and_a_freeze_is_named(story: Story, frozen: Answer) -> None:
    """
    A refusal by the former bundle is 409; one by a freeze window of the new one names the window's rule.
    """
    operator = story.person("operator", 1, TENANT).token
    product = story.state("products", TENANT)[0]["id"]
    arguments = {"product_id": product, "channel": "web_shop"}
    refused = story.client.call(operator, "unpublish_listing", arguments, reason="recall")

    former = explained(story, frozen.call, story.person("finance", 1, TENANT).token)
    answer = explained(story, refused.call, operator)

    assert (former.status, former.reason) == (409, "bundle_replaced")
    assert refused.status == 403, refused.document
    assert verdict(answer) == ("nothing_would_pass", [])
    assert [each["id"] for each in answer.document["stands_in_the_way"]] == ["change-freeze"]


def test_explanations_are_rationed(story: Story) -> None:
    """
    Beyond twenty in a minute a principal is told when to come back; nobody else is.
    """
    agent, other = story.agent(2), story.agent(2)
    call = story.refund(agent.token, story.order(1_000), 500).call

    answers = [explained(story, call, agent.token) for _ in range(21)]

    assert {each.status for each in answers[:20]} == {409}
    assert (answers[20].status, answers[20].reason) == (429, "rate_exceeded")
    assert explained(story, call, other.token).status == 404


def lockgate(story: Story, folder: Path, *arguments: str) -> tuple[int, str]:
    """The command line: exit code and standard output."""
    file = folder / "dev.json"
    file.write_text(json.dumps(dev.document(story.world, story.world.gateways[0])))
    done = CliRunner().invoke(
        app, [*arguments, "--dev-file", str(file), "--tenant", "acme"], env={"NO_COLOR": "1", "COLUMNS": "200"}
    )
    return done.exit_code, done.stdout


def test_the_command_tells_sentences_and_a_table(story: Story, tmp_path: Path) -> None:
    """
    `lockgate explain`: 0 and what would pass; 1 and what stands in the way; 3 for a call that is not there.
    """
    agent = story.world.cast.agent("acme", 2)
    order = story.order(5_000)
    refused = story.refund(agent.token, order, 90_000)
    payout = story.client.call(
        agent.token, "release_payout", {"creator_id": _creator(story)[0], "amount_cents": 7}, reason="monthly_payout"
    )
    who = ("--as", f"agent:{agent.id}")

    passes, shown = lockgate(story, tmp_path, "explain", refused.call, *who)
    nothing, standing = lockgate(story, tmp_path, "explain", payout.call, *who)
    missing, _ = lockgate(story, tmp_path, "explain", f"call_{secrets.token_hex(16)}", *who)

    assert (passes, nothing, missing) == (Found.YES, Found.NO, Found.BAD_INPUT)
    assert "It would pass with amount_cents 5000 or less." in shown
    row = next(line for line in shown.splitlines() if line.startswith("arguments.amount_cents"))
    assert row.split() == ["arguments.amount_cents", "90000", "5000", "or", "less"]
    assert "r3-people-only" in standing
    assert "Nothing that the requester can change would pass." in standing


def test_the_command_gives_one_document(story: Story, tmp_path: Path) -> None:
    """
    With `--json`: the call, and its explanation as the gateway gave it.
    """
    agent = story.world.cast.agent("acme", 2)
    refused = story.refund(agent.token, story.order(5_000), 90_000)

    code, printed = lockgate(story, tmp_path, "explain", refused.call, "--as", f"agent:{agent.id}", "--json")

    document: dict[str, Any] = json.loads(printed)
    assert code == Found.YES
    assert document["call"] == refused.call
    assert document["explanation"]["verdict"] == "would_pass"


def _creator(story: Story) -> tuple[str, int]:
    """A creator, and what may be paid out to them."""
    rows = [(row["id"], row["balance_cents"] - row["held_cents"]) for row in story.state("creators")]
    return next(row for row in rows if row[1] > 10_000)
