"""Whether a question keeps what proofs take for granted. Cases may ask others; a proof says nothing about those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from invariants import expressions
from invariants.errors import EvaluationError
from invariants.jobs import Job
from policies.fitting import misfit
from policies.questions import APPROVER_ROLES, Entity, Question


class Assumptions:
    """Those of one job: `obligations.ASSUMPTIONS`, one question at a time."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._risks: dict[str, Callable[[Mapping[str, Any]], int]] = {}

    def hold(self, question: Question) -> bool:
        """Whether the gateway could build such a question."""
        if misfit(question, self._job.schema.typed) is not None:
            return False
        context, approvals = question.context, question.context["approvals"]
        counts = [approvals[role] for role in APPROVER_ROLES]
        is_person = question.principal.type == "Person"
        return (
            max(counts) <= approvals["persons"] <= sum(counts)
            and (not is_person or (context["autonomy"] == 0 and not context["registered"]))
            and question.resource == self.resource(question.action, context)
            and context["risk"] == self.risk(question.action, context)
        )

    def risk(self, action: str, context: Mapping[str, Any]) -> int | None:
        """What the contract's expression says. None: it errs."""
        if action not in self._risks:
            text = self._job.schema.typed.actions[action].risk
            self._risks[action] = expressions.compile_long(text, action, self._job.schema.typed)
        try:
            return self._risks[action](context)
        except EvaluationError:
            return None

    def resource(self, action: str, context: Mapping[str, Any]) -> Entity:
        """What the call is about: the contract's argument, or the tenant."""
        argument = self._job.resource_arguments.get(action)
        named = context["tenant"] if argument is None else context["arguments"].get(argument, "")
        return Entity(self._job.schema.typed.actions[action].resource_type, str(named))
