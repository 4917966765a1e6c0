"""All engines of one bundle over one set of contracts: asked once, answering with one decision.

This is what the gateway holds for the active bundle, and what cases and replays are decided by. It gathers nothing and
records nothing. A question that does not fit the schema is not asked: that is a policy error.
"""

from __future__ import annotations

from collections.abc import Iterable

from policies import rego_source
from policies.bundles import Bundle
from policies.cedar import Engine
from policies.decisions import Decision, Needs, Verdict, join, needs
from policies.errors import PolicyFault
from policies.fitting import misfit
from policies.projection import Projector
from policies.questions import Question
from policies.rego_answers import RegoEngine
from policies.schema import CedarSchema, generate
from tool_registry.contracts import Contract, Family


class Decider:
    """Decides questions under one bundle. Belongs to one event loop, as its Rego engine does."""

    def __init__(self, bundle: Bundle, contracts: Iterable[Contract], rego: RegoEngine) -> None:
        """Raises `PolicyFault` when the policies cannot be parsed. Call `load` before the first question."""
        known = {contract.name: contract for contract in contracts}
        self.bundle = bundle
        self.schema: CedarSchema = generate(known.values())
        self.engine = Engine(bundle.policies, self.schema)
        self._rego = rego
        reads = rego_source.reads(bundle.rego.module)
        self._projectors: dict[str, Projector] = {
            name: Projector(contract, reads)
            for name, contract in known.items()
            if contract.family is not Family.GOVERNANCE
        }

    @property
    def is_answering(self) -> bool:
        """Whether its Rego engine answered when it was last asked."""
        return self._rego.is_answering

    async def load(self) -> None:
        """Give the Rego part to its engine. Raises `PolicyFault` when it does not build, `EngineUnavailable`."""
        await self._rego.load(self.bundle.digest, self.bundle.rego)

    async def decide(self, question: Question) -> Decision:
        """
        Ask every engine, also when the first refuses: a refusal names all rules that refuse.

        Raises `EngineUnavailable` when an engine gave no answer.
        """
        if misfit(question, self.schema.typed) is not None:
            return _unasked("misfit")
        return await self.decide_fitting(question)

    async def decide_fitting(self, question: Question) -> Decision:
        """As `decide`, for a question that `misfit` has found to fit this schema already."""
        projector = self._projectors.get(question.action)
        if projector is None:
            return join(self.engine.decide(question), None)
        try:
            projection = projector.encode(question)
        except PolicyFault:
            return _unasked("not_plain")
        # Asked first, awaited last: the other engine evaluates while this process is in Cedar.
        narrowing = self._rego.ask(self.bundle.digest, projection)
        granted = self.engine.decide(question)
        return join(granted, await narrowing)

    def permits(self, question: Question) -> bool:
        """Whether Cedar alone permits. Enough to search for approvals; never enough to let a call go on."""
        return self.engine.decide(question).allowed

    def needs(self, question: Question) -> Needs | None:
        """The smallest approvals with which Cedar would permit; None when none would."""
        return needs(question, self.permits)


def _unasked(cause: str) -> Decision:
    return Decision(verdict=Verdict.ERROR, reason="policy_error", rules=(), errors=(f"question:{cause}",))
