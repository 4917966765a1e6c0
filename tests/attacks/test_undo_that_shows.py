"""Undo as a way round labels: what a call hides from somebody is not shown to them as an argument of its undo."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from deploy.demo.client import Answer, Client
from tests.world import sink as sinks
from tests.world.sink import Sink
from tests.world.stories import Story
from tool_registry import declarations
from tool_registry.documents import DeclarationError
from tool_registry.registry import Registry

TENANT = "globex"
SENDS = """\
name: send_courier
version: 1
title: Send a courier to a customer.
family: business
effect: reversible
resource_type: Parcel
resource_argument: parcel_id
arguments:
  parcel_id: {kind: identifier, prefix: par}
  to: {kind: text, label: personal, length_max: 60}
result:
  parcel_id: {kind: identifier, prefix: par}
  courier: {kind: text, label: personal, length_max: 60}
reason_codes: [goodwill]
risk: "1"
approver: commerce
visible_to:
  internal: [agents, operator, commerce, auditor]
  personal: [operator]
undo: {tool: recall_courier, arguments: {parcel_id: arguments.parcel_id, courier: result.courier}}
is_idempotent: true
is_fenced: true
connector: {kind: http, origin: "ORIGIN", path: /couriers}
"""
RECALLS = """\
name: recall_courier
version: 1
title: Call a courier back.
family: business
effect: irreversible
resource_type: Parcel
resource_argument: parcel_id
arguments:
  parcel_id: {kind: identifier, prefix: par}
  courier: {kind: text, label: personal, length_max: 60}
result:
  parcel_id: {kind: identifier, prefix: par}
reason_codes: [undo]
risk: "1"
approver: commerce
visible_to:
  internal: [agents, operator, commerce, auditor]
  personal: [operator]
is_idempotent: true
is_fenced: true
connector: {kind: http, origin: "ORIGIN", path: /recalls}
"""
TAKES = "courier: result.courier}"
LETTERS = SENDS.replace("send_courier", "send_letter").replace(TAKES, "courier: arguments.to}")
"""A tool whose undo takes what its caller wrote."""
TO_ARGUMENT, FACT = "courier: arguments.to}", "courier: facts.courier.courier_id}"
FACTS = """\
facts:
  courier:
    path: /facts/courier/{parcel_id}
    age_seconds_max: 9
    fields: {courier_id: {kind: identifier, pattern: "[a-z0-9_]+", label: personal}}
undo:"""
IDENTIFIER = 'courier: {kind: identifier, pattern: "[a-z0-9_]+", label: personal}'
PERSONAL = "courier: {kind: text, label: personal"
SECRET = (PERSONAL, "courier: {kind: text, label: secret")
Edits = tuple[tuple[str, str], ...]


def edited(document: str, edits: Edits) -> bytes:
    """A declaration, changed."""
    for old, new in edits:
        assert old in document
        document = document.replace(old, new)
    return document.replace("ORIGIN", "backoffice").encode()


def registry(sends: Edits = (), recalls: Edits = ()) -> Registry:
    """Both tools, changed."""
    return Registry(map(declarations.parse, (edited(SENDS, sends), edited(RECALLS, recalls))))


SHOWS: dict[str, tuple[Edits, Edits]] = {
    "a personal result under another label": ((), ((PERSONAL, "courier: {kind: text, label: internal"),)),
    "a personal result in public": ((), ((PERSONAL, "courier: {kind: text, label: public"),)),
    "a personal argument under another label": (
        ((TAKES, TO_ARGUMENT),),
        ((PERSONAL, "courier: {kind: text, label: internal"),),
    ),
    "the same label for other readers": ((), (("personal: [operator]", "personal: [operator, commerce]"),)),
    "the same label for agents": ((), (("personal: [operator]", "personal: [operator, agents]"),)),
    "an internal value for other readers": ((), (("commerce, auditor]", "commerce, auditor, finance]"),)),
    "a secret": ((SECRET,), (SECRET,)),
    "what a token stands for": ((("length_max: 60}\nresult", "length_max: 60, resolves: true}\nresult"),), ()),
    "a fact of which the log has a token": (
        ((TAKES, FACT), ("undo:", FACTS)),
        ((f"{PERSONAL}, length_max: 60}}", IDENTIFIER),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", SHOWS)
def test_an_undo_that_would_show_what_is_hidden_is_not_declared(how: str) -> None:
    """
    H04: an undo takes a value only into an argument that is as hidden, from the same people, and never a secret, a
    token's value, or a fact that the log keeps as a token.
    """
    registry()

    with pytest.raises(DeclarationError, match=r"send_courier: undo\.arguments\.(courier|parcel_id)"):
        registry(*SHOWS[how])


def test_an_undo_may_hide_more_than_what_it_undoes() -> None:
    """
    Fewer readers of the argument than of its source are no disclosure.
    """
    wider = (("personal: [operator]", "personal: [operator, commerce]"),)

    assert registry(wider).names == ("recall_courier", "send_courier")


@dataclass(slots=True)
class Yard:
    """A gateway with a tool whose undo takes a personal value, and everybody who may ask for it."""

    story: Story
    sink: Sink
    agent: str

    def token(self, role: str) -> str:
        """The bearer token of a person."""
        return self.story.person(role, 1, TENANT).token

    def send(self, token: str, tool: str = "send_courier") -> Answer:
        """Send somebody's courier, or a letter."""
        parcel = f"par_{secrets.token_hex(4)}"
        self.sink.pages["/couriers"] = {"parcel_id": parcel, "courier": "Ada Canary"}
        self.sink.pages["/recalls"] = {"parcel_id": parcel}
        arguments = {"parcel_id": parcel, "to": "12 Canary Row"}
        return self.story.client.call(token, tool, arguments, reason="goodwill")

    def undo(self, call: str, token: str) -> Answer:
        """Ask for the undo of a call."""
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        return self.story.client.request("POST", f"/v1/calls/{call}/undo", token, body={}, headers=headers)

    def recalled(self) -> int:
        """How often the undoing tool was reached."""
        return sum(each.path == "/recalls" for each in self.sink.received)


@pytest.fixture(scope="module")
def yard(story: Story) -> Iterator[Yard]:
    """A second gateway of the same world that may reach the sink."""
    with sinks.listening() as sink:
        gateway = story.world.gateway(settings={"LOCKGATE_DEV_LOOPBACK_ORIGINS": json.dumps([sink.origin])})
        inside = Story(story.world, Client(gateway.url))
        for declaration in (RECALLS, SENDS, LETTERS):
            register(inside, declaration.replace("ORIGIN", sink.origin))
        tools = ["send_courier", "send_letter", "recall_courier"]
        agent = story.world.cast.issuer.agent(TENANT, "agent-yard", tools)
        inside.govern("set_autonomy", {"agent": "agent-yard", "action": "*", "level": 3}, "new_agent", TENANT)
        yield Yard(inside, sink, agent)
        gateway.stop()


def upload(story: Story, declaration: str) -> Answer:
    """Hand a declaration in."""
    return story.client.request(
        "POST", "/v1/tools", story.person("security", 1, TENANT).token, body=declaration.encode()
    )


def register(story: Story, declaration: str) -> None:
    """Put a tool into force."""
    uploaded = upload(story, declaration)
    assert uploaded.status == 201, uploaded.document
    story.govern("register_tool", {"digest": uploaded.document["digest"]}, "new_tool", TENANT)


def test_whoever_is_shown_a_token_is_not_shown_its_value_by_an_undo(yard: Yard) -> None:
    """
    H04: the agent, and a person, who see tokens in the call's result are refused its undo, in which they would see the
    value; nothing reaches the tool. Whoever may see the person undoes it.
    """
    done, recalled = yard.send(yard.agent), yard.recalled()

    refused = [yard.undo(done.call, token) for token in (yard.agent, yard.token("commerce"))]
    before = yard.recalled()
    undone = yard.undo(done.call, yard.token("operator"))

    assert done.document["result"]["courier"].startswith("tok_")
    assert [(each.status, each.reason) for each in refused] == [(403, "undo_hidden")] * 2
    assert "Ada Canary" not in str([each.document for each in refused])
    assert before == recalled
    assert (undone.status, undone.document["status"]) == (200, "executed")
    assert yard.sink.received[-1].body["arguments"]["courier"] == "Ada Canary"


def test_what_somebody_else_wrote_is_not_shown_by_an_undo(yard: Yard) -> None:
    """
    H04: a person who sees a token in the arguments of an agent's call is refused its undo; the agent wrote the value
    itself, and undoes it.
    """
    done = yard.send(yard.agent, "send_letter")

    refused = yard.undo(done.call, yard.token("commerce"))
    undone = yard.undo(done.call, yard.agent)

    assert (refused.status, refused.reason) == (403, "undo_hidden")
    assert "Canary" not in str(refused.document)
    assert (undone.status, undone.document["status"]) == (200, "executed")
    assert yard.sink.received[-1].body["arguments"]["courier"] == "12 Canary Row"


def test_a_tool_whose_undo_would_show_is_not_taken_in(yard: Yard) -> None:
    """
    H04: the next version of the tool, whose undo would show its personal values to others, is refused at the upload.
    """
    showing = SENDS.replace("version: 1", "version: 2").replace("personal: [operator]", "personal: [commerce]")

    answer = upload(yard.story, showing.replace("ORIGIN", yard.sink.origin))

    assert answer.status == 422, answer.document
    assert "undo.arguments.courier" in str(answer.document["findings"])
