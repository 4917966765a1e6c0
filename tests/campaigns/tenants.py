"""P8: no tenant can see or infer another's data.

1. bytes   calls of two tenants interleaved on connections that both use, a tenth of them given up half way: no answer,
           listing, export or figure holds anything of the other tenant; both logs verify
2. names   every route, with every kind of id that it takes, in path and body, asked by every role of one tenant: an id
           of the other tenant is answered as one that nobody has: same status, headers and body; an erasure that names
           somebody of the other tenant leaves what is kept about them there
3. times   the same, interleaved, with the clock running: the sign test over pairs says whether the answers to foreign
           ids come later or sooner than those to unknown ones
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import math
import random
import re
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from deploy.demo.client import Client
from deploy.demo.dev import seed
from gateway.opening import DATABASE
from policies.questions import ROLES
from proofs import verify
from proofs.keys import KeyRing
from tests.campaigns.tallies import Part, Tally
from tests.world import foreign, sink
from tests.world.acts import query
from tests.world.foreign import UNKNOWN, Ask, Belongings
from tests.world.ground import ground
from tests.world.stories import REASON, REFUND, Story

PARTS = 4
CALLS_PER_PART = 25_000
PAIRS = 200
"""Of one request with a foreign and an unknown id, one after the other, in either order."""
CONNECTIONS = 24  # Six for each connection that the gateway has to the database for reading.
DIFFERENT = 1e-6
"""How unlikely a difference of times must be to count: a hundred routes are compared, in each of two parts."""
APART = 0.1
"""Of the time of the answer: a difference that is certain and greater is another class of time. A smaller one is told:
the index finds a foreign row before row-level security turns it away, which costs some microseconds."""
OURS, THEIRS = "acme", "globex"

# What an answer has of its own, whatever it is about.
_OWN = re.compile(r"call_[0-9a-f]{32}|sha256:[0-9a-f]{64}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_VOLATILE = ("entry", "receipt", "statement")
_WORD = re.compile(rb"[\w.@+-]{6,}")


def run(part: Part) -> Iterable[Tally]:
    """One part, with ids of its own: bytes, and names in even ones, times in odd ones. A short one is all three."""
    with ExitStack() as stack:
        listening = stack.enter_context(sink.listening())
        world = stack.enter_context(ground(loopback_origins=(listening.origin,))).world
        gateway = world.gateway()
        seed(world.cast, gateway.url)
        story = Story(world, Client(gateway.url))
        having = {
            OURS: foreign.belongings(story, OURS),
            THEIRS: foreign.belongings(story, THEIRS, listening),
        }
        part.tell("the other tenant has one of everything")
        yield _bytes(part, story, having)  # First: later on ids of the other are typed into calls that are recorded.
        part.tell("calls are interleaved")
        if part.is_short or part.number % 2 == 0:
            yield _names(part, story, having[THEIRS])
            part.tell("ids are compared")
        if part.is_short or part.number % 2:
            yield _times(part, story, having[THEIRS])


def _names(part: Part, story: Story, theirs: Belongings) -> Tally:
    chance, failures, times = part.chance(), [], 0
    tokens = {role: story.person(role, 1, OURS).token for role in ROLES}
    tokens |= {"agent": story.world.cast.agent(OURS, 3).token}
    asks = [*foreign.asks_by_path(story, OURS, theirs), *foreign.asks_by_body(story, OURS, theirs)]
    if part.is_short:
        tokens = {role: tokens[role] for role in ("security", "finance", "agent")}
        asks = [each for each in asks if each.method in {"GET", "POST"}]
    with httpx2.Client(base_url=story.client._http.base_url, trust_env=False, timeout=30) as client:
        for ask in asks:
            for role, token in tokens.items():
                unknown = _normal(ask.send(client, token, name := UNKNOWN[ask.kind](chance)), name)
                for each in theirs.ids[ask.kind]:
                    times += 1
                    if _normal(ask.send(client, token, each), each) != unknown:
                        failures.append(f"{ask.name}: {role} can tell a foreign {ask.kind} from an unknown one")
    approvers = [story.person("security", 2, OURS), story.person("founder", 1, OURS)]
    kept = _kept_about(story, theirs)
    for kind, tool, arguments, reason in foreign.acts(story, OURS):
        told = []
        for name in (UNKNOWN[kind](chance), theirs.ids[kind][0]):
            given = json.loads(json.dumps(arguments).replace("{id}", name))
            answer = story.client.governed(story.person("security", 1, OURS), approvers, tool, given, reason)
            told.append((answer.status, _plain(answer.document, name)))
        times += 1
        if told[0] != told[1]:
            failures.append(f"{tool}: an approved act on a foreign {kind} ends otherwise than on an unknown one")
    if not kept or _kept_about(story, theirs) != kept:
        failures.append(f"of {kept} payloads about a subject of another tenant {_kept_about(story, theirs)} stand")
    title = "every route with every id of another tenant, in path and body, by every role"
    return Tally(
        guarantee="P8", tried=title, times=times, failures=tuple(sorted(set(failures))), figures={"routes": len(asks)}
    )


def _kept_about(story: Story, having: Belongings) -> int:
    """How many payloads stand about the subject that the tenant has."""
    subject = having.ids["subject"][0]
    statement = f"select count(*) from lockgate.payloads where body is not null and subject = '{subject}'"
    return int(query(story.world.cluster.urls(DATABASE).auditor, statement, having.tenant)[0][0])


def _normal(response: httpx2.Response, name: str) -> tuple[int, list[tuple[str, str]], Any]:
    """An answer without what it has of its own; the id that was typed, where it stands in it, is the same for all."""
    is_own = response.status_code not in {404, 405}
    left_out = {"content-length", "location"} if is_own else set()
    headers = sorted((key, value) for key, value in response.headers.items() if key not in left_out)
    if not is_own:
        return response.status_code, headers, response.content
    return response.status_code, headers, _plain(response.json(), name)


def _plain(document: Any, name: str) -> Any:
    if isinstance(document, dict):
        return {key: _plain(value, name) for key, value in document.items() if key not in _VOLATILE}
    if isinstance(document, list):
        return [_plain(each, name) for each in document]
    return _OWN.sub("…", document.replace(name, "…")) if isinstance(document, str) else document


def _times(part: Part, story: Story, theirs: Belongings) -> Tally:
    """Answers to foreign ids are neither later nor sooner: as many pairs one way as the other."""
    chance, pairs, failures = part.chance(), part.size(PAIRS, 12), []
    token = story.person("security", 1, OURS).token
    by_body = [
        each for each in foreign.asks_by_body(story, OURS, theirs) if each.kind in {"call", "approval", "digest"}
    ]
    asks = [each for each in (*foreign.asks_by_path(story, OURS, theirs), *by_body) if each.method in {"GET", "POST"}]
    address = urlsplit(str(story.client._http.base_url))
    connection = http.client.HTTPConnection(str(address.hostname), int(address.port or 80), timeout=30)
    certain, least = [0.0], 1.0
    for ask in asks:
        differences, whole = [], []
        for number in range(pairs):
            names = [chance.choice(theirs.ids[ask.kind]), UNKNOWN[ask.kind](chance)]
            took = [0.0, 0.0]
            for place in (0, 1) if number % 2 else (1, 0):
                took[place] = _timed(connection, ask, token, names[place])
            differences.append(took[0] - took[1])
            whole.append(took[1])
        likely, median = _sign_test(differences), statistics.median(differences)
        least = min(least, likely)
        if likely < DIFFERENT:
            certain.append(abs(median) * 1e6)
            if abs(median) > APART * statistics.median(whole):
                failures.append(f"{ask.name}: {median * 1e6:.0f} µs between foreign and unknown, p = {likely:.1g}")
    connection.close()
    return Tally(
        guarantee="P8",
        tried="foreign and unknown ids, interleaved: the time of the answer",
        times=pairs * len(asks),
        failures=tuple(failures),
        figures={
            "worst_certain_difference_in_microseconds": round(max(certain), 1),
            "worst_minus_log10_of_p": round(-math.log10(least), 2),
        },
    )


def _timed(connection: http.client.HTTPConnection, ask: Ask, token: str, name: str) -> float:
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"{time.monotonic_ns()}-t", **ask.headers}
    content = None
    if ask.body is not None:
        content = json.dumps(ask.body).replace("{id}", name)
        headers["Content-Type"] = "application/json"
    started = time.perf_counter()
    connection.request(ask.method, ask.path.replace("{id}", name), content, headers)
    connection.getresponse().read()
    return time.perf_counter() - started


def _sign_test(differences: list[float]) -> float:
    """How likely so uneven a split of signs is by chance, two-sided: the permutation test within pairs, by signs."""
    count = len(differences)
    fewer = min(sum(each > 0 for each in differences), sum(each < 0 for each in differences))
    return min(1.0, 2 * sum(math.comb(count, each) for each in range(fewer + 1)) / 2**count)


@dataclass(slots=True)
class _Crowd:
    """Many clients of both tenants, and what each tenant must never see."""

    story: Story
    chance: random.Random
    left: int
    calls: dict[str, list[str]]
    """Calls of each tenant, as they become known."""
    secret: dict[str, set[bytes]]
    """Words of each tenant that stand in no answer to the other."""
    orders: dict[str, list[str]] = field(default_factory=dict)
    users: dict[str, list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    answered: int = 0
    given_up: int = 0
    number: int = 0

    async def client(self, host: str, port: int) -> None:
        """One connection after the other, each used for both tenants."""
        while self.left > 0:
            reader, writer = await asyncio.open_connection(host, port)
            try:
                while self.left > 0:
                    self.left -= 1
                    tenant, request = self._request()
                    writer.write(request)
                    if self.chance.random() < 0.1:
                        await asyncio.sleep(self.chance.uniform(0, 0.02))
                        self.given_up += 1
                        break
                    self._look(tenant, await asyncio.wait_for(_answer(reader), 30))
            finally:
                writer.close()

    def _request(self) -> tuple[str, bytes]:
        tenant, other = self.chance.sample([OURS, THEIRS], 2)
        self.number += 1
        canary = f"canary-{tenant}-{self.number}"
        method, path, role, body = self._choice(tenant, other, canary)
        token = self.story.person(role, 1, tenant).token
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}"]
        lines += [f"X-Correlation-Id: {canary}", f"Idempotency-Key: {canary}"]
        content = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
            if self.number % 4 == 0 and path == "/v1/calls":
                lines.append("Prefer: dry-run")
        return tenant, "\r\n".join(lines).encode() + b"\r\n\r\n" + content

    def _choice(self, tenant: str, other: str, canary: str) -> tuple[str, str, str, Any]:
        """(method, path, role, body) of something that somebody does all day, or tries with another's id."""
        chance = self.chance
        # Of late: what is being written now is looked at most.
        own, theirs = (chance.choice(self.calls[each][-50:]) for each in (tenant, other))
        order, user = chance.choice(self.orders[tenant]), chance.choice(self.users[tenant])
        refund = {"tool": REFUND, "arguments": {"order_id": order, "amount_cents": 1}, "reason_code": REASON}
        looked = {"tool": "get_order", "arguments": {"order_id": order}}
        viewed = {"tool": "get_user_360", "arguments": {"user_id": user}, "reason_code": "verification"}
        traced = {"tool": "trace_lookup", "arguments": {"correlation_id": canary}, "reason_code": "audit"}
        return chance.choices(
            [
                ("GET", f"/v1/calls/{own}", "operator", None),
                ("GET", f"/v1/calls/{own}/packet", "auditor", None),
                ("GET", "/v1/calls", "operator", None),
                ("GET", f"/v1/audit/entries?after={chance.randrange(max(1, self.number))}", "auditor", None),
                ("GET", "/v1/waiting", "finance", None),
                ("GET", "/v1/bundles", "auditor", None),
                ("GET", "/v1/tools", "commerce", None),
                ("POST", "/v1/calls", "operator", looked),
                ("POST", "/v1/calls", "operator", viewed),
                ("POST", "/v1/calls", "auditor", traced),
                ("POST", "/v1/calls", "finance", refund),
                ("POST", f"/v1/calls/{own}/feedback", "operator", {"text": f"said by {canary}"}),
                ("GET", f"/v1/calls/{theirs}", "operator", None),
                ("POST", f"/v1/calls/{theirs}/cancel", "finance", None),
                ("POST", f"/v1/calls/{theirs}/feedback", "operator", {"text": f"said by {canary}"}),
            ],
            [10, 3, 1, 1, 1, 1, 2, 25, 15, 5, 25, 5, 3, 2, 1],
        )[0]

    def _look(self, tenant: str, answer: bytes) -> None:
        self.answered += 1
        (other,) = {OURS, THEIRS} - {tenant}
        words = set(_WORD.findall(answer))
        found = words & self.secret[other]
        if found or f"canary-{other}".encode() in answer or f'"tenant":"{other}"'.encode() in answer:
            self.failures.append(f"an answer to {tenant} held {len(found)} words of {other}")
        known = [each.decode() for each in words if each.startswith(b"call_")]
        if b'"status":"executed"' in answer and len(known) == 1 and len(self.calls[tenant]) < 2_000:
            self.calls[tenant].append(known[0])
            self.secret[tenant].add(known[0].encode())


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]  # no answer here is chunked
    return head + await reader.readexactly(length)


def _bytes(part: Part, story: Story, having: dict[str, Belongings]) -> Tally:
    crowd = _Crowd(
        story=story,
        chance=part.chance(),
        left=part.size(CALLS_PER_PART, 600),
        calls={tenant: list(each.ids["call"][:3]) for tenant, each in having.items()},
        secret={tenant: _secrets(story, each) for tenant, each in having.items()},
        orders={tenant: [row["id"] for row in story.state("orders", tenant)][:100] for tenant in having},
        users={tenant: [row["id"] for row in story.state("users", tenant)][:100] for tenant in having},
    )
    address = urlsplit(str(story.client._http.base_url))

    async def everybody() -> None:
        host, port = str(address.hostname), int(address.port or 80)
        await asyncio.gather(*(crowd.client(host, port) for _ in range(CONNECTIONS)))

    asyncio.run(everybody())
    failures = [*crowd.failures, *_left_behind(story, crowd)]
    return Tally(
        guarantee="P8",
        tried="interleaved calls of two tenants on shared connections: words of the other",
        times=crowd.answered + crowd.given_up,
        failures=tuple(failures),
        figures={"answers": crowd.answered, "given_up": crowd.given_up},
    )


def _secrets(story: Story, having: Belongings) -> set[bytes]:
    """Words that are this tenant's alone: its ids, and what its business knows of people."""
    names = {each for kind, ids in having.ids.items() if kind != "digest" for each in ids}
    names |= {having.token} if having.token else set()
    for row in story.state("users", having.tenant):
        names |= {row["id"], row["email"], row["payment_token"]}
    names |= {row["id"] for row in story.state("orders", having.tenant)}
    return {each.encode() for each in names}


def _left_behind(story: Story, crowd: _Crowd) -> Iterator[str]:
    """What exports, listings and figures hold of the other tenant afterwards, and what the verifier says."""
    keys = KeyRing.parse(story.client.text("/v1/keys"))
    metrics = story.client.text("/metrics")
    for tenant, other in ((OURS, THEIRS), (THEIRS, OURS)):
        auditor = story.person("auditor", 1, tenant)
        paths = ("/v1/audit/export", "/v1/calls", "/v1/waiting", "/v1/bundles", "/v1/tools")
        pages = {path: story.client.text(path, auditor.token) for path in paths}
        for path, page in {**pages, "/metrics": metrics}.items():
            found = set(_WORD.findall(page)) & crowd.secret[other]
            if found or f"canary-{other}".encode() in page or f'"tenant":"{other}"'.encode() in page:
                yield f"{path} of {tenant} holds {len(found)} words of {other}"
        if not verify.check(io.BytesIO(pages["/v1/audit/export"]), keys).is_good:
            yield f"the export of {tenant} does not verify"
