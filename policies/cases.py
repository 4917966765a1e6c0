"""Runs the cases of a bundle: each must be decided as expected, by exactly the rules expected.

The cases run through the same engines as calls do, Rego in its worker included. The report says for each failing case
what was expected, what came, and which rules came too many or too few; and which rules no case ever brought to decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from policies.bundles import Bundle
from policies.case_form import Case, question
from policies.decider import Decider
from policies.decisions import Decision
from policies.errors import EngineUnavailable
from policies.fitting import misfit
from policies.rego import RegoWorker
from policies.rego_answers import RegoEngine
from tool_registry.contracts import Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A case that was not decided as it says."""

    case: str
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseReport:
    """What came of all cases."""

    passed: int
    failures: tuple[Failure, ...]
    uncovered: tuple[str, ...]
    """Rules that determined no case: nobody has seen them decide."""

    @property
    def is_good(self) -> bool:
        """Whether the bundle may go on to its proof."""
        return not self.failures and not self.uncovered and self.passed > 0


async def run(bundle: Bundle, contracts: Iterable[Contract], rego: RegoEngine) -> CaseReport:
    """
    Decide every case.

    Give it a worker of its own first: a module under review may kill it. Raises `PolicyFault` when the policies or the
    module cannot be loaded at all.
    """
    known = {str(contract.name): contract for contract in contracts}
    decider = Decider(bundle, known.values(), rego)
    await decider.load()
    failures: list[Failure] = []
    decided: set[str] = set()
    for case in bundle.cases:
        explanation = await _explain(case, decider, known, decided)
        if explanation is not None:
            failures.append(Failure(case=case.name, explanation=explanation))
    rules = {rule.id for rule in decider.engine.rules} | {*bundle.rego.deny} | {*bundle.rego.obligations}
    return CaseReport(
        passed=len(bundle.cases) - len(failures), failures=tuple(failures), uncovered=tuple(sorted(rules - decided))
    )


def run_alone(bundle: Bundle, contracts: Iterable[Contract]) -> CaseReport:
    """The same from a program without an event loop, with a worker that ends with it. Raises as `run` does."""

    async def with_worker() -> CaseReport:
        worker = RegoWorker()
        await worker.start()
        try:
            return await run(bundle, contracts, worker)
        finally:
            await worker.close()

    return asyncio.run(with_worker())


async def _explain(case: Case, decider: Decider, contracts: dict[str, Contract], decided: set[str]) -> str | None:
    """Why the case failed, or None."""
    action = decider.schema.typed.actions.get(case.action)
    if action is None:
        return f"no tool is called `{case.action}`"
    asked = question(case, action, contracts[case.action])
    unfit = misfit(asked, decider.schema.typed)
    if unfit is not None:
        return f"the question does not fit the schema at `{unfit}`"
    try:
        decision = await decider.decide(asked)
    except EngineUnavailable:
        return "the Rego engine did not answer within its deadline"
    decided.update(hit.id for hit in (*decision.rules, *decision.obligations))
    return _difference(case, decision)


def _difference(case: Case, decision: Decision) -> str | None:
    expected, came = case.expect, sorted(hit.id for hit in decision.rules)
    parts = []
    if decision.verdict.value != expected.decision:
        parts.append(f"expected {expected.decision}, decided {decision.verdict.value}")
    if decision.errors and expected.decision != "error":
        parts.append(f"erred: {_listed(decision.errors)}")
    rules = came if expected.rules is None else expected.rules
    if missing := sorted(set(rules) - set(came)):
        parts.append(f"did not decide: {_listed(missing)}")
    if surplus := sorted(set(came) - set(rules)):
        parts.append(f"decided and not expected: {_listed(surplus)}")
    obligations = tuple(sorted(hit.id for hit in decision.obligations))
    if obligations != expected.obligations:
        parts.append(f"expected obligations {_listed(expected.obligations)}, came {_listed(obligations)}")
    return "; ".join(parts) or None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
