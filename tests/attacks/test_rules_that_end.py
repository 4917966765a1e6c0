"""Rules that are exchanged under load, and rules whose time is over: each call has exactly one set of them, or none."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deploy.demo.client import Answer, Client
from deploy.demo.world import World
from gateway.activation import Active, Policies
from gateway.errors import Unavailable
from policies import bundles
from policies.bundles import Manifest
from tests.world.stories import Story, eventually

TENANT = "acme"
PACE_SECONDS = 0.01
LIFE_SECONDS = 20
"""Of a bundle that expires while the test looks on: long enough to be published and activated."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One world through two gateways."""

    one: Story
    other: Story


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A world of its own: what is activated here ends."""
    home = Path(tempfile.mkdtemp(prefix="lockgate-ending-"))
    home.chmod(0o755)  # The server's user passes through; what is inside is private.
    try:
        with World.start(home / "home") as world:
            one, other = (Story(world, Client(world.gateway().url)) for _ in range(2))
            yield Pair(one, other)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def in_force(story: Story) -> dict[str, Any]:
    """What a gateway says is in force."""
    found = story.client.get("/v1/bundles", story.person("founder").token).document["in_force"]
    return {name: found[name] for name in ("bundle", "revision")}


def uploaded(story: Story, *, seconds: int) -> str:
    """The base bundle under the next revision, for so long: its digest."""
    now = datetime.now(UTC).replace(microsecond=0)
    manifest = Manifest(
        tenant=TENANT,
        environment="dev",
        revision=in_force(story)["revision"] + 1,
        created_at=now,
        not_after=now + timedelta(seconds=seconds),
    )
    raw = bundles.sign(bundles.compose(bundles.base(), manifest), story.world.cast.bundle_key).raw
    answer = story.client.request("POST", "/v1/bundles", story.person("security").token, body=raw)
    assert answer.status == 201, answer.document
    return str(answer.document["digest"])


def is_unready(story: Story) -> bool:
    """Whether a gateway says that it decides nothing."""
    return story.client.get("/readyz").status == 503


def govern(story: Story, tool: str, digest: str) -> Answer:
    """Publish or activate."""
    return story.govern(tool, {"digest": digest}, "policy_change")


class Load:
    """Somebody who keeps asking for refunds of one cent through one gateway, and what each was decided under."""

    def __init__(self, story: Story, number: int) -> None:
        self._token, self._order = story.person("finance", number).token, story.order(10_000)
        self._client = Client(str(story.client._http.base_url))
        self._story = story
        self.ended = threading.Event()
        self.decided: list[tuple[float, str, int]] = []
        """When the request was sent, and the decision's bundle and revision."""
        self.others: set[int] = set()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def seen(self, bundle: str) -> bool:
        """Whether the last decision was made under it."""
        return bool(self.decided) and self.decided[-1][1] == bundle

    def end(self) -> None:
        self.ended.set()
        self._thread.join()

    def _ask(self) -> None:
        arguments = {"order_id": self._order, "amount_cents": 1}
        while not self.ended.is_set():
            sent = time.monotonic()
            answer = self._client.call(self._token, "issue_refund", arguments, reason="damaged_item")
            if answer.status == 200:
                decision = answer.document["decision"]
                self.decided.append((sent, decision["bundle"], decision["revision"]))
            else:
                self.others.add(answer.status)
            time.sleep(PACE_SECONDS)


def test_an_activation_under_load_leaves_each_call_one_revision(pair: Pair) -> None:
    """
    C11: while two gateways decide, a newer bundle is activated through one: each call names the former or the newer
    one whole, no gateway goes back, nothing sent after the activation was answered meets the former one there, and the
    other follows by itself.
    """
    before = in_force(pair.one)
    digest = uploaded(pair.one, seconds=86_400)
    govern(pair.one, "publish_bundle", digest)
    loads = [Load(pair.one, 1), Load(pair.other, 2)]
    try:
        started = eventually(lambda: all(load.seen(before["bundle"]) for load in loads))
        govern(pair.one, "activate_bundle", digest)
        activated = time.monotonic()
        followed = eventually(lambda: all(load.seen(digest) for load in loads))
    finally:
        for load in loads:
            load.end()

    after = {"bundle": digest, "revision": before["revision"] + 1}
    assert started
    assert followed
    assert [load.others for load in loads] == [set(), set()]
    for load in loads:
        revisions = [revision for _, _, revision in load.decided]
        assert {(bundle, revision) for _, bundle, revision in load.decided} == {
            (each["bundle"], each["revision"]) for each in (before, after)
        }
        assert revisions == sorted(revisions)
    assert {bundle for sent, bundle, _ in loads[0].decided if sent > activated} == {digest}
    assert in_force(pair.one) == in_force(pair.other) == after


def test_an_expired_bundle_decides_nothing_but_its_own_end(pair: Pair) -> None:
    """
    C10: writes, reads and dry runs are 503 `policy_expired` on every gateway, and `/readyz` says so; publishing,
    activating and killing go on, and under the newer bundle everything does.
    """
    story = pair.one
    digest = uploaded(story, seconds=LIFE_SECONDS)
    govern(story, "publish_bundle", digest)
    govern(story, "activate_bundle", digest)
    agent, order = story.world.cast.agent(TENANT, 3), story.order(10_000)
    operator = story.person("operator")

    ended = [eventually(partial(is_unready, each), LIFE_SECONDS) for each in (story, pair.other)]
    refused = [
        answer
        for each in (story, pair.other)
        for answer in (
            each.refund(each.person("finance").token, order, 1_000),
            each.refund(agent.token, order, 1_000),
            each.client.call(operator.token, "get_order", {"order_id": order}),
            each.refund(each.person("finance").token, order, 1_000, headers={"Prefer": "dry-run"}),
        )
    ]
    killed = story.client.call(
        operator.token, "engage_kill", {"scope": "agent", "target": "agent-ended", "reason": "a drill"}, reason="drill"
    )
    newer = uploaded(story, seconds=86_400)
    govern(story, "publish_bundle", newer)
    govern(story, "activate_bundle", newer)
    followed = eventually(lambda: not is_unready(pair.other))
    done = [each.refund(each.person("finance").token, order, 1_000) for each in (story, pair.other)]

    assert ended == [True, True]
    assert {(answer.status, answer.reason) for answer in refused} == {(503, "policy_expired")}
    assert (killed.status, killed.document["status"]) == (200, "executed")
    assert followed
    assert [(answer.status, answer.document["status"]) for answer in done] == [(200, "executed")] * 2
    assert len(story.effects_on(order)) == 2


@pytest.mark.parametrize(("now_ms", "decides"), [(999, True), (1000, False), (1001, False)])
def test_a_bundle_ends_at_the_very_instant_that_it_names(now_ms: int, decides: bool) -> None:
    """
    C10: `not_after` is exclusive: a millisecond before, the bundle decides; at the instant itself it does not.
    """
    ending = cast(Active, SimpleNamespace(tenant=TENANT, revision=1, bundle_digest="sha256:b", not_after_ms=1000))
    policies = Policies(lambda: now_ms, cast(Any, None))
    policies.put(TENANT, ending, is_quarantined=False)

    with nullcontext() if decides else pytest.raises(Unavailable, match="policy_expired"):
        policies.require_in_force(TENANT, ending, "issue_refund")
