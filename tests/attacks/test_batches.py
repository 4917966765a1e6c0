"""Several calls, or several verdicts, in one request: no item lends another anything, and none takes anything away."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deploy.demo.cast import Person
from deploy.demo.client import Answer, signed
from tests.world.stories import REASON, REFUND, Parked, Story

SIZE = 5
TOO_MUCH = 90_000_000


def call(order: str, cents: int, **members: Any) -> dict[str, Any]:
    """A refund as an item of a batch."""
    arguments = {"order_id": order, "amount_cents": cents}
    item = {"key": secrets.token_hex(8), "tool": REFUND, "arguments": arguments, "reason_code": REASON, **members}
    return {name: value for name, value in item.items() if value is not None}


def send(story: Story, token: str, *items: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """Present calls at once."""
    return story.client.request("POST", "/v1/batches", token, body={"calls": list(items)}, headers=headers)


def told(answer: Answer) -> list[Answer]:
    """The items' answers, as requests of their own would have had them."""
    assert answer.status == 200, answer.document
    return [Answer(each["status"], each["body"], each.get("headers", {})) for each in answer.document["answers"]]


def verdict(person: Person, parked: Parked, **changed: Any) -> dict[str, Any]:
    """A signed verdict as an item of a batch."""
    return {"call": parked.call, **signed(person, parked.statement, "dev"), **changed}


def give(story: Story, person: Person, *items: Any) -> Answer:
    """Hand verdicts in at once."""
    return story.client.request("POST", "/v1/verdicts", person.token, body={"verdicts": list(items)})


@pytest.mark.parametrize("forbidden", range(SIZE))
def test_a_forbidden_item_is_denied_alone(story: Story, forbidden: int) -> None:
    """
    E12: item k is refused by policy with an entry of its own; every other runs, and each answer stands in its place.
    """
    finance = story.person("finance")
    orders = [story.order(1_000 + place) for place in range(SIZE)]
    amounts = [TOO_MUCH if place == forbidden else 1_000 + place for place in range(SIZE)]

    answers = told(send(story, finance.token, *map(call, orders, amounts)))

    assert [answer.status for answer in answers] == [403 if place == forbidden else 200 for place in range(SIZE)]
    assert answers[forbidden].reason == "invariant_violated"
    assert "entry" in answers[forbidden].document
    for place, (order, answer) in enumerate(zip(orders, answers, strict=True)):
        amounts_done = [line["arguments"]["amount_cents"] for line in story.effects_on(order)]
        assert amounts_done == ([] if place == forbidden else [1_000 + place])
        assert len({answer.call for answer in answers}) == SIZE


def test_each_item_waits_for_its_own_approval(story: Story) -> None:
    """
    E12: of three parked items one is approved: presented again together, that one runs, and no approval serves another.
    """
    finance, approver = story.person("finance"), story.person("finance", 2)
    items = [call(story.order(7_000), 6_000 + place) for place in range(3)]
    parked = told(send(story, finance.token, *items))
    approval = str(story.client.approve(approver, parked[1]).document["approval"])

    again = told(send(story, finance.token, *({**each, "approvals": [approval]} for each in items)))

    assert [answer.status for answer in parked] == [202] * 3
    assert [(answer.status, answer.reason) for answer in again] == [
        (403, "approval_mismatch"),
        (200, ""),
        (403, "approval_mismatch"),
    ]
    assert [len(story.effects(answer.call)) for answer in parked] == [0, 1, 0]


def test_an_item_that_does_not_fit_fails_alone(story: Story) -> None:
    """
    E12: another tool, other arguments, other members, no key, a key that is none, somebody else's tool: each alone.
    """
    finance, order = story.person("finance"), story.order(9_000)
    items = [
        call(order, 1_000, tool="no_such_tool"),
        call(order, -1),
        call(order, 1_000, principal="person/per_founder_1"),
        call(order, 1_000, key=None),
        {**call(order, 1_000), "key": 7},
        call(order, 1_000, key="x"),
        {"key": "some-key"},
        call(order, 1_000, approvals="all"),
        call(order, 1_000),
    ]

    answers = told(send(story, finance.token, *items))

    assert [(answer.status, answer.reason) for answer in answers] == [
        (404, "unknown_tool"),
        (422, "contract_violated"),
        (422, "unknown_member"),
        (400, "key_missing"),
        (400, "key_malformed"),
        (400, "key_malformed"),
        (422, "tool_missing"),
        (422, "approvals_malformed"),
        (200, ""),
    ]
    assert len(story.effects_on(order)) == 1


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b'{"calls":[{"key":"aa","key":"bb"}]}', 400, "malformed_json"),
        (b'{"calls":[]}', 422, "batch_malformed"),
        (b'{"calls":{}}', 422, "batch_malformed"),
        (b'{"calls":[1]}', 422, "batch_malformed"),
        (b'{"calls":[[]]}', 422, "batch_malformed"),
        (b'{"calls":[{}],"approvals":[]}', 422, "batch_malformed"),
        (b'{"calls":[' + b",".join([b"{}"] * 33) + b"]}", 422, "batch_malformed"),
        (b'{"verdicts":[{}]}', 422, "batch_malformed"),
        (b"[]", 422, "not_an_object"),
        (b'{"calls":[' + b" " * 70_000 + b"]}", 413, "body_too_large"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_whole(story: Story, body: bytes, status: int, reason: str) -> None:
    """
    E12: a document that is no list of 1 to 32 objects is refused before any item of it is taken.
    """
    answer = story.client.request(
        "POST", "/v1/batches", story.person("finance").token, body=body, headers={"Content-Type": "application/json"}
    )

    assert (answer.status, answer.reason) == (status, reason)


def test_a_key_stands_for_one_call_of_a_batch(story: Story) -> None:
    """
    E12: two items of one key, also where one has it in quotes, or a key in the header, are refused with the whole
    batch, and nothing of it runs.
    """
    finance, order = story.person("finance"), story.order(9_000)
    one, other = call(order, 1_000, key="batch-twice"), call(order, 1_001, key="batch-twice")
    quoted = call(order, 1_000, key='"batch-twice"')

    answers = [
        send(story, finance.token, call(order, 1_002), one, other),
        send(story, finance.token, one, quoted),
        send(story, finance.token, one, headers={"Idempotency-Key": "batch-header"}),
    ]

    assert [(answer.status, answer.reason) for answer in answers] == [(422, "batch_malformed")] * 3
    assert story.effects_on(order) == []


def test_a_batch_sent_again_runs_nothing_twice(story: Story) -> None:
    """
    E12: items replay their own answers by their own keys, also when the batch is sent ten times at once.
    """
    finance, orders = story.person("finance"), [story.order(2_000) for _ in range(3)]
    items = [call(order, 1_500) for order in orders]

    with ThreadPoolExecutor(10) as pool:
        sent = list(pool.map(lambda _: told(send(story, finance.token, *items)), range(10)))
    again = told(send(story, finance.token, *items))

    assert {answer.status for answers in sent for answer in answers} <= {200, 409}
    assert [(answer.status, answer.headers.get("Idempotency-Replayed")) for answer in again] == [(200, "true")] * 3
    assert [len(story.effects_on(order)) for order in orders] == [1, 1, 1]


def test_budgets_are_taken_in_the_order_of_items(story: Story) -> None:
    """
    E12: what one order has left goes to the first items that fit; a later smaller one may still fit.
    """
    finance, order = story.person("finance"), story.order(5_000)
    left = next(row["paid_cents"] - row["refunded_cents"] for row in story.state("orders") if row["id"] == order)
    part = min(4_000, left // 2 + 1)
    rest = left - part

    answers = told(send(story, finance.token, *(call(order, cents) for cents in (part, left, min(rest, 5_000)))))

    assert [answer.status for answer in answers] == [200, 403, 200]
    assert [line["arguments"]["amount_cents"] for line in story.effects_on(order)] == [part, min(rest, 5_000)]


def test_reads_and_dry_runs_come_in_batches_too(story: Story) -> None:
    """
    E12: a read needs no key; `Prefer: dry-run` holds for every item, and nothing runs.
    """
    finance, order = story.person("finance"), story.order(2_000)
    read = {"tool": "get_order", "arguments": {"order_id": order}}

    looked = told(send(story, finance.token, read, read))
    dry = told(send(story, finance.token, call(order, 1_000), headers={"Prefer": "dry-run"}))

    assert {answer.status for answer in looked} <= {200, 403}
    assert [answer.document["status"] for answer in dry] == ["dry_run"]
    assert story.effects_on(order) == []


def test_a_batch_of_an_agent_is_an_agents(story: Story) -> None:
    """
    E12: autonomy, registration and tenant are each item's as they would be alone; a stranger has no batch at all.
    """
    agent, order = story.agent(0), story.order(2_000)
    foreign = story.order(2_000, tenant="globex")

    answers = told(send(story, agent.token, call(order, 1_000), call(foreign, 1_000)))
    nobody = story.client.request("POST", "/v1/batches", None, body={"calls": [call(order, 1_000)]})

    assert [answer.status for answer in answers] == [403, 403]
    assert nobody.status == 401
    assert story.effects_on(order) == []


def test_verdicts_are_given_item_by_item(story: Story) -> None:
    """
    E12, E08: one approver decides five calls at once; a bad signature, a foreign, unknown or own call fail alone.
    """
    approver = story.person("finance", 2)
    first, second, third = (story.parked_refund() for _ in range(3))
    own, foreign = story.parked_refund(approver.token), story.parked_refund(tenant="globex")
    swapped = {**verdict(approver, second), "signature": verdict(approver, third)["signature"]}
    no = {"call": third.call, **signed(approver, third.statement, "dev", verdict="reject", reason="photograph")}

    answers = told(
        give(
            story,
            approver,
            verdict(approver, first),
            swapped,
            no,
            verdict(approver, own),
            verdict(approver, foreign),
            {**verdict(approver, second), "call": first.call},
            {**verdict(approver, second), "call": 7},
            {"call": second.call},
        )
    )

    assert [(answer.status, answer.document.get("status"), answer.reason) for answer in answers[:3]] == [
        (201, "parked", ""),
        (403, 403, "signature_invalid"),
        (201, "rejected", ""),
    ]
    assert [(answer.status, answer.reason) for answer in answers[3:]] == [
        (403, "approver_excluded"),
        (404, "unknown_call"),
        (403, "approval_mismatch"),
        (404, "unknown_call"),
        (422, "statement_malformed"),
    ]
    assert first.present(str(answers[0].document["approval"])).document["status"] == "executed"
    assert second.present().status == 202
    assert third.present().reason == "call_closed"


def test_agents_give_no_verdicts(story: Story) -> None:
    """
    E12: the route is for people, whatever stands in the batch.
    """
    parked = story.parked_refund()
    agent = story.agent(3)

    answer = story.client.request(
        "POST", "/v1/verdicts", agent.token, body={"verdicts": [verdict(story.person("finance", 2), parked)]}
    )

    assert (answer.status, answer.reason) == (403, "people_only")


def test_every_item_leaves_its_own_entries(story: Story) -> None:
    """
    G14: the log tells the items of a batch apart, as calls of their own.
    """
    finance = story.person("finance")
    before = story.size()

    answers = told(send(story, finance.token, call(story.order(2_000), 1_000), call(story.order(2_000), TOO_MUCH)))
    kinds: Sequence[tuple[str, str]] = [
        (entry["kind"], entry["call"]) for entry in story.entries(after=before) if "call" in entry
    ]

    assert [answer.status for answer in answers] == [200, 403]
    done, refused = answers
    assert ("INTENT", done.call) in kinds
    assert ("OUTCOME", done.call) in kinds
    assert ("REFUSED", refused.call) in kinds
