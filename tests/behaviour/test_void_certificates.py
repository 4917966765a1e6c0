"""A certificate is good for one version each of engine, encoder and solvers; with another one all is proved again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy.demo.client import Client
from invariants import certifying
from invariants.solving import cvc5_backend, versions, z3_backend
from proofs import certificates
from proofs.certificates import Certificate
from proofs.errors import Misshapen
from tests.world import evidence, later_release
from tests.world.stories import Story, eventually

PROVING_SECONDS = 120.0  # A proof takes a second, and its process competes with those of other tests.


def with_solver(name: str, version: str) -> Certificate:
    """The certificate as if another version of a solver had answered."""
    certain = evidence.certificate()
    return replace(certain, solvers={**certain.solvers, name: replace(certain.solvers[name], version=version)})


def test_certificate_of_this_release_is_good() -> None:
    """
    What the prover makes now is what a gateway of this release accepts.
    """
    assert certifying.is_of_this_release(evidence.certificate())


def test_every_version_voids_it() -> None:
    """
    Another engine, encoder or solver, or one solver less: void.
    """
    certain = evidence.certificate()
    others = [
        replace(certain, engine="cedarpy 4.12.1"),
        replace(certain, encoder="lockgate-obligations 1"),
        with_solver("z3", "5.3.9"),
        with_solver("cvc5", "1.4.1"),
        replace(certain, solvers={"z3": certain.solvers["z3"]}),
    ]

    assert not any(certifying.is_of_this_release(each) for each in others)


def test_solvers_are_known_without_loading_them() -> None:
    """
    The versions that a gateway compares are those that the solvers say of themselves.
    """
    assert versions.installed() == {"z3": z3_backend.VERSION, "cvc5": cvc5_backend.VERSION}


def test_form_of_a_former_release_is_void_and_says_so() -> None:
    """
    A certificate of form 1 is not read: what it proved is proved again.
    """
    former = {"tenant": "acme", "obligations": [], "signature": ""}

    with pytest.raises(Misshapen, match="proved again"):
        certificates.parse(former)


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A gateway of a later release on the database of this one, and the file that lets it prove."""

    story: Story
    may_prove: Path


@pytest.fixture
def upgraded(story: Story, tmp_path: Path) -> Iterator[Upgraded]:
    """It, before it has proved anything."""
    file = tmp_path / "may-prove"
    gateway = story.world.gateway(program=("tests.world.later_release", str(file)))
    yield Upgraded(Story(story.world, Client(gateway.url), story._numbers), file)
    file.touch()  # Also after a test that failed: it does not end while it waits for the file.
    gateway.stop()


def test_gateway_of_a_later_release_refuses_until_it_has_proved_again(story: Story, upgraded: Upgraded) -> None:
    """
    D01: it starts, is not ready, answers `invariant_unproven`, proves by itself, records that, and then decides.
    """
    agent = story.agent(3)
    story = upgraded.story
    before = story.client.get("/readyz")
    refused = story.refund(agent.token, story.order(), 100)

    upgraded.may_prove.touch()
    proved = eventually(lambda: story.client.get("/readyz").status == 200, PROVING_SECONDS)
    after = story.refund(agent.token, story.order(), 100)

    auditor = story.person("auditor", 1).token
    packet = story.client.get(f"/v1/calls/{refused.call}/packet", auditor).document
    named = story.client.get("/v1/bundles", auditor).document["in_force"]["certificate"]
    certificate = story.client.get(f"/v1/certificates/{named}", auditor).document
    assert (before.status, before.reason) == (503, "not_ready")
    assert (refused.status, refused.reason) == (403, "invariant_unproven")
    assert packet["receipt"]["entry"]["reason"] == "invariant_unproven"
    assert proved
    assert (after.status, after.document["status"]) == (200, "executed")
    assert certificate["encoder"] == later_release.VERSION
