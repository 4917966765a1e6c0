"""Everything of one tenant that has an id, and requests in which somebody of another tenant could name it."""

from __future__ import annotations

import json
import random
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from deploy.demo.client import Answer, signed
from policies import bundles
from policies.bundles import Manifest
from tests.world import surface
from tests.world.sink import Sink
from tests.world.stories import AGENT_TOOLS, REASON, REFUND, Story

Unknown = Callable[[random.Random], str]
TOOL = """\
name: NAME
version: 1
title: Send a parcel to a customer.
family: business
effect: irreversible
resource_type: Parcel
resource_argument: parcel_id
arguments:
  parcel_id: {kind: identifier, prefix: par}
  weight_grams: {kind: integer, minimum: 1, maximum: 30000}
result:
  parcel_id: {kind: identifier, prefix: par}
reason_codes: [goodwill]
risk: if context.arguments.weight_grams > 5000 then 2 else 1
approver: commerce
visible_to:
  internal: [agents, operator, commerce, auditor]
is_idempotent: true
is_fenced: true
connector: {kind: http, origin: "ORIGIN", path: /parcels}
"""


def _hex(prefix: str, digits: int) -> Unknown:
    return lambda chance: prefix + f"{chance.getrandbits(4 * digits):0{digits}x}"


def _number(prefix: str) -> Unknown:
    return lambda chance: f"{prefix}_{chance.randrange(8_000, 9_999)}"


UNKNOWN: Mapping[str, Unknown] = {
    "call": _hex("call_", 32),
    "approval": _hex("appr_", 32),
    "digest": _hex("sha256:", 64),
    "key": _hex("key_", 16),
    "tool": _hex("send_", 4),
    "agent": _hex("agent-", 4),
    "correlation": _hex("inc-", 8),
    "order": _number("ord"),
    "user": _number("usr"),
    "subject": _hex("ord_", 12),
}
"""By kind of id, one that nobody has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """What one tenant has, by kind of id."""

    tenant: str
    ids: Mapping[str, tuple[str, ...]]
    statement: Mapping[str, Any]
    """Of its parked call."""
    token: str
    """In place of a value of its own, as its agents see it; empty where none was met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request that names an id, which stands in it as `{id}`."""

    kind: str
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The route, and what of it names the id."""
        tool = self.body.get("tool", "") if isinstance(self.body, dict) else ""
        return " ".join(filter(None, (self.method, self.path, tool, self.kind)))

    def send(self, client: httpx2.Client, token: str, name: str) -> httpx2.Response:
        """Ask for that id as the token's owner."""
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": secrets.token_hex(16), **self.headers}
        content = None if self.body is None else json.dumps(self.body).replace("{id}", name).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        return client.request(self.method, self.path.replace("{id}", name), headers=headers, content=content)


def belongings(story: Story, tenant: str, sink: Sink | None = None) -> Belongings:
    """Make one of everything for the tenant: calls in every state, a switch; with a sink, a bundle and a tool."""
    finance, correlation = story.person("finance", 1, tenant), f"inc-of-{tenant}-{secrets.token_hex(4)}"
    paid_back = story.order(tenant=tenant)
    done = story.refund(finance.token, paid_back, 100, headers={"X-Correlation-Id": correlation})
    refused = story.refund(story.person("growth", 1, tenant).token, story.order(tenant=tenant), 100)
    parked = story.parked_refund(tenant=tenant)
    approval = parked.approved_by(story.person("finance", 2, tenant))
    ended = story.parked_refund(tenant=tenant)
    story.client.request("POST", f"/v1/calls/{ended.call}/cancel", ended.token)
    uploads = [_bundle(story, tenant), _tool(story, tenant, sink)] if sink else []
    agent = f"agent-of-{tenant}"
    story.govern("set_autonomy", {"agent": agent, "action": "*", "level": 1}, "new_agent", tenant)
    _switch(story, tenant, agent)
    view = {"user_id": story.state("users", tenant)[0]["id"]}
    bot = story.world.cast.issuer.agent(tenant, agent, AGENT_TOOLS)
    seen = story.client.call(bot, "get_user_360", view, reason="verification").document
    named = [str(each.document[name]) for name in ("digest", "certificate") for each in uploads]
    ids = {
        "call": (parked.call, done.call, refused.call, ended.call),
        "approval": (approval,),
        "digest": tuple(named),
        "key": tuple(story.person(role, 2, tenant).key.key_id for role in ("finance", "founder")),
        "tool": (f"send_{tenant}",),
        "agent": (agent,),
        "correlation": (correlation,),
        "order": (parked.order, story.order(tenant=tenant)),
        "user": (view["user_id"],),
        "subject": (paid_back,),
    }
    found = re.search(r"tok_[a-z0-9_]+", json.dumps(seen))
    return Belongings(tenant=tenant, ids=ids, statement=parked.statement, token=found[0] if found else "")


def asks_by_path(story: Story, tenant: str, theirs: Belongings) -> Iterator[Ask]:
    """Every route with an id in its path, each with every kind of id that it could take; asked by `tenant`."""
    verdict = signed(story.person("finance", 1, tenant), theirs.statement, "dev")
    bodies: dict[str, Any] = {"approvals": verdict, "rejections": verdict, "feedback": {"text": "seen"}}
    kinds = {"{call}": "call", "{digest}": "digest", "{tool}": "tool", "{agent}": "agent"}
    for method, path in surface.guarded():
        for place in {*re.findall(r"\{\w+\}", path)}:
            body = bodies.get(path.rsplit("/", 1)[1], {}) if method == "POST" else None
            named = path.replace(place, "{id}")
            yield Ask(kind=kinds[place], method=method, path=named, body=body)
            for other in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - {method}:
                if (other, path) not in surface.guarded():
                    yield Ask(kind=kinds[place], method=other, path=named)


def asks_by_body(story: Story, tenant: str, theirs: Belongings) -> Iterator[Ask]:
    """Every route that takes an id in its body, as an argument, an approval, an edit, or an item of a batch."""
    own = {"order_id": story.order(tenant=tenant), "amount_cents": 100}
    verdict = signed(story.person("finance", 1, tenant), theirs.statement, "dev")
    dry = {"Prefer": "dry-run"}

    def call(kind: str, tool: str, arguments: Mapping[str, Any], reason: str = "", **members: Any) -> Ask:
        body: dict[str, Any] = {"tool": tool, "arguments": dict(arguments), **members}
        headers = dry if reason in {REASON, "goodwill"} and not members else {}
        return Ask(kind=kind, method="POST", path="/v1/calls", body={**body, "reason_code": reason}, headers=headers)

    yield call("approval", REFUND, own, REASON, approvals=["{id}"])
    yield call("call", REFUND, own, REASON, edits="{id}")
    yield call("order", REFUND, {"order_id": "{id}", "amount_cents": 100}, REASON)
    yield call("order", "get_order", {"order_id": "{id}"})
    yield call("user", "get_user_360", {"user_id": "{id}"}, "verification")
    yield call("tool", "{id}", {"parcel_id": "par_1", "weight_grams": 10}, "goodwill")
    yield call("call", "trace_lookup", {"correlation_id": "{id}"}, "investigation")
    yield call("correlation", "trace_lookup", {"correlation_id": "{id}"}, "investigation")
    for kind in ("call", "tool", "correlation"):
        yield call(kind, "search_audit_logs", {"query": f"{kind}:{{id}}"}, "investigation")
    yield call("digest", "publish_bundle", {"digest": "{id}"}, "policy_change")
    yield call("digest", "activate_bundle", {"digest": "{id}"}, "policy_change")
    yield call("digest", "register_tool", {"digest": "{id}"}, "new_tool")
    yield Ask(kind="call", method="POST", path="/v1/verdicts", body={"verdicts": [{"call": "{id}", **verdict}]})
    item = {"key": "k-1", "tool": "get_order", "arguments": {"order_id": "{id}"}}
    yield Ask(kind="order", method="POST", path="/v1/batches", body={"calls": [item]})


def acts(story: Story, tenant: str) -> Iterator[tuple[str, str, Mapping[str, Any], str]]:
    """(kind of id, tool, arguments, reason) of governed acts that end at an id, once two persons have approved them."""
    reasons = {
        name: story.client.get(f"/v1/tools/{name}", story.person("security", 1, tenant).token).document["reason_codes"]
        for name in ("settle_unknown", "revoke_key", "release_kill", "erase_subject")
    }
    yield "call", "settle_unknown", {"call": "{id}", "finding": "executed"}, reasons["settle_unknown"][0]
    yield "key", "revoke_key", {"key_id": "{id}"}, reasons["revoke_key"][0]
    yield "agent", "release_kill", {"scope": "agent", "target": "{id}"}, reasons["release_kill"][0]
    yield "subject", "erase_subject", {"subject": "{id}"}, reasons["erase_subject"][0]


def _tool(story: Story, tenant: str, sink: Sink) -> Answer:
    raw = TOOL.replace("NAME", f"send_{tenant}").replace("ORIGIN", sink.origin).encode()
    uploaded = story.client.request("POST", "/v1/tools", story.person("security", 1, tenant).token, body=raw)
    assert uploaded.status == 201, uploaded.document
    # Whoever uploaded it may not approve it; the second person of security and the founder do.
    people = [story.person("security", 2, tenant), story.person("founder", 1, tenant)]
    digest = {"digest": uploaded.document["digest"]}
    done = story.client.governed(story.person("security", 1, tenant), people, "register_tool", digest, "new_tool")
    assert done.document.get("status") == "executed", done.document
    return uploaded


def _bundle(story: Story, tenant: str) -> Answer:
    now = datetime.now(UTC).replace(microsecond=0)
    revision = 9_000 + secrets.randbelow(1_000)
    manifest = Manifest(
        tenant=tenant, environment="dev", revision=revision, created_at=now, not_after=now + timedelta(days=1)
    )
    raw = bundles.sign(bundles.compose(bundles.base(), manifest), story.world.cast.bundle_key).raw
    answer = story.client.request("POST", "/v1/bundles", story.person("security", 1, tenant).token, body=raw)
    assert answer.status == 201, answer.document
    return answer


def _switch(story: Story, tenant: str, agent: str) -> None:
    engaged = story.client.call(
        story.person("operator", 1, tenant).token,
        "engage_kill",
        {"scope": "agent", "target": agent, "reason": "somebody else's business"},
        reason="incident_response",
    )
    assert engaged.status == 200, engaged.document
