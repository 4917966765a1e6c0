"""A solver's model becomes a question that a person can read and the engine can be asked.

The model is simplified first: one unknown after the other is pinned to the plainest value with which the claim can
still hold. Members that no rule looks at get plain values too, so the question is whole and fits the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from invariants.meaning.witnesses import original
from invariants.solving.answers import Verdict
from invariants.solving.terms import Sort, Term, Value, applications
from invariants.solving.z3_backend import Solver
from invariants.tool_requests import ToolRequests
from policies.questions import Entity, Question
from policies.schema import BoolType, LongType, RecordType, StringType, ValueType

# Plainness is worth little: the first checks, in the order below, make most of it; hard ones are not worth waiting for.
_CHECKS_MAX = 600
_UNKNOWNS_MAX = 10
_RESOURCES = 2_000_000  # For the model itself; each further check may take a twentieth.

# A reader should meet the fewest surprises: no roles, no approvals, no optional members, an ordinary day.
_ORDER = ("above", "principal", "exists", "present", "context", "resource")
_CONTEXT_ORDER = ("risk", "approvals", "registered", "autonomy", "arguments", "facts")
_NOON = 1_767_268_800  # 2026-01-01 12:00 UTC
_TEXTS: Mapping[tuple[str, ...], str] = {
    ("context", "environment"): "prod",
    ("context", "tenant"): "tenant-a",
    ("context", "reason_code"): "reason",
}
_NO_SAMPLES: Mapping[str, str] = MappingProxyType({})


def question(requests: ToolRequests, claim: Term, samples: Mapping[str, str] = _NO_SAMPLES) -> Question | None:
    """
    A question of the request type for which `claim` is true, as plain as can be found; None where no model was found.

    `samples` gives a plausible text for an argument, by name.
    """
    given = (*requests.given(), claim)
    solver = Solver(given, _RESOURCES)
    if solver.check() is not Verdict.SATISFIABLE:
        return None
    simplified = _Simplifier(requests, solver, given, samples)
    simplified.run()
    return simplified.question()


def any_question(
    requests: ToolRequests, solver: Solver, roots: Sequence[Term], samples: Mapping[str, str] = _NO_SAMPLES
) -> Question:
    """The question behind a solver's last model of `roots`, as it is."""
    return _Simplifier(requests, solver, roots, samples).question()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """An unknown of the question where the formula looks at it."""

    term: Term
    path: tuple[str, ...]
    type: Any
    role: str = ""
    """For ancestry: the role that the principal may have."""


def _places(requests: ToolRequests, roots: Sequence[Term]) -> tuple[_Place, ...]:
    unknowns, terms = requests.universe.unknowns, requests.universe.terms
    found = []
    for term in applications(roots):
        unknown = unknowns[term.payload or 0]
        role = terms.original(term.operands[-1].detail[0] or "") if _is_of_role(unknown.path, term) else ""
        found.append(_Place(term=term, path=unknown.path, type=unknown.type, role=role))
    return tuple(sorted(found, key=_rank))


def _is_of_role(path: tuple[str, ...], term: Term) -> bool:
    return path[0] == "above" and bool(term.operands[-1].detail)


class _Simplifier:
    """Pins unknowns one by one and remembers what each was pinned to."""

    __slots__ = ("_checks", "_places", "_requests", "_samples", "_solver", "_terms", "_values")

    def __init__(
        self, requests: ToolRequests, solver: Solver, roots: Sequence[Term], samples: Mapping[str, str]
    ) -> None:
        self._requests = requests
        self._terms = requests.universe.terms
        self._solver = solver
        self._places = _places(requests, roots)
        self._samples = samples
        self._checks = 0
        self._values: dict[int, Value] = {}
        self._look()

    def run(self) -> None:
        self._solver.bound(_RESOURCES // 20)
        for place in self._places:
            if not any(self._pin(place.term, value) for value in self._plain(place)):
                self._lower(place)

    def question(self) -> Question:
        action = self._requests.action
        roles = sorted(place.role for place in self._places if place.role and self._values[place.term.number])
        context = self._record(action.context, ("context",))
        return Question(
            principal=Entity(type=self._requests.principal, id=self._text(("principal",))),
            roles=tuple(roles),
            action=action.name,
            resource=Entity(type=action.resource_type, id=self._text(("resource",))),
            context=context,
        )

    def _look(self) -> None:
        terms = [place.term for place in self._places]
        found = self._solver.model(terms)
        self._values = {term.number: found[term.number] for term in terms}

    def _pin(self, term: Term, value: Value) -> bool:
        """Keep the value if the claim can still hold with it."""
        wish = self._is(term, value)
        # What the last model has already need not be asked for.
        if self._values[term.number] != value and not self._holds(wish):
            return False
        self._solver.require(wish)
        return True

    def _lower(self, place: _Place) -> None:
        """No plain value will do: look for the smallest one above the plainest by halving, then stay there."""
        term = place.term
        if term.sort is Sort.INTEGER:
            low, high = 0, int(self._values[term.number])
            while low < high and self._checks < _CHECKS_MAX:
                middle = (low + high) // 2
                if self._holds(self._terms.within(term, low, middle)):
                    high = int(self._values[term.number])
                else:
                    low = middle + 1
        self._solver.require(self._is(term, self._values[term.number]))

    def _holds(self, wish: Term) -> bool:
        if self._checks >= _CHECKS_MAX:
            return False
        self._checks += 1
        answer = self._solver.check(wish)
        if answer is Verdict.UNKNOWN:
            self._checks += _CHECKS_MAX // _UNKNOWNS_MAX
        if answer is not Verdict.SATISFIABLE:
            return False
        self._look()
        return True

    def _is(self, term: Term, value: Value) -> Term:
        terms = self._terms
        if term.sort is Sort.BOOL:
            return term if value else terms.negation(term)
        constant = terms.text(terms.original(value)) if isinstance(value, str) else terms.integer(value)
        return terms.equal(term, constant)

    def _plain(self, place: _Place) -> Iterator[Value]:
        """Values worth trying, plainest first."""
        path = place.path
        match place.type:
            case LongType(minimum=minimum, maximum=maximum):
                candidates = (_NOON if path[-1] == "now" else 0, 0, 1, 100, minimum)
                yield from dict.fromkeys(value for value in candidates if minimum <= value <= maximum)
            case StringType(choices=choices) if choices:
                yield from (self._terms.placed(text) for text in choices)
            case _ if place.term.sort is Sort.TEXT:
                sample = self._sample(path)
                yield from (self._terms.placed(text) for text in (sample, f"{sample}2", f"{sample}3"))
            case _:
                # An agent that is registered for the tool is the ordinary case; all else is simpler when absent.
                yield from (1, 0) if path[-1] == "registered" else (0, 1)

    def _record(self, record: RecordType, path: tuple[str, ...]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for attribute in record.attributes:
            here = (*path, attribute.name)
            if attribute.is_required or self._known(("present", *here)):
                members[attribute.name] = self._member(attribute.type, here)
        return members

    def _member(self, kind: ValueType, path: tuple[str, ...]) -> Any:
        known = self._known(path)
        match kind:
            case RecordType():
                return self._record(kind, path)
            case LongType(minimum=minimum, maximum=maximum):
                plain = _NOON if path == ("context", "now") else 0
                return min(max(plain, minimum), maximum) if known is None else known
            case BoolType():
                return bool(known)
            case StringType(choices=choices):
                return choices[0] if choices and known is None else self._text(path)

    def _known(self, path: tuple[str, ...]) -> Value | None:
        place = next((place for place in self._places if place.path == path), None)
        return None if place is None else self._values[place.term.number]

    def _text(self, path: tuple[str, ...]) -> str:
        known = self._known(path)
        return self._sample(path) if known is None else original(self._terms, str(known))

    def _sample(self, path: tuple[str, ...]) -> str:
        if path == ("principal",):
            return "per_1" if self._requests.principal == "Person" else "agent_1"
        return _TEXTS.get(path) or self._samples.get(path[-1]) or f"{path[-1]}_1"


def _rank(place: _Place) -> tuple[int, int, tuple[str, ...]]:
    first = place.path[0]
    second = place.path[1] if first == "context" else ""
    inner = _CONTEXT_ORDER.index(second) if second in _CONTEXT_ORDER else len(_CONTEXT_ORDER)
    return _ORDER.index(first) if first in _ORDER else len(_ORDER), inner, (*place.path, place.role)
