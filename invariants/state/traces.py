"""The steps that lead a counter out of soundness, from nothing: a short story of two calls, in plain numbers.

A search from the empty counter, one step deeper at a time, so that what is found is as short as such a story can be.
Finding none says nothing beyond the depth searched: proofs are `induction`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from invariants.solving.answers import Verdict
from invariants.solving.terms import Sort, Term, Terms
from invariants.solving.z3_backend import Solver
from invariants.state.counters import COUNTERS, Declaration
from invariants.state.machine import STEPS, Call, Counting, Machine, State, Step

DEPTH_MAX = 8
"""Two calls that each look, reserve, take effect and settle."""

_CALLS = "ab"
_PLAIN = 10  # Amounts from 1 and ceilings up to this, where there is such a story.
_RESOURCES = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One step of the story, and what stands on the counter after it."""

    step: Step
    call: str
    amount: int
    shown: int
    """What stood on the counter when the call last looked; at first, nothing."""
    reserved: int
    spent: int
    """As the call counts."""
    ceiling: int
    rest: int | None
    """In flight: the ceiling as its source would give it now."""

    def document(self) -> dict[str, Any]:
        """JSON members."""
        rest = {} if self.rest is None else {"rest": self.rest}
        return {
            "step": self.step.value,
            "call": self.call,
            "amount": self.amount,
            "shown": self.shown,
            "reserved": self.reserved,
            "spent": self.spent,
            "ceiling": self.ceiling,
            **rest,
        }

    def __str__(self) -> str:
        left = "" if self.rest is None else f", {self.rest} left at the source"
        stands = f"reserved {self.reserved}, spent {self.spent}, ceiling {self.ceiling}{left}"
        shown = f", shown {self.shown}" if self.step in (Step.RESERVE, Step.OVERRUN) else ""
        return f"{self.step.value} of {self.amount} by call {self.call}{shown}: {stands}"


def search(counting: Counting, declaration: Declaration = COUNTERS, depth: int = DEPTH_MAX) -> tuple[Line, ...] | None:
    """The shortest story of at most `depth` steps after which the counter is not sound. None: there is none."""
    story = _Story(counting, declaration)
    for _ in range(depth):
        if story.goes_wrong():
            return tuple(story.lines())
        story.extend()
    return tuple(story.lines()) if story.goes_wrong() else None


class _Story:
    """A run of unknown steps from the empty counter."""

    def __init__(self, counting: Counting, declaration: Declaration) -> None:
        self._terms = Terms()
        self._numbers = count()
        self._machine = Machine(self._terms, declaration, counting)
        self._assertions: list[Term] = []
        self._moments = [self._start()]
        self._chosen: list[Term] = []
        self._wrong = self._terms.negation(self._machine.sound(self._moments[0]))
        self._options = [(step, place) for step in STEPS[counting] for place in range(len(_CALLS))]
        self._values: dict[int, Any] = {}

    def goes_wrong(self) -> bool:
        """Whether the last step can be one that goes wrong; then `lines` tells how."""
        if self._wrong is self._terms.false:
            return False
        solver = Solver((*self._assertions, self._wrong), _RESOURCES)
        first = self._moments[0]
        plain = [self._terms.within(call.amount, 1, _PLAIN) for call in first.calls]
        plain.append(self._terms.less_equal(first.granted, self._terms.integer(_PLAIN)))
        if solver.check(*plain) is not Verdict.SATISFIABLE and solver.check() is not Verdict.SATISFIABLE:
            return False
        self._values = solver.model(self._told())
        return True

    def extend(self) -> None:
        """One more step, by one of the calls."""
        terms, before = self._terms, self._moments[-1]
        chosen = self._unknown()
        self._assertions.append(terms.within(chosen, 0, len(self._options) - 1))
        after = before
        wrong = []
        for number, (step, place) in enumerate(self._options):
            here = terms.equal(chosen, terms.integer(number))
            may, then = self._machine.take(step, before, place)
            self._assertions.append(terms.implication(here, may))
            kept = terms.both(self._machine.kept(step, before, then, place), self._machine.sound(then))
            wrong.append(terms.both(here, terms.negation(kept)))
            after = self._either(here, then, after)
        self._chosen.append(chosen)
        self._moments.append(after)
        self._wrong = terms.disjunction(wrong)

    def lines(self) -> Iterator[Line]:
        """The story that the solver told last."""
        for chosen, moment in zip(self._chosen, self._moments[1:], strict=True):
            step, place = self._options[self._values[chosen.number]]
            call = moment.calls[place]
            has_fact = self._machine.counting is Counting.IN_FLIGHT
            yield Line(
                step=step,
                call=_CALLS[place],
                amount=self._values[call.amount.number],
                shown=self._values[call.shown.number],
                reserved=self._values[self._machine.reserved(moment).number],
                spent=self._values[call.spent.number],
                ceiling=self._values[call.ceiling.number],
                rest=self._values[moment.rest.number] if has_fact else None,
            )

    def _start(self) -> State:
        terms, nothing, ceiling = self._terms, self._terms.integer(0), self._unknown()
        self._assertions.append(terms.less_equal(nothing, ceiling))
        return State(
            calls=tuple(
                Call(
                    amount=self._unknown(),
                    ceiling=ceiling,
                    shown=nothing,
                    held=nothing,
                    spent=nothing,
                    has_landed=terms.false,
                )
                for _ in _CALLS
            ),
            others=nothing,
            others_landed=nothing,
            granted=ceiling,
            rest=ceiling,
        )

    def _either(self, here: Term, then: State, other: State) -> State:
        choice = self._terms.choice
        return State(
            calls=tuple(
                Call(
                    amount=one.amount,
                    ceiling=choice(here, one.ceiling, two.ceiling),
                    shown=choice(here, one.shown, two.shown),
                    held=choice(here, one.held, two.held),
                    spent=choice(here, one.spent, two.spent),
                    has_landed=choice(here, one.has_landed, two.has_landed),
                )
                for one, two in zip(then.calls, other.calls, strict=True)
            ),
            others=other.others,
            others_landed=other.others_landed,
            granted=choice(here, then.granted, other.granted),
            rest=choice(here, then.rest, other.rest),
        )

    def _told(self) -> list[Term]:
        calls = [call for moment in self._moments[1:] for call in moment.calls]
        told = [each for call in calls for each in (call.amount, call.shown, call.spent, call.ceiling)]
        told += [self._machine.reserved(moment) for moment in self._moments[1:]]
        told += [moment.rest for moment in self._moments[1:]]
        return [*told, *self._chosen]

    def _unknown(self) -> Term:
        return self._terms.symbol(Sort.INTEGER, next(self._numbers))
