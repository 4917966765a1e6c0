"""Uploads when something is missing: nothing is stored without its entry, and no crowd of uploads exhausts the host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.activation import Policies
from gateway.errors import Fault, Unavailable
from gateway.identity import Principal, PrincipalKind
from gateway.ledger import Act, Answer, LedgerUnavailable, Look, Placed, Seen
from gateway.publishing import Judged, Publishing
from gateway.redaction import Redactor
from gateway.refusals import Refusals
from gateway.storage.desk import Desk
from gateway.uploads import UPLOADS_MAX, Uploads

FOUNDER = Principal(
    tenant="acme",
    kind=PrincipalKind.PERSON,
    id="per_ada",
    subject=None,
    subject_person=None,
    delegates=(),
    roles=("founder",),
    tools=frozenset(),
    issued_at=0,
    expires_at=2**40,
)
CERTIFICATE = SimpleNamespace(certificate=SimpleNamespace(digest="sha256:c", schema="sha256:s"), document=dict)


class Log:
    """A ledger that writes, or does not."""

    def __init__(self, *, is_up: bool) -> None:
        self._is_up = is_up

    async def commit(self, act: Act) -> Answer:
        if not self._is_up:
            raise LedgerUnavailable("ledger: down", is_known=True)
        return Placed(seq=1, at_ms=0, body=b"{}", path=(), checkpoint={})

    async def look(self, look: Look) -> Seen:
        raise AssertionError("an upload looks nothing up")


class Judges:
    """Finds every bundle good, once `may_go_on` is set."""

    def __init__(self, verdict: Judged) -> None:
        self.may_go_on = asyncio.Event()
        self._verdict = verdict

    async def judge_bundle(self, raw: bytes, tenant: str, registry: object) -> Judged:
        await self.may_go_on.wait()
        return self._verdict


class Tables:
    """Counts what is stored."""

    def __init__(self) -> None:
        self.stored = 0

    async def ask(self, tenants: Sequence[str], work: Callable[[Any], Any]) -> None:
        self.stored += 1


def uploads(judges: Judges, tables: Tables, *, is_up: bool) -> Uploads:
    """Uploads over these."""
    active = SimpleNamespace(registry=None)
    policies = cast(Policies, SimpleNamespace(active=lambda tenant: active))
    refusals = Refusals(Log(is_up=is_up), Redactor(bytes(32)))
    return Uploads(cast(Publishing, judges), policies, cast(Desk, tables), refusals, lambda connector: True)


def good() -> Judged:
    """A verdict without a fault."""
    manifest = SimpleNamespace(revision=2)
    bundle = cast(Any, SimpleNamespace(digest="sha256:b", manifest=manifest))
    return Judged(stage="passed", bundle=bundle, certificate=cast(Any, CERTIFICATE))


def test_an_upload_that_cannot_be_recorded_is_not_stored() -> None:
    """
    G14: the entry comes first, so a log that is down leaves no bundle without one.
    """

    async def upload() -> int:
        judges, tables = Judges(good()), Tables()
        judges.may_go_on.set()
        with pytest.raises(Unavailable, match="ledger_unavailable"):
            await uploads(judges, tables, is_up=False).bundle(FOUNDER, b"{}")
        return tables.stored

    assert asyncio.run(upload()) == 0


def judged(*tenants: str) -> list[str]:
    """What uploads of these tenants hear that come at once, and then what one more of the first hears."""

    async def crowd() -> list[object]:
        judges, tables = Judges(Judged(stage="read")), Tables()
        taken = uploads(judges, tables, is_up=True)
        founders = [replace(FOUNDER, tenant=tenant) for tenant in tenants]
        tasks = [asyncio.ensure_future(taken.bundle(founder, b"{}")) for founder in founders]
        await asyncio.sleep(0)
        judges.may_go_on.set()
        answers: list[object] = await asyncio.gather(*tasks, return_exceptions=True)
        return [*answers, *await asyncio.gather(taken.bundle(founders[0], b"{}"), return_exceptions=True)]

    return [each.reason for each in asyncio.run(crowd()) if isinstance(each, Fault)]


def test_only_so_many_uploads_are_judged_at_once() -> None:
    """
    Every judgement keeps processes of its own; one too many is told to come back, and the next finds room again.
    """
    tenants = ["acme", "globex", "initech", "umbrella", "hooli"]

    told = judged(*tenants)

    assert len(tenants) == UPLOADS_MAX + 1
    assert told == [*["bundle_refused"] * UPLOADS_MAX, "overloaded", "bundle_refused"]


def test_a_tenant_that_uploads_keeps_no_other_from_publishing() -> None:
    """
    B06: of one tenant's uploads only its share is judged at once; another tenant's find room beside them.
    """
    told = judged("acme", "acme", "acme", "acme", "globex", "globex")

    assert told == [*["bundle_refused"] * 2, *["overloaded"] * 2, *["bundle_refused"] * 3]
