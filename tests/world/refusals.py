"""Refused questions for tests of explanations: asked in short, explained by the solver, tried on the real engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations_with_replacement
from typing import Any

from gateway.activation import Active
from gateway.tools import PreparedTool, prepare
from gateway.trials import Trial, Tried
from invariants import checks
from invariants.explanations import search
from invariants.explanations.alternatives import Alternative, Asked, Change, Explanation, changed
from policies.bundles import Bundle
from policies.cedar import Engine
from policies.decider import Decider
from policies.questions import APPROVER_ROLES, Question, approval_counts
from policies.rego import RegoWorker
from tests.world.bundles import ask, bundle, cedar_schema, contracts, with_worker
from tool_registry.registry import load_catalogue

AMOUNT = "arguments.amount_cents"
ORDER = {"order": {"paid_cents": 400, "refunded_cents": 90, "in_flight_cents": 10}}
LARGE = {"order": {"paid_cents": 200_000}}
PRODUCT = {"product": {"unit_cost_cents": 900, "price_cents": 1100}}
PAYOUT = {"creator": {"eligible_cents": 90}}
STOCK = {**PRODUCT, "cash": {"balance_cents": 1_000_000, "daily_burn_cents": 10_000}}


@cache
def prepared(tool: str) -> PreparedTool:
    return prepare(contracts()[tool], cedar_schema().typed)


@cache
def engines() -> tuple[Engine, checks.CompiledInvariants]:
    base = bundle()
    return Engine(base.policies, cedar_schema()), checks.compile(base.invariants, cedar_schema().typed)


def asks(principal: str, tool: str, roles: tuple[str, ...] = (), **context: Any) -> Question:
    """A question with the risk that the contract gives it."""
    question = ask(principal, tool, roles, **context)
    return replace(question, context={**question.context, "risk": prepared(tool).risk(question.context)})


def agent(tool: str, level: int = 2, **context: Any) -> Question:
    """A registered agent asks."""
    return asks("agent/a", tool, **{"registered": True, "autonomy": level, **context})


def refund(cents: int, level: int = 2, facts: Mapping[str, Any] = LARGE, **context: Any) -> Question:
    """A registered agent asks for a refund."""
    return agent("issue_refund", level, arguments={"amount_cents": cents}, facts=facts, **context)


def asked(question: Question, under: Bundle | None = None, **members: Any) -> Asked:
    """A question, to be explained under a bundle."""
    under = under or bundle()
    return Asked(
        question=question,
        policies=under.policies,
        invariants=under.invariants,
        schema=cedar_schema(),
        contract=contracts()[question.action],
        **members,
    )


def explained(question: Question, under: Bundle | None = None) -> Explanation:
    return search.explain(asked(question, under))


def permits(question: Question) -> bool:
    """Whether Cedar and the compiled checks of the base bundle permit a question."""
    engine, invariants = engines()
    return engine.decide(question).allowed and all(check.holds for check in invariants.evaluate(question))


def moved(question: Question, approvals: Mapping[str, int] | None = None, **arguments: Any) -> Question:
    """The question with other arguments or approvals."""
    changes = tuple(Change(member=f"arguments.{name}", value=value) for name, value in arguments.items())
    counts = None if approvals is None else approval_counts(approvals)
    return changed(question, Alternative(changes=changes, approvals=counts), prepared(question.action).risk)


def ways(persons_max: int) -> list[dict[str, int]]:
    """Every way to be approved by so many persons of one role each, fewest first."""
    found = []
    for count in range(persons_max + 1):
        for roles in combinations_with_replacement(APPROVER_ROLES, count):
            found.append({"persons": count, **{role: roles.count(role) for role in roles}})
    return found


def active(under: Bundle, decider: Decider) -> Active:
    """A bundle in force, as far as deciding goes."""
    return Active(
        tenant="acme",
        revision=1,
        bundle=under,
        certificate=None,
        certificate_digest="",
        decider=decider,
        invariants=checks.compile(under.invariants, cedar_schema().typed),
        registry=load_catalogue(),
        tools={},
        proven=frozenset(),
    )


def tried(under: Bundle, *wanted: tuple[Question, Sequence[Alternative]]) -> list[Tried]:
    """What both engines say of alternatives."""

    async def story(worker: RegoWorker) -> list[Tried]:
        decider = Decider(under, contracts().values(), worker)
        await decider.load()
        in_force = active(under, decider)
        return [
            await Trial(call="call_1", question=question, active=in_force, tool=prepared(question.action)).of(each)
            for question, each in wanted
        ]

    return with_worker(story)
