"""Bundles handed to a running gateway: altered, unsigned, old or weakened ones change nothing, and say why."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.client import Answer, Client
from deploy.demo.world import GatewayFailed, World
from policies import bundles
from policies.bundles import Bundle, Manifest
from proofs.keys import PrivateKey
from tests.attacks.bundle_edits import mistyped, without
from tests.world.stories import Parked, Story

TENANT = "globex"
GUARD = "refund-within-paid"


def revision(story: Story) -> int:
    """The revision in force."""
    in_force = story.client.get("/v1/bundles", story.person("founder", 1, TENANT).token).document["in_force"]
    return int(in_force["revision"])


def composed(number: int, *, tenant: str = TENANT, environment: str = "dev", days: int = 30, **members: Any) -> Bundle:
    """The base bundle under another manifest, with some members changed, unsigned."""
    now = datetime.now(UTC).replace(microsecond=0)
    manifest = Manifest(
        tenant=tenant,
        environment=environment,
        revision=number,
        created_at=now,
        not_after=now + timedelta(days=days),
    )
    return bundles.compose({**bundles.base(), **members}, manifest)


def signed(story: Story, bundle: Bundle) -> bytes:
    """The bundle under the trusted key."""
    return bundles.sign(bundle, story.world.cast.bundle_key).raw


def upload(story: Story, raw: bytes, role: str = "security", number: int = 1) -> Answer:
    """Hand a bundle in."""
    return story.client.request("POST", "/v1/bundles", story.person(role, number, TENANT).token, body=raw)


def govern(story: Story, tool: str, digest: str) -> Answer:
    """Publish or activate, with two persons' approvals."""
    people = [story.person("security", 2, TENANT), story.person("founder", 1, TENANT)]
    arguments = {"digest": digest}
    return story.client.governed(story.person("security", 1, TENANT), people, tool, arguments, "policy_change")


def altered(raw: bytes, **changes: Any) -> bytes:
    """A document with some members changed after signing."""
    document: dict[str, Any] = json.loads(raw)
    return json.dumps({**document, **changes}).encode()


def test_an_altered_bundle_is_refused_and_nothing_changes(story: Story) -> None:
    """
    C08: unsigned, unknown or second bad signature, an unlisted member, a flipped byte, another tenant or environment.
    """
    number = revision(story) + 1
    good = signed(story, composed(number))
    document: dict[str, Any] = json.loads(good)
    stranger = PrivateKey.generate()
    signature = document["signatures"][0]
    broken = {
        "unsigned": composed(number).raw,
        "no signatures": json.dumps({name: value for name, value in document.items() if name != "signatures"}).encode(),
        "unknown key": bundles.sign(composed(number), stranger).raw,
        "bad beside good": bundles.sign(bundles.parse(good), stranger).raw,
        "borrowed signature": altered(composed(number + 1).raw, signatures=[signature]),
        "unlisted member": altered(good, extra="x"),
        "flipped byte": good.replace(b"50000", b"50001", 1),
        "changed policy": altered(good, policies=document["policies"] + " "),
        "changed manifest": altered(good, manifest={**document["manifest"], "revision": number + 5}),
        "other tenant": signed(story, composed(number, tenant="acme")),
        "other environment": signed(story, composed(number, environment="prod")),
        "expired before made": altered(good, manifest={**document["manifest"], "not_after": "2020-01-01T00:00:00Z"}),
        "no json": b"PK\x03\x04" + bytes(100),
        "list": b"[]",
        "deep": b"[" * 5000,
        "empty": b"",
    }
    before, size = revision(story), story.size(TENANT)

    answers = {name: upload(story, raw) for name, raw in broken.items()}

    assert {name: (answer.status, answer.reason) for name, answer in answers.items()} == dict.fromkeys(
        broken, (422, "bundle_refused")
    )
    assert {answer.document["stage"] for answer in answers.values()} <= {"read", "verify"}
    assert revision(story) == before
    assert story.size(TENANT) >= size + len(broken)


def test_a_bundle_is_bounded(story: Story) -> None:
    """
    C08: more bytes than a bundle may have are refused before they are judged.
    """
    answers = [upload(story, b" " * (1024 * 1024 + 1)), upload(story, b" " * (2 * 1024 * 1024 + 1))]

    assert [(answer.status, answer.reason) for answer in answers] == [(422, "bundle_refused"), (413, "body_too_large")]


@pytest.mark.parametrize("role", ["operator", "finance", "auditor", "growth"])
def test_who_does_not_govern_uploads_nothing(story: Story, role: str) -> None:
    """
    A12: only security and founder upload bundles.
    """
    token = story.person(role, 1, TENANT).token

    answer = story.client.request("POST", "/v1/bundles", token, body=composed(99).raw)

    assert (answer.status, answer.reason) == (403, "role_missing")


def test_a_bundle_without_its_guard_is_refused_with_the_call_it_would_allow(story: Story) -> None:
    """
    D01: a guard deleted together with its cases is refused at the proof, with a counter-example that engines replayed.
    """
    base = bundles.base()
    cases = [case for case in base["cases"] if GUARD not in case["expect"]["rules"]]
    weak = composed(revision(story) + 1, policies=without(base["policies"], GUARD), cases=cases)

    answer = upload(story, signed(story, weak))

    assert (answer.status, answer.reason, answer.document["stage"]) == (422, "bundle_refused", "proof")
    would_allow = [finding["would_allow"] for finding in answer.document["findings"] if finding.get("would_allow")]
    assert [(question["action"], question["principal"]["type"]) for question in would_allow] == [
        ("issue_refund", "Agent"),
        ("issue_refund", "Person"),
    ]
    assert all(map(exceeds, would_allow))
    kept = [finding["case"] for finding in answer.document["findings"] if finding.get("case")]
    mended = composed(revision(story) + 1, cases=[*base["cases"], *kept])
    assert upload(story, signed(story, mended)).status == 201
    still_weak = composed(revision(story) + 1, policies=without(base["policies"], GUARD), cases=[*cases, *kept])
    assert upload(story, signed(story, still_weak)).document["stage"] == "cases"


def test_a_mistyped_guard_is_refused_with_the_call_it_would_allow(story: Story) -> None:
    """
    D01: a guard that forgot what is in flight fails, and the answer shows the refund that would have passed.
    """
    policies = mistyped(bundles.base()["policies"], GUARD, " - context.facts.order.in_flight_cents", "")
    weak = composed(revision(story) + 1, policies=policies)

    answer = upload(story, signed(story, weak))

    assert (answer.status, answer.reason) == (422, "bundle_refused")
    would_allow = [finding["would_allow"] for finding in answer.document["findings"] if finding.get("would_allow")]
    assert would_allow
    assert exceeds(would_allow[0])


def exceeds(question: Mapping[str, Any]) -> bool:
    """Whether the refund is above what was paid and neither given back nor in flight."""
    order = question["context"]["facts"]["order"]
    left = order["paid_cents"] - order["refunded_cents"] - order["in_flight_cents"]
    return bool(question["context"]["arguments"]["amount_cents"] > left)


@dataclass(frozen=True, slots=True)
class Change:
    """A bundle that went into force while a call waited with an approval."""

    number: int
    digest: str
    parked: Parked
    approval: str
    waiting: Parked
    """Parked under the former bundle, and not presented again since."""
    published_early: Answer
    activated_early: Answer
    activated: Answer


@pytest.fixture(scope="module")
def change(story: Story) -> Change:
    """Upload, publish and activate a newer bundle between an approval and its use."""
    parked = story.parked_refund(tenant=TENANT)
    approval = parked.approved_by(story.person("finance", 2, TENANT))
    waiting = story.parked_refund(tenant=TENANT)
    number = revision(story) + 1
    uploaded = upload(story, signed(story, composed(number)))
    assert uploaded.status == 201, uploaded.document
    digest = str(uploaded.document["digest"])
    security = story.person("security", 1, TENANT)
    early = story.client.call(security.token, "publish_bundle", {"digest": digest}, reason="policy_change")
    activated_early = govern(story, "activate_bundle", digest)
    published = govern(story, "publish_bundle", digest)
    assert published.document["status"] == "executed", published.document
    return Change(
        number=number,
        digest=digest,
        parked=parked,
        approval=approval,
        waiting=waiting,
        published_early=early,
        activated_early=activated_early,
        activated=govern(story, "activate_bundle", digest),
    )


def test_a_bundle_comes_into_force_in_three_steps(story: Story, change: Change) -> None:
    """
    C13: uploading activates nothing; publishing and activating each need two persons who did not ask.
    """
    decided = story.refund(story.person("finance", 1, TENANT).token, story.order(tenant=TENANT), 1_000)

    assert change.published_early.status == 202
    assert change.activated_early.document["reason"] == "not_published"
    assert change.activated.document["result"] == {"digest": change.digest, "revision": change.number}
    assert decided.document["decision"]["revision"] == change.number
    assert decided.document["decision"]["bundle"] == change.digest


def test_an_approval_under_the_former_bundle_is_stale(story: Story, change: Change) -> None:
    """
    E07: after another bundle came into force the approval counts no more; presented anew and approved, the call runs.
    """
    stale = change.parked.present(change.approval)
    late = story.client.approve(story.person("finance", 2, TENANT), change.parked.answer)
    change.parked.answer = change.parked.present()
    done = change.parked.present(change.parked.approved_by(story.person("finance", 2, TENANT)))

    assert (stale.status, stale.reason) == (409, "approval_stale")
    assert (late.status, late.reason) == (409, "approval_stale")
    assert change.parked.statement["bundle"] == change.digest
    assert done.document["status"] == "executed"
    assert len(story.effects(change.parked.call)) == 1


def test_a_call_parked_under_the_former_bundle_shows_what_would_be_signed_now(story: Story, change: Change) -> None:
    """
    Whoever looks the call up after the activation, as `lockgate approve` does, can sign it, and the approval serves.
    """
    approver = story.person("finance", 2, TENANT)

    found = story.client.get(f"/v1/calls/{change.waiting.call}", approver.token)
    given = story.client.approve(approver, found)
    done = change.waiting.present(str(given.document.get("approval")))

    assert found.document["statement"] == {**change.waiting.statement, "bundle": change.digest}
    assert given.status == 201, given.document
    assert (done.status, done.document["status"]) == (200, "executed")


def test_an_older_bundle_is_refused_also_after_a_restart(story: Story, change: Change) -> None:
    """
    C09: validly signed bundles of the same revision with other bytes are uploaded, and never published or activated.
    """
    uploaded = upload(story, signed(story, composed(change.number, days=20)))
    digest = str(uploaded.document["digest"])
    restarted = story.world.gateway()
    elsewhere = Story(story.world, Client(restarted.url))

    answers = [
        govern(each, tool, digest) for each in (story, elsewhere) for tool in ("publish_bundle", "activate_bundle")
    ]
    in_force = [revision(story), revision(elsewhere)]
    restarted.stop()

    assert uploaded.status == 201
    assert {answer.status for answer in answers} == {403}
    assert {answer.reason for answer in answers} <= {"policy_denied", "invariant_violated"}
    assert in_force == [change.number] * 2


def test_whoever_uploaded_a_bundle_does_not_approve_it(story: Story) -> None:
    """
    C13: all who handed in the same bytes are excluded, the second too, also when their approval was there first.
    """
    bundle = signed(story, composed(revision(story) + 1))
    first, second, other = story.person("founder", 1, TENANT), story.person("founder", 2, TENANT), "security"
    digest = str(upload(story, bundle, "founder", 1).document["digest"])
    asked, key, arguments = story.person(other, 1, TENANT), secrets.token_hex(8), {"digest": digest}

    def publish(*approvals: str) -> Answer:
        return story.client.call(
            asked.token, "publish_bundle", arguments, reason="policy_change", key=key, approvals=approvals
        )

    parked = publish()
    own = story.client.approve(first, parked)
    given = [story.client.approve(person, parked) for person in (second, story.person(other, 2, TENANT))]
    upload(story, bundle, "founder", 2)
    used = publish(*(str(each.document.get("approval")) for each in given))

    assert parked.status == 202
    assert (own.status, own.reason) == (403, "approver_excluded")
    assert [each.status for each in given] == [201, 201]
    assert (used.status, used.reason) == (403, "approval_void")


def test_an_unknown_digest_is_no_bundle(story: Story) -> None:
    """
    C08: publishing or activating what was never uploaded, or was refused, is denied for want of the fact.
    """
    refused = composed(revision(story) + 1).digest

    answers = [govern(story, tool, refused) for tool in ("publish_bundle", "activate_bundle")]

    assert [(answer.status, answer.reason) for answer in answers] == [(403, "fact_missing")] * 2


@pytest.fixture(scope="module")
def bare() -> Iterator[World]:
    """A world in which no gateway was ever started."""
    home = Path(tempfile.mkdtemp(prefix="lockgate-bare-"))
    home.chmod(0o755)
    try:
        with World.start(home / "home") as started:
            yield started
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("what", ["missing", "unsigned", "altered", "nothing"])
def test_without_a_bundle_there_is_no_gateway(bare: World, tmp_path: Path, what: str) -> None:
    """
    C07: a first start without a bundle that a root key signed ends at once, and says what is wrong with it.
    """
    raw = (bare.cast.folder / "base-bundle.json").read_bytes()
    file = tmp_path / "bundle.json"
    contents = {
        "unsigned": altered(raw, signatures=[]),
        "altered": raw.replace(b"50000", b"50001", 1),
        "nothing": b"",
    }
    if what in contents:
        file.write_bytes(contents[what])

    with pytest.raises(GatewayFailed, match="lockgate: base bundle") as failed:
        bare.gateway(settings={"LOCKGATE_BASE_BUNDLE": str(file)})

    assert "Traceback" not in str(failed.value)
