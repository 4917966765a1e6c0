"""The worker, an OPA server and the reference: same bundle, same questions, same decisions and reasons."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from policies import bundles, cases
from policies.errors import PolicyFault
from policies.opa import OpaServer
from policies.rego import RegoWorker
from policies.rego_answers import RegoEngine, RegoRules
from tests.load import conformance
from tests.world import opa
from tests.world.bundles import bundle, contracts
from tests.world.rego_reference import Reference

T = TypeVar("T")
Told = Callable[[Callable[[Any], Awaitable[T]]], T]

HEAD = "package lockgate\n\nimport rego.v1\n\n"
LISTS = {"deny": {"a-rule": "A hint.", "b-rule": "A hint."}, "obligations": {"a-duty": "A hint."}}
DECISIONS = 1000
"""In a test; `make conformance` takes more."""


@pytest.fixture(scope="module")
def server() -> Iterator[opa.Server]:
    with opa.running() as started:
        yield started


@pytest.fixture(params=["worker", "opa", "reference"])
def engine(request: pytest.FixtureRequest) -> Callable[[], RegoEngine]:
    """Makes an engine of each kind."""
    if request.param == "opa":
        return _maker(request.getfixturevalue("server"))
    return Reference if request.param == "reference" else _worker


def _worker() -> RegoWorker:
    return RegoWorker(deadline_seconds=5.0)


def _maker(server: opa.Server) -> Callable[[], RegoEngine]:
    return lambda: OpaServer(server.origin, opa.TOKEN, deadline_seconds=5.0)


def told(make: Callable[[], RegoEngine], story: Callable[[Any], Awaitable[T]]) -> T:
    """Run a story that is given a started engine."""

    async def run() -> T:
        engine = make()
        await engine.start()
        try:
            return await story(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def rules(decision: str, **data: Any) -> RegoRules:
    return RegoRules(module=f"{HEAD}{decision}\n", data=data, **LISTS)


def test_every_case_of_the_base_bundle_is_decided_as_expected(engine: Callable[[], RegoEngine]) -> None:
    """
    The base bundle's cases, by exactly the rules that they name, whichever engine narrows.
    """
    report = told(engine, lambda started: cases.run(bundle(), contracts().values(), started))

    assert report.failures == ()
    assert report.passed == len(bundle().cases)


def test_random_decisions_are_the_same_everywhere(server: opa.Server) -> None:
    """
    C06, C15: over random data and random questions, through every built-in that a module may use, none differs.
    """
    counted = asyncio.run(conformance.compare([_worker(), _maker(server)(), Reference()], DECISIONS, seed=20261120))

    assert counted.differences == []
    assert counted.decisions >= DECISIONS
    assert counted.rules_that_denied >= conformance.RULES_KNOWN


SHAPES = {
    '{"deny": [], "obligations": []}': (),
    '{"deny": ["a-rule"], "obligations": ["a-duty"]}': (),
    '{"deny": {"b-rule", "a-rule"}, "obligations": []}': (),
    '{"deny": ["a-rule", "a-rule"], "obligations": []}': (),
    '"true"': ("misshapen",),
    "1": ("misshapen",),
    "1.5": ("misshapen",),
    "true": ("misshapen",),
    "null": ("misshapen",),
    "{}": ("misshapen",),
    "[]": ("misshapen",),
    '[{"deny": [], "obligations": []}]': ("misshapen",),
    '{"deny": [], "obligations": [], "warning": ["w"]}': ("misshapen",),
    '{"deny": []}': ("misshapen",),
    '{"deny": "a-rule", "obligations": []}': ("misshapen",),
    '{"deny": [1.5], "obligations": []}': ("misshapen",),
    '{"deny": [1], "obligations": []}': ("unknown_rule",),
    '{"deny": [true], "obligations": []}': ("unknown_rule",),
    '{"deny": ["no-such-rule"], "obligations": []}': ("unknown_rule",),
    '{"deny": [], "obligations": ["no-such-duty"]}': ("unknown_rule",),
    '{"deny": input.nothing, "obligations": []}': ("undefined",),
    '{"deny": [], "obligations": []} if input.nothing': ("undefined",),
    '{"deny": [], "obligations": []} if count(input.now) > 1': ("undefined",),
    '{"deny": [], "obligations": []} if input.now\ndecision := 1 if input.now': ("failed",),
}


@pytest.mark.parametrize("decision", SHAPES)
def test_each_shape_is_read_alike(server: opa.Server, decision: str) -> None:
    """
    C03: undefined, misshapen, unknown or contradictory: the same error from the worker and the server.
    """

    async def story(engine: RegoEngine) -> object:
        await engine.load("b", rules(f"decision := {decision}"))
        return await engine.ask("b", b'{"now":1}')

    by_worker, by_server = told(_worker, story), told(_maker(server), story)

    assert by_worker == by_server
    assert by_worker.errors == SHAPES[decision]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["worker", "opa"])
def test_revisions_stand_side_by_side(server: opa.Server, kind: str) -> None:
    """
    C11: two revisions of one module over other data: each question is decided by the one that it names, also while
    the other one comes and goes.
    """
    module = 'decision := {"deny": [name | some name in data.names], "obligations": []}'

    async def story(engine: RegoEngine) -> list[list[str]]:
        await engine.load("one", rules(module, names=["a-rule"]))
        await engine.load("two", rules(module, names=["b-rule"]))
        both = await asyncio.gather(*(engine.ask(("one", "two")[number % 2], b"{}") for number in range(20)))
        await engine.drop("one")
        await engine.load("three", rules(module, names=[]))
        last = [await engine.ask("two", b"{}"), await engine.ask("three", b"{}")]
        return [[hit.id for hit in each.deny] for each in (*both, *last)]

    answers = told(_worker if kind == "worker" else _maker(server), story)

    assert answers == [["a-rule"], ["b-rule"]] * 10 + [["b-rule"], []]


@pytest.mark.parametrize("kind", ["worker", "opa"])
def test_module_that_does_not_build_is_a_fault_of_its_bundle(server: opa.Server, kind: str) -> None:
    """
    What does not build is not kept, and others are decided as before.
    """

    async def story(engine: RegoEngine) -> frozenset[str]:
        await engine.load("sound", rules('decision := {"deny": [], "obligations": []}'))
        with pytest.raises(PolicyFault, match="does not build"):
            await engine.load("broken", rules("decision := {"))
        assert (await engine.ask("sound", b"{}")).errors == ()
        return engine.loaded

    assert told(_worker if kind == "worker" else _maker(server), story) == {"sound"}


def test_data_and_strings_of_a_module_stay_what_they_are(server: opa.Server) -> None:
    """
    A module is moved on the server by its references alone: strings, comments and members called `data` are kept.
    """
    text = """
# data.names of another
decision := {"deny": deny, "obligations": []}
deny contains "a-rule" if input.data.names[0] == "data.names" # data.names
deny contains "b-rule" if data.data.data == `data.names`
"""

    async def story(engine: RegoEngine) -> list[str]:
        await engine.load("b", rules(text, data={"data": "data.names"}))
        return [hit.id for hit in (await engine.ask("b", b'{"data":{"names":["data.names"]}}')).deny]

    assert told(_worker, story) == told(_maker(server), story) == ["a-rule", "b-rule"]


def test_the_reference_knows_the_module_that_is_shipped() -> None:
    """
    It was written beside this very text, not beside an earlier one.
    """
    assert bundles.base()["rego"] in conformance.KNOWN
