"""P10: what was taken away is gone, and rules never go backwards.

1. lag        a switch engaged, a level lowered, a role lost or a key revoked through one gateway, and at once the call
              that it stops, through another: how long such a call still passed. An activation, with calls all the while
2. replays    validly signed older bundles, published and activated again: on both gateways, on one that was started
              since, under a revision that is taken, and by putting the database of before the activation back

The lag of a call is 0 when the first one sent after the answer is refused.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx2

from deploy.demo.cast import Person
from deploy.demo.client import Answer, Client
from deploy.demo.world import GatewayFailed
from gateway.opening import DATABASE
from policies import bundles
from policies.bundles import Manifest
from proofs.keys import PrivateKey
from tests.campaigns.tallies import Part, Tally
from tests.world.ground import Ground, ground
from tests.world.stories import AGENT_TOOLS, REASON, REFUND, Story

PARTS = 4
MEASURED = 2_500  # of a part, over all kinds
SIDE_BY_SIDE = 10
NEXT_REQUEST_SECONDS = 0.0
"""The published bound of switches, levels, roles and keys: none, from the answer on."""
ACTIVATION_SECONDS = 3.0
"""That of an activation: a look a second, and what it takes to load rules beside calls."""
ASKING = 8  # About 200 requests a second on two cores, while rules are replaced.
TRIES = 5
TENANT = "acme"
OLDER = "lockgate_before"


def run(part: Part) -> Iterable[Tally]:
    """One part, over two gateways on one database."""
    with ground() as here:
        stage = _Stage(here, part)
        yield stage.lags(part.size(MEASURED, 24))
        if not part.is_short:  # Each bundle is proved: that takes longer than a short form may.
            yield from stage.replays()


@dataclass(slots=True)
class _Stage:
    here: Ground
    part: Part
    one: Story = field(init=False)
    other: Story = field(init=False)
    chance: Random = field(init=False)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _orders: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = self.part.chance()
        first, second = self.here.gateway(), self.here.world.gateway()
        self.one = Story(self.here.world, Client(first.url))
        self.other = Story(self.here.world, Client(second.url), self.one._numbers)
        rows = self.one.state("orders", TENANT)
        self._orders = [row["id"] for row in rows if row["paid_cents"] - row["refunded_cents"] > 5_000]

    # -- lag ----------------------------------------------------------------------------------------------------------

    def lags(self, times: int) -> Tally:
        """So many things taken away, a few at once."""
        kinds = {"switch": self._switch, "level": self._level, "role": self._role, "key": self._key}
        # By what they cost: a key is registered and revoked by two persons each time.
        names = self.chance.choices(list(kinds), weights=(12, 4, 8, 1), k=max(times - len(kinds), 0)) + list(kinds)
        worst, failures = dict.fromkeys(kinds, 0.0), []
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            for name, lag in zip(names, pool.map(lambda name: kinds[name](), names), strict=True):
                worst[name] = max(worst[name], lag)
                if lag > NEXT_REQUEST_SECONDS:
                    failures.append(f"{name}: a call still passed {lag * 1000:.0f} ms after the answer")
        return Tally(
            guarantee="P10",
            tried="switches, levels, roles and keys taken away, tried on another gateway",
            times=len(names),
            failures=tuple(failures),
            figures={f"worst_lag_ms_{name}": round(lag * 1000, 1) for name, lag in worst.items()},
        )

    def _switch(self) -> float:
        near, far = self._sides()
        agent, token = self._agent(near, 2)
        _must(self._refund(far, token), "executed")
        arguments = {"scope": "agent", "target": agent, "reason": "a measurement"}
        return _lag(
            near.client.call(self._person("operator").token, "engage_kill", arguments, reason="drill"),
            lambda: self._refund(far, token).document.get("status") == "executed",
        )

    def _level(self) -> float:
        near, far = self._sides()
        agent, token = self._agent(near, 2)
        _must(self._refund(far, token), "executed")
        return _lag(
            self._govern(near, "set_autonomy", {"agent": agent, "action": "*", "level": 0}, "misbehaviour"),
            lambda: self._refund(far, token).document.get("status") == "executed",
        )

    def _role(self) -> float:
        """An approval of somebody who has lost the role since: the gateway that saw the newer token is another one."""
        near, far = self._sides()
        person = self._hire(near, "finance")
        token = self._agent(near, 1)[1]
        key, order = secrets.token_hex(12), self.chance.choice(self._orders)
        parked = self._refund(far, token, key=key, order=order)
        _must(parked, "parked")
        given = far.client.approve(person, parked)
        time.sleep(1.0 - time.time() % 1.0)  # Of two tokens of one second neither is the newer one.
        less = self.here.world.cast.issuer.person(TENANT, person.id, ["growth"])
        approval = str(given.document["approval"])
        return _lag(
            near.client.get("/v1/calls", less),
            lambda: self._refund(far, token, key=key, order=order, approvals=[approval]).status == 200,
        )

    def _key(self) -> float:
        near, far = self._sides()
        person = self._hire(near, "finance")
        token = self._agent(near, 1)[1]
        key, order = secrets.token_hex(12), self.chance.choice(self._orders)
        parked = self._refund(far, token, key=key, order=order)
        _must(parked, "parked")
        approval = str(far.client.approve(person, parked).document["approval"])
        return _lag(
            self._govern(near, "revoke_key", {"key_id": person.key.key_id}, "compromise_suspected"),
            lambda: self._refund(far, token, key=key, order=order, approvals=[approval]).status == 200,
        )

    # -- replays ------------------------------------------------------------------------------------------------------

    def replays(self) -> Iterator[Tally]:
        """Two bundles, the newer one activated under load; then every way back to the older one."""
        revision = self._revision(self.one)
        older, newer = self._upload(revision + 1), self._upload(revision + 2)
        _must(self._govern(self.one, "publish_bundle", {"digest": older}, "policy_change"), "executed")
        _must(self._govern(self.one, "publish_bundle", {"digest": newer}, "policy_change"), "executed")
        self.part.tell("two bundles are published")
        lag, calls = self._activated(newer, revision + 2)
        yield Tally(
            guarantee="P10",
            tried="activations, with calls on another gateway all the while",
            times=1,
            failures=() if lag <= ACTIVATION_SECONDS else (f"the former rules decided for {lag:.2f} s more",),
            figures={"worst_lag_ms_activation": round(lag * 1000), "calls_meanwhile": calls},
        )
        ways = list(self._ways_back(older, revision + 2))
        yield Tally(
            guarantee="P10",
            tried="older bundles brought back: both gateways, a new one, a taken revision, a restored database",
            times=len(ways),
            failures=tuple(way for way, refused in ways if not refused),
        )

    def _ways_back(self, older: str, revision: int) -> Iterator[tuple[str, bool]]:
        for name, story in (("activated", self.one), ("activated elsewhere", self.other)):
            yield name, self._is_refused(story, older)
        taken = self._upload(revision, days=20)
        yield "a taken revision, published", self._is_refused(self.one, taken, "publish_bundle")
        third = self.here.world.gateway()
        yield "activated after a start", self._is_refused(Story(self.here.world, Client(third.url)), older)
        third.stop()
        yield "a restored database", self._restored()

    def _is_refused(self, story: Story, digest: str, tool: str = "activate_bundle") -> bool:
        before = self._revision(story)
        answer = self._govern(story, tool, {"digest": digest}, "policy_change")
        return answer.document.get("status") != "executed" and self._revision(story) == before

    def _restored(self) -> bool:
        """The database of before this part's last entries: nobody starts on it."""
        cluster = self.here.world.cluster
        for gateway in self.here.world.gateways:
            gateway.stop()
        cluster.create_database(OLDER, template=DATABASE)
        later = self.here.world.gateway()
        self._govern(Story(self.here.world, Client(later.url)), "set_autonomy", _ANY, "new_agent")
        later.stop()
        cluster.drop_database(DATABASE)
        cluster.create_database(DATABASE, template=OLDER)
        try:
            self.here.world.gateway()
        except GatewayFailed:
            return True
        return False

    def _activated(self, digest: str, revision: int) -> tuple[float, int]:
        """How long after the answer of one gateway the other still decided by the former rules."""
        told: list[tuple[float, int]] = []
        done = threading.Event()

        def ask() -> None:
            token = self._agent(self.other, 2)[1]
            while not done.is_set():
                sent = time.monotonic()
                answer = self._refund(self.other, token, headers={"Prefer": "dry-run"})
                told.append((sent, int(answer.document.get("decision", answer.document).get("revision", 0))))

        with ThreadPoolExecutor(ASKING) as pool:
            asking = [pool.submit(ask) for _ in range(ASKING)]
            time.sleep(0.5)
            _must(self._govern(self.one, "activate_bundle", {"digest": digest}, "policy_change"), "executed")
            answered = time.monotonic()
            time.sleep(ACTIVATION_SECONDS * 2)
            done.set()
            for each in asking:
                each.result()
        late = [sent - answered for sent, found in told if found != revision and sent > answered]
        return max(late, default=0.0), len(told)

    # -- what all of them need ----------------------------------------------------------------------------------------

    def _sides(self) -> tuple[Story, Story]:
        """Where it is taken away, and where it is tried."""
        sides = [self.one, self.other]
        self.chance.shuffle(sides)
        return sides[0], sides[1]

    def _person(self, role: str) -> Person:
        return self.here.person(role, self.chance.randint(1, 2), TENANT)

    def _agent(self, story: Story, level: int) -> tuple[str, str]:
        name = f"agent-{self.part.number}-{next(self._numbers)}"
        if level != 1:
            arguments = {"agent": name, "action": "*", "level": level}
            _must(self._govern(story, "set_autonomy", arguments, "new_agent"), "executed")
        return name, self.here.world.cast.issuer.agent(TENANT, name, AGENT_TOOLS)

    def _hire(self, story: Story, role: str) -> Person:
        name = f"per-{self.part.number}-{next(self._numbers)}"
        key = PrivateKey.generate()
        _must(
            self._govern(story, "register_key", {"person": name, "public_key": key.public.text}, "new_approver"),
            "executed",
        )
        token = self.here.world.cast.issuer.person(TENANT, name, [role])
        return Person(tenant=TENANT, id=name, roles=(role,), token=token, key=key)

    def _govern(self, story: Story, tool: str, arguments: dict[str, Any], reason: str) -> Answer:
        people = [self.here.person("security", 2, TENANT), self.here.person("founder", 1, TENANT)]
        return story.client.governed(self.here.person("security", 1, TENANT), people, tool, arguments, reason)

    def _refund(self, story: Story, token: str, *, order: str = "", **given: Any) -> Answer:
        """A cent, of an order that has many. Asked again where the gateway says that nothing happened: it is busy."""
        arguments = {"order_id": order or self.chance.choice(self._orders), "amount_cents": 1}
        for _ in range(TRIES):
            answer = story.client.call(token, REFUND, arguments, reason=REASON, **given)
            if answer.status != 503:
                break
        return answer

    def _revision(self, story: Story) -> int:
        found = story.client.get("/v1/bundles", self.here.person("founder", 2, TENANT).token).document
        return int(found["in_force"]["revision"])

    def _upload(self, revision: int, days: int = 30) -> str:
        """The base bundle under another revision; by somebody who approves nothing here."""
        now = datetime.now(UTC).replace(microsecond=0)
        manifest = Manifest(
            tenant=TENANT, environment="dev", revision=revision, created_at=now, not_after=now + timedelta(days=days)
        )
        raw = bundles.sign(bundles.compose(bundles.base(), manifest), self.here.world.cast.bundle_key).raw
        token = self.here.person("founder", 2, TENANT).token
        answer = httpx2.post(
            f"{self.here.gateway().url}/v1/bundles",
            content=raw,
            headers={"Authorization": f"Bearer {token}"},
            timeout=180,
            trust_env=False,
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["digest"])


_ANY = {"agent": "agent-later", "action": "*", "level": 1}


def _must(answer: Answer, status: str) -> None:
    """What is not measured has to work, or nothing is."""
    assert answer.document.get("status") == status, (answer.status, answer.document)


def _lag(changed: Answer, still_passes: Callable[[], bool]) -> float:
    """Seconds from the answer to the change until the sending of the last call that passed all the same."""
    assert changed.status == 200, (changed.status, changed.document)
    answered = time.monotonic()
    lag = 0.0
    while True:
        sent = time.monotonic()
        if not still_passes():
            return lag
        lag = max(sent - answered, 1e-6)
