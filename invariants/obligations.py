"""Obligations: what has to be shown of a bundle for one type of request, as one text that any solver reads.

Permitted means Cedar's raw Allow with errors ignored: some permit is satisfied and no forbid is, so a forbid that errs
is missing, as it would be. Violated means that an invariant's forbid is satisfied or errs. Both are terms over all
requests of the type, under the assumptions below and no others.

The text depends on policies, schema and invariants alone. Its digest goes into the certificate, once for each goal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum, unique
from functools import cached_property
from hashlib import sha256

from invariants import declared, tool_requests
from invariants.declared import Invariant
from invariants.errors import Unsupported
from invariants.jobs import Job
from invariants.meaning import compiler, schemas
from invariants.solving import smtlib
from invariants.solving.answers import Verdict
from invariants.solving.smtlib import Script
from invariants.solving.terms import BeyondSolvers, Term
from invariants.tool_requests import ToolRequests
from policies.cedar import PRINCIPAL_TYPES, PrincipalType, parse
from policies.schema import ActionType

ENCODER_VERSION = f"lockgate-obligations 3, {compiler.COMPILER_VERSION}"
"""Changes whenever the meaning or the printed form of an obligation changes; certificates name it."""

ASSUMPTIONS = (
    "integers of a question lie in the ranges of the schema",
    "a string with choices is one of them",
    "context.risk is the value of the contract's risk expression, which does not err",
    "a principal is an agent without roles, or a person with autonomy 0 and not registered",
    "an approval count of a role is at most the number of persons, which is at most the sum of the roles' counts",
    "the resource has the schema's type, and as its id the contract's argument, or the tenant",
    "entities are the principal with its roles and the action with its groups; none has attributes or tags",
    "questions, certificates and proofs use one version of engine and schema",
)
"""What a proof takes for granted, in the words of the certificate. Building a question keeps all of them."""


@unique
class Kind(StrEnum):
    """What an obligation is about."""

    ASSUMPTIONS = "assumptions"
    """Some request fits the assumptions."""
    PREMISE = "premise"
    """Some request is permitted."""
    NEVER_ERRS = "never_errs"
    """No forbid errs: one that does is missing."""
    INVARIANT = "invariant"
    """No permitted request violates the invariant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """One thing to be shown for one type of request."""

    kind: Kind
    subject: str
    """The invariant; empty for the other kinds."""
    action: str
    principal: PrincipalType
    resource: str
    """Types; with the action the type of request."""
    goal: Term

    @property
    def wanted(self) -> Verdict:
        """The answer to whether the goal can hold that discharges the obligation."""
        is_possible = self.kind in (Kind.ASSUMPTIONS, Kind.PREMISE)
        return Verdict.SATISFIABLE if is_possible else Verdict.UNSATISFIABLE


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """All obligations of one type of request, in one text."""

    requests: ToolRequests
    obligations: tuple[Obligation, ...]
    refused: tuple[tuple[Invariant, Unsupported], ...]
    """Invariants that have no exact meaning for this type of request."""
    given: tuple[Term, ...]

    @cached_property
    def script(self) -> Script:
        """Everything that the verdicts depend on."""
        return smtlib.scripted(self.given, [obligation.goal for obligation in self.obligations])

    def text(self, place: int) -> str:
        """One obligation, whole: a comment that says what its symbols stand for, and a script for any solver."""
        return f"{self._head}{self.script.question(place)}"

    def digest(self, place: int) -> str:
        """Of the obligation's text."""
        return f"sha256:{sha256(self.text(place).encode()).hexdigest()}"

    @cached_property
    def _head(self) -> str:
        table = {
            "encoder": ENCODER_VERSION,
            "action": self.requests.action.name,
            "principal": self.requests.principal,
            "goals": [[each.kind.value, each.subject] for each in self.obligations],
            "symbols": [[each.number, each.sort.value, list(each.path)] for each in self.requests.universe.unknowns],
        }
        return f"; {json.dumps(table, ensure_ascii=True, separators=(',', ':'))}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A type of request of which nothing could be written down."""

    action: ActionType
    principal: PrincipalType
    cause: Unsupported


def sheets(job: Job) -> Iterator[Sheet | Refused]:
    """What has to be shown, for each tool and each type of principal. Raises `Unreadable` and `PolicyFault`."""
    read, rules = declared.read(job.invariants, job.schema.typed), parse(job.policies)
    general = schemas.of_tools(job.schema.typed)
    for action in job.schema.typed.actions.values():
        covering = tuple(each for each in read if action.name in each.actions)
        argument = job.resource_arguments.get(action.name)
        for principal in PRINCIPAL_TYPES:
            try:
                requests = tool_requests.encode_type(rules, general, action, argument, principal)
                yield write(requests, covering)
            except Unsupported as cause:
                yield Refused(action=action, principal=principal, cause=cause)
            except BeyondSolvers:
                beyond = Unsupported("string_beyond_solvers", f"contract of `{action.name}`")
                yield Refused(action=action, principal=principal, cause=beyond)


def write(requests: ToolRequests, covering: Iterable[Invariant]) -> Sheet:
    """
    Write down what has to be shown of each invariant that covers the tool, and of the policies themselves.

    Raises `Unsupported` when the footprint of the rules is too large to be closed.
    """
    goals: list[tuple[Kind, str, Term]] = [
        (Kind.ASSUMPTIONS, "", requests.universe.terms.true),
        (Kind.PREMISE, "", requests.permitted),
        (Kind.NEVER_ERRS, "", requests.forbids_err),
    ]
    refused: list[tuple[Invariant, Unsupported]] = []
    for invariant in covering:
        try:
            violated = requests.violated(invariant.policy, f"invariant `{invariant.id}`")
        except Unsupported as unsupported:
            refused.append((invariant, unsupported))
            continue
        goals.append((Kind.INVARIANT, invariant.id, requests.universe.terms.both(requests.permitted, violated)))
    return Sheet(
        requests=requests,
        obligations=tuple(_obligations(requests, goals)),
        refused=tuple(refused),
        given=requests.given(),
    )


def _obligations(requests: ToolRequests, goals: Iterable[tuple[Kind, str, Term]]) -> Iterator[Obligation]:
    for kind, subject, goal in goals:
        yield Obligation(
            kind=kind,
            subject=subject,
            action=requests.action.name,
            principal=requests.principal,
            resource=requests.action.resource_type,
            goal=goal,
        )
