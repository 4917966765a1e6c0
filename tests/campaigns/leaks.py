"""
P11, secrets and personal data stay inside: canaries of every kind in every spelling of H02, through every way in, and
then every way out is searched for them.

*Labelled*: arguments and results whose label hides them; halves of a value in two such fields, where a half stands
nowhere by chance. *Misplaced*: keys, headers, paths, unknown members, wrong types, malformed bodies, uploads and words
of a tool that nobody asked for. Of neither may a byte be left anywhere, nor be said to whoever may not see it. *Free
text* is scanned by patterns: what they let through is counted, and a miss where a shape could have been read is a
failure.

Not searched are request and answer of `lockgate.calls`: dispatch and replay need them as they were sent, so these two
columns hold everything in clear until the subject is erased.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from deploy.demo.client import Answer
from tests.campaigns.tallies import Part, Tally
from tests.outside.redactor import SENTENCE
from tests.world import sink as sinks
from tests.world.acts import query
from tests.world.canaries import ENCODINGS, KINDS, Canary, hatch, is_readable
from tests.world.ground import Ground, ground
from tests.world.sink import Sink
from tests.world.stories import Story

PARTS = 4
TENANT = "acme"
LABELLED = "labelled: canaries, whole and halved, x spellings; all but the calls' rows"
MISPLACED = "misplaced: keys, headers, paths, members, bodies, uploads, words of tools"
FREE = "free text: canaries x spellings, remarks, reasons, notes, signed statements"
_KNOWN = "known: "
_HALF = re.compile(r"(?=.*[g-z]).{7,}", re.IGNORECASE)
"""What is left of a value stands nowhere by chance: a few digits alone could be part of a digest or of a time."""
TOOL = """\
name: file_claim
version: 1
title: File a claim of a customer.
family: business
effect: irreversible
resource_type: Claim
resource_argument: claim_id
arguments:
  claim_id: {kind: identifier, prefix: clm}
  who: {kind: text, label: personal, optional: true, length_max: 8000}
  pin: {kind: text, label: secret, optional: true, length_max: 8000}
  note: {kind: text, optional: true, length_max: 8000}
  copies: {kind: integer, optional: true, minimum: 1, maximum: 9}
result:
  claim_id: {kind: identifier, prefix: clm}
  who: {kind: text, label: personal, optional: true, length_max: 8000}
  pin: {kind: text, label: secret, optional: true, length_max: 8000}
  note: {kind: text, optional: true, length_max: 8000}
reason_codes: [goodwill]
risk: "1"
approver: commerce
visible_to:
  internal: [agents, operator, commerce, auditor]
  personal: [safety]
deadline_ms: 2000
connector: {kind: http, origin: "ORIGIN", path: /claims}
"""


def run(part: Part) -> Iterable[Tally]:
    """One part."""
    with sinks.listening() as sink, ground(loopback_origins=(sink.origin,)) as field:
        office = _Office(field, sink, part.chance())
        kinds = list(KINDS)[:: part.size(1, 6)]
        spellings = dict(list(ENCODINGS.items())[:: part.size(1, 4)])
        for kind in kinds:
            for spelling, spell in spellings.items():
                office.send(kind, spelling, spell)
            part.tell(kind)
        yield from office.tallies()


_Sent = tuple[str, Canary, str, str]
"""Way in, canary, spelling, as written."""


class _Office:
    """A gateway with a tool that takes every kind of field, everything that was sent to it, and where it may not be."""

    def __init__(self, field: Ground, sink: Sink, chance: Random) -> None:
        self._field = field
        self._sink = sink
        self._chance = chance
        # What tools said badly stays in doubt: asking again and again what became of it is another campaign's.
        field.restart(settings={"LOCKGATE_SWEEP_SECONDS": "60"})
        self._story = Story(field.world, field.client())
        story = self._story
        self._asks, self._other = story.person("commerce", 1), story.person("commerce", 2)
        declared = TOOL.replace("ORIGIN", sink.origin).encode()
        security = story.person("security", 1).token
        uploaded = story.client.request("POST", "/v1/tools", security, body=declared)
        story.govern("register_tool", {"digest": uploaded.document["digest"]}, "new_tool")
        self._stranger = story.person("growth").token
        self._parked = story.parked_refund()
        self._numbers = 0
        self._sent: list[_Sent] = []
        self._told: list[str] = []
        """Failures that an answer itself was."""

    def send(self, kind: str, spelling: str, spell: Any) -> None:
        """One canary of a kind for each way in, in one spelling."""
        for way, ways in (
            (LABELLED, self._labelled),
            (MISPLACED, self._misplaced),
            (FREE, self._free),
        ):
            canary = hatch(kind, self._chance)
            written = spell(canary.value)
            self._listen(way, [(way, canary, spelling, written)], ways(written))
        halves = _halves(hatch(kind, self._chance))
        one, other = (spell(half.value) for half in halves)
        known = [
            (LABELLED, half, f"{spelling}, half of it", written)
            for half, written in zip(halves, (one, other), strict=True)
            if _HALF.fullmatch(half.value)
        ]
        self._listen(LABELLED, known, self._halved(one, other))

    def _listen(self, way: str, sent: Sequence[_Sent], answers: Iterable[Answer]) -> None:
        """Note what was sent, and look at the answers."""
        self._sent += sent
        for answer in answers:
            if answer.status >= 500 and answer.status not in (503, 504):
                self._told.append(f"{way}: an answer of {answer.status}")
            document = json.dumps(answer.document, ensure_ascii=False)
            for _, canary, spelling, written in sent:
                if way != FREE and _holds(document, canary.value, written):
                    self._told.append(f"{way}: {canary.kind}, {spelling}: told by {answer.status} {answer.reason}")

    def tallies(self) -> Iterator[Tally]:
        """What was found where, after everything was sent."""
        found = dict(self._found())
        for way in (LABELLED, MISPLACED):
            failures = [each for each in self._told if each.startswith(way)]
            failures += [f"{way}: {each}" for each in found.get(way, [])]
            yield Tally(guarantee="P11", tried=way, times=self._times(way), failures=tuple(failures))
        left = found.get(FREE, [])
        yield Tally(
            guarantee="P11",
            tried=FREE,
            times=self._times(FREE),
            failures=(
                *(each for each in left if not each.startswith(_KNOWN)),
                *(each for each in self._told if each.startswith(FREE)),
            ),
            figures={
                "readable_by_patterns": sum(
                    way == FREE and is_readable(canary, spelling) for way, canary, spelling, _ in self._sent
                ),
                "words_that_were_left": len({each.rpartition(": in ")[0] for each in left if each.startswith(_KNOWN)}),
            },
        )

    def _times(self, way: str) -> int:
        return sum(each[0] == way for each in self._sent)

    def _labelled(self, written: str) -> Iterator[Answer]:
        """Through a tool that takes it and repeats it, and to somebody else."""
        self._sink.status, claim = 200, self._claim()
        self._sink.answer = {"claim_id": claim, "who": written, "pin": written}
        done = self._file({"claim_id": claim, "who": written, "pin": written})
        yield done
        if done.status == 200:
            yield self._story.client.get(f"/v1/calls/{done.call}", self._other.token)
            yield self._story.client.get(f"/v1/calls/{done.call}/packet", self._story.person("auditor").token)
        refused = self._story.client.call(
            self._stranger, "file_claim", {"claim_id": claim, "who": written, "pin": written}, reason="goodwill"
        )
        yield refused
        if refused.status == 403:
            yield self._story.client.get(f"/v1/calls/{refused.call}", self._other.token)
            yield self._story.client.get(f"/v1/calls/{refused.call}/explanation", self._other.token)

    def _halved(self, one: str, other: str) -> Iterator[Answer]:
        """Half of a value in each of two fields, and the same in the result."""
        halves = {"claim_id": self._claim(), "who": one, "pin": other}
        self._sink.status, self._sink.answer = 200, halves
        done = self._file(halves)
        yield done
        if done.status == 200:
            yield self._story.client.get(f"/v1/calls/{done.call}", self._other.token)

    def _misplaced(self, written: str) -> Iterator[Answer]:
        """Wherever nothing of the kind belongs."""
        client, token, claim = self._story.client, self._asks.token, self._claim()
        header = written if written.isascii() and written.isprintable() else "none"
        quoted = written.encode().hex() if "\n" in written else written
        yield self._file({"claim_id": claim, "copies": written})
        yield self._file({"claim_id": claim, written: 1})
        yield self._file({"claim_id": written})
        yield self._file({"claim_id": claim}, **{written: 1})
        yield client.call(token, written, {})
        yield client.call(token, "file_claim", {"claim_id": claim}, reason=written)
        yield client.request("POST", "/v1/calls", token, body=f'{{"tool": "{quoted}"'.encode())
        yield client.call(token, "get_order", {"order_id": "ord_1"}, headers={"X-Correlation-Id": f"{header} x"})
        yield client.request("GET", "/v1/tools", header.replace(" ", ""))
        yield client.request("GET", "/v1/tools", token, headers={"X-Tenant": header, "X-Note": header})
        yield client.request("GET", "/v1/calls", token, headers={"Idempotency-Key": header})
        for path in ("/v1/tools/{}", "/v1/calls/{}", "/{}", "/v1/calls?state={}", "/v1/calls?{}=1"):
            yield client.get(path.format(_in_a_path(written)), token)
        security = self._story.person("security").token
        yield client.request("POST", "/v1/tools", security, body=f"{json.dumps(written)}: 1".encode())
        yield client.request("POST", "/v1/bundles", security, body=written.encode())
        yield client.call(security, "register_key", {"person": "per_x", "public_key": written}, reason="new_approver")
        yield from self._words_of_a_tool(written)

    def _words_of_a_tool(self, written: str) -> Iterator[Answer]:
        """What a tool says beside its result: a reason, more members, another shape, a page."""
        for status, answer in (
            (409, {"refused": True, "reason": written, "detail": written}),
            (500, {"error": written}),
            (200, {"claim_id": written}),
        ):
            self._sink.status, self._sink.answer = status, answer
            yield self._file({"claim_id": self._claim()})
        self._sink.status = 200

    def _free(self, written: str) -> Iterator[Answer]:
        """In sentences that are kept: a note to a tool and of it, a remark, a reason, a signed statement."""
        client, said, claim = self._story.client, SENTENCE.format(written), self._claim()
        self._sink.answer = {"claim_id": claim, "note": said}
        yield self._file({"claim_id": claim, "note": said})
        parked = self._parked
        yield client.request("POST", f"/v1/calls/{parked.call}/feedback", parked.token, body={"text": said})
        switch = {"scope": "agent", "target": f"agent-{claim}", "reason": said}
        yield client.call(self._story.person("operator").token, "engage_kill", switch, reason="drill")
        if said.isprintable():  # Else there are no canonical bytes to sign.
            yield client.approve(self._story.person("finance", 2), parked.answer, reason=said)

    def _file(self, arguments: Mapping[str, Any], **members: Any) -> Answer:
        return self._story.client.call(self._asks.token, "file_claim", arguments, reason="goodwill", **members)

    def _claim(self) -> str:
        self._numbers += 1
        return f"clm_{self._numbers}"

    def _found(self) -> Iterator[tuple[str, list[str]]]:
        """By way in: what is left, and in which place. What patterns cannot know is marked as such."""
        places = {name: text for name, text in self._places() if text}
        for way in (LABELLED, MISPLACED, FREE):
            left = []
            for _, canary, spelling, written in (each for each in self._sent if each[0] == way):
                for name, text in places.items():
                    if _holds(text, canary.value, written):
                        known = way == FREE and not is_readable(canary, spelling)
                        left.append(f"{_KNOWN if known else ''}{canary.kind}, {spelling}: in {name}")
            yield way, left

    def _places(self) -> Iterator[tuple[str, str]]:
        """Every way out, as one text each."""
        story, world = self._story, self._field.world
        for log in world.home.rglob("*.log"):
            yield f"the log {log.name}", log.read_text(errors="replace")
        for checkpoint in Path(world.home).rglob("checkpoints/*"):
            yield "checkpoint files", checkpoint.read_text(errors="replace")
        yield "figures", story.client.text("/metrics").decode()
        for tenant in (TENANT, "globex"):
            auditor = story.person("auditor", 1, tenant).token
            yield f"the export of {tenant}", story.client.text("/v1/audit/export", auditor).decode()
        yield "the list of calls", story.client.text("/v1/calls", self._other.token).decode()
        yield "the tables", self._tables()

    def _tables(self) -> str:
        """What the database holds beside the calls themselves, which dispatch and replay need whole."""
        url = self._field.world.cluster.urls("lockgate").auditor
        wanted = (
            "select convert_from(body, 'UTF8') from lockgate.entries",
            "select convert_from(body, 'UTF8') from lockgate.payloads where body is not null",
            "select principal || tool || coalesce(correlation, '') from lockgate.calls",
            "select convert_from(requester, 'UTF8') from lockgate.calls",
            "select row(t.*)::text from lockgate.token_places t",
            "select row(t.*)::text from lockgate.people t",
            "select name || convert_from(verdict, 'UTF8') from lockgate.tools",
        )
        return "\n".join(str(row[0]) for each in wanted for row in query(url, each, TENANT, "system"))


def _halves(canary: Canary) -> tuple[Canary, Canary]:
    """Its value, cut in two."""
    middle = len(canary.value) // 2
    return replace(canary, value=canary.value[:middle]), replace(canary, value=canary.value[middle:])


def _holds(text: str, value: str, written: str) -> bool:
    return any(each in text for each in (value, written, json.dumps(written, ensure_ascii=False)[1:-1]))


def _in_a_path(written: str) -> str:
    """As a client without care would put it into an address."""
    return urllib.parse.quote(written, safe="")
