"""Two languages gone through together, character by character: the second way to see that no text is in both.

A language is a finite number of states, its derivatives, with one step for each block of characters. The pairs of
states that some text leads to are found here; that no step leaves them, and that none of them ends in both languages,
is a question of whole numbers for the second solver. A text that does end in both is the shortest there is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from invariants.solving import languages, smtlib
from invariants.solving.languages import Language
from invariants.solving.smtlib import Script
from invariants.solving.terms import Sort, Term, Terms
from invariants.texts.alphabets import Alphabet

STATES_MAX = 3_000
PAIRS_MAX = 60_000


class TooManyStates(Exception):
    """There are more than a proof is worth."""


@dataclass(slots=True)
class Machine:
    """A language as states and steps, each found when it is first asked for. State 0 is the start."""

    alphabet: Alphabet
    states: list[Language]
    _numbers: dict[Language, int] = field(default_factory=dict)
    _steps: list[tuple[int, ...] | None] = field(default_factory=list)

    @classmethod
    def of(cls, language: Language, alphabet: Alphabet) -> Machine:
        """The machine of a language over the blocks of a question."""
        return cls(alphabet, [language], {language: 0}, [None])

    def steps(self, state: int) -> tuple[int, ...]:
        """Where each block leads. Raises `TooManyStates`."""
        known = self._steps[state]
        if known is None:
            following = (languages.derivative(self.states[state], member) for member in self.alphabet.members)
            known = self._steps[state] = tuple(map(self._number, following))
        return known

    def ends(self, state: int) -> bool:
        """Whether a text may end here."""
        return languages.has_empty(self.states[state])

    def living(self) -> frozenset[int]:
        """The states from which a text can still come to its end. Raises `TooManyStates`."""
        before: dict[int, set[int]] = {}
        state = 0
        while state < len(self.states):
            for following in self.steps(state):
                before.setdefault(following, set()).add(state)
            state += 1
        living = {state for state in range(len(self.states)) if self.ends(state)}
        waiting = list(living)
        while waiting:
            fresh = before.get(waiting.pop(), set()) - living
            living |= fresh
            waiting += fresh
        return frozenset(living)

    def _number(self, language: Language) -> int:
        number = self._numbers.get(language)
        if number is None:
            if len(self.states) == STATES_MAX:
                raise TooManyStates
            number = self._numbers[language] = len(self.states)
            self.states.append(language)
            self._steps.append(None)
        return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Traversal:
    """Every pair of states that a text of the first language leads to."""

    first: Machine
    second: Machine
    living: frozenset[int]
    """Of the first machine."""
    pairs: frozenset[tuple[int, int]]
    text: str | None
    """The shortest of both languages, or None."""


def traverse(first: Language, second: Language, alphabet: Alphabet) -> Traversal:
    """Go through all texts of the first language, watching the second. Raises `TooManyStates`."""
    machines = Machine.of(first, alphabet), Machine.of(second, alphabet)
    living = machines[0].living()
    start = (0, 0)
    before: dict[tuple[int, int], tuple[tuple[int, int], int]] = {}
    seen = {start} if 0 in living else set()
    waiting = deque(seen)
    while waiting:
        pair = waiting.popleft()
        if machines[0].ends(pair[0]) and machines[1].ends(pair[1]):
            text = "".join(reversed(list(_back(pair, before))))
            return Traversal(first=machines[0], second=machines[1], living=living, pairs=frozenset(seen), text=text)
        followings = zip(alphabet.members, machines[0].steps(pair[0]), machines[1].steps(pair[1]), strict=True)
        for member, *following in followings:
            fresh = (following[0], following[1])
            if fresh[0] in living and fresh not in seen:
                if len(seen) == PAIRS_MAX:
                    raise TooManyStates
                before[fresh] = (pair, member)
                seen.add(fresh)
                waiting.append(fresh)
    return Traversal(first=machines[0], second=machines[1], living=living, pairs=frozenset(seen), text=None)


def _back(pair: tuple[int, int], before: dict[tuple[int, int], tuple[tuple[int, int], int]]) -> Iterator[str]:
    while pair in before:
        pair, member = before[pair]
        yield chr(member)


def questions(found: Traversal, terms: Terms) -> Script:
    """
    Whether a step leaves the pairs, or one of them ends in both languages: each goal is impossible if not.

    A goal for each first state; the second state and the block are unknown whole numbers, and steps are written out as
    choices. That a text which leaves the living states is none of the first language is plain from how they are found.
    """
    other, block = terms.symbol(Sort.INTEGER, 0), terms.symbol(Sort.INTEGER, 1)
    beside: dict[int, set[int]] = {}
    for first, second in found.pairs:
        beside.setdefault(first, set()).add(second)
    starts = terms.boolean(value=(0, 0) in found.pairs or 0 not in found.living)
    wrong = [terms.negation(starts)]
    for state, seconds in sorted(beside.items()):
        after = _after(found.second, sorted(seconds), terms, other, block)
        ends = [second for second in range(len(found.second.states)) if found.second.ends(second)]
        outside = [_one_of(ends, terms, other)] if found.first.ends(state) else []
        for following, blocks in _targets(found.first, state).items():
            if following in found.living:
                stays = _one_of(beside.get(following, ()), terms, after)
                outside.append(terms.both(_one_of(blocks, terms, block), terms.negation(stays)))
        wrong.append(terms.both(_one_of(seconds, terms, other), terms.disjunction(outside)))
    blocks_all = terms.within(block, 0, len(found.first.alphabet.members) - 1)
    return smtlib.scripted([blocks_all], wrong)


def _after(machine: Machine, states: Sequence[int], terms: Terms, state: Term, block: Term) -> Term:
    """Where a step leads, from any of some states."""
    after = terms.integer(-1)
    for number in states:
        (usual, _), *others = sorted(_targets(machine, number).items(), key=lambda target: -len(target[1]))
        here = terms.integer(usual)
        for following, blocks in others:
            here = terms.choice(_one_of(blocks, terms, block), terms.integer(following), here)
        after = terms.choice(terms.equal(state, terms.integer(number)), here, after)
    return after


def _targets(machine: Machine, state: int) -> dict[int, list[int]]:
    """The states that steps lead to, with the blocks that do."""
    targets: dict[int, list[int]] = {}
    for block, following in enumerate(machine.steps(state)):
        targets.setdefault(following, []).append(block)
    return targets


def _one_of(numbers: Iterable[int], terms: Terms, term: Term) -> Term:
    runs = languages.ranges((number, number) for number in numbers)
    return terms.disjunction(terms.within(term, first, last) for first, last in runs)
