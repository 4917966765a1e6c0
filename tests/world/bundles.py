"""Bundles and questions for tests: the base bundle over the real catalogue, asked in the short form of its cases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from policies import bundles, schema
from policies.bundles import Bundle, Manifest
from policies.case_form import Case, Expectation, question
from policies.decider import Decider
from policies.decisions import Decision
from policies.questions import Entity, Question
from policies.rego import RegoWorker
from policies.schema import CedarSchema
from tool_registry.contracts import Contract
from tool_registry.registry import load_catalogue

T = TypeVar("T")

CREATED = datetime(2026, 1, 1, tzinfo=UTC)
AT_MS = 1_780_000_000_000


@cache
def contracts() -> Mapping[str, Contract]:
    """The catalogue by name."""
    return {str(name): contract for name, contract in load_catalogue().contracts.items()}


@cache
def cedar_schema() -> CedarSchema:
    """The schema of the catalogue."""
    return schema.generate(contracts().values())


def bundle(revision: int = 1, tenant: str = "acme", **members: Any) -> Bundle:
    """The base bundle, unsigned, with some members replaced."""
    manifest = Manifest(
        tenant=tenant,
        environment="dev",
        revision=revision,
        created_at=CREATED,
        not_after=datetime(2036, 1, 1, tzinfo=UTC),
    )
    return bundles.compose({**bundles.base(), **members}, manifest)


def with_policies(added: str) -> Bundle:
    """The base bundle with more rules at its end."""
    return bundle(policies=bundles.base()["policies"] + "\n" + added)


def ask(principal: str, action: str, roles: tuple[str, ...] = (), **context: Any) -> Question:
    """A question in short: what is left out is quiet, as in a case."""
    kind, _, identity = principal.partition("/")
    case = Case(
        name="test",
        principal=Entity(type="Agent" if kind == "agent" else "Person", id=identity),
        roles=roles,
        action=action,
        context=context,
        expect=Expectation(decision="permit", rules=()),
    )
    return question(case, cedar_schema().typed.actions[action], contracts()[action])


def refund(amount_cents: int, principal: str = "agent/triage-7", **context: Any) -> Question:
    """A refund of an order of 100.00 of which nothing was given back."""
    arguments = {"order_id": "ord_1001", "amount_cents": amount_cents}
    return ask(principal, "issue_refund", arguments=arguments, facts={"order": {"paid_cents": 10_000}}, **context)


def with_worker(story: Callable[[RegoWorker], Awaitable[T]], deadline_seconds: float = 5.0) -> T:
    """Run a story that is given a started worker."""

    async def told() -> T:
        worker = RegoWorker(deadline_seconds=deadline_seconds)
        await worker.start()
        try:
            return await story(worker)
        finally:
            await worker.close()

    return asyncio.run(told())


def decide(decided: Bundle, *questions: Question) -> list[Decision]:
    """What the bundle's engines answer, joined."""

    async def story(worker: RegoWorker) -> list[Decision]:
        decider = Decider(decided, contracts().values(), worker)
        await decider.load()
        return [await decider.decide(each) for each in questions]

    return with_worker(story)


def ids(decision: Decision) -> list[str]:
    """The ids of the determining rules, sorted."""
    return sorted(hit.id for hit in decision.rules)
