"""What is in force without a certificate is proved again until it has one, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway import certificates, restoring
from gateway.activation import Active, Policies
from gateway.certificates import Certificates
from gateway.ledger import Append, Draft
from gateway.restoring import Restoring


class Flaky:
    """A prover's publisher that fails in two ways before it proves."""

    def __init__(self) -> None:
        self.asked = 0

    async def judge_content(self, *content: Any) -> Any:
        self.asked += 1
        if self.asked == 1:
            raise OSError("the worker could not be started")
        proved = SimpleNamespace(certificate=SimpleNamespace(bundle="sha256:b", digest="sha256:c"), document=dict)
        return SimpleNamespace(stage="proof", certificate=None if self.asked == 2 else proved)


class Log:
    """A ledger that remembers what was appended."""

    def __init__(self) -> None:
        self.entries: list[Draft] = []

    async def commit(self, act: Append) -> None:
        self.entries.append(act.entry)


class Tables:
    """A database that takes whatever is kept."""

    async def ask(self, tenants: Sequence[str], work: Callable[[Any], Any]) -> None:
        pass


def unproved() -> Policies:
    """A gateway that started under a bundle without a certificate."""

    async def unexpected(active: Active, kind: str) -> None:
        raise AssertionError(kind)

    policies = Policies(lambda: 0, unexpected)
    active = SimpleNamespace(
        tenant="acme",
        revision=1,
        bundle=SimpleNamespace(digest="sha256:b"),
        bundle_digest="sha256:b",
        certificate=None,
        not_after_ms=1,
        registry=SimpleNamespace(contracts={}),
    )
    policies.put("acme", cast(Active, active), is_quarantined=False)
    return policies


def certificates_of(policies: Policies, publishing: Flaky, log: Log, reloaded: Callable[[], None]) -> Certificates:
    """What proves for that gateway; each reload finds a certificate."""

    async def reload(tenant: str) -> None:
        policies.active(tenant).certificate = "certificate"  # type: ignore[misc, assignment]
        reloaded()

    outside = {"ledger": log, "publishing": publishing, "desk": Tables()}
    return Certificates(policies=policies, reload=reload, **cast(Any, outside))


def test_a_failed_proof_is_tried_again_until_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An exception and a killed worker each leave the gateway not ready for a pause only, never until a restart.
    """
    policies, publishing, log = unproved(), Flaky(), Log()
    monkeypatch.setattr(certificates, "PROVE_PAUSES_SECONDS", (0.0,))

    proving = certificates_of(policies, publishing, log, lambda: None)
    asyncio.run(asyncio.wait_for(proving.prove_again(), 5))

    assert publishing.asked == 3
    assert policies.is_ready()
    assert [each.kind for each in log.entries] == ["PROVED"]


def test_what_comes_into_force_unproved_is_proved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Long after the start: what a registration on another gateway left without a certificate does not wait for a restart.
    """
    policies, publishing = unproved(), Flaky()
    publishing.asked = 2
    proved = asyncio.Event()
    monkeypatch.setattr(certificates, "LOOK_SECONDS", 0.0)

    async def story() -> None:
        proving = asyncio.create_task(certificates_of(policies, publishing, Log(), proved.set).keep_proved())
        for asked in (3, 4):
            await proved.wait()
            proved.clear()
            assert publishing.asked == asked
            policies.active("acme").certificate = None  # type: ignore[misc]
        proving.cancel()

    asyncio.run(asyncio.wait_for(story(), 5))


def test_rules_in_force_for_nobody_are_dropped_when_no_call_decides_under_them() -> None:
    """
    A replaced bundle answers for a while longer than any call decides; one that is in force again is never dropped.
    """
    policies, clock = unproved(), StandingClock()
    worker = Worker({"sha256:b", "sha256:old", "sha256:back"})
    parts = dict.fromkeys(("desk", "ledger", "publishing", "catalogue", "keys"), cast(Any, None))
    again = Restoring(policies=policies, rego=cast(Any, worker), clock=cast(Any, clock), environment="dev", **parts)

    asyncio.run(again.retire())
    clock.seconds = restoring.RETIRE_SECONDS - 1.0
    asyncio.run(again.retire())
    before = set(worker.loaded)
    policies.put(
        "globex", cast(Active, SimpleNamespace(tenant="globex", bundle_digest="sha256:back")), is_quarantined=False
    )
    clock.seconds = float(restoring.RETIRE_SECONDS)
    asyncio.run(again.retire())

    assert before == {"sha256:b", "sha256:old", "sha256:back"}
    assert worker.loaded == {"sha256:b", "sha256:back"}


class StandingClock:
    """Time that a test moves."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


class Worker:
    """A Rego worker that only remembers what it holds."""

    def __init__(self, loaded: set[str]) -> None:
        self.loaded = loaded

    async def drop(self, name: str) -> None:
        self.loaded.discard(name)
