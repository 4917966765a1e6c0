"""All engines and the reference agree: slicing, cutting, joining and the worker change no decision."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import cedarpy
import pytest
import uvloop

from policies import bundles
from policies.cedar import Engine, EngineAnswer, RuleHit
from policies.decider import Decider
from policies.decisions import Decision, join
from policies.fitting import misfit
from policies.questions import APPROVER_ROLES, Question
from policies.rego import RegoWorker
from policies.rego_answers import RegoAnswer
from tests.world.bundles import bundle, cedar_schema, contracts, with_worker
from tests.world.cedar_reference import unsliced, verdict
from tests.world.questions import random_question
from tests.world.rego_reference import base_rules

SEED = 20261120
QUESTIONS = 600


@pytest.mark.parametrize("is_governance", [False, True])
def test_joined_verdict_agrees_with_the_reference(is_governance: bool) -> None:
    """
    C15 (in part): over every combination of answers, the joined verdict is the reference's.
    """
    permit = RuleHit(engine="cedar", id="p", effect="permit")
    forbid = RuleHit(engine="cedar", id="f", effect="forbid")
    deny = RuleHit(engine="rego", id="d", effect="deny")
    different = []
    for errors in (0, 1):
        for raw, hits in (("Allow", (permit,)), ("Deny", ()), ("Deny", (forbid,)), ("NoDecision", ())):
            for denies in (0, 1):
                for rego_errors in (0, 1):
                    erred = ("x",) * errors or (("no_decision",) if raw == "NoDecision" else ())
                    cedar = EngineAnswer(allowed=raw == "Allow" and not erred, rules=hits, errors=erred)
                    rego = RegoAnswer(deny=(deny,) * denies, errors=("undefined",) * rego_errors)
                    joined = join(cedar, None if is_governance else rego)
                    forbids = sum(hit.effect == "forbid" for hit in hits)
                    expected = verdict(raw, errors, forbids, denies, rego_errors, is_governance=is_governance)
                    if (joined.reason or "permit") != expected or joined.verdict.value == "permit" != expected:
                        different.append((raw, errors, forbids, denies, rego_errors, joined))

    assert different == []


QUESTIONS_DRAWN = [random_question(random.Random(SEED + number)) for number in range(QUESTIONS)]


POLICIES = cedarpy.PolicySet.from_str(bundles.base()["policies"])
SCHEMA = cedarpy.Schema.from_str(cedar_schema().text)


def test_slicing_and_cutting_change_no_decision() -> None:
    """
    Each random question gets the same answer from the same rules as from the whole policy set over the whole context.
    """
    engine = Engine(bundle().policies, cedar_schema())
    fitting = [each for each in QUESTIONS_DRAWN if misfit(each, cedar_schema().typed) is None]

    different = []
    for question in fitting:
        answer = engine.decide(question)
        decision, rules, _ = unsliced(question, POLICIES, SCHEMA)
        if (answer.allowed, sorted(hit.id for hit in answer.rules)) != (decision == "Allow", rules):
            different.append((question, answer, decision, rules))
        assert engine.raw_allow(question) == (decision == "Allow")

    assert len(fitting) == QUESTIONS
    assert different == []


def seen(question: Question) -> dict[str, Any]:
    """What the base bundle's Rego reads of a question."""
    return {
        "action": question.action,
        "principal": {"id": question.principal.id},
        "resource": {"type": question.resource.type, "id": question.resource.id},
        "risk": question.context["risk"],
        "now": question.context["now"],
    }


def test_worker_agrees_with_the_rules_written_by_hand() -> None:
    """
    Through the projection, the socket and the embedded engine, each random question is denied by the same rules.
    """

    async def story(worker: RegoWorker) -> list[Decision]:
        decider = Decider(bundle(), contracts().values(), worker)
        await decider.load()
        return [await decider.decide(each) for each in QUESTIONS_DRAWN]

    decided = with_worker(story)

    different = []
    for question, decision in zip(QUESTIONS_DRAWN, decided, strict=True):
        is_governance = contracts()[question.action].family.value == "governance"
        expected, _ = base_rules(seen(question), bundles.base()["data"])
        if {hit.id for hit in decision.rules if hit.engine == "rego"} != (set() if is_governance else expected):
            different.append((question, decision, expected))
    assert different == []
    assert any(hit.engine == "rego" for decision in decided for hit in decision.rules)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_worker_serves_both_event_loops(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """
    The gateway's event loop and the standard one get the same answers, many in flight.
    """

    async def story() -> list[str]:
        worker = RegoWorker(deadline_seconds=5.0)
        await worker.start()
        decider = Decider(bundle(), contracts().values(), worker)
        await decider.load()
        decided = await asyncio.gather(*(decider.decide(each) for each in QUESTIONS_DRAWN[:100]))
        await worker.close()
        return [each.verdict.value for each in decided]

    with asyncio.Runner(loop_factory=loop) as runner:
        verdicts = runner.run(story())

    assert set(verdicts) <= {"permit", "deny"}


def test_more_approvals_never_refuse() -> None:
    """
    Adding a person of any role never turns a permit of the base bundle into a refusal: the search for approvals
    relies on it.
    """
    engine = Engine(bundle().policies, cedar_schema())
    permitted = [each for each in QUESTIONS_DRAWN if engine.decide(each).allowed]

    refused = []
    for question in permitted:
        counts = question.context["approvals"]
        for name in ("persons", *APPROVER_ROLES):
            more = question.with_approvals({**counts, name: min(counts[name] + 1, 3)})
            if not engine.decide(more).allowed:
                refused.append((question, name))

    assert permitted
    assert refused == []
