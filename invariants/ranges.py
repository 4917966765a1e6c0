"""The ground and the robust range: what has to be shown of one call, and of one call whose facts are only nearly known.

Universal obligations speak of every request of a type (`obligations`). Here the same compiler, over the same unknowns,
is told what the unknowns are:

- `ground`: all of them, as one question says. What follows is about this one call.
- `robust`: all but some integer facts, each anywhere between two bounds, and the risk, which follows from them. What
  follows holds for every value between, not only for those that were read.

Nothing here needs a solver: an obligation is a text with a digest, which any solver settles offline (`settling`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from functools import cached_property
from hashlib import sha256
from typing import Any

from invariants import declared, obligations, tool_requests
from invariants.errors import Unreadable, Unsupported
from invariants.jobs import Job
from invariants.meaning import schemas
from invariants.meaning.grounding import Ground
from invariants.meaning.schemas import Schema
from invariants.solving import smtlib
from invariants.solving.answers import Verdict
from invariants.solving.smtlib import Script
from invariants.solving.terms import BeyondSolvers, Op, Sort, Term, symbols
from invariants.tool_requests import ToolRequests
from policies import cedar, fitting
from policies.cedar import PRINCIPAL_TYPES
from policies.questions import Question
from policies.schema import ActionType, LongType, RecordType, TypedSchema

Interval = tuple[int, int]
"""Both bounds inclusive."""

_RISK = ("context", "risk")


@unique
class Kind(StrEnum):
    """What a claim about one call says."""

    POSSIBLE = "possible"
    """The call is one that the axioms know: without it everything else would hold of nothing."""
    COVERED = "covered"
    """The call keeps every assumption of the universal proofs: it is one of those that the certificate speaks of."""
    DECIDED = "decided"
    """The rules make of it what is recorded."""
    PERMITTED = "permitted"
    """The rules permit it."""
    INVARIANT = "invariant"
    """It is not permitted, or it does not violate the invariant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One thing to be shown of the call."""

    kind: Kind
    subject: str
    """The invariant; empty for the other kinds."""
    goal: Term
    """Where the claim is false, but for `possible`."""

    @property
    def wanted(self) -> Verdict:
        """The answer to whether the goal can hold that shows the claim."""
        return Verdict.SATISFIABLE if self.kind is Kind.POSSIBLE else Verdict.UNSATISFIABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What Cedar is recorded to have answered: the rules that determined it."""

    permits: frozenset[str] | None
    """None: not recorded, because something else refused."""
    forbids: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Every claim about one call, in one text."""

    requests: ToolRequests
    claims: tuple[Claim, ...]
    given: tuple[Term, ...]

    @cached_property
    def script(self) -> Script:
        """Everything that the answers depend on."""
        return smtlib.scripted(self.given, [claim.goal for claim in self.claims])

    @cached_property
    def text(self) -> str:
        """The whole obligation: a comment that says what its symbols stand for, and a script with all questions."""
        table = {
            "encoder": obligations.ENCODER_VERSION,
            "action": self.requests.action.name,
            "principal": self.requests.principal,
            "claims": [[each.kind.value, each.subject, each.wanted.value] for each in self.claims],
            "symbols": [[each.number, each.sort.value, list(each.path)] for each in self.requests.universe.unknowns],
        }
        return f"; {json.dumps(table, ensure_ascii=True, separators=(',', ':'))}\n{self.script.questions()}"

    @cached_property
    def digest(self) -> str:
        """Of the text."""
        return f"sha256:{sha256(self.text.encode()).hexdigest()}"


@contextmanager
def _in_the_characters_of_solvers() -> Iterator[None]:
    """Raises `Unsupported` for rules and a question that have more characters than solvers have places for."""
    try:
        yield
    except BeyondSolvers as error:
        raise Unsupported("string_beyond_solvers", "question or rules") from error


@_in_the_characters_of_solvers()
def ground(job: Job, question: Question, recorded: Recorded | None = None) -> Sheet:
    """
    What has to be shown of this very call, and, where it is `recorded`, of what was decided about it.

    Raises `Unreadable` for a question that does not fit the schema, `Unsupported` for a form without an exact meaning.
    """
    requests = _encoded(job, question)
    terms = requests.universe.terms
    claims = [
        Claim(kind=Kind.POSSIBLE, subject="", goal=terms.true),
        Claim(kind=Kind.COVERED, subject="", goal=terms.negation(terms.conjunction(requests.assumptions))),
    ]
    if recorded is not None:
        claims.append(Claim(kind=Kind.DECIDED, subject="", goal=_decided_otherwise(requests, recorded)))
    claims += _violations(job, requests)
    axioms = requests.universe.axioms()
    facts = _facts(requests, question, (*axioms, *(claim.goal for claim in claims)), job.schema.typed)
    return Sheet(requests=requests, claims=tuple(claims), given=(*axioms, *facts))


@_in_the_characters_of_solvers()
def robust(job: Job, question: Question, intervals: Mapping[str, Interval]) -> Sheet:
    """
    What has to be shown so that the call stays permitted, and violates nothing, wherever in `intervals` its facts lie.

    A fact is named as rules name it below `context.facts`: `order.paid_cents`. Raises `Unreadable` as `ground` does,
    and for a fact that the question does not have or that is no integer, or bounds outside of its range.
    """
    requests = _encoded(job, question)
    ranges = dict(_ranges(question, requests.action, intervals))
    terms = requests.universe.terms
    claims = (
        Claim(kind=Kind.POSSIBLE, subject="", goal=terms.true),
        Claim(kind=Kind.PERMITTED, subject="", goal=terms.negation(requests.permitted)),
        *_violations(job, requests),
    )
    given = requests.given()
    roots = (*given, *(claim.goal for claim in claims))
    facts = _facts(requests, question, roots, job.schema.typed, free=frozenset((_RISK, *ranges)))
    known = {each.number: each.path for each in requests.universe.unknowns}
    between = [
        terms.within(symbol, *ranges[path])
        for symbol in symbols(roots)
        if (path := known[symbol.payload or 0]) in ranges
    ]
    return Sheet(requests=requests, claims=claims, given=(*given, *facts, *between))


def moved(question: Question, sheet: Sheet, values: Mapping[int, int | str]) -> Question:
    """The question with what a model of a robust sheet says of its facts and risk, by the numbers of terms."""
    known = {each.number: each.path for each in sheet.requests.universe.unknowns}
    context: dict[str, Any] = dict(question.context)
    for symbol in symbols((*sheet.given, *(claim.goal for claim in sheet.claims))):
        path, value = known[symbol.payload or 0], values.get(symbol.number)
        if symbol.sort is not Sort.INTEGER or value is None or path[0] != "context":
            continue
        if path == _RISK:
            context["risk"] = value
        elif path[1] == "facts":
            context["facts"] = _replaced(context["facts"], path[2:], value)
    return replace(question, context=context)


def _encoded(job: Job, question: Question) -> ToolRequests:
    misfit = fitting.misfit(question, job.schema.typed)
    if misfit is not None:
        raise Unreadable(f"question: `{misfit}` does not fit the schema")
    action = job.schema.typed.actions[question.action]
    return tool_requests.encode_type(
        cedar.parse(job.policies),
        _general(job.schema.typed, action),
        action,
        job.resource_arguments.get(action.name),
        question.principal.type,  # type: ignore[arg-type]  # it fits
    )


def _general(schema: TypedSchema, action: ActionType) -> Schema:
    """The schema as if there were no other tool: whoever has only this tool's contract writes the same text."""
    kinds = tuple(sorted({*PRINCIPAL_TYPES, "Role", "Tenant", action.resource_type}))
    return schemas.of_tools(replace(schema, actions={action.name: action}, entity_types=kinds))


def _violations(job: Job, requests: ToolRequests) -> list[Claim]:
    """A claim for each invariant that covers the tool."""
    both = requests.universe.terms.both
    return [
        Claim(
            kind=Kind.INVARIANT,
            subject=each.id,
            goal=both(requests.permitted, requests.violated(each.policy, f"invariant `{each.id}`")),
        )
        for each in declared.read(job.invariants, job.schema.typed)
        if requests.action.name in each.actions
    ]


def _decided_otherwise(requests: ToolRequests, recorded: Recorded) -> Term:
    """Where some rule errs, or other rules are satisfied than those that are recorded."""
    terms = requests.universe.terms
    differences = []
    for rule in requests.rules:
        listed = recorded.permits if rule.effect == "permit" else recorded.forbids
        differences.append(requests.errs(rule))
        if listed is not None:
            is_listed = terms.boolean(value=rule.id in listed)
            differences.append(terms.negation(terms.equal(requests.satisfied(rule), is_listed)))
    unknown = ((recorded.permits or frozenset()) | recorded.forbids) - {rule.id for rule in requests.rules}
    return terms.true if unknown else terms.disjunction(differences)


def _facts(
    requests: ToolRequests,
    question: Question,
    roots: Iterable[Term],
    schema: TypedSchema,
    free: frozenset[tuple[str, ...]] = frozenset(),
) -> tuple[Term, ...]:
    """What the question says about every unknown but the `free` ones."""
    universe = requests.universe
    general = _general(schema, requests.action)
    data = Ground(universe, tool_requests.request(question), tool_requests.store(question, general))
    facts = data.facts(tuple(roots))
    known = {each.number: each.path for each in universe.unknowns}
    return tuple(fact for fact in facts if not any(known[each.payload or 0] in free for each in _about(fact)))


def _about(fact: Term) -> Iterator[Term]:
    """The unknown of which a fact says what it is."""
    yield from (each for each in (fact, *fact.operands) if each.op is Op.SYMBOL)


def _ranges(
    question: Question, action: ActionType, intervals: Mapping[str, Interval]
) -> Iterator[tuple[tuple[str, ...], Interval]]:
    for name, (low, high) in intervals.items():
        path = ("facts", *name.split("."))
        value: Any = question.context
        expected: Any = action.context
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
            member = expected.attribute(step) if isinstance(expected, RecordType) else None
            expected = member.type if member is not None else None
        if value is None or not isinstance(expected, LongType):
            raise Unreadable(f"interval: fact `{name}`: expected an integer that the question has")
        if not expected.minimum <= low <= high <= expected.maximum:
            raise Unreadable(
                f"interval: fact `{name}`: expected {expected.minimum} <= low <= high <= {expected.maximum}"
            )
        yield ("context", *path), (low, high)


def _replaced(record: Mapping[str, Any], path: tuple[str, ...], value: int | str) -> dict[str, Any]:
    inner = value if len(path) == 1 else _replaced(record[path[0]], path[1:], value)
    return {**record, path[0]: inner}
