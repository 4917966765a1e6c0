"""What a certificate claims, piece by piece: who answered, what was to be shown, premises, and the mutation score.

Reading is strict: a claim that contradicts itself (proved where the solvers differ, a score that does not add up) is no
claim. Each reader raises `Misshapen`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from proofs import shapes
from proofs.errors import Misshapen

PREMISE = "premise"

Key = tuple[str, str, str, str]
"""Kind, subject, action and principal: each is named once."""

_SUBJECT = re.compile(f"(?:{shapes.LABEL.pattern})?")
_COUNTS = ("mutants", "equivalent", "caught", "by_proof", "by_cases")


@unique
class Verdict(StrEnum):
    """What is said of an obligation. The closed list; everything but `proved` refuses."""

    PROVED = "proved"
    REFUTED = "refuted"
    UNKNOWN = "unknown"
    VACUOUS = "vacuous"
    ENCODING_BUG = "encoding_bug"
    """Engine, closures and solvers do not agree on a question or an obligation: one of the meanings is wrong."""


@unique
class Answer(StrEnum):
    """What one solver answers to one question."""

    SATISFIABLE = "sat"
    UNSATISFIABLE = "unsat"
    UNKNOWN = "unknown"


@unique
class Premise(StrEnum):
    """Whether anything is permitted at all, without which an invariant would hold of nothing."""

    REACHABLE = "reachable"
    """Some request of the type is permitted."""
    UNREACHABLE = "unreachable"
    """Permits cover the tool, and none of them requests of this type."""
    CLOSED = "closed"
    """No permit covers the tool."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solver:
    """Who answered."""

    version: str
    options: tuple[str, ...]
    """`NAME=VALUE`, as given to the solver."""

    def document(self) -> dict[str, Any]:
        """The solver as canonical JSON members."""
        return {"version": self.version, "options": list(self.options)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """One thing that had to be shown of one type of request."""

    kind: str
    """`invariant`, `never_errs`, or another of the list in the docs."""
    subject: str
    """Id of the invariant or rule; empty where the kind is about all rules together."""
    action: str
    principal: str
    resource: str
    """Action, and types of principal and resource: together the request type."""
    digest: str
    """Of the question's text, so that somebody else can regenerate and compare it."""
    verdict: Verdict
    answers: Mapping[str, Answer]
    """By solver."""

    @property
    def key(self) -> Key:
        """What was to be shown."""
        return self.kind, self.subject, self.action, self.principal

    def document(self) -> dict[str, Any]:
        """The obligation as canonical JSON members."""
        return {
            "kind": self.kind,
            "subject": self.subject,
            "action": self.action,
            "principal": self.principal,
            "resource": self.resource,
            "digest": self.digest,
            "verdict": self.verdict.value,
            "answers": {name: answer.value for name, answer in self.answers.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacuity:
    """Whether the premise of a request type's obligations is reachable."""

    action: str
    principal: str
    resource: str
    premise: Premise
    digest: str
    """Of the question whether some request is permitted."""
    answers: Mapping[str, Answer]
    """By solver."""

    @property
    def key(self) -> Key:
        """What was asked, as if it were an obligation."""
        return PREMISE, "", self.action, self.principal

    def document(self) -> dict[str, Any]:
        """The premise as canonical JSON members."""
        return {
            "action": self.action,
            "principal": self.principal,
            "resource": self.resource,
            "premise": self.premise.value,
            "digest": self.digest,
            "answers": {name: answer.value for name, answer in self.answers.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """How many small mistakes in the rules would have been noticed."""

    mutants: int
    equivalent: int
    """Those that decide every request as the rules do, by the solver."""
    caught: int
    by_proof: int
    by_cases: int
    survivors: tuple[str, ...]
    """Each mutant that is not equivalent and was not caught."""

    def document(self) -> dict[str, Any]:
        """The score as canonical JSON members."""
        return {**{name: getattr(self, name) for name in _COUNTS}, "survivors": list(self.survivors)}


def read_solver(document: Any) -> Solver:
    """Who answered."""
    members = shapes.members(document, required=frozenset(Solver.__slots__), form="solver")
    return Solver(version=shapes.text(members, "version", shapes.LABEL), options=shapes.texts(members, "options"))


def read_obligation(document: Any, solvers: Mapping[str, Solver]) -> Obligation:
    """What was to be shown, with one answer from each solver."""
    members = shapes.members(document, required=frozenset(Obligation.__slots__), form="obligation")
    verdict = members["verdict"]
    if not isinstance(verdict, str) or verdict not in set(Verdict):
        raise Misshapen("member", f"member `verdict`: expected one of {', '.join(Verdict)}")
    answers = _answers(members, solvers)
    if verdict == Verdict.PROVED and (len(set(answers.values())) != 1 or Answer.UNKNOWN in answers.values()):
        raise Misshapen("member", "member `answers`: expected solvers that agree where the verdict is `proved`")
    return Obligation(
        kind=shapes.text(members, "kind", shapes.NAME),
        subject=shapes.text(members, "subject", _SUBJECT),
        action=shapes.text(members, "action", shapes.LABEL),
        principal=shapes.text(members, "principal", shapes.LABEL),
        resource=shapes.text(members, "resource", shapes.LABEL),
        digest=shapes.text(members, "digest", shapes.DIGEST),
        verdict=Verdict(verdict),
        answers=answers,
    )


def read_vacuity(document: Any, solvers: Mapping[str, Solver]) -> Vacuity:
    """A premise, with one answer from each solver."""
    members = shapes.members(document, required=frozenset(Vacuity.__slots__), form="vacuity")
    premise = members["premise"]
    if not isinstance(premise, str) or premise not in set(Premise):
        raise Misshapen("member", f"member `premise`: expected one of {', '.join(Premise)}")
    return Vacuity(
        action=shapes.text(members, "action", shapes.LABEL),
        principal=shapes.text(members, "principal", shapes.LABEL),
        resource=shapes.text(members, "resource", shapes.LABEL),
        premise=Premise(premise),
        digest=shapes.text(members, "digest", shapes.DIGEST),
        answers=_answers(members, solvers),
    )


def _answers(members: Mapping[str, Any], solvers: Mapping[str, Solver]) -> dict[str, Answer]:
    answers = shapes.mapping(members, "answers")
    if answers.keys() != solvers.keys() or not set(map(str, answers.values())) <= set(Answer):
        raise Misshapen("member", f"member `answers`: expected one of {', '.join(Answer)} from each solver")
    return {name: Answer(answer) for name, answer in answers.items()}


def read_mutation(document: Any) -> Mutation:
    """A score in which every mutant is counted once."""
    members = shapes.members(document, required=frozenset(Mutation.__slots__), form="mutation")
    counts = {name: shapes.natural(members, name) for name in _COUNTS}
    score = Mutation(**counts, survivors=shapes.texts(members, "survivors"))
    if score.mutants != score.equivalent + score.caught + len(score.survivors):
        raise Misshapen("member", "member `mutants`: expected the sum of equivalent, caught and survivors")
    return score
