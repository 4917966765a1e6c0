"""Two tenants with the same names in them: no id, page, log or approval of one is anything to the other."""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from deploy.demo.client import signed
from policies import bundles
from policies.bundles import Manifest
from proofs import verify
from proofs.keys import KeyRing
from tests.world import surface
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


NAMED = [
    (method, path) for method, path in surface.guarded() if {"{call}", "{digest}", "{agent}"} & set(path.split("/"))
]


@pytest.fixture(scope="module")
def foreign_ids(story: Story) -> dict[str, list[str]]:
    """
    Ids of the other tenant by the member of a path that takes them, and one that nobody has.
    """
    done = story.refund(story.person("finance", 1, THEIRS).token, story.order(tenant=THEIRS), 1_000)
    parked = story.parked_refund(tenant=THEIRS)
    return {
        "{call}": [parked.call, done.call, "call_" + "0" * 32],
        "{digest}": [foreign_bundle(story), "sha256:" + "0" * 64],
        "{agent}": [story.agent(2, tenant=THEIRS).id, "agent-nobody"],
    }


def foreign_bundle(story: Story) -> str:
    """The digest of a bundle that the other tenant uploads."""
    now = datetime.now(UTC).replace(microsecond=0)
    manifest = Manifest(
        tenant=THEIRS, environment="dev", revision=9_000, created_at=now, not_after=now + timedelta(days=1)
    )
    raw = bundles.sign(bundles.compose(bundles.base(), manifest), story.world.cast.bundle_key).raw
    answer = story.client.request("POST", "/v1/bundles", story.person("security", 1, THEIRS).token, body=raw)
    assert answer.status == 201, answer.document
    return str(answer.document["digest"])


@pytest.mark.parametrize(("method", "path"), NAMED)
def test_no_route_tells_a_foreign_id_from_a_random_one(
    story: Story, foreign_ids: dict[str, list[str]], method: str, path: str
) -> None:
    """
    B01: whatever route takes an id, enumerated, and whoever asks: the other tenant's is answered like one that nobody
    has, byte for byte.
    """
    (taken,) = (foreign_ids[part] for part in path.split("/") if part in foreign_ids)
    tokens = [story.person(role, 1, OURS).token for role in (*ROLES, "growth")]
    tokens.append(story.world.cast.agent(OURS, 3).token)

    for token in tokens:
        answers = [
            story.client.request(method, re.sub(r"\{\w+\}", each, path), token, body={} if method == "POST" else None)
            for each in taken
        ]
        assert len({(answer.status, json.dumps(answer.document)) for answer in answers}) == 1, answers
        assert answers[0].status in {403, 404, 422}


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
    # What a counter-example speaks of (`ord_1`) is nobody's.
    theirs = {name for name in OWN.findall(exports[THEIRS].decode()) if not name.endswith("_1")}

    assert {foreign.call, foreign.order} <= theirs
    assert len(theirs) > 20
    # What a call was asked for is kept with it, also where a test typed an id of the other tenant; nothing else is.
    rest = b"\n".join(line for line in exports[OURS].splitlines() if b'"arguments":' not in line)
    assert b'"kind":"NOTE"' in rest
    assert [name for name in theirs if name.encode() in rest] == []
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


def test_an_erasure_reaches_ones_own_tenant(story: Story) -> None:
    """
    B01: erasing a person of another tenant is erasing nobody, and what is kept about them there still stands.
    """
    user = story.state("users", THEIRS)[0]["id"]
    operator, auditor = story.person("operator", 1, THEIRS), story.person("auditor", 1, THEIRS)
    done = story.client.call(operator.token, "revoke_push_tokens", {"user_id": user}, reason="user_request")

    def told() -> set[bytes]:
        return {
            each for each in story.client.text("/v1/audit/export", auditor.token).splitlines() if user.encode() in each
        }

    kept = told()
    erased = story.govern("erase_subject", {"subject": user}, "subject_request", OURS)

    assert done.status == 200
    assert erased.document["result"]["payloads_erased"] == 0
    assert kept
    assert kept <= told()  # What a confirming read says comes later.


def test_requests_of_two_tenants_side_by_side_stay_apart(story: Story) -> None:
    """
    B02: 200 requests of each tenant interleaved, a third of them given up half way: no answer holds anything of the
    other tenant.
    """
    orders = {tenant: story.order(tenant=tenant) for tenant in (OURS, THEIRS)}
    own = {
        tenant: story.refund(story.person("finance", 1, tenant).token, order, 1_000).call
        for tenant, order in orders.items()
    }
    draw = random.Random(2)

    async def ask(client: httpx2.AsyncClient, number: int) -> tuple[str, str]:
        tenant = (OURS, THEIRS)[number % 2]
        headers = {"Authorization": f"Bearer {story.person('auditor', 1, tenant).token}"}
        if number % 4 < 2:
            path = draw.choice([f"/v1/calls/{own[tenant]}", "/v1/calls", "/v1/audit/entries"])
            asked = client.get(path, headers=headers)
        else:
            body = {"tool": "get_order", "arguments": {"order_id": orders[tenant]}}
            asked = client.post("/v1/calls", headers=headers, json=body)
        seconds = draw.uniform(0, 0.05) if number % 3 == 0 else 30
        try:
            return tenant, (await asyncio.wait_for(asked, seconds)).text
        except TimeoutError:
            return tenant, ""

    async def crowd() -> list[tuple[str, str]]:
        base = story.client._http.base_url
        limits = httpx2.Limits(max_connections=40)
        async with httpx2.AsyncClient(base_url=base, trust_env=False, limits=limits, timeout=30) as client:
            return list(await asyncio.gather(*(ask(client, number) for number in range(400))))

    told = asyncio.run(crowd())

    names = {tenant: {own[tenant], orders[tenant], f'"tenant":"{tenant}"'} for tenant in own}
    assert sum(bool(text) for _, text in told) > 200
    assert any(own[tenant] in text for tenant, text in told)
    for tenant, text in told:
        (other,) = own.keys() - {tenant}
        assert [name for name in names[other] if name in text] == []


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
