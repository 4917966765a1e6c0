"""Bundles written to break the proof, handed to a running gateway: refused with what is wrong, and it serves on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from deploy.demo.client import Client
from policies import bundles
from tests.attacks.bundle_edits import MEMORY_BOMB
from tests.attacks.test_bundle_uploads import TENANT, composed, revision, signed, upload
from tests.attacks.test_proof_bad_input import AMOUNT, BACK, PAID, killing, over_refunds
from tests.world.stories import Story

BASE = bundles.base()
DEEP = "!(" * 5_000 + "true" + ")" * 5_000


def rule(condition: str) -> str:
    """One more rule for the base bundle."""
    return f"""@id("extra") @hint("Ask.")
permit (principal, action == Action::"issue_refund", resource) when {{ {condition} }};"""


def with_rule(condition: str) -> dict[str, object]:
    """The base bundle with a careless rule, and the case that a reviewer would want to see."""
    (permitted,) = (case for case in BASE["cases"] if case["name"] == "an agent reads with a tool of its registration")
    case = {**permitted, "name": "extra", "expect": {**permitted["expect"], "rules": ["extra"]}}
    return {"policies": BASE["policies"] + rule(condition), "cases": [*BASE["cases"], case]}


def with_invariant(condition: str) -> dict[str, object]:
    """The base bundle with one more promise, which it does not keep or nobody can tell."""
    return {"invariants": BASE["invariants"] + over_refunds(condition)}


BROKEN: dict[str, Callable[[], dict[str, object]]] = {
    "deep rule": lambda: with_rule(DEEP),
    "deep invariant": lambda: with_invariant(DEEP),
    "long text": lambda: with_invariant(f'context.tenant != "{"x" * 900_000}"'),
    "no character": lambda: with_invariant(r'context.tenant == "\u{d800}"'),
    "odd names": lambda: with_invariant(r'principal != Agent::"a\0\") (exit)\u{10ffff}"'),
    "factors": lambda: with_invariant(
        f"{PAID} > 1 && {PAID} < 2147483648 && {BACK} > 1 && {BACK} < 2147483648 && "
        f"{PAID} * {BACK} == 2305843009213693951"  # 2^61 - 1 is prime.
    ),
    "overflow": lambda: with_invariant(f"{AMOUNT} * {PAID} * {PAID} < 0"),
}


def serves(story: Story) -> bool:
    """Whether a call is decided and executed, by the bundle that was in force."""
    answer = story.refund(story.person("finance", 1, TENANT).token, story.order(tenant=TENANT), 1_000)
    return (answer.status, answer.document.get("status")) == (200, "executed")


@pytest.mark.parametrize("name", BROKEN)
def test_a_bundle_that_breaks_the_proof_is_refused(story: Story, name: str) -> None:
    """
    Signed by the trusted key and yet refused, with a finding; nothing came into force and the gateway serves.
    """
    before = revision(story)

    answer = upload(story, signed(story, composed(before + 1, **BROKEN[name]())))

    assert (answer.status, answer.reason) == (422, "bundle_refused"), answer.document
    assert answer.document["findings"]
    assert revision(story) == before
    assert serves(story)


@pytest.fixture(scope="module")
def small(story: Story) -> Iterator[Story]:
    """A second gateway of the same world, whose solvers have 128 MB each."""
    gateway = story.world.gateway(program=("tests.world.little_memory",))
    yield Story(story.world, Client(gateway.url), story._numbers)
    gateway.stop()


def test_a_memory_bomb_is_refused_and_nobody_else_waits(small: Story) -> None:
    """
    D07: a formula that eats memory, uploaded: a solver dies of it, the bundle is refused as unknown, and beside it the
    gateway is ready and refunds; the next bundle is proved.
    """
    bomb = signed(small, composed(revision(small) + 1, **with_invariant(MEMORY_BOMB)))
    beside: list[tuple[int, bool]] = []

    with ThreadPoolExecutor(1) as pool:
        uploading = pool.submit(upload, Story(small.world, Client(small.client.url)), bomb)
        while not uploading.done():
            ready, serving = small.client.get("/readyz").status, serves(small)
            beside += [] if uploading.done() else [(ready, serving)]
        refused = uploading.result()
    taken = upload(small, signed(small, composed(revision(small) + 1, days=22)))

    assert (refused.status, refused.reason, refused.document["stage"]) == (422, "bundle_refused", "proof")
    assert {finding["message"].partition(":")[0] for finding in refused.document["findings"]} == {"worker_died"}
    assert len(beside) > 10
    assert set(beside) == {(200, True)}
    assert taken.status == 201, taken.document


def test_half_a_character_in_json_is_no_bundle(story: Story) -> None:
    """
    A lone surrogate, which JSON can write and UTF-8 cannot, is refused before anything is read from it.
    """
    document = json.loads(composed(revision(story) + 1).raw)
    document["policies"] = '@id("x") permit (principal == Person::"\ud800", action, resource);'

    answer = upload(story, json.dumps(document).encode("ascii"))

    assert (answer.status, answer.reason, answer.document["stage"]) == (422, "bundle_refused", "read")
    assert serves(story)


@pytest.mark.parametrize("task", ["prove", "settle"])
def test_a_solver_killed_during_an_upload_refuses_it(story: Story, task: str) -> None:
    """
    A sound bundle whose prover or second solver is killed is refused as unknown; handed in again it is taken.
    """
    sound = signed(story, composed(revision(story) + 1, days=20 if task == "prove" else 21))
    gateways = [gateway for gateway in story.world.gateways if gateway.process.poll() is None]
    with killing(task, *(psutil.Process(gateway.process.pid) for gateway in gateways)) as killed:
        refused = upload(story, sound)
    taken = upload(story, sound)

    assert len(killed) == 1
    assert (refused.status, refused.reason) == (422, "bundle_refused"), refused.document
    assert refused.document["stage"] == "proof"
    assert {finding.get("verdict") for finding in refused.document["findings"]} == {"unknown"}
    assert taken.status == 201
    assert serves(story)
