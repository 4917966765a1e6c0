"""The optional detector of names and addresses: what it hides, what it leaves, and what it does when it may not."""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from deploy.demo.client import Client
from deploy.demo.world import GatewayFailed
from gateway import names, words
from gateway.clock import SystemClock
from gateway.errors import Misconfigured, Unavailable
from gateway.names import LOOKING_SECONDS_MAX, Names
from gateway.redaction import Redactor
from tests.world import lists
from tests.world.stories import Story
from tool_registry.declarations import TEXT_MAX


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    """A redactor that looks for names."""
    return Redactor(b"k" * 32, Names(lists.installed(), SystemClock()))


HIDDEN = {
    "The parcel for Wiebke Thorsen was left with Mr Young.": ("Wiebke", "Thorsen", "Young"),
    "Ship it to 12 Rosewood Lane, Apt 4, Little Haverford, OH 44101 please": ("12", "Rosewood", "Haverford", "44101"),
    "invoice from Bramble, Achterberg and Sons": ("Bramble", "Achterberg", "Sons"),
    "we met Mark Hunter in Qatar on 3 March 1987": ("Mark", "Hunter", "Qatar", "1987"),
    "my name is oona and I am 43 years old": ("oona", "43"),
    "she moved to Kerkstraat 18, 1017 GN Amsterdam": ("Kerkstraat", "18", "1017", "Amsterdam"),
    "the Norwegian customer Øyvind Bjørnstad": ("Norwegian", "Øyvind", "Bjørnstad"),
    "ask J\u200bo\u200ban\u200bna Kowalczyk": ("Kowalczyk", "an\u200bna"),
    "the postcode is SW1A 2AA": ("SW1A", "2AA"),
}


@pytest.mark.parametrize("text", HIDDEN)
def test_names_and_addresses_are_hidden(redactor: Redactor, text: str) -> None:
    """
    H02: words that no list of English has, and what stands around them.
    """
    shown = re.sub(r"tok_[0-9a-f]{16}", "", redactor.text(text, tenant="acme"))

    assert [word for word in HIDDEN[text] if word in shown] == []


@pytest.mark.parametrize(
    "text",
    [
        "The customer asked for a refund of 12.50 because the parcel arrived broken.",
        "Raise the limit to 500 requests per second until the incident is over.",
        "Price below margin: the next promotion starts on Monday.",
        "Listing rejected. Please shorten the title and remove the claim.",
        "please rotate the key and tell the operator",
    ],
)
def test_plain_words_stay(redactor: Redactor, text: str) -> None:
    """
    What a business says of its work is left as it is.
    """
    assert redactor.text(text, tenant="acme") == text


def test_without_the_detector_words_stay() -> None:
    """
    It is off unless the settings ask for it.
    """
    text = "The parcel for Wiebke Thorsen was left outside."

    assert Redactor(b"k" * 32).text(text, tenant="acme") == text


@dataclass(slots=True)
class Slow(SystemClock):
    """A clock by which each look takes a while."""

    now: float = 0.0
    step: float = field(default=LOOKING_SECONDS_MAX)

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


def test_looking_has_its_share_of_each_second() -> None:
    """
    H05: where the looking of a second is used up, a text is neither shown nor recorded; the next second is another.
    """
    clock = Slow(step=0.2)
    redactor = Redactor(b"k" * 32, Names(lists.installed(), clock))

    redactor.text("first look", tenant="acme")  # From 0.2 to 0.4 s.
    redactor.text("second look", tenant="acme")  # From 0.6 to 0.8 s.
    clock.step = 0.05
    with pytest.raises(Unavailable, match="redaction_failed"):
        redactor.text("third look", tenant="acme")
    clock.now = 7.0

    assert redactor.text("a second later", tenant="acme") == "a second later"


@pytest.mark.parametrize(
    "piece", ["Ab ", "A.B.", "Smith, ", "Smith 12 ", "d'Ab-Cd ", "Republic of ", "name is ", "12 "]
)
def test_no_text_uses_up_a_second(piece: str) -> None:
    """
    H05, J08: the longest text that a contract admits takes less than the share of a second, whatever it is made of.
    """
    detector, text = Names(lists.installed(), SystemClock()), (piece * TEXT_MAX)[:TEXT_MAX]

    started = time.thread_time()
    detector.find(text)

    assert time.thread_time() - started < LOOKING_SECONDS_MAX


def test_a_detector_that_fails_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    H05: whatever it raises, the text is withheld.
    """
    redactor = Redactor(b"k" * 32, Names(lists.installed(), SystemClock()))
    monkeypatch.setattr(names, "_joined", lambda *_: 1 / 0)

    with pytest.raises(Unavailable, match="redaction_failed") as caught:
        redactor.text("ask Wiebke Thorsen", tenant="acme")
    assert "Thorsen" not in str(caught.value)


def test_missing_lists_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    M06: a setting that asks for what is not installed keeps the gateway from starting, and says what to install.
    """
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(Misconfigured, match=r"LOCKGATE_NAME_DETECTOR.*requirements/names\.txt"):
        words.load()


@pytest.fixture(scope="module")
def watching(story: Story) -> Iterator[Story]:
    """A second gateway of the same world with the detector on."""
    lists.installed()
    gateway = story.world.gateway(settings={"LOCKGATE_NAME_DETECTOR": "on"})
    yield Story(story.world, Client(gateway.url), story._numbers)
    gateway.stop()


def test_a_remark_is_kept_without_the_name_in_it(watching: Story) -> None:
    """
    H01: over HTTP, with the setting on: the entry of a remark and the export hold a mark instead of the name.
    """
    parked = watching.parked_refund()

    remark = {"text": "the customer is Wiebke Thorsen of Little Haverford"}
    said = watching.client.request("POST", f"/v1/calls/{parked.call}/feedback", parked.token, body=remark)
    export = watching.client.text("/v1/audit/export", watching.person("auditor").token).decode()

    assert said.status == 201
    assert "Thorsen" not in export
    assert "Haverford" not in export
    assert "the customer is [name tok_" in export


def test_a_setting_that_is_neither_yes_nor_no_refuses(story: Story) -> None:
    """
    M06: the gateway does not guess.
    """
    with pytest.raises(GatewayFailed, match="NAME_DETECTOR"):
        story.world.gateway(settings={"LOCKGATE_NAME_DETECTOR": "perhaps"})
