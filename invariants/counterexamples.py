"""A model of the solver becomes a question that a person can read and the engine can be asked.

The model is simplified first: one unknown after the other is pinned to the plainest value with which the invariant is
still violated. Members that no rule looks at get plain values too, so the question is whole and fits the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from invariants.obligations import Obligation
from invariants.solving.terms import Sort, Term
from invariants.solving.z3_backend import Solver, Verdict
from invariants.vocabulary import Symbol
from policies.questions import Entity, Question
from policies.schema import BoolType, LongType, RecordType, StringType

# Plainness is worth little: the first checks, in the order below, make most of it; hard ones are not worth waiting for.
_CHECKS_MAX = 600
_UNKNOWNS_MAX = 10
_RESOURCES = 100_000  # Forty times what a check over the base bundle takes.

# A reader should meet the fewest surprises: no roles, no approvals, no optional members, an ordinary day.
_ORDER = ("role", "principal", "present", "context", "resource")
_CONTEXT_ORDER = ("risk", "approvals", "registered", "autonomy", "arguments", "facts")
_NOON = 1_767_268_800  # 2026-01-01 12:00 UTC
_TEXTS: Mapping[tuple[str, ...], str] = {
    ("context", "environment"): "prod",
    ("context", "tenant"): "tenant-a",
    ("context", "reason_code"): "reason",
}


def question(obligation: Obligation, solver: Solver, samples: Mapping[str, str]) -> Question:
    """
    The question behind the solver's last model, simplified.

    `samples` gives a plausible text for an argument, by name. Call it once, after a satisfiable check.
    """
    simplified = _Simplifier(obligation, solver, samples)
    simplified.run()
    return simplified.question()


class _Simplifier:
    """Pins unknowns one by one and remembers what each was pinned to."""

    __slots__ = ("_checks", "_obligation", "_pins", "_samples", "_solver", "_texts", "_values")

    def __init__(self, obligation: Obligation, solver: Solver, samples: Mapping[str, str]) -> None:
        self._obligation = obligation
        self._solver = solver
        self._solver.bound(_RESOURCES)
        self._samples = samples
        self._values = solver.values()
        self._pins: list[Term] = []
        self._checks = 0
        self._texts: dict[int, str] = {}

    def run(self) -> None:
        for symbol in sorted(self._obligation.vocabulary.symbols, key=_rank):
            if not any(self._pin(symbol, value) for value in self._plain(symbol)):
                self._lower(symbol)

    def question(self) -> Question:
        vocabulary = self._obligation.vocabulary
        roles = tuple(
            sorted(
                symbol.path[1]
                for symbol in vocabulary.symbols
                if symbol.path[0] == "role" and self._values.get(symbol.number)
            )
        )
        # The context first: it knows better names for what resource and principal may share with it.
        context = self._record(vocabulary.action.context, ("context",))
        return Question(
            principal=Entity(type=self._principal_type(), id=self._text(("principal", "id"))),
            roles=roles,
            action=vocabulary.action.name,
            resource=Entity(type=vocabulary.action.resource_type, id=self._text(("resource", "id"))),
            context=context,
        )

    def _pin(self, symbol: Symbol, value: int) -> bool:
        """Keep the value if the invariant can still be violated with it."""
        if self._checks >= _CHECKS_MAX:
            return self._values.get(symbol.number, 0) == value
        if not self._holds(self._is(symbol, value)):
            return False
        self._pins.append(self._is(symbol, value))
        return True

    def _lower(self, symbol: Symbol) -> None:
        """No plain value will do: look for the smallest one above the plainest by halving, then stay there."""
        terms = self._obligation.vocabulary.terms
        if symbol.sort is Sort.INTEGER:
            unknown = terms.symbol(symbol.sort, symbol.number)
            low, high = 0, self._values.get(symbol.number, 0)
            while low < high and self._checks < _CHECKS_MAX:
                middle = (low + high) // 2
                if self._holds(terms.within(unknown, low, middle)):
                    high = self._values[symbol.number]
                else:
                    low = middle + 1
        self._pins.append(self._is(symbol, self._values.get(symbol.number, 0)))

    def _holds(self, wish: Term) -> bool:
        self._checks += 1
        answer = self._solver.check(self._obligation.violated, *self._pins, wish)
        if answer is Verdict.UNKNOWN:
            self._checks += _CHECKS_MAX // _UNKNOWNS_MAX
        if answer is not Verdict.SATISFIABLE:
            return False
        self._values = self._solver.values()
        return True

    def _is(self, symbol: Symbol, value: int) -> Term:
        terms = self._obligation.vocabulary.terms
        unknown = terms.symbol(symbol.sort, symbol.number)
        match symbol.sort:
            case Sort.BOOL:
                return unknown if value else terms.negation(unknown)
            case Sort.INTEGER:
                return terms.equal(unknown, terms.integer(value))
            case Sort.NAME:
                return terms.equal(unknown, terms.name(value))
            case Sort.TEXT:
                raise TypeError("tool questions know their strings as names")

    def _plain(self, symbol: Symbol) -> Iterator[int]:
        """Values worth trying, plainest first."""
        match symbol.type:
            case LongType(minimum=minimum, maximum=maximum):
                candidates = (_NOON if symbol.path[-1] == "now" else 0, 0, 1, 100, minimum)
                yield from dict.fromkeys(value for value in candidates if minimum <= value <= maximum)
            case StringType(choices=choices):
                yield from (self._number(text) for text in choices or (self._sample(symbol.path),))
            case _ if symbol.path == ("principal", "type"):
                yield from (self._number("Agent"), self._number("Person"))
            case _ if symbol.sort is Sort.NAME:
                yield self._number(self._sample(symbol.path))
            case _:
                # An agent that is registered for the tool is the ordinary case; all else is simpler when absent.
                yield from (1, 0) if symbol.path[-1] == "registered" else (0, 1)

    def _principal_type(self) -> str:
        return self._obligation.vocabulary.names[self._value(("principal", "type"))]

    def _number(self, text: str) -> int:
        return self._obligation.vocabulary.name(text).payload or 0

    def _sample(self, path: tuple[str, ...]) -> str:
        if path == ("principal", "id"):
            return "per_1" if self._principal_type() == "Person" else "agent_1"
        return _TEXTS.get(path) or self._samples.get(path[-1]) or f"{path[-1]}_1"

    def _record(self, record: RecordType, path: tuple[str, ...]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for attribute in record.attributes:
            here = (*path, attribute.name)
            if not attribute.is_required and not self._value(("present", *here)):
                continue
            match attribute.type:
                case RecordType() as inner:
                    members[attribute.name] = self._record(inner, here)
                case LongType(minimum=minimum, maximum=maximum):
                    plain = _NOON if here == ("context", "now") else 0
                    members[attribute.name] = self._value(here, min(max(plain, minimum), maximum))
                case BoolType():
                    members[attribute.name] = bool(self._value(here))
                case StringType(choices=choices):
                    known = self._symbol(here)
                    members[attribute.name] = choices[0] if choices and known is None else self._text(here)
        return members

    def _symbol(self, path: tuple[str, ...]) -> Symbol | None:
        return next((symbol for symbol in self._obligation.vocabulary.symbols if symbol.path == path), None)

    def _value(self, path: tuple[str, ...], default: int = 0) -> int:
        symbol = self._symbol(path)
        return default if symbol is None else self._values.get(symbol.number, default)

    def _text(self, path: tuple[str, ...]) -> str:
        """The text of a name: one that occurs in a rule, or a fresh one, the same for the same number."""
        symbol = self._symbol(path)
        sample = self._sample(path)
        if symbol is None:
            return sample
        number = self._values.get(symbol.number, 0)
        names = self._obligation.vocabulary.names
        if 0 <= number < len(names):
            return names[number]
        fresh, count = sample, 1
        while fresh in names or fresh in {text for other, text in self._texts.items() if other != number}:
            count += 1
            fresh = f"{sample}{count}"
        return self._texts.setdefault(number, fresh)


def _rank(symbol: Symbol) -> tuple[int, int, tuple[str, ...]]:
    first = symbol.path[0]
    second = symbol.path[1] if first == "context" else ""
    place = _CONTEXT_ORDER.index(second) if second in _CONTEXT_ORDER else len(_CONTEXT_ORDER)
    if symbol.path == ("principal", "type"):
        place = -1
    return _ORDER.index(first), place, symbol.path
