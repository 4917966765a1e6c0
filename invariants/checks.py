"""Invariants compiled for the call path: each is evaluated on the call's own question, in about a microsecond.

The second opinion beside the engines. Compiled once per bundle; evaluation takes no lock, allocates little and never
raises: an invariant whose condition errs has the status `error`, which counts as violated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique

from invariants import expressions, statements
from invariants.errors import EvaluationError
from invariants.expressions import Closure, Scope, Trace
from invariants.statements import Statement
from policies.cedar_syntax import nodes as pst
from policies.questions import Question
from policies.schema import TypedSchema


@unique
class Status(StrEnum):
    """What a check found."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """One invariant evaluated on one question."""

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

    __slots__ = ("_by_action", "ids")

    def __init__(self, by_action: Mapping[str, tuple[_Compiled, ...]], ids: tuple[str, ...]) -> None:
        self._by_action = by_action
        self.ids = ids

    def evaluate(self, question: Question) -> tuple[Check, ...]:
        """
        Check every invariant that covers the question's action, in file order.

        The question is trusted to have the shape and ranges of the schema it was built by (see `gather`). Raises
        `KeyError` for an action that the schema does not have: there is nothing that could be said about it.
        """
        scope = expressions.scope_of(question)
        return tuple([compiled.evaluate(scope) for compiled in self._by_action[question.action]])

    def of(self, action: str) -> tuple[str, ...]:
        """Ids of the invariants that cover an action."""
        return tuple(compiled.id for compiled in self._by_action[action])


def compile(text: str, schema: TypedSchema) -> CompiledInvariants:
    """
    Compile invariants for every action they cover.

    Raises `Unreadable` for text that is no set of invariants, and `Unsupported` for a form without a meaning here.
    """
    read = statements.read(text, schema)
    by_action = {
        name: tuple(
            _compile(statement, name, frozenset(action.groups)) for statement in read if name in statement.actions
        )
        for name, action in schema.actions.items()
    }
    return CompiledInvariants(by_action, tuple(statement.id for statement in read))


class _Compiled:
    """One invariant for one action: scopes that must match, then conditions of which one must be met."""

    __slots__ = ("_clauses", "_scopes", "id", "sentence")

    def __init__(
        self, statement: Statement, scopes: tuple[Closure, ...], clauses: tuple[tuple[bool, Trace], ...]
    ) -> None:
        self.id = statement.id
        self.sentence = statement.sentence
        self._scopes = scopes
        self._clauses = clauses

    def evaluate(self, scope: Scope) -> Check:
        value: int | None = None
        limit: int | None = None
        try:
            for matches in self._scopes:
                if not matches(scope):
                    return Check(self.id, self.sentence, Status.PASS, None, None)
            for met, condition in self._clauses:
                truth, left, right = condition(scope)
                if left is not None or truth is not met:
                    value, limit = left, right
                if truth is not met:
                    # This clause keeps the forbid from being satisfied, so the invariant holds.
                    return Check(self.id, self.sentence, Status.PASS, value, limit)
        except EvaluationError:
            return Check(self.id, self.sentence, Status.ERROR, None, None)
        return Check(self.id, self.sentence, Status.FAIL, value, limit)


def _compile(statement: Statement, action: str, groups: frozenset[str]) -> _Compiled:
    where = f"invariant `{statement.id}`"
    policy = statement.policy
    scopes = (
        expressions.scope_matches(policy.principal, "principal", where),
        expressions.scope_matches(policy.resource, "resource", where),
    )
    clauses = tuple(
        (
            isinstance(clause, pst.When),
            expressions.trace(clause.expr, action=action, groups=groups, where=f"{where}, clause {number}"),
        )
        for number, clause in enumerate(policy.clauses, start=1)
    )
    return _Compiled(statement, tuple(scope for scope in scopes if scope is not None), clauses)
