"""What a gateway hands out is enough: an auditor re-checks certificates and settles calls with nothing running."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.client import Client
from invariants import auditing
from proofs import canonical, verify
from proofs.keys import KeyRing
from tests.attacks.test_registered_tools import DECLARATION, TENANT
from tests.world import sink as sinks
from tests.world.stories import Story
from tool_registry.registry import load_catalogue

ROOT = Path(auditing.__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Told:
    """What a command of an auditor ended with, in a process of its own."""

    code: int
    document: dict[str, Any]
    errors: str


def told(*arguments: str | Path, seed: str = "0") -> Told:
    """`python -m invariants …` in a fresh process."""
    command = [sys.executable, "-m", "invariants", *map(str, arguments), "--json"]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return Told(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr)


def outcomes(found: Told) -> set[str]:
    """Of every step but `scope`, which no offline command can look at."""
    return {each["outcome"] for each in found.document["steps"] if each["step"] != "scope"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an auditor saved, by the routes of the docs."""

    story: Story
    folder: Path
    tenant: str

    def save(self, path: str, name: str) -> Path:
        """One answer as a file."""
        token = self.story.person("auditor", 1, self.tenant).token
        where = self.folder / name
        where.parent.mkdir(exist_ok=True)
        where.write_bytes(self.story.client.text(path, token))
        return where

    def bundle(self) -> tuple[dict[str, Any], Path, Path, Path]:
        """What is in force, with its certificate, its bundle and the keys."""
        token = self.story.person("auditor", 1, self.tenant).token
        force = self.story.client.get("/v1/bundles", token).document["in_force"]
        return (
            force,
            self.save(f"/v1/certificates/{force['certificate']}", "certificate.json"),
            self.save(f"/v1/bundles/{force['bundle']}", "bundle.json"),
            self.save("/v1/keys", "keys.json"),
        )


@pytest.fixture
def fetched(story: Story, tmp_path: Path) -> Fetched:
    """An auditor of the first tenant."""
    return Fetched(story, tmp_path, "acme")


@pytest.mark.parametrize("seed", ["1", "4242"])
def test_certificate_in_force_is_confirmed_in_a_fresh_process(fetched: Fetched, seed: str) -> None:
    """
    D08: bundle, certificate and keys as the routes give them: every obligation is written again, to the byte, and
    settled.
    """
    force, certificate, bundle, keys = fetched.bundle()

    found = told("recheck", certificate, "--bundle", bundle, "--keys", keys, seed=seed)

    assert (found.code, found.document["outcome"], found.errors) == (auditing.CONFIRMED, "confirmed", "")
    assert outcomes(found) == {"confirmed"}
    assert found.document["certificate"] == force["certificate"]


def test_folder_of_rules_is_compared_as_far_as_it_goes(fetched: Fetched) -> None:
    """
    A folder has no manifest and nobody's keys are given: the rest is confirmed, and the answer says what was not.
    """
    _, certificate, _, _ = fetched.bundle()

    found = told("recheck", certificate, "--bundle", ROOT / "policies" / "base")

    skipped = {each["step"] for each in found.document["steps"] if each["outcome"] == "skipped"}
    assert (found.code, skipped) == (auditing.CONFIRMED, {"signature", "bundle", "scope"})


def test_bad_input_is_told_from_a_bad_certificate(fetched: Fetched) -> None:
    """
    What cannot be read says nothing about any bundle: exit code 3, on the error stream.
    """
    _, certificate, bundle, _ = fetched.bundle()
    empty = fetched.folder / "empty.json"
    empty.write_text("{}")

    asked = [(empty, bundle), (certificate, empty), (fetched.folder / "missing.json", bundle)]
    found = [told("recheck", one, "--bundle", other) for one, other in asked]

    assert {each.code for each in found} == {auditing.BAD_INPUT}
    assert all(each.errors.startswith("cannot check: ") for each in found)


def test_executed_call_is_settled_offline(fetched: Fetched) -> None:
    """
    The packet of a call names question, decision, certificate and obligation; both solvers confirm every claim of it.
    """
    story = fetched.story
    done = story.refund(story.agent(3).token, story.order(), 1_250)
    assert done.status == 200, done.document
    force, certificate, bundle, keys = fetched.bundle()
    packet = fetched.save(f"/v1/calls/{done.call}/packet", "packet.json")

    found = told("settle", packet, "--bundle", bundle, "--certificate", certificate, "--keys", keys)

    document = json.loads(packet.read_bytes())
    assert (found.code, outcomes(found)) == (auditing.CONFIRMED, {"confirmed"})
    assert document["receipt"]["entry"]["certificate"] == force["certificate"]
    assert document["payload"]["question"]["context"]["arguments"]["amount_cents"] == 1_250
    assert "decided" in {each["step"] for each in found.document["steps"]}


def test_refused_and_parked_calls_have_packets_too(fetched: Fetched) -> None:
    """
    What was refused, or waits, was decided as well: its packet confirms that the rules say so.
    """
    story = fetched.story
    refused = story.refund(story.agent(0).token, story.order(), 100)
    parked = story.parked_refund()
    _, certificate, bundle, keys = fetched.bundle()
    more = ["--bundle", bundle, "--certificate", certificate, "--keys", keys]

    calls = {"refused": str(refused.document["call"]), "parked": parked.call}
    packets = [fetched.save(f"/v1/calls/{call}/packet", f"{name}.json") for name, call in calls.items()]

    assert refused.status == 403
    assert [told("settle", packet, *more).code for packet in packets] == [auditing.CONFIRMED] * 2


def test_packets_are_for_auditors_of_the_tenant(story: Story) -> None:
    """
    Another tenant's call is unknown, and an agent's own packet is not for the agent.
    """
    agent = story.agent(3)
    done = story.refund(agent.token, story.order(), 100)
    path = f"/v1/calls/{done.call}/packet"

    own, other = (story.client.get(path, each) for each in (agent.token, story.person("auditor", 1, "globex").token))

    assert (own.status, other.status) == (403, 404)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("bundles", "unknown_bundle"),
        ("certificates", "unknown_certificate"),
        ("declarations", "unknown_declaration"),
    ],
)
def test_unknown_digest_is_not_found(story: Story, path: str, reason: str) -> None:
    """
    What was never stored, or another tenant stored, is the same 404.
    """
    token = story.person("auditor", 1).token

    answers = [story.client.get(f"/v1/{path}/{digest}", token) for digest in ("sha256:" + "0" * 64, "x")]
    up = story.client.get(f"/v1/{path}/..%2fetc", token)

    assert {(each.status, each.reason) for each in answers} == {(404, reason)}
    assert (up.status, up.reason) == (400, "target_malformed")


@pytest.fixture(scope="module")
def registered(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fetched, str]]:
    """A tool that the second tenant registered at run time, and the digest of its contract."""
    with sinks.listening() as sink:
        gateway = story.world.gateway(settings={"LOCKGATE_DEV_LOOPBACK_ORIGINS": json.dumps([sink.origin])})
        inside = Story(story.world, Client(gateway.url), story._numbers)
        security = inside.person("security", 1, TENANT)
        text = DECLARATION.replace("ORIGIN", sink.origin).replace("send_parcel", "send_voucher")
        uploaded = inside.client.request("POST", "/v1/tools", security.token, body=text.encode())
        assert uploaded.status == 201, (uploaded.document["stage"], uploaded.document["findings"])
        digest = str(uploaded.document["digest"])
        inside.govern("register_tool", {"digest": digest}, "new_tool", TENANT)
        yield Fetched(inside, tmp_path_factory.mktemp("audit"), TENANT), digest
        gateway.stop()


def test_certificate_over_a_registered_tool_needs_its_declaration(registered: tuple[Fetched, str]) -> None:
    """
    Without the declaration nothing is known, and the answer names it; fetched by its digest, all is confirmed.
    """
    fetched, digest = registered
    _, certificate, bundle, keys = fetched.bundle()
    asked = ["recheck", certificate, "--bundle", bundle, "--keys", keys]
    catalogue = {str(each.digest) for each in load_catalogue().contracts.values()}
    missing = {
        name: each for name, each in json.loads(certificate.read_bytes())["tools"].items() if each not in catalogue
    }

    without = told(*asked)
    for name, each in missing.items():
        fetched.save(f"/v1/declarations/{each}", f"tools/{name}.yaml")
    with_it = told(*asked, "--tools", fetched.folder / "tools")

    assert (without.code, digest in without.errors) == (auditing.UNKNOWN, True)
    assert (with_it.code, with_it.document["outcome"]) == (auditing.CONFIRMED, "confirmed")


def test_export_carries_the_certificate_of_its_calls(registered: tuple[Fetched, str]) -> None:
    """
    The upload's entry holds the whole certificate, so the stand-alone verifier checks its signature with the log.
    """
    fetched, _ = registered
    _, certificate, _, keys = fetched.bundle()
    export = fetched.save("/v1/audit/export", "export.jsonl").read_bytes()

    verdict = verify.check(io.BytesIO(export), KeyRing.load(keys))

    assert (verdict.is_good, verdict.findings) == (True, ())
    assert verdict.certificates >= 1
    assert canonical.encode(json.loads(certificate.read_bytes())) in export
