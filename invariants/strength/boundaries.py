"""Questions at the edges: known ones with one to three members moved to where rules change their mind.

Edges are the ends of a range, the constants of the rules and the numbers beside them, and other members of the same
question. Every question drawn keeps the assumptions of the proofs: what is assumed of a person, of approvals and of the
resource, and the contract's risk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from invariants.jobs import Job
from invariants.strength.assumptions import Assumptions
from policies import cedar_syntax
from policies.cedar_syntax import nodes as pst
from policies.questions import APPROVALS_MAX, APPROVER_ROLES, ROLES, Question
from policies.schema import AUTONOMY_MAX, BoolType, LongType, RecordType, StringType, ValueType

_FIELDS_MAX = 3
_PATHS_OF_THE_GATEWAY = frozenset({"approvals", "risk", "autonomy", "registered", "tenant"})


class Edges:
    """Draws questions about the tools of one job. The same seed draws the same questions."""

    def __init__(self, job: Job, seed: int) -> None:
        self._job = job
        self._random = Random(seed)  # noqa: S311 - reproducible, and no secret
        self._constants = sorted(_constants(job.policies) | _constants(job.invariants))
        self._assumptions = Assumptions(job)

    def around(self, seeds: Iterable[Question], count: int) -> Iterator[Question]:
        """So many questions near the given ones, each of the type of request of one of them."""
        known = tuple(seeds)
        for _ in range(count if known else 0):
            drawn = self._moved(self._random.choice(known))
            if self._assumptions.hold(drawn):
                yield drawn

    def _moved(self, question: Question) -> Question:
        action = self._job.schema.typed.actions[question.action]
        context = dict(question.context)
        roles = question.roles
        for _ in range(self._random.randint(1, _FIELDS_MAX)):
            match self._random.randrange(4):
                case 0:
                    context["approvals"] = self._approvals()
                case 1 if question.principal.type == "Agent":
                    context["autonomy"] = self._random.randint(0, AUTONOMY_MAX)
                    context["registered"] = self._random.random() < 0.9
                case 1:
                    roles = tuple(sorted(self._random.sample(ROLES, self._random.randint(0, 3))))
                case _:
                    self._move(context, action.context)
        context["risk"] = self._assumptions.risk(action.name, context)
        resource = self._assumptions.resource(action.name, context)
        return replace(question, roles=roles, context=context, resource=resource)

    def _move(self, context: dict[str, Any], record: RecordType) -> None:
        """One member of the arguments, the facts or the time."""
        paths = [path for path in _leaves(record) if path[0] not in _PATHS_OF_THE_GATEWAY]
        path = self._random.choice(paths)
        kind: ValueType = record
        for name in path:
            attribute = kind.attribute(name) if isinstance(kind, RecordType) else None
            if attribute is None:
                return
            kind = attribute.type
        _put(context, path, self._value(kind, context))

    def _value(self, kind: ValueType, context: Mapping[str, Any]) -> Any:
        pick = self._random
        match kind:
            case LongType(minimum=minimum, maximum=maximum):
                near = pick.choice(self._numbers(context)) + pick.choice((-1, 0, 1))
                constant = pick.choice(self._constants) + pick.choice((-1, 0, 1))
                value = pick.choice((minimum, maximum, near, near, constant, constant))
                return min(max(value, minimum), maximum)
            case BoolType():
                return pick.random() < 0.5
            case StringType(choices=choices):
                return pick.choice(choices) if choices else "x"
            case RecordType():
                return {}

    def _numbers(self, context: Mapping[str, Any]) -> list[int]:
        """The question's own numbers, with sums and differences of two."""
        own = list(_integers(context)) or [0]
        first, second = self._random.choice(own), self._random.choice(own)
        return [*own, first + second, first - second]

    def _approvals(self) -> dict[str, int]:
        pick = self._random
        counts = {role: pick.choice((0, 0, 0, 1, 1, 2, 3)) for role in APPROVER_ROLES}
        least, most = max(counts.values()), min(sum(counts.values()), APPROVALS_MAX)
        return {"persons": pick.randint(least, most), **counts}


def _constants(text: str) -> set[int]:
    clauses = (clause for policy in cedar_syntax.parse(text) for clause in policy.clauses)
    parts = (part for clause in clauses for part in cedar_syntax.subexpressions(clause.expr))
    return {0, 1} | {part.value for part in parts if isinstance(part, pst.LongLit)}


def _leaves(record: RecordType, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for attribute in record.attributes:
        here = (*prefix, attribute.name)
        if isinstance(attribute.type, RecordType):
            yield from _leaves(attribute.type, here)
        else:
            yield here


def _integers(value: Mapping[str, Any]) -> Iterator[int]:
    for each in value.values():
        if isinstance(each, Mapping):
            yield from _integers(each)
        elif type(each) is int:
            yield each


def _put(context: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set a member; the records on the way are copied, for others hold them too."""
    here = context
    for name in path[:-1]:
        here[name] = dict(here.get(name, {}))
        here = here[name]
    here[path[-1]] = value
