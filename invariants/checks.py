"""Invariants compiled for the call path: each is evaluated on the call's own question, in about a microsecond.

The second opinion beside the engines, for every form that Cedar has. Compiled once per bundle; evaluation takes no
lock, allocates little and never raises: an invariant whose condition errs has the status `error`, which counts as
violated.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from enum import StrEnum, unique
from typing import NamedTuple

from invariants import declared
from invariants.declared import Invariant
from invariants.errors import EvaluationError
from invariants.meaning import evaluation, schemas
from invariants.meaning.entities import Entity, Request, Store
from invariants.meaning.evaluation import Closure, Scene, Trace
from invariants.meaning.schemas import Uid
from policies.cedar_syntax import nodes as pst
from policies.questions import Question
from policies.schema import TypedSchema


@unique
class Status(StrEnum):
    """What a check found."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    ERROR = "error"


class Check(NamedTuple):
    """One invariant evaluated on one question. A tuple, because a call makes some ten and a dataclass takes longer."""

    id: str
    sentence: str
    status: Status
    value: int | None
    """Left side of the comparison that decided, so that a refusal shows numbers. None where no comparison did."""
    limit: int | None
    """Its right side."""

    @property
    def holds(self) -> bool:
        """Whether the call may go on: doubt is a no."""
        return self.status is Status.PASS


class CompiledInvariants:
    """Every invariant of one bundle, ready to be evaluated."""

    __slots__ = ("_actions", "_by_action", "ids")

    def __init__(
        self, by_action: Mapping[str, tuple[Uid, tuple[_Compiled, ...]]], actions: Store, ids: tuple[str, ...]
    ) -> None:
        self._by_action = by_action
        self._actions = actions
        self.ids = ids

    def evaluate(self, question: Question) -> tuple[Check, ...]:
        """
        Check every invariant that covers the question's action, in file order.

        The question is trusted to have the shape and ranges of the schema it was built by (see `gather`). Raises
        `KeyError` for an action that the schema does not have: there is nothing that could be said about it.
        """
        action, covering = self._by_action[question.action]
        request = Request(
            principal=question.principal, action=action, resource=question.resource, context=question.context
        )
        scene = Scene(request, self._around(question))
        return tuple([compiled.evaluate(scene) for compiled in covering])

    def of(self, action: str) -> tuple[str, ...]:
        """Ids of the invariants that cover an action."""
        return tuple(compiled.id for compiled in self._by_action[action][1])

    def _around(self, question: Question) -> Store:
        """The entities that come with a question. A principal without roles is as good as none: it has nothing else."""
        if not question.roles:
            return self._actions
        roles = frozenset(Uid("Role", role) for role in question.roles)
        return ChainMap({question.principal: Entity(ancestors=roles)}, self._actions)  # type: ignore[arg-type]


def compile(text: str, schema: TypedSchema) -> CompiledInvariants:
    """
    Compile invariants for every action they cover.

    Raises `Unreadable` for text that is no set of invariants, and `Unsupported` for a form without a meaning here.
    """
    read = tuple((invariant, _Compiled(invariant)) for invariant in declared.read(text, schema))
    by_action = {
        name: (Uid("Action", name), tuple(compiled for invariant, compiled in read if name in invariant.actions))
        for name in schema.actions
    }
    actions = {uid: Entity(ancestors=groups) for uid, groups in schemas.of_tools(schema).groups.items()}
    return CompiledInvariants(by_action, actions, tuple(invariant.id for invariant, _ in read))


class _Compiled:
    """One invariant: scopes that must match, then conditions of which one must be met. Its actions are known."""

    __slots__ = ("_clauses", "_scopes", "id", "sentence")

    def __init__(self, invariant: Invariant) -> None:
        self.id = invariant.id
        self.sentence = invariant.sentence
        where, policy = f"invariant `{invariant.id}`", invariant.policy
        self._scopes: tuple[Closure, ...] = tuple(
            evaluation.scope(scope, variable, where)
            for scope, variable in ((policy.principal, "principal"), (policy.resource, "resource"))
            if not isinstance(scope, pst.ScopeAny)
        )
        self._clauses: tuple[tuple[bool, Trace], ...] = tuple(
            (isinstance(clause, pst.When), evaluation.trace(clause.expr, f"{where}, clause {number}"))
            for number, clause in enumerate(policy.clauses, start=1)
        )

    def evaluate(self, scene: Scene) -> Check:
        value: int | None = None
        limit: int | None = None
        try:
            for matches in self._scopes:
                if not matches(scene):
                    return Check(self.id, self.sentence, Status.PASS, None, None)
            for met, condition in self._clauses:
                truth, left, right = condition(scene)
                if left is not None or truth is not met:
                    value, limit = left, right
                if truth is not met:
                    # This clause keeps the forbid from being satisfied, so the invariant holds.
                    return Check(self.id, self.sentence, Status.PASS, value, limit)
        except EvaluationError:
            return Check(self.id, self.sentence, Status.ERROR, None, None)
        return Check(self.id, self.sentence, Status.FAIL, value, limit)
