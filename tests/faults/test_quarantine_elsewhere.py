"""An incident that another gateway recorded: this one takes the bundle out of force as well, without a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.activation import Active, Policies
from gateway.errors import Unavailable
from gateway.restoring import Restoring

BUNDLE = "sha256:" + "b" * 64


class Tables:
    """A database in which a bundle is active, and an incident under some bundle is recorded."""

    def __init__(self, incident_under: str) -> None:
        self._incident = json.dumps({"bundle": incident_under}).encode()

    async def ask(self, tenants: Sequence[str], work: Callable[[Any], Any]) -> Any:
        cursor = SimpleNamespace(
            execute=lambda *statement: None,
            fetchone=lambda: (3, BUNDLE, "sha256:c", "sha256:s", 0),
            fetchall=lambda: [(self._incident,)],
        )
        return work(cursor)


def watched(incident_under: str) -> Policies:
    """The policies of a gateway after its watch looked once."""

    async def unexpected(active: Active, kind: str) -> None:
        raise AssertionError("the incident is recorded already")

    policies = Policies(lambda: 0, unexpected)
    active = SimpleNamespace(tenant="acme", revision=3, bundle_digest=BUNDLE, not_after_ms=1)
    policies.put("acme", cast(Active, active), is_quarantined=False)
    parts = dict.fromkeys(("ledger", "publishing", "catalogue", "rego", "keys", "clock"), cast(Any, None))
    restoring = Restoring(desk=cast(Any, Tables(incident_under)), policies=policies, environment="dev", **parts)
    asyncio.run(restoring.catch_up("acme"))
    return policies


def test_a_bundle_that_another_gateway_quarantined_decides_nothing_here() -> None:
    """
    C06: the quarantine is on the chain, and every gateway on it heeds it within the bound of the watch.
    """
    policies = watched(BUNDLE)

    with pytest.raises(Unavailable, match="policy_expired"):
        policies.require_in_force("acme", policies.active("acme"), "issue_refund")


def test_an_incident_under_a_former_bundle_leaves_the_present_one_in_force() -> None:
    """
    A quarantine is of one bundle: the one that replaced it decides.
    """
    policies = watched("sha256:" + "a" * 64)

    policies.require_in_force("acme", policies.active("acme"), "issue_refund")
