"""Every route that may change something leaves an entry, whatever its answer is; what never became a call does too."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from deploy.demo.client import Answer, signed
from tests.world import surface
from tests.world.stories import Story, eventually

Act = Callable[[Story], Answer]


def _refund(story: Story) -> Answer:
    return story.refund(story.person("finance").token, story.order(), 1_000)


def _approve(story: Story) -> Answer:
    return story.client.approve(story.person("finance", 2), story.parked_refund().answer)


def _reject(story: Story) -> Answer:
    return story.client.approve(story.person("finance", 2), story.parked_refund().answer, verdict="reject", reason="no")


def _cancel(story: Story) -> Answer:
    parked = story.parked_refund()
    return story.client.request("POST", f"/v1/calls/{parked.call}/cancel", parked.token)


def _undo(story: Story) -> Answer:
    sre = story.person("sre", 1, "acme")
    arguments = {"flag_key": "creator_tips", "value": True, "rollout_percent": 21}
    done = story.client.call(sre.token, "toggle_feature_flag", arguments, reason="experiment")
    return story.client.request(
        "POST",
        f"/v1/calls/{done.call}/undo",
        sre.token,
        body={},
        headers={"Idempotency-Key": secrets.token_hex(8)},
    )


def _remark(story: Story) -> Answer:
    parked = story.parked_refund()
    return story.client.request("POST", f"/v1/calls/{parked.call}/feedback", parked.token, body={"text": "late"})


def _bundle(story: Story) -> Answer:
    return story.client.request("POST", "/v1/bundles", story.person("security").token, body=b"{}")


def _tool(story: Story) -> Answer:
    return story.client.request("POST", "/v1/tools", story.person("security").token, body=b"name: nothing")


def _batch(story: Story) -> Answer:
    arguments = {"order_id": story.order(), "amount_cents": 1_000}
    item = {"key": secrets.token_hex(8), "tool": "issue_refund", "arguments": arguments, "reason_code": "damaged_item"}
    return story.client.request("POST", "/v1/batches", story.person("finance").token, body={"calls": [item]})


def _verdicts(story: Story) -> Answer:
    parked, approver = story.parked_refund(), story.person("finance", 2)
    item = {"call": parked.call, **signed(approver, parked.statement, "dev")}
    return story.client.request("POST", "/v1/verdicts", approver.token, body={"verdicts": [item]})


ACTS: dict[tuple[str, str], tuple[Act, str, int]] = {
    # route: (a use of it, the kind of entry that it leaves, its status)
    ("POST", "/v1/calls"): (_refund, "OUTCOME", 200),
    ("POST", "/v1/batches"): (_batch, "OUTCOME", 200),
    ("POST", "/v1/verdicts"): (_verdicts, "APPROVED", 200),
    ("POST", "/v1/calls/{call}/approvals"): (_approve, "APPROVED", 201),
    ("POST", "/v1/calls/{call}/rejections"): (_reject, "REJECTED", 201),
    ("POST", "/v1/calls/{call}/cancel"): (_cancel, "CANCELLED", 200),
    ("POST", "/v1/calls/{call}/undo"): (_undo, "OUTCOME", 200),
    ("POST", "/v1/calls/{call}/feedback"): (_remark, "FEEDBACK", 201),
    ("POST", "/v1/bundles"): (_bundle, "BUNDLE", 422),
    ("POST", "/v1/tools"): (_tool, "TOOL", 422),
}


def test_every_mutating_route_has_its_line_here() -> None:
    """
    G14: a new route that may change something fails this test until somebody says which entry it leaves.
    """
    assert sorted(ACTS) == surface.mutating()


@pytest.mark.parametrize("route", ACTS, ids=lambda route: route[1])
def test_a_mutating_route_leaves_an_entry(story: Story, route: tuple[str, str]) -> None:
    """
    G14: used as it is meant, each mutating route leaves an entry of its kind before it answers.
    """
    act, kind, status = ACTS[route]

    answer = act(story)
    last = story.entries(after=max(0, story.size() - 3))

    assert answer.status == status, answer.document
    assert kind in [entry["kind"] for entry in last]


WRONG: dict[str, Any] = {"no object": b"[]", "no json": b"\xff", "another object": b'{"other":1}'}


@pytest.mark.parametrize("body", WRONG)
@pytest.mark.parametrize("route", ACTS, ids=lambda route: route[1])
def test_a_refused_use_leaves_an_entry_too(story: Story, route: tuple[str, str], body: str) -> None:
    """
    G12, G14: malformed bodies on a mutating route are refused, recorded with their reason, and never with their bytes.
    """
    method, path = route
    person = story.person("security")
    known = story.parked_refund().call
    before = story.size()

    answer = story.client.request(
        method,
        path.replace("{call}", known),
        person.token,
        body=WRONG[body],
        headers={"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(8)},
    )

    assert 400 <= answer.status < 500, answer.document
    assert eventually(lambda: story.size() > before)
    assert [entry["principal"] for entry in story.entries(after=before)] == [f"person/{person.id}"]


@pytest.mark.parametrize("route", ACTS, ids=lambda route: route[1])
def test_a_stranger_leaves_an_entry_of_nobodys_tenant(story: Story, route: tuple[str, str]) -> None:
    """
    G12: an unauthenticated attempt is noted on the chain of tenant `system`, without a principal.
    """
    method, path = route
    before = story.size("system")

    answer = story.client.request(method, surface.filled(path), "no.good.token", body={})

    assert answer.status == 401
    assert eventually(lambda: story.size("system") > before)
    entry = story.entries("system", after=before)[0]
    assert (entry["kind"], entry["reason"]) == ("NOTE", answer.reason)
    assert "principal" not in entry


def test_a_refusal_names_its_entry(story: Story) -> None:
    """
    G12: a refused call names the entry that records it, durable before the answer, with rules and checks.
    """
    answer = story.refund(story.person("growth").token, story.order(), 1_000)

    (entry,) = story.entries(after=answer.document["entry"] - 1)[:1]
    assert answer.status == 403
    assert (entry["kind"], entry["reason"], entry["call"]) == ("REFUSED", answer.reason, answer.call)


def test_a_flood_is_visible_without_filling_the_log(story: Story) -> None:
    """
    G12: of a flood of refused requests each is recorded up to a rate; what comes above is a counter's entry.
    """
    before = story.size("system")
    for _ in range(300):
        story.client.get("/v1/tools", "no.good.token")

    def counted() -> bool:
        return sum(entry["count"] for entry in story.entries("system", after=before) if entry["kind"] == "NOTE") >= 300

    # A counter is written when the next second's first note comes.
    assert eventually(lambda: story.client.get("/v1/tools", "no.good.token").status == 401 and counted())


def test_an_edit_that_is_refused_is_recorded(story: Story) -> None:
    """
    G12: an edit by somebody who may not edit is a REFUSED entry.
    """
    parked = story.parked_refund()

    answer = story.refund(story.agent(1).token, parked.order, 5_500, edits=parked.call)

    assert (answer.status, answer.reason) == (403, "edit_not_allowed")
    assert story.entries(after=answer.document["entry"] - 1)[0]["kind"] == "REFUSED"


def test_a_refused_verdict_is_recorded(story: Story) -> None:
    """
    G12: an approval with a bad signature is noted with its call and principal.
    """
    parked, approver = story.parked_refund(), story.person("finance", 2)
    document = signed(approver, parked.statement, "prod")
    before = story.size()

    answer = story.client.request("POST", f"/v1/calls/{parked.call}/approvals", approver.token, body=document)

    assert answer.reason == "signature_invalid"
    assert eventually(lambda: story.size() > before)
    entry = story.entries(after=before)[0]
    assert (entry["reason"], entry["call"]) == ("signature_invalid", parked.call)


def test_a_note_names_no_id_that_somebody_typed(story: Story) -> None:
    """
    G12, B07: what is refused before its call was found is noted without it: nobody writes an id of his choice into the
    log, another tenant's among them, nor makes a search find a call that there is not.
    """
    foreign, agent = story.parked_refund(tenant="globex").call, story.agent(1)
    before = story.size()

    answers = [
        story.client.request("POST", f"/v1/calls/{call}/{act}", agent.token, body={"text": 1})
        for call in (foreign, "call_" + "0" * 32)
        for act in ("approvals", "rejections", "feedback")
    ]
    looked = story.client.get(f"/v1/calls/{foreign}/packet", agent.token)

    assert [answer.status for answer in answers] == [403, 403, 422] * 2
    assert looked.status == 403
    assert eventually(lambda: story.size() >= before + 7)
    assert [entry for entry in story.entries(after=before) if "call" in entry] == []
