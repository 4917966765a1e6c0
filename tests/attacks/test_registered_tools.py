"""Tools declared while the gateway runs: governed from the first call on, reached nowhere but where settings allow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from deploy.demo.client import Answer, Client
from tests.world import foreign
from tests.world import sink as sinks
from tests.world.sink import Sink
from tests.world.stories import Story

TENANT = "globex"
DECLARATION = foreign.TOOL.replace("NAME", "send_parcel")


@dataclass(frozen=True, slots=True)
class Registered:
    """A tool on its way into force, and what was met before it was there."""

    story: Story
    sink: Sink
    digest: str
    unknown: Answer
    uploaded: Answer
    still_unknown: Answer
    registered: Answer


def upload(story: Story, declaration: str) -> Answer:
    """Hand a declaration in."""
    token = story.person("security", 1, TENANT).token
    return story.client.request("POST", "/v1/tools", token, body=declaration.encode())


def parcel(story: Story, token: str, number: int, grams: int, **members: str) -> Answer:
    """Ask for a parcel."""
    arguments = {"parcel_id": f"par_{number}", "weight_grams": grams}
    return story.client.call(token, "send_parcel", arguments, reason="goodwill", **members)


def register(story: Story, digest: str) -> Answer:
    """Ask for the registration, with two persons' approvals."""
    people = [story.person("security", 2, TENANT), story.person("founder", 1, TENANT)]
    security = story.person("security", 1, TENANT)
    return story.client.governed(security, people, "register_tool", {"digest": digest}, "new_tool")


@pytest.fixture(scope="module")
def tool(story: Story) -> Iterator[Registered]:
    """A second gateway of the same world that may reach the sink, and a tool of the other tenant registered in it."""
    with sinks.listening() as sink:
        gateway = story.world.gateway(settings={"LOCKGATE_DEV_LOOPBACK_ORIGINS": json.dumps([sink.origin])})
        inside = Story(story.world, Client(gateway.url), story._numbers)
        commerce = inside.person("commerce", 1, TENANT).token
        unknown = parcel(inside, commerce, 1, 100)
        uploaded = upload(inside, DECLARATION.replace("ORIGIN", sink.origin))
        assert uploaded.status == 201, uploaded.document
        still = parcel(inside, commerce, 1, 100)
        digest = str(uploaded.document["digest"])
        yield Registered(inside, sink, digest, unknown, uploaded, still, register(inside, digest))
        gateway.stop()


def test_a_tool_is_unknown_until_two_persons_admitted_it(tool: Registered) -> None:
    """
    Uploading registers nothing: the tool is 404 until `register_tool` has put the next schema into force.
    """
    assert [(each.status, each.reason) for each in (tool.unknown, tool.still_unknown)] == [(404, "unknown_tool")] * 2
    assert tool.uploaded.document["passed"] is True
    assert (tool.registered.status, tool.registered.document["status"]) == (200, "executed")
    assert tool.registered.document["result"]["tool"] == "send_parcel"


def test_a_registered_tool_is_called_through_the_whole_line(tool: Registered) -> None:
    """
    A14: a permitted call reaches the tool once, with effect id, fence and deadline, and without the caller's token.
    """
    story, sink = tool.story, tool.sink
    commerce = story.person("commerce", 1, TENANT)
    sink.answer = {"parcel_id": "par_2"}

    done = parcel(story, commerce.token, 2, 100, key="parcel-two")
    again = parcel(story, commerce.token, 2, 100, key="parcel-two")

    (request,) = [each for each in sink.received if each.headers["idempotency-key"] == done.call]
    assert (done.status, done.document["status"], again.headers["idempotency-replayed"]) == (200, "executed", "true")
    assert request.body["arguments"] == {"parcel_id": "par_2", "weight_grams": 100}
    assert {"lockgate-fence", "lockgate-deadline", "lockgate-tenant"} <= request.headers.keys()
    assert "authorization" not in request.headers
    assert commerce.token not in str(sink.received)


def test_a_registered_tool_is_governed_by_its_contract(tool: Registered) -> None:
    """
    Risk, approver and autonomy of the declaration hold at once: R2 waits for commerce, other roles are refused.
    """
    story, sink = tool.story, tool.sink
    received = len(sink.received)

    heavy = parcel(story, story.person("commerce", 1, TENANT).token, 3, 9_000)
    agent = parcel(story, story.world.cast.issuer.agent(TENANT, "agent-parcels", ["send_parcel"]), 4, 100)
    finance = parcel(story, story.person("finance", 1, TENANT).token, 5, 100)
    misfit = parcel(story, story.person("commerce", 1, TENANT).token, 6, 90_000)

    assert [answer.status for answer in (heavy, agent, finance, misfit)] == [202, 202, 403, 422]
    assert heavy.document["needs"] == agent.document["needs"] == [{"role": "commerce", "persons": 1}]
    assert len(sink.received) == received


def test_a_registered_tool_belongs_to_its_tenant(tool: Registered) -> None:
    """
    B01: the other tenant neither sees nor calls nor registers it.
    """
    story = tool.story
    security = story.person("security", 1, "acme")

    called = parcel(story, story.person("commerce", 1, "acme").token, 7, 100)
    seen = story.client.get("/v1/tools/send_parcel", security.token)
    registered = story.client.call(security.token, "register_tool", {"digest": tool.digest}, reason="new_tool")

    assert (called.status, seen.status) == (404, 404)
    assert (registered.status, registered.reason) == (403, "fact_missing")


def test_an_answer_of_another_shape_leaves_the_outcome_open(tool: Registered) -> None:
    """
    F09: a tool that answers something else than it declared is in doubt, never executed, and its words go nowhere.
    """
    story, sink = tool.story, tool.sink
    sink.answer = {"parcel_id": "par_8", "secret": "canary-of-a-tool"}

    answer = parcel(story, story.person("commerce", 1, TENANT).token, 8, 100)

    assert (answer.status, answer.reason) == (504, "in_doubt")
    assert (
        "canary-of-a-tool"
        not in story.client.text(f"/v1/calls/{answer.call}", story.person("operator", 1, TENANT).token).decode()
    )


def test_a_replay_shows_what_the_reader_may_see_now(tool: Registered) -> None:
    """
    H07: the stored answer to a key, read again under a token without the role, has tokens for what the role saw, and so
    has a look at the call; whom the rules would refuse by now is refused; with the roles again it is as it was.
    """
    story, sink = tool.story, tool.sink
    declared = (
        DECLARATION.replace("ORIGIN", sink.origin)
        .replace("send_parcel", "send_postcard")
        .replace("visible_to:\n", "visible_to:\n  personal: [operator]\n")
        .replace("reason_codes:", "  recipient: {kind: text, label: personal, length_max: 100}\nreason_codes:")
    )
    registered = register(story, str(upload(story, declared).document.get("digest")))
    assert registered.document["status"] == "executed", registered.document
    person = story.hire("commerce", "operator", tenant=TENANT)
    sink.answer = {"parcel_id": "par_9", "recipient": "Ada Canary"}

    def ask(token: str) -> Answer:
        arguments = {"parcel_id": "par_9", "weight_grams": 100}
        return story.client.call(token, "send_postcard", arguments, reason="goodwill", key="letter-nine")

    first = ask(person.token)
    reduced = story.token(person.id, ["commerce"], TENANT)
    looked, replayed = story.client.get(f"/v1/calls/{first.call}", reduced), ask(reduced)
    refused = ask(story.token(person.id, ["growth"], TENANT))
    restored = ask(story.token(person.id, ["commerce", "operator"], TENANT))

    assert (first.status, first.document["result"]["recipient"]) == (200, "Ada Canary")
    assert (replayed.status, replayed.headers["idempotency-replayed"]) == (200, "true")
    assert all(answer.document["result"]["recipient"].startswith("tok_") for answer in (looked, replayed))
    assert (refused.status, refused.reason, "result" in refused.document) == (403, "no_longer_permitted", False)
    assert restored.document["result"] == first.document["result"]
    assert len([each for each in sink.received if each.headers["idempotency-key"] == first.call]) == 1


def test_a_tool_is_registered_once(tool: Registered) -> None:
    """
    Registering the same declaration again fails definitely; the revision stays.
    """
    again = register(tool.story, tool.digest)

    assert again.document["status"] in {"failed", 403}
    assert again.document.get("reason") in {"tool_known", "not_proved", "policy_denied", "invariant_violated"}


UNUSABLE = {
    "limit": """limits:
  parcels: {key: tenant, amount: context.arguments.nothing, ceiling: "5", window: day}
risk: "1\"""",
    "approvals": "risk: if context has approvals.finance then 1 else 3",
    "itself": "risk: if context.risk == 0 then 1 else 2",
    "syntax": "risk: 1 }; permit (principal, action, resource) when { 1",
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_tool_that_could_not_run_is_refused_when_it_is_uploaded(story: Story, name: str) -> None:
    """
    Once registered it would keep the rules of its tenant from being loaded, and a gateway from starting.
    """
    risk = "risk: if context.arguments.weight_grams > 5000 then 2 else 1"
    declared = DECLARATION.replace(risk, UNUSABLE[name]).replace("send_parcel", f"send_{name}")

    answer = upload(story, declared.replace('"ORIGIN"', "backoffice"))

    assert (answer.status, answer.reason) == (422, "tool_refused")
    assert answer.document["stage"] in {"review", "counters", "proof"}


ORIGINS = [
    "http://169.254.169.254:80",
    "http://[::1]:80",
    "http://0.0.0.0:80",
    "http://localhost:80",
    "http://2130706433:80",
    "http://0x7f000001:80",
    "http://127.1:80",
    "http://127.0.0.1@evil.example:80",
    "https://127.0.0.1:80",
    "file:///etc/passwd",
    "gopher://127.0.0.1:70",
    "http://127.0.0.1:80/path",
    "http://127.0.0.1.:80",
    "http://[::ffff:127.0.0.1]:80",
    "http://[::ffff:7f00:1]:80",
    "http://[::]:80",
    "http://0:80",
    "http://0177.0.0.1:80",
    "http://017700000001:80",
    "http://0x7f.0.0.1:80",
    "http://127.0.0.1:080",
    "http://127.0.0.1:0",
    "http://127.0.0.1:65536",
    "http://127.0.0.1",
    "http://127.0.0.1:80#@evil.example",
    "http://127.0.0.1:80?x",
    "http://127.0.0.1:80\\\\@evil.example",
    "http://evil.example@127.0.0.1:80",
    "http://\u2460\u2461\u2466.0.0.1:80",
    "http://xn--lcalhost-c0a:80",
    "http://metadata.google.internal:80",
    "HTTP://127.0.0.1:80",
    " http://127.0.0.1:80",
    "//127.0.0.1:80",
    "ftp://127.0.0.1:21",
    "dict://127.0.0.1:11211",
    "unix:/var/run/docker.sock",
    "http://" + "a" * 5_000 + ":80",
    "http://evil.example",
]


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_origin_is_a_name_of_the_settings_or_loopback(story: Story, origin: str) -> None:
    """
    J09: any other way to write an address is refused when the tool is uploaded.
    """
    answer = upload(story, DECLARATION.replace("ORIGIN", origin))

    assert (answer.status, answer.reason, answer.document["stage"]) == (422, "tool_refused", "read")


def test_an_origin_that_settings_do_not_name_is_refused(story: Story) -> None:
    """
    J09: a loopback port that no setting admits is refused at upload, and its listener hears nothing.
    """
    with sinks.listening() as sink:
        answer = upload(story, DECLARATION.replace("ORIGIN", sink.origin).replace("send_parcel", "send_elsewhere"))
        named = upload(story, DECLARATION.replace("ORIGIN", "nowhere").replace("send_parcel", "send_nowhere"))

        assert sink.received == []
    assert [(each.status, each.reason) for each in (answer, named)] == [(422, "tool_refused")] * 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("family: business", "family: governance"),
        ("name: send_parcel", "name: issue_refund"),
        ("name: send_parcel", "name: engage_kill"),
        ("kind: http,", "kind: ledger,"),
        ("path: /parcels", "path: /../parcels"),
        ("path: /parcels", 'path: "/parcels?x={parcel_id}"'),
        ("approver: commerce", "approver: auditor"),
        ("risk: if", "risk: principal.id + if"),
        ("effect: irreversible", "effect: harmless"),
        ("version: 1", "version: 1\nversion: 2"),
        ("version: 1", "version: &a [*a]"),
        ("version: 1", "version: !!python/object/apply:os.system [id]"),
        ("title: Send", "extra: 1\ntitle: Send"),
    ],
)
def test_a_declaration_that_oversteps_is_refused(story: Story, old: str, new: str) -> None:
    """
    What is registered at run time is a business tool over HTTP under a free name, in a document of one reading.
    """
    assert old in DECLARATION

    answer = upload(story, DECLARATION.replace("ORIGIN", "backoffice").replace(old, new, 1))

    assert (answer.status, answer.reason) == (422, "tool_refused")


def test_a_limit_that_cannot_be_kept_is_refused(tool: Registered) -> None:
    """
    Two tools that reserve from one counter in flight against different ceilings: nobody could prove either.
    """
    shared = DECLARATION.replace("send_parcel", "lend_money").replace("ORIGIN", tool.sink.origin)
    shared += """\
facts:
  order:
    path: /facts/order/{parcel_id}
    age_seconds_max: 10
    fields:
      paid_cents: {kind: integer, minimum: 0, maximum: 1000000}
limits:
  order_in_flight:
    key: "order:{order_id}"
    amount: context.arguments.weight_grams
    ceiling: context.facts.order.paid_cents
    since: order
    shows: order.in_flight_cents
"""
    shared = shared.replace("parcel_id", "order_id").replace("Parcel", "Order").replace("prefix: par", "prefix: ord")

    answer = upload(tool.story, shared)

    assert (answer.status, answer.reason, answer.document.get("stage")) == (422, "tool_refused", "counters")
    assert {each["reason"] for each in answer.document["findings"]} == {"ceilings_differ"}


def test_who_does_not_govern_uploads_no_tool(story: Story) -> None:
    """
    A12: only security and founder upload declarations.
    """
    answer = story.client.request(
        "POST", "/v1/tools", story.person("operator", 1, TENANT).token, body=DECLARATION.encode()
    )

    assert (answer.status, answer.reason) == (403, "role_missing")


def test_a_call_parked_before_a_newer_version_is_presented_again_and_approved(tool: Registered) -> None:
    """
    E07: a newer version is another tool: no statement of the former is offered or taken; presented again, it is
    approved.
    """
    story, sink = tool.story, tool.sink
    asks, approver = story.person("commerce", 1, TENANT), story.person("commerce", 2, TENANT)
    parked = parcel(story, asks.token, 77, 6_000, key="parcel-of-two-versions")
    newer = upload(story, DECLARATION.replace("ORIGIN", sink.origin).replace("version: 1", "version: 2"))
    registered = register(story, str(newer.document.get("digest")))

    found = story.client.get(f"/v1/calls/{parked.call}", approver.token)
    stale = story.client.approve(approver, parked)
    again = parcel(story, asks.token, 77, 6_000, key="parcel-of-two-versions")
    shown = story.client.get(f"/v1/calls/{parked.call}", approver.token)
    given = story.client.approve(approver, shown)
    sink.answer = {"parcel_id": "par_77"}
    done = story.client.call(
        asks.token,
        "send_parcel",
        {"parcel_id": "par_77", "weight_grams": 6_000},
        reason="goodwill",
        key="parcel-of-two-versions",
        approvals=[str(given.document.get("approval"))],
    )

    assert (parked.status, registered.document["status"]) == (202, "executed"), registered.document
    assert found.document["present_again"] is True
    assert "statement" not in found.document
    assert (stale.status, stale.reason) == (409, "approval_stale")
    assert (again.status, again.call) == (202, parked.call)
    assert shown.document["statement"] == again.document["statement"]
    assert shown.document["statement"]["tool"] == newer.document["digest"]
    assert given.status == 201, given.document
    assert (done.status, done.document["status"]) == (200, "executed")
