"""The solver's model of one counter: calls that take the declared steps, and what the world does in between.

A state lists some calls and sums up all the others, so what holds for a listed call holds for any number of calls. The
same model is used twice: from any state that is sound, to prove that no step leaves soundness (`induction`), and from
the empty counter, to find the steps that lead out of it (`traces`).

The world's part is assumed, not declared: a call has one open intent at a time and settles as committed only what took
effect, as released only what did not (what is in doubt stays reserved). A fact changes by what calls of this counter
take, or rises; it is read with a time stamp, and what was settled since counts as spent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, unique

from invariants.solving.terms import Term, Terms
from invariants.state.counters import Comparison, Declaration, Quantity, Transition


@unique
class Counting(StrEnum):
    """How a limit counts."""

    WINDOWED = "windowed"
    SOFT = "soft"
    IN_FLIGHT = "in_flight"


@unique
class Step(StrEnum):
    """What can happen to a counter, by one call."""

    LOOK = "look"
    """The call's question is built, with what stands on the counter now."""
    READ = "read"
    """In flight: the call reads the fact, and with it the ceiling. What was settled before is in the fact."""
    RESERVE = "reserve"
    OVERRUN = "overrun"
    LAND = "land"
    """In flight: the call takes effect, and the fact changes at its source."""
    COMMIT = "commit"
    RELEASE = "release"


STEPS = {
    Counting.WINDOWED: (Step.LOOK, Step.RESERVE, Step.COMMIT, Step.RELEASE),
    Counting.SOFT: (Step.LOOK, Step.RESERVE, Step.OVERRUN, Step.COMMIT, Step.RELEASE),
    Counting.IN_FLIGHT: (Step.LOOK, Step.READ, Step.RESERVE, Step.LAND, Step.COMMIT, Step.RELEASE),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, and what it read of the counter. All see the same `spent`, unless each reads a fact of its own."""

    amount: Term
    ceiling: Term
    shown: Term
    held: Term
    spent: Term
    has_landed: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A counter at one moment."""

    calls: tuple[Call, ...]
    others: Term
    """Reserved by calls that are not listed and have not taken effect."""
    others_landed: Term
    """Reserved by calls that are not listed and have taken effect."""
    granted: Term
    """The ceiling of the call that reserved last; where a soft one was overrun, the sum that it led to."""
    rest: Term
    """In flight: the ceiling as the source of the fact would give it now."""


class Machine:
    """Steps and soundness of one kind of counter under one declaration, as terms."""

    __slots__ = ("_declaration", "_terms", "counting")

    def __init__(self, terms: Terms, declaration: Declaration, counting: Counting) -> None:
        self._terms = terms
        self._declaration = declaration
        self.counting = counting

    def reserved(self, state: State) -> Term:
        """What all calls together hold."""
        return self._sum((*(call.held for call in state.calls), state.others, state.others_landed))

    def standing(self, state: State, place: int) -> Term:
        """Reserved and spent, as the call at `place` counts."""
        return self._terms.add(self.reserved(state), state.calls[place].spent)

    def take(self, step: Step, state: State, place: int) -> tuple[Term, State]:
        """Where the call at `place` may take the step, and the state after it."""
        terms, call = self._terms, state.calls[place]
        free, is_open = (terms.equal(call.held, terms.integer(0)), terms.less(terms.integer(0), call.held))
        match step:
            case Step.LOOK:
                return terms.true, _with(state, place, replace(call, shown=self.standing(state, place)))
            case Step.READ:
                return free, _with(state, place, replace(call, ceiling=state.rest, spent=terms.integer(0)))
            case Step.LAND:
                landed = replace(call, has_landed=terms.true)
                rest = terms.subtract(state.rest, call.held)
                may = terms.both(is_open, terms.negation(call.has_landed))
                return may, replace(_with(state, place, landed), rest=rest)
            case Step.RESERVE:
                may, after = self._declared(self._declaration.reserve, state, place)
                is_new = terms.both(free, terms.negation(call.has_landed))
                return terms.both(is_new, may), replace(after, granted=call.ceiling)
            case Step.OVERRUN:
                may, after = self._declared(self._declaration.overrun, state, place)
                return terms.both(free, may), replace(after, granted=self.standing(after, place))
            case Step.COMMIT:
                may, after = self._declared(self._declaration.commit, state, place)
                return terms.both(may, call.has_landed) if self._has_fact else may, after
            case Step.RELEASE:
                may, after = self._declared(self._declaration.release, state, place)
                return terms.both(may, terms.negation(call.has_landed)) if self._has_fact else may, after

    def sound(self, state: State) -> Term:
        """What is true of the counter at every moment."""
        terms = self._terms
        at_least_0 = [state.others, state.others_landed, *(call.held for call in state.calls)]
        at_least_0 += [call.spent for call in state.calls]
        parts = [terms.less_equal(terms.integer(0), each) for each in at_least_0]
        if not self._has_fact:
            return terms.conjunction([*parts, *(self._within(state, place) for place in range(len(state.calls)))])
        ahead = self._ahead(state)
        none = terms.equal(ahead, terms.integer(0))
        parts.append(terms.either(none, terms.less_equal(ahead, state.rest)))
        return terms.conjunction([*parts, *(self._is_covered(state, call) for call in state.calls)])

    def kept(self, step: Step, before: State, after: State, place: int) -> Term:
        """What is true of the step itself: it counts the amount once, and passes no ceiling."""
        terms, call = self._terms, before.calls[place]
        stands = self.standing(after, place)
        match step:
            case Step.RESERVE:
                return terms.both(self._counts(before, after, place, 1, 1), terms.less_equal(stands, call.ceiling))
            case Step.OVERRUN:
                was_shown = terms.less(call.ceiling, terms.add(call.shown, call.amount))
                return terms.both(self._counts(before, after, place, 1, 1), was_shown)
            case Step.COMMIT:
                return self._counts(before, after, place, -1, 0)
            case Step.RELEASE:
                return self._counts(before, after, place, -1, -1)
            case Step.LAND:
                return terms.less_equal(terms.integer(0), after.rest)
            case Step.LOOK | Step.READ:
                return terms.true

    def _counts(self, before: State, after: State, place: int, held: int, standing: int) -> Term:
        """Whether what the call holds, and what stands on the counter, change by the amount so many times."""
        terms, amount = self._terms, before.calls[place].amount
        holds = moved(terms, before.calls[place].held, held, amount)
        stands = moved(terms, self.standing(before, place), standing, amount)
        return terms.both(terms.equal(after.calls[place].held, holds), terms.equal(self.standing(after, place), stands))

    @property
    def _has_fact(self) -> bool:
        return self.counting is Counting.IN_FLIGHT

    def _within(self, state: State, place: int) -> Term:
        return self._terms.less_equal(self.standing(state, place), state.granted)

    def _ahead(self, state: State) -> Term:
        """What is reserved and has yet to take effect: none of it is missing from the fact so far."""
        return self._sum((*(self._share(call, landed=False) for call in state.calls), state.others))

    def _is_covered(self, state: State, call: Call) -> Term:
        """What a call's reading of the fact promises is still there, but for what this counter took since."""
        landed = self._sum((*(self._share(each, landed=True) for each in state.calls), state.others_landed))
        taken = self._terms.add(call.spent, landed)
        return self._terms.less_equal(call.ceiling, self._terms.add(state.rest, taken))

    def _share(self, call: Call, *, landed: bool) -> Term:
        terms, nothing = self._terms, self._terms.integer(0)
        kept = (call.held, nothing) if landed else (nothing, call.held)
        return terms.choice(call.has_landed, *kept)

    def _declared(self, transition: Transition, state: State, place: int) -> tuple[Term, State]:
        terms, call = self._terms, state.calls[place]
        values = {
            Quantity.RESERVED: self.reserved(state),
            Quantity.SPENT: call.spent,
            Quantity.HELD: call.held,
            Quantity.AMOUNT: call.amount,
            Quantity.CEILING: call.ceiling,
            Quantity.SHOWN: call.shown,
        }
        held = moved(terms, call.held, transition.reserved, call.amount)
        after = _with(state, place, replace(call, held=held))
        calls = (replace(each, spent=moved(terms, each.spent, transition.spent, call.amount)) for each in after.calls)
        return guard(terms, transition, values), replace(after, calls=tuple(calls))

    def _sum(self, addends: Iterable[Term]) -> Term:
        return total(self._terms, addends)


def guard(terms: Terms, transition: Transition, values: Mapping[Quantity, Term]) -> Term:
    """Where a transition may be taken."""
    return terms.conjunction(_compared(terms, each, values) for each in transition.guard)


def moved(terms: Terms, column: Term, factor: int, amount: Term) -> Term:
    """A column to which the amount is added `factor` times."""
    return terms.add(column, terms.multiply(terms.integer(factor), amount)) if factor else column


def total(terms: Terms, addends: Iterable[Term]) -> Term:
    """The sum, without the zeros that would only lengthen a text."""
    nothing = terms.integer(0)
    result = nothing
    for each in addends:
        if each is not nothing:
            result = each if result is nothing else terms.add(result, each)
    return result


def _compared(terms: Terms, comparison: Comparison, values: Mapping[Quantity, Term]) -> Term:
    left, right = (total(terms, [values[each] for each in side]) for side in (comparison.left, comparison.right))
    return terms.less(left, right) if comparison.is_strict else terms.less_equal(left, right)


def _with(state: State, place: int, call: Call) -> State:
    calls = list(state.calls)
    calls[place] = call
    return replace(state, calls=tuple(calls))
