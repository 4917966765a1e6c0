"""What if the two Rego engines differ on a call, where a gateway asks both: neither is believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterator

import pytest

from policies.cedar import RuleHit
from policies.errors import EngineUnavailable
from policies.rego_answers import FAILED, UNDEFINED, RegoAnswer, RegoEngine
from policies.rego_shadow import DIFFERENT, ShadowedRego
from tests.world import opa
from tests.world.ground import Ground, ground
from tests.world.opa import Between, Said

QUIET = RegoAnswer()
FROZEN = RegoAnswer(deny=(RuleHit(engine="rego", id="change-freeze", effect="deny", hint="Wait."),))
GONE = EngineUnavailable("gone")


@pytest.fixture(scope="module")
def between() -> Iterator[Between]:
    with opa.running() as server, opa.between(server) as stands:
        yield stands


@pytest.fixture(scope="module")
def shadowed(between: Between) -> Iterator[Ground]:
    """A world of its own, for its bundle will not decide again: its gateway asks a worker beside the server."""
    with ground() as field:
        settings = {"LOCKGATE_OPA_URL": between.origin, "LOCKGATE_OPA_TOKEN": opa.TOKEN, "LOCKGATE_REGO_SHADOW": "1"}
        field.restart(settings=settings)
        yield field


def test_engines_that_differ_on_a_call_deny_it_and_quarantine_the_bundle(shadowed: Ground, between: Between) -> None:
    """
    C06: the server allows what the worker denies, or the other way round: 403, no effect, an INCIDENT, and the bundle
    decides nothing more, after a restart neither.
    """

    def frozen(said: Said) -> Said:
        document = json.loads(said.body)
        document["result"]["decisions"][0]["deny"] = ["change-freeze"]
        return Said(json.dumps(document).encode())

    agreed = shadowed.refund()
    with between.misbehaving(lambda said: None):
        alone = shadowed.refund()
    with between.misbehaving(frozen):
        different = shadowed.refund()
    later = shadowed.refund()
    metrics = shadowed.client().text("/metrics").decode()
    auditor = shadowed.person("auditor", tenant="system").token
    entries = shadowed.client().get("/v1/audit/entries", auditor).document["entries"]
    shadowed.restart()
    restarted = shadowed.refund()

    assert agreed.status == 200
    assert (alone.status, alone.reason) == (503, "engine_unavailable")
    assert (different.status, different.reason) == (403, "policy_error")
    assert [(each.status, each.reason) for each in (later, restarted)] == [(503, "policy_expired")] * 2
    assert shadowed.oracle.effects().keys() == {agreed.call}
    assert 'lockgate_incidents_total{kind="Rego_engines_differ"} 1.0' in metrics
    assert "INCIDENT" in {each["kind"] for each in entries}


CASES: list[tuple[RegoAnswer | Exception, RegoAnswer | Exception, RegoAnswer | type[Exception]]] = [
    (QUIET, QUIET, QUIET),
    (FROZEN, FROZEN, FROZEN),
    (FAILED, UNDEFINED, FAILED),
    (QUIET, FROZEN, DIFFERENT),
    (FROZEN, QUIET, DIFFERENT),
    (QUIET, FAILED, DIFFERENT),
    (UNDEFINED, FROZEN, DIFFERENT),
    (GONE, QUIET, EngineUnavailable),
    (FROZEN, GONE, EngineUnavailable),
]


@pytest.mark.parametrize(("one", "other", "expected"), CASES)
def test_two_answers_are_one_answer_or_none(
    one: RegoAnswer | Exception, other: RegoAnswer | Exception, expected: RegoAnswer | type[Exception]
) -> None:
    """
    C06: what both say counts, what only one says is an error, and where one says nothing nothing was decided.
    """
    told: list[str] = []

    async def tell(name: str) -> None:
        told.append(name)

    async def story() -> RegoAnswer | type[Exception]:
        both = ShadowedRego(_Says(one), _Says(other), tell)
        try:
            return await both.ask("b", b"{}")
        except EngineUnavailable as error:
            return type(error)

    assert asyncio.run(story()) == expected
    assert told == (["b"] if expected is DIFFERENT else [])


class _Says(RegoEngine):
    """An engine of one answer."""

    def __init__(self, answer: RegoAnswer | Exception) -> None:
        self._answer = answer

    def ask(self, name: str, projection: bytes) -> Awaitable[RegoAnswer]:
        return self._say()

    async def _say(self) -> RegoAnswer:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer
