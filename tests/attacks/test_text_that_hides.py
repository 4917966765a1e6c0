"""Text in which something hides, and names that look like other names: refused at entry, by every way in."""

from __future__ import annotations

import secrets

import pytest

from deploy.demo.client import Answer, signed
from gateway.issuer import Issuer
from tests.attacks.test_registered_tools import DECLARATION, upload
from tests.world.stories import AGENT_TOOLS, Story
from tool_registry import texts

HIDDEN = {
    "soft hyphen": "a\u00adb",
    "combining grapheme joiner": "a\u034fb",
    "Arabic letter mark": "a\u061cb",
    "Hangul filler": "a\u115fb",
    "wide Hangul filler": "a\u3164b",
    "half-width Hangul filler": "a\uffa0b",
    "Khmer inherent vowel": "a\u17b4b",
    "Mongolian selector": "a\u180bb",
    "zero-width space": "a\u200bb",
    "zero-width joiner": "a\u200db",
    "right-to-left override": "a\u202eb",
    "isolate": "a\u2066b",
    "invisible times": "a\u2062b",
    "word joiner": "a\u2060b",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "blank of Braille": "a\u2800b",
    "byte order mark within": "a\ufeffb",
    "annotation": "a\ufff9b\ufffac\ufffb",
    "object that is not there": "a\ufffcb",
    "selector": "a\ufe00b",
    "selector after a letter": "a\ufe0fb",
    "two selectors after a symbol": "\u2600\ufe0f\ufe0e",
    "supplementary selector": "\u2600\U000e0100",
    "tag": "a\U000e0041b",
    "unassigned and ignorable": "a\U000e0800b",
    "musical control": "a\U0001d173b",
    "shorthand control": "a\U0001bca0b",
    "private use": "a\ue000b",
    "private plane": "a\U000f0000b",
    "noncharacter": "a\ufdd0b",
    "escape": "a\x1b[2Jb",
    "bell": "a\x07b",
    "backspace": "a\x08\x08b",
    "carriage return alone": "a\rb",
    "delete": "a\x7fb",
    "control of the second set": "a\x9bb",
    "next line": "a\x85b",
    "five marks": "a\u0335\u0336\u0337\u0338\u0321b",
    "decomposed": "cafe\u0301",
    "Hangul in parts": "\u1100\u1161",
    "Angstrom": "\u212b",
}
SEEN = [
    "Café, 5 € \u2013 naïve\nsecond line\r\nthird\tcolumn",
    "Ω мир 世界 שלום مرحبا हिन्दी ไทย",
    "☀️ ‼️ 1️⃣ 🎉 ™",
    "ﬁne \uff29\uff33\uff33\uff35\uff25",
]


@pytest.mark.parametrize("name", HIDDEN)
def test_text_that_hides_something_comes_in_nowhere(story: Story, name: str) -> None:
    """
    J01, K02: as an argument, a remark, the reason of a verdict and the title of a tool: 422, written raw or escaped.
    """
    text, parked = HIDDEN[name], story.parked_refund()
    security, approver = story.person("security", 1), story.person("finance", 2)
    verdict = signed(approver, parked.statement, "dev", verdict="reject", reason="no")
    verdict["statement"]["reason"] = text
    kill = {"scope": "tool", "target": "get_order", "reason": text}

    answers = [
        story.client.call(story.person("operator").token, "engage_kill", kill, reason="incident_response"),
        story.client.request("POST", f"/v1/calls/{parked.call}/feedback", parked.token, body={"text": text}),
        story.client.request("POST", f"/v1/calls/{parked.call}/rejections", approver.token, body=verdict),
    ]
    raw = (
        DECLARATION.replace('"ORIGIN"', "backoffice")
        .replace("Send a parcel", f'"Send {_yaml(text)}')
        .replace("to a customer.", 'to a customer."')
    )
    declared = story.client.request("POST", "/v1/tools", security.token, body=raw.encode())

    assert [(answer.status, answer.reason) for answer in answers] == [(422, "outside_profile")] * 3
    assert (declared.status, declared.reason) == (422, "tool_refused")
    assert story.client.get(f"/v1/calls/{parked.call}", parked.token).document["status"] == "parked"


def _yaml(text: str) -> str:
    """The text within double quotes of YAML."""
    return "".join(f"\\U{ord(each):08x}" for each in text)


@pytest.mark.parametrize("text", SEEN)
def test_text_that_everybody_sees_is_taken(story: Story, text: str) -> None:
    """
    K02: other scripts, line ends, symbols with their selector and full-width letters are text like any other.
    """
    parked = story.parked_refund()

    answer = story.client.request("POST", f"/v1/calls/{parked.call}/feedback", parked.token, body={"text": text})

    assert answer.status == 201, answer.document
    assert texts.is_plain(text)


LOOK_ALIKES = [
    "\u0430gent-l2",
    "agent\u2010l2",
    "\uff41\uff47\uff45\uff4e\uff54-l2",
    "agent-l2\u200b",
    "agent\u00ad-l2",
    "agent-l\uff12",
    "Agent-l2",
    "agent-l2 ",
    "agent-l2\U000e0041",
    "agent-l\u0661",
    "\u0251gent-l2",
]


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_name_is_of_plain_letters_wherever_it_stands(story: Story, name: str) -> None:
    """
    J01, E04: agents, people, subjects, actors and tenants, in tokens and in arguments, have one spelling; a look-alike
    of another script, width or case is no name at all.
    """
    codes = story.client.get("/v1/tools/release_kill", story.person("security").token).document["reason_codes"]
    issuer: Issuer = story.world.cast.issuer
    person = name.replace("agent", "per")
    tokens = [
        issuer.agent("acme", name, AGENT_TOOLS),
        issuer.agent("acme", "agent-x", AGENT_TOOLS, subject=name),
        issuer.person("acme", name, ["finance"]),
        issuer.person(name, "per_x", ["finance"]),
        story.delegated(["agent-x", name], "per_x"),
    ]
    asked = [
        ("set_autonomy", {"agent": name, "action": "*", "level": 3}, "new_agent"),
        ("register_key", {"person": person, "public_key": "A" * 43}, "new_approver"),
        ("engage_kill", {"scope": "agent", "target": name, "reason": "x"}, "drill"),
        ("release_kill", {"scope": "agent", "target": name}, codes[0]),
        ("toggle_feature_flag", {"flag_key": name, "value": True, "rollout_percent": 1}, "experiment"),
    ]
    security = story.person("security")

    seen = [story.client.get("/v1/tools", token) for token in tokens]
    called = [story.client.call(security.token, tool, given, reason=why) for tool, given, why in asked]

    assert [answer.status for answer in seen] == [401] * len(tokens)
    assert {answer.reason for answer in called} <= {"contract_violated", "outside_profile"}
    assert [answer.status for answer in called] == [422] * len(asked)


@pytest.mark.parametrize(
    "name", ["issue_r\u0435fund", "issue_refund\u200b", "ISSUE_REFUND", "issue-refund", "issue\uff3frefund"]
)
def test_a_tool_has_one_name(story: Story, name: str) -> None:
    """
    J01: a tool's look-alike is neither called nor declared.
    """
    raw = DECLARATION.replace('"ORIGIN"', "backoffice").replace("name: send_parcel", f'name: "{_yaml(name)}"')

    called = story.client.call(story.person("finance").token, name, {"order_id": story.order(), "amount_cents": 1})
    declared: Answer = upload(story, raw)

    assert called.status in {404, 422}
    assert (declared.status, declared.reason) == (422, "tool_refused")


@pytest.mark.parametrize("name", ["pay_supp1ier", "issue__refund", "issuerefund", "get_0rder", "rernove_content"])
def test_a_new_tool_is_not_taken_for_another(story: Story, name: str) -> None:
    """
    J01, K02: a name that is another tool's at a glance is not declared: digits for letters, `rn` for `m`, one `_` more.
    """
    declared = upload(
        story, DECLARATION.replace('"ORIGIN"', "backoffice").replace("name: send_parcel", f"name: {name}")
    )

    assert (declared.status, declared.reason, declared.document["stage"]) == (422, "tool_refused", "read")


def test_an_identifier_is_ascii_whatever_its_pattern_says(story: Story) -> None:
    """
    J01: a declared pattern of word characters admits no letter of another script.
    """
    from tool_registry.contracts import Field, Kind, Label  # noqa: PLC0415 - of this test alone
    from tool_registry.shapes import accepts  # noqa: PLC0415

    field = Field(
        name="name", kind=Kind.IDENTIFIER, label=Label.INTERNAL, optional=False, pattern=r"\w+", length_max=20
    )

    assert [accepts(field, text) for text in ("plain_1", "r\u0430w", "\uff52aw", "caf\u00e9", "٣")] == [
        True,
        *[False] * 4,
    ]


def test_escapes_hide_nothing(story: Story) -> None:
    """
    J01: the same text as a JSON escape is the same text.
    """
    parked = story.parked_refund()
    raws = [b'{"text":"a%sb"}' % escape for escape in (rb"\u200b", rb"\u00ad", rb"\u001b", rb"\udb40\udc41", b"\x7f")]

    answers = [
        story.client.request(
            "POST",
            f"/v1/calls/{parked.call}/feedback",
            parked.token,
            body=raw,
            headers={"Content-Type": "application/json", "X-Correlation-Id": secrets.token_hex(4)},
        )
        for raw in raws
    ]

    assert [(answer.status, answer.reason) for answer in answers] == [(422, "outside_profile")] * len(raws)
