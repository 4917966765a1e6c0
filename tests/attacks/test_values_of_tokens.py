"""Agents work with people's data without seeing it: tokens become values for one tool, in one dispatch."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from deploy.demo.client import Answer, Client
from gateway.tokens import TOLD_AFTER_SECONDS
from tests.world import sink as sinks
from tests.world.acts import query
from tests.world.sink import Received, Sink
from tests.world.stories import Story, eventually
from tool_registry import declarations, digests
from tool_registry.documents import DeclarationError
from tool_registry.registry import Registry

TENANT = "globex"
FAST = {"LOCKGATE_LEASE_GRACE_MS": "500", "LOCKGATE_SWEEP_SECONDS": "0.2"}
READ = """\
name: get_contact
version: 1
title: Show how a contact is reached.
family: business
effect: read
resource_type: Contact
resource_argument: contact_id
arguments:
  contact_id: {kind: identifier, prefix: con}
result:
  contact_id: {kind: identifier, prefix: con}
  name: {kind: text, label: personal, length_max: 100}
  address: {kind: text, label: personal, length_max: 100}
  nickname: {kind: text, label: secret, length_max: 100}
reason_codes: [monitoring]
risk: "0"
approver: operator
visible_to:
  internal: [agents, operator, commerce, auditor]
  personal: [operator]
is_idempotent: true
connector: {kind: http, origin: "ORIGIN", method: GET, path: /contact}
"""
WRITE = """\
name: send_notice
version: 1
title: Send a contact a notice.
family: business
effect: irreversible
resource_type: Notice
resource_argument: notice_id
arguments:
  notice_id: {kind: identifier, prefix: ntc}
  to: {kind: text, label: personal, length_max: 60, resolves: true, pattern: '[^@\\s]+@[^@\\s]+'}
  greeting: {kind: text, label: personal, length_max: 60, resolves: true, optional: true}
  text: {kind: text, label: personal, length_max: 200, optional: true}
  copies: {kind: integer, minimum: 1, maximum: 9}
result:
  notice_id: {kind: identifier, prefix: ntc}
  sent_to: {kind: text, label: personal, length_max: 100, optional: true}
reason_codes: [goodwill]
risk: if context.arguments.copies > 5 then 2 else 1
approver: commerce
visible_to:
  internal: [agents, operator, commerce, auditor]
  personal: [operator]
is_idempotent: true
is_fenced: true
deadline_ms: 1000
connector: {kind: http, origin: "ORIGIN", path: /notices}
"""


@dataclass(slots=True)
class Office:
    """A gateway with a read that shows tokens and a tool that is given what they stand for."""

    story: Story
    sink: Sink
    agent: str
    """The bearer token of an agent of L3."""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def contact(self, address: str = "", name: str = "Ada Canary") -> str:
        """A contact that the business knows."""
        contact = f"con_{next(self.numbers)}"
        self.know(contact, address or f"{contact}@canary.example", name)
        return contact

    def know(self, contact: str, address: str, name: str = "Ada Canary") -> None:
        """What the business says of a contact from now on."""
        page = {"contact_id": contact, "name": name, "address": address, "nickname": "the canary"}
        self.sink.pages[f"/contact?contact_id={contact}"] = page

    def look(self, contact: str, token: str = "") -> dict[str, Any]:
        """What a reader sees of a contact."""
        answer = self.story.client.call(token or self.agent, "get_contact", {"contact_id": contact})
        assert answer.status == 200, answer.document
        return dict(answer.document["result"])

    def send(self, to: str, *, token: str = "", copies: int = 1, notice: str = "", **members: Any) -> Answer:
        """Ask for a notice."""
        notice = notice or f"ntc_{next(self.numbers)}"
        more = {name: members.pop(name) for name in ("greeting", "text") if name in members}
        self.sink.pages["/notices"] = {"notice_id": notice}
        arguments = {"notice_id": notice, "to": to, "copies": copies, **more}
        return self.story.client.call(token or self.agent, "send_notice", arguments, reason="goodwill", **members)

    def sent(self) -> list[Received]:
        """Notices that reached the tool."""
        return [each for each in self.sink.received if each.path == "/notices"]


def register(story: Story, declaration: str, origin: str) -> None:
    """Put a tool into force."""
    declared = declaration.replace("ORIGIN", origin).encode()
    uploaded = story.client.request("POST", "/v1/tools", story.person("security", 1, TENANT).token, body=declared)
    assert uploaded.status == 201, uploaded.document
    story.govern("register_tool", {"digest": uploaded.document["digest"]}, "new_tool", TENANT)


@pytest.fixture(scope="module")
def office(story: Story) -> Iterator[Office]:
    """A second gateway of the same world that may reach the sink."""
    with sinks.listening() as sink:
        settings = {"LOCKGATE_DEV_LOOPBACK_ORIGINS": json.dumps([sink.origin]), **FAST}
        gateway = story.world.gateway(settings=settings)
        inside = Story(story.world, Client(gateway.url))
        for declaration in (READ, WRITE):
            register(inside, declaration, sink.origin)
        tools = ["get_contact", "send_notice", "get_user_360"]
        agent = story.world.cast.issuer.agent(TENANT, "agent-letters", tools)
        level = {"agent": "agent-letters", "action": "*", "level": 3}
        inside.govern("set_autonomy", level, "new_agent", TENANT)
        yield Office(inside, sink, agent)
        gateway.stop()


def kept(office: Office) -> str:
    """Everything that outlasts a call: the log of every gateway, figures, and the tenant's export with its payloads."""
    story = office.story
    logs = "".join(path.read_text() for path in story.world.home.glob("*.log"))
    export = story.client.text("/v1/audit/export", story.person("auditor", 1, TENANT).token).decode()
    return logs + story.client.text("/metrics").decode() + export


def test_a_tool_is_given_what_an_agent_never_saw(office: Office) -> None:
    """
    The agent sees a token and sends it back; the tool receives the address, and everybody else keeps the token.
    """
    contact = office.contact()
    seen = office.look(contact)

    done = office.send(seen["address"], greeting=seen["name"])
    looked = office.story.client.get(f"/v1/calls/{done.call}", office.story.person("operator", 1, TENANT).token)

    assert (done.status, done.document["status"]) == (200, "executed")
    assert office.sent()[-1].body["arguments"] | {"notice_id": ""} == {
        "notice_id": "", "to": f"{contact}@canary.example", "greeting": "Ada Canary", "copies": 1,
    }  # fmt: skip
    assert seen["address"].startswith("tok_")
    assert looked.document["arguments"]["to"] == seen["address"]
    assert f"{contact}@canary" not in str(done.document) + str(looked.document) + kept(office)
    assert "Ada Canary" not in str(done.document) + str(looked.document) + kept(office)
    assert f'"to":"{seen["address"]}"' in kept(office)


def test_whoever_may_see_the_value_may_send_it(office: Office) -> None:
    """
    The argument takes the plain value too, which is hidden from the log as ever.
    """
    done = office.send("plain@canary.example")

    assert (done.status, office.sent()[-1].body["arguments"]["to"]) == (200, "plain@canary.example")
    assert "plain@canary.example" not in kept(office)


def lost(office: Office, why: str) -> str:
    """A token that stands for nothing that this argument takes, for one of the reasons that nobody is told."""
    contact = office.contact()
    seen = office.look(contact)
    match why:
        case "made up":
            return "tok_0123456789abcdef"
        case "hides a card":
            return "tok_4111111111111111"
        case "never shown":
            return str(office.look(office.contact(), office.story.person("operator", 1, TENANT).token)["nickname"])
        case "of another tenant":
            user = office.story.state("users", "acme")[0]["id"]
            agent = office.story.world.cast.agent("acme", 1).token
            return str(office.story.client.call(agent, "get_user_360", {"user_id": user}).document["result"]["email"])
        case "changed":
            office.know(contact, "moved@canary.example")
        case "gone":
            office.sink.pages[f"/contact?contact_id={contact}"] = 404
        case "erased":
            office.story.govern("erase_subject", {"subject": contact}, "subject_request", TENANT)
        case "of another shape":
            return str(seen["name"])
    return str(seen["address"])


LOST = ("made up", "hides a card", "never shown", "of another tenant", "changed", "gone", "erased", "of another shape")


@pytest.mark.parametrize("is_dry_run", [False, True], ids=["call", "dry run"])
def test_a_token_that_stands_for_nothing_does_not_say_why(office: Office, is_dry_run: bool) -> None:
    """
    H04: unknown, foreign, changed, gone, erased and unfit are one answer, after the same time, and no tool is asked.
    """
    headers = {"Prefer": "dry-run"} if is_dry_run else {}
    tokens = [lost(office, why) for why in LOST]
    received = len(office.sent())

    told, seconds = [], []
    for token in tokens:
        started = time.monotonic()
        answer = office.send(token, headers=headers)
        seconds.append(time.monotonic() - started)
        told.append((answer.status, {**answer.document, "call": "", "entry": 0, "instance": ""}))

    assert told[0][1]["reason"] == "token_unknown"
    assert told == [(422, told[0][1])] * len(LOST)
    assert min(seconds) >= TOLD_AFTER_SECONDS
    assert len(office.sent()) == received
    assert [token for token in tokens if token in str(told)] == []
    assert [token for token in tokens[:2] if token in kept(office)] == []


def test_an_erased_person_is_reached_by_no_token(office: Office) -> None:
    """
    G13: with the person's records go the places of their tokens; another look, while the business still knows them, is
    another look.
    """
    contact = office.contact()
    seen = office.look(contact)
    before = places(office, contact)

    office.story.govern("erase_subject", {"subject": contact}, "subject_request", TENANT)
    gone = office.send(seen["address"])
    after = places(office, contact)
    again = office.look(contact)
    sent = office.send(again["address"])

    assert len(before) == 2
    assert after == []
    assert (gone.status, gone.reason, sent.status) == (422, "token_unknown", 200)


def places(office: Office, contact: str) -> list[tuple[Any, ...]]:
    """Where the database says that something of a contact stands."""
    url = office.story.world.cluster.urls("lockgate").app
    rows = query(url, "select subject, tool, arguments, member from lockgate.token_places", TENANT)
    return [row for row in rows if contact in str(row)]


def test_a_refused_token_is_on_record(office: Office) -> None:
    """
    The refusal has an entry that names the reason and not the token.
    """
    answer = office.send("tok_00112233445566ff")

    (entry,) = [each for each in office.story.entries(TENANT) if each.get("call") == answer.call]
    assert (entry["kind"], entry["reason"]) == ("REFUSED", "token_unknown")
    assert "tok_00112233445566ff" not in kept(office)


def test_a_source_that_is_down_is_no_unknown_token(office: Office) -> None:
    """
    Doubt refuses in its own words: nothing happened, and the same call passes when the source is back.
    """
    contact = office.contact()
    token = office.look(contact)["address"]
    page = f"/contact?contact_id={contact}"
    office.sink.pages[page], known = 500, office.sink.pages[page]

    down = office.send(token, key="source-down", notice="ntc_down")
    office.sink.pages[page] = known
    back = office.send(token, key="source-down", notice="ntc_down")

    assert (down.status, down.reason, back.status) == (503, "source_unreachable", 200)


def test_a_token_where_nothing_resolves_is_text(office: Office) -> None:
    """
    In an argument that does not resolve, and inside other text, a token is the text that it is; where the argument has
    a form, other text around a token does not fit it.
    """
    token = office.look(office.contact())["address"]

    beside = office.send("plain@canary.example", text=token, greeting=f"mail {token}, please")
    inside = office.send(f"mail {token}")

    assert beside.status == 200
    assert office.sent()[-1].body["arguments"]["text"] == token
    assert office.sent()[-1].body["arguments"]["greeting"] == f"mail {token}, please"
    assert (inside.status, inside.reason) == (422, "contract_violated")


def test_a_tool_that_repeats_the_value_shows_a_token(office: Office) -> None:
    """
    What the tool answers is hidden from the agent by its label; whoever may know the person sees it.
    """
    contact = office.contact()
    token = office.look(contact)["address"]
    notice = "ntc_echo"
    office.sink.pages["/notices"] = {}

    def send() -> Answer:
        office.sink.pages["/notices"] = {"notice_id": notice, "sent_to": f"{contact}@canary.example"}
        arguments = {"notice_id": notice, "to": token, "copies": 1}
        return office.story.client.call(office.agent, "send_notice", arguments, reason="goodwill", key="echo")

    done = send()
    operator = office.story.client.get(f"/v1/calls/{done.call}", office.story.person("operator", 1, TENANT).token)

    assert done.document["result"]["sent_to"] == token
    assert operator.document["result"]["sent_to"] == f"{contact}@canary.example"
    assert f"{contact}@canary.example" not in kept(office)


def test_an_approval_is_bound_to_the_token(office: Office) -> None:
    """
    Approved is a notice to whoever one token stands for: another token is another call, the same one resolves anew.
    """
    story = office.story
    first, second = (office.look(office.contact())["address"] for _ in range(2))
    parked = office.send(first, copies=9, key="notice-parked", notice="ntc_parked")
    approval = story.client.approve(story.person("commerce", 1, TENANT), parked)
    given = [str(approval.document["approval"])]

    swapped = office.send(second, copies=9, key="notice-swapped", notice="ntc_parked", approvals=given)
    reused = office.send(second, copies=9, key="notice-parked", notice="ntc_parked", approvals=given)
    done = office.send(first, copies=9, key="notice-parked", notice="ntc_parked", approvals=given)

    assert (parked.status, approval.status) == (202, 201)
    assert (swapped.status, reused.status, done.status) == (202, 422, 200) or swapped.status == 403
    assert len([each for each in office.sent() if each.body["arguments"]["notice_id"] == "ntc_parked"]) == 1


def test_a_replay_sends_nothing_again(office: Office) -> None:
    """
    The first answer comes back without a look at the place, also when the place is gone.
    """
    contact = office.contact()
    token = office.look(contact)["address"]
    done = office.send(token, key="notice-twice", notice="ntc_twice")
    office.sink.pages[f"/contact?contact_id={contact}"] = 404

    again = office.send(token, key="notice-twice", notice="ntc_twice")

    assert (again.status, again.headers["idempotency-replayed"], again.call) == (200, "true", done.call)
    assert len([each for each in office.sent() if each.body["arguments"]["notice_id"] == "ntc_twice"]) == 1


@pytest.mark.parametrize("is_still_known", [True, False], ids=["known", "gone"])
def test_the_sweeper_resolves_again_or_leaves_it_to_a_person(office: Office, is_still_known: bool) -> None:
    """
    A call in doubt is sent again with what its token stands for then; a token that stands for nothing by then leaves it
    in doubt, and nothing is sent.
    """
    contact = office.contact()
    token = office.look(contact)["address"]
    notice = f"ntc_doubt{int(is_still_known)}"
    arguments = {"notice_id": notice, "to": token, "copies": 1}
    office.sink.pages["/notices"] = {"another": "shape"}

    doubt = office.story.client.call(office.agent, "send_notice", arguments, reason="goodwill")
    if not is_still_known:
        office.sink.pages[f"/contact?contact_id={contact}"] = 404
    office.sink.pages["/notices"] = {"notice_id": notice}

    def state() -> str:
        return str(office.story.client.get(f"/v1/calls/{doubt.call}", office.agent).document["status"])

    def sent() -> list[str]:
        bodies = [each.body["arguments"] for each in office.sent()]
        return [each["to"] for each in bodies if each["notice_id"] == notice]

    assert (doubt.status, doubt.reason) == (504, "in_doubt")
    if is_still_known:
        assert eventually(lambda: state() == "executed", 15)
        assert set(sent()) == {f"{contact}@canary.example"}
    else:
        assert not eventually(lambda: state() != "in_doubt", 4)
        assert len(sent()) == 1
        office.know(contact, f"{contact}@canary.example")


def test_places_hold_no_value(office: Office) -> None:
    """
    What is kept of a look is which tool, of what and which member; nothing is kept for whoever sees values anyway.
    """
    shown, unshown = office.contact(), office.contact()
    office.look(shown)
    office.look(unshown, office.story.person("operator", 1, TENANT).token)

    assert set(places(office, shown)) == {
        (shown, "get_contact", f'{{"contact_id":"{shown}"}}'.encode(), member) for member in ("name", "address")
    }
    assert places(office, unshown) == []
    assert "canary" not in str(places(office, shown))


UNSOUND = {
    "arguments.to.label": ("to: {kind: text, label: personal", "to: {kind: text, label: internal"),
    "arguments.to.length_max": ("length_max: 60, resolves: true, pattern", "length_max: 19, resolves: true, pattern"),
    "arguments.copies": ("copies: {kind: integer,", "copies: {kind: integer, resolves: true,"),
    "arguments.to.resolves": ('kind: http, origin: "ORIGIN", path: /notices', "kind: local"),
    "result.sent_to.label": ("sent_to: {kind: text, label: personal", "sent_to: {kind: text, label: internal"),
    "result.sent_to.resolves": ("sent_to: {kind: text,", "sent_to: {kind: text, resolves: true,"),
    "result.name.label": (
        "optional: true}\nreason",
        "optional: true}\n  name: {kind: identifier, pattern: a+}\nreason",
    ),
    "facts.copy.method": (
        "is_idempotent: true",
        "facts: {copy: {path: /copy, method: POST, age_seconds_max: 9, fields: {bans: {kind: flag}}}}",
    ),
}


@pytest.mark.parametrize("member", UNSOUND)
def test_a_tool_through_which_a_value_could_come_back_is_none(member: str) -> None:
    """
    Only a personal text of a write over HTTP resolves; no fact is computed from it, and no free member answers it.
    """
    old, new = UNSOUND[member]
    assert old in WRITE
    declarations.parse(WRITE.replace("ORIGIN", "backoffice").encode())

    with pytest.raises(DeclarationError) as caught:
        declarations.parse(WRITE.replace(old, new, 1).replace("ORIGIN", "backoffice").encode())
    assert caught.value.member.startswith(member)


def test_a_token_is_handed_on_only_where_it_resolves() -> None:
    """
    An undo whose argument takes the token for a value is refused; one that resolves it too is not.
    """
    sends = WRITE.replace("effect: irreversible", "effect: reversible").replace("ORIGIN", "backoffice")
    sends += "undo: {tool: recall_notice, arguments: {notice_id: arguments.notice_id, to: arguments.to}}\n"
    recalls = WRITE.replace("send_notice", "recall_notice").replace("ORIGIN", "backoffice")
    for gone in ("greeting", "text", "copies"):
        recalls = re.sub(rf"  {gone}: .*\n", "", recalls)
    recalls = re.sub("risk: .*", 'risk: "1"', recalls)

    Registry(declarations.parse(each.encode()) for each in (sends, recalls))
    with pytest.raises(DeclarationError, match=r"undo\.arguments\.to"):
        Registry(declarations.parse(each.encode()) for each in (sends, recalls.replace("resolves: true, ", "")))


def test_a_contract_that_resolves_nothing_keeps_its_digest() -> None:
    """
    E07: approvals and certificates of the release before bind contracts that knew nothing of tokens.
    """
    read = declarations.parse(READ.replace("ORIGIN", "backoffice").encode())

    assert "resolves" not in str(digests.document(read))
    assert "resolves" in str(digests.document(declarations.parse(WRITE.replace("ORIGIN", "backoffice").encode())))
