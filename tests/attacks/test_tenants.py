"""Two tenants with the same names in them: no id, page, log or approval of one is anything to the other."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest

from deploy.demo.client import signed
from proofs import verify
from proofs.keys import KeyRing
from tests.world.stories import Parked, Story

OURS, THEIRS = "acme", "globex"
OWN = re.compile(r'"(?:call|order_id|approval|call_digest|payload|root|salt|signature|nonce)":"([^"]+)"')
"""What one tenant alone has: bundles, tools, certificates and keys may be those of all."""


@pytest.fixture(scope="module")
def foreign(story: Story) -> Parked:
    """A parked call of the other tenant, approved but not yet presented."""
    parked = story.parked_refund(tenant=THEIRS)
    parked.approved_by(story.person("finance", 2, THEIRS))
    return parked


@pytest.fixture(scope="module")
def executed(story: Story) -> str:
    """An executed call of the other tenant."""
    done = story.refund(story.person("finance", 1, THEIRS).token, story.order(tenant=THEIRS), 1_000)
    assert done.document["status"] == "executed"
    return done.call


ROLES = ["operator", "finance", "security", "founder", "auditor"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/calls/{call}"),
        ("GET", "/v1/calls/{call}/explanation"),
        ("POST", "/v1/calls/{call}/approvals"),
        ("POST", "/v1/calls/{call}/rejections"),
        ("POST", "/v1/calls/{call}/cancel"),
        ("POST", "/v1/calls/{call}/undo"),
        ("POST", "/v1/calls/{call}/feedback"),
    ],
)
def test_a_call_of_another_tenant_is_an_unknown_call(
    story: Story, foreign: Parked, executed: str, role: str, method: str, path: str
) -> None:
    """
    B01: on every route, an id of the other tenant is the same 404 as a random one, parked or executed, for every role.
    """
    person = story.person(role, 1, OURS)
    bodies: dict[str, Any] = {"feedback": {"text": "hello"}, "undo": {}, "cancel": {}}
    body = bodies.get(path.rsplit("/", 1)[1], signed(person, foreign.statement, "dev"))

    answers = [
        story.client.request(
            method, path.replace("{call}", call), person.token, body=body if method == "POST" else None
        )
        for call in (foreign.call, executed, "call_" + "0" * 32)
    ]

    assert [answer.status for answer in answers] == [404] * 3
    assert answers[0].document == answers[1].document == answers[2].document


def test_an_agent_of_another_tenant_is_a_stranger_too(story: Story, foreign: Parked, executed: str) -> None:
    """
    B01: agents see their own calls alone, and the same 404 for everything else.
    """
    agent = story.world.cast.agent(OURS, 3)
    ours = story.refund(story.person("finance").token, story.order(), 1_000).call

    answers = [
        story.client.get(f"/v1/calls/{call}", agent.token)
        for call in (ours, foreign.call, executed, "call_" + "0" * 32, "nonsense")
    ]

    assert [answer.status for answer in answers] == [404] * 5
    assert len({json.dumps(answer.document) for answer in answers}) == 1


@pytest.mark.parametrize("act", ["cancel", "undo", "feedback"])
def test_an_agent_learns_nothing_of_calls_that_are_not_its_own(story: Story, act: str) -> None:
    """
    B01: cancelling, undoing or remarking on another principal's call is the 404 of an unknown one, for an agent.
    """
    agent, parked = story.agent(1), story.parked_refund()
    body = {"text": "x"} if act == "feedback" else {}

    answers = [
        story.client.request("POST", f"/v1/calls/{call}/{act}", agent.token, body=body)
        for call in (parked.call, "call_" + "0" * 32)
    ]

    assert [answer.status for answer in answers] == [404, 404]
    assert answers[0].document == answers[1].document


def test_listings_show_ones_own_tenant(story: Story, foreign: Parked, executed: str) -> None:
    """
    B01: calls, bundles and entries list nothing of the other tenant.
    """
    founder = story.person("founder", 1, OURS)

    pages = [
        story.client.text(path, founder.token)
        for path in ("/v1/calls", "/v1/calls?state=parked", "/v1/bundles", "/v1/audit/entries", "/v1/audit/export")
    ]

    assert all(page for page in pages)
    assert [page for page in pages if foreign.call.encode() in page or executed.encode() in page] == []


def test_an_export_holds_no_byte_of_another_tenant(story: Story, foreign: Parked) -> None:
    """
    B07: what one tenant's export names and digests is in no other; each export verifies by itself.
    """
    exports = {
        tenant: story.client.text("/v1/audit/export", story.person("auditor", 1, tenant).token)
        for tenant in (OURS, THEIRS)
    }
    keys = KeyRing.parse(story.client.text("/v1/keys"))
    ours, theirs = (set(OWN.findall(exports[tenant].decode())) for tenant in (OURS, THEIRS))

    assert {foreign.call, foreign.order} <= theirs
    assert len(theirs) > 20
    assert ours & theirs == set()
    assert [name for name in theirs if name.encode() in exports[OURS]] == []
    assert b'"tenant":"globex"' not in exports[OURS]
    assert all(verify.check(io.BytesIO(raw), keys).is_good for raw in exports.values())


def test_views_of_the_log_are_ones_own(story: Story, foreign: Parked) -> None:
    """
    B01: searching and tracing by the other tenant's call id find nothing.
    """
    auditor = story.person("auditor", 1, OURS)

    found = story.client.call(
        auditor.token, "search_audit_logs", {"query": f"call:{foreign.call}"}, reason="investigation"
    )
    traced = story.client.call(auditor.token, "trace_lookup", {"correlation_id": foreign.call}, reason="investigation")

    assert (found.status, traced.status) == (200, 200), (found.document, traced.document)
    assert found.document["result"]["entries"] == traced.document["result"]["entries"] == []


def test_an_order_of_another_tenant_is_no_order(story: Story) -> None:
    """
    B05, D03: facts are read as the token's tenant: the other's order is missing, and its money stays.
    """
    order = story.order(tenant=THEIRS)

    write = story.refund(story.person("finance", 1, OURS).token, order, 1_000)
    read = story.client.call(story.person("operator", 1, OURS).token, "get_order", {"order_id": order})

    assert (write.status, write.reason) == (403, "fact_missing")
    assert (read.status, read.reason) == (404, "unknown_subject")
    assert story.effects_on(order) == []


@pytest.mark.parametrize(
    ("tool", "arguments", "reason"),
    [
        ("publish_bundle", {"digest": "{digest}"}, "new_rules"),
        ("activate_bundle", {"digest": "{digest}"}, "new_rules"),
        ("settle_unknown", {"call": "{call}", "finding": "executed"}, "checked_at_source"),
        ("revoke_key", {"key_id": "{key}"}, "key_lost"),
    ],
)
def test_governance_reaches_ones_own_tenant(
    story: Story, foreign: Parked, tool: str, arguments: dict[str, str], reason: str
) -> None:
    """
    B01: bundles, calls and keys of another tenant are neither published nor settled nor revoked from here.
    """
    known = story.client.get("/v1/bundles", story.person("founder", 1, "system").token).document["bundles"]
    values = {
        "{digest}": known[0]["digest"],
        "{call}": foreign.call,
        "{key}": story.person("finance", 2, THEIRS).key.key_id,
    }
    filled = {name: values.get(value, value) for name, value in arguments.items()}
    codes = story.client.get(f"/v1/tools/{tool}", story.person("security").token).document["reason_codes"]
    people = [story.person("security", 2), story.person("founder", 1)]

    answer = story.client.governed(
        story.person("security"), people, tool, filled, reason if reason in codes else codes[0]
    )

    assert (answer.status, answer.document.get("status")) in {(200, "failed"), (403, 403)}
    assert story.client.get(f"/v1/calls/{foreign.call}", foreign.token).document["status"] == "parked"
    assert story.client.approve(story.person("finance", 2, THEIRS), foreign.answer).status == 201


def test_the_same_key_of_two_tenants_is_two_keys(story: Story) -> None:
    """
    F14: the same idempotency key of another tenant or principal is independent, and shows nothing of the first.
    """
    key = "shared-key-of-two-tenants"
    first = story.refund(story.person("finance", 1, OURS).token, story.order(), 1_100, key=key)
    others = [
        story.refund(story.person("finance", 1, THEIRS).token, story.order(tenant=THEIRS), 1_100, key=key),
        story.refund(story.hire("finance").token, story.order(), 1_100, key=key),
    ]

    assert first.document["status"] == "executed"
    assert [answer.document["status"] for answer in others] == ["executed"] * 2
    assert len({first.call, *(answer.call for answer in others)}) == 3
    assert all("idempotency-replayed" not in answer.headers for answer in others)
