"""The search for what would have passed. Runs where a solver may be loaded (see `worker`), never on the call path.

1. fewest    sets of members that suffice when they change, smallest first; none contains another
2. nearest   for each set: fewest persons, then the smallest distance of integers, by halving
3. trade     where an argument has to move, less of a move with approvals
4. detours   the same at each lower risk, for what Rego may refuse
5. standing  nothing suffices: what refuses whatever changes, and who else could ask

Every question to the solver is about one small, nearly ground formula. One that it does not answer makes the whole
explanation unknown: "smallest" would be a guess.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, combinations_with_replacement
from typing import Any

from invariants import tool_requests
from invariants.errors import Unsupported
from invariants.explanations import situation
from invariants.explanations.alternatives import (
    APPROVALS,
    Alternative,
    Asked,
    Change,
    Explanation,
    Kind,
    Obstacle,
)
from invariants.explanations.situation import Member, Requirement, Situation, equals
from invariants.meaning import schemas
from invariants.solving import z3_backend
from invariants.solving.answers import Verdict
from invariants.solving.terms import Term
from invariants.solving.z3_backend import Solver
from policies.cedar import parse
from policies.questions import APPROVER_ROLES, ROLES
from tool_registry.contracts import Family

ALTERNATIVES_MAX = 3  # Somebody has to read them.
_MEMBERS_MAX = 3  # Beyond it a set is made smaller one by one, and is not known to be the smallest.
_CHECKS_MAX = 5_000  # Of about a millisecond each; the base bundle's explanations take up to some three hundred.


def answers(asked: Asked, memory_bytes: int) -> Iterator[dict[str, Any]]:
    """What the worker says: the explanation, once."""
    z3_backend.limit_memory(memory_bytes * 3 // 4)
    yield explain(asked).document()


def explain(asked: Asked) -> Explanation:
    """
    Find what would have been permitted. Never raises for a call that cannot be explained: that is unknown.

    Raises `PolicyFault` and `Unreadable` for rules and invariants that cannot be read.
    """
    question, contract = asked.question, asked.contract
    typed = asked.schema.typed
    action = typed.actions[question.action]
    try:
        encoded = tool_requests.encode(
            parse(asked.policies), typed, action, contract.resource_argument, schemas.of_tools(typed)
        )
        requests = {each.principal: each for each in encoded}
        search = _Search(situation.of(asked, requests[question.principal.type], is_asker=True), asked)  # type: ignore[index]  # any text asks
        if not search.is_possible():
            return Explanation(unknown="assumptions_contradict")
        alternatives = search.alternatives()
        if alternatives:
            is_narrowed = contract.family is not Family.GOVERNANCE
            detours = search.detours(question.context["risk"]) if is_narrowed else ()
            known = {_values(each) for each in alternatives}
            return Explanation(
                alternatives=alternatives, detours=tuple(each for each in detours if _values(each) not in known)
            )
        others = _Search(situation.of(asked, requests["Person"], is_asker=False), asked)
        same = others.askers(question.roles, changing={APPROVALS})
        askers = same or others.askers(question.roles, changing=set(others.members))
        obstacles, is_joint = search.obstacles()
        return Explanation(obstacles=obstacles, is_joint=is_joint, askers=askers, asks_same=bool(same))
    except Unsupported as refused:
        return Explanation(unknown=refused.reason_code)
    except _Unanswered as unanswered:
        return Explanation(unknown=str(unanswered))


class _Unanswered(Exception):
    """The solver gave up, or was asked too often."""


class _Search:
    """One situation, and a solver that knows it."""

    __slots__ = ("_at", "_checks", "_contract", "_passes", "_recorded", "_solver", "_terms", "members")

    def __init__(self, at: Situation, asked: Asked) -> None:
        self._at = at
        self._terms = at.requests.universe.terms
        self.members = at.members
        self._contract = asked.contract
        self._recorded: Mapping[str, int] = asked.question.context["approvals"]
        self._passes = self._terms.conjunction(each.term for each in at.requirements)
        self._solver = Solver(at.given, asked.resources)
        self._checks = 0

    def is_possible(self) -> bool:
        """Whether the recorded question keeps the assumptions: of any other, nothing can be said."""
        return self._can(*self._others(frozenset()))

    def alternatives(self, *under: Term, at_most: int = ALTERNATIVES_MAX) -> tuple[Alternative, ...]:
        """The smallest changes, in the order in which they are better made."""
        found: list[tuple[int, int, Alternative]] = []
        smallest = self._smallest(under, at_most)
        for chosen in smallest:
            for distance, alternative in self._nearest(chosen, under):
                found.append((len(chosen), distance, alternative))
                if distance and APPROVALS not in chosen and frozenset({APPROVALS}) not in smallest:
                    found.extend(self._traded(chosen, distance, under))
        found.sort(key=lambda each: each[:2])
        return tuple(alternative for _, _, alternative in found[:at_most])

    def detours(self, risk: int) -> tuple[Alternative, ...]:
        """The smallest change to each lower risk."""
        terms = self._terms
        lower = (terms.equal(self._at.risk, terms.integer(each)) for each in reversed(range(risk)))
        return tuple(alternative for at in lower for alternative in self.alternatives(at, at_most=1))

    def obstacles(self) -> tuple[tuple[Obstacle, ...], bool]:
        """What refuses by itself whatever changes; where nothing does, a smallest set that refuses together: true."""
        alone = [each.source for each in self._at.requirements if not self._can(each.term)]
        rules = [each for each in alone if each.kind is not Kind.INVARIANT]
        if alone:
            # An invariant follows from the rules: it says nothing new beside one that refuses.
            return tuple(rules or alone), False
        together = list(self._at.requirements)
        for each in sorted(together, key=_least_telling):
            rest = [other for other in together if other is not each]
            if not self._can(*(other.term for other in rest)):
                together = rest
        return tuple(each.source for each in together), True

    def askers(self, but: Sequence[str], *, changing: set[str]) -> tuple[str, ...]:
        """Roles of which one alone would do, for a person who asks for the same but for these members."""
        terms = self._terms
        same = self._others(changing)
        found = []
        for role in ROLES:
            roles = [term if name == role else terms.negation(term) for name, term in self._at.roles.items()]
            if role not in but and role in self._at.roles and self._can(self._passes, *same, *roles):
                found.append(role)
        return tuple(found)

    def _smallest(self, under: Sequence[Term], at_most: int) -> list[frozenset[str]]:
        """Sets of members that suffice, none of which contains another."""
        found: list[frozenset[str]] = []
        if not self._can(self._passes, *under):
            return found
        for size in range(min(len(self.members), _MEMBERS_MAX) + 1):
            for names in combinations(self.members, size):
                chosen = frozenset(names)
                if not any(each <= chosen for each in found) and self._can(self._passes, *under, *self._others(chosen)):
                    found.append(chosen)
                    if len(found) == at_most:
                        return found
        if not found:
            chosen = frozenset(self.members)
            for name in reversed(tuple(self.members)):
                if self._can(self._passes, *under, *self._others(chosen - {name})):
                    chosen -= {name}
            found.append(chosen)
        return found

    def _nearest(
        self, chosen: frozenset[str], under: Sequence[Term], nearer: Sequence[Term] = ()
    ) -> Iterator[tuple[int, Alternative]]:
        """The nearest values when these members change: one way, or several with as few approvals."""
        held = [self._passes, *under, *nearer, *self._others(chosen)]
        if APPROVALS not in chosen:
            yield self._valued(chosen, held, under, None)
            return
        ways = self._fewest(held)
        if len(chosen) > 1:
            valued = [self._valued(chosen - {APPROVALS}, [*held, self._counted(each)], under, each) for each in ways]
            yield min(valued, key=lambda each: each[0])
            return
        yield from ((0, Alternative(approvals=each)) for each in ways)

    def _traded(
        self, chosen: frozenset[str], distance: int, under: Sequence[Term]
    ) -> Iterator[tuple[int, int, Alternative]]:
        """The same members nearer to what was asked, with the fewest approvals that make it nearer at all."""
        nearer = self._terms.less(self._distance(chosen), self._terms.integer(distance))
        wider = chosen | {APPROVALS}
        if self._can(self._passes, *under, nearer, *self._others(wider)):
            found = self._nearest(wider, under, (nearer,))
            yield from ((len(wider), moved, alternative) for moved, alternative in found)

    def _fewest(self, held: Sequence[Term]) -> list[dict[str, int]]:
        """Approval counts with the fewest persons, then signatures; where any would do, the contract's approver."""
        terms = self._terms
        persons = self._least(self._at.counts["persons"], held)
        total = terms.integer(0)
        for role in APPROVER_ROLES:
            total = terms.add(total, self._at.counts[role])
        fewest = [*held, terms.equal(self._at.counts["persons"], terms.integer(persons))]
        added = self._least(total, fewest) - sum(self._recorded[role] for role in APPROVER_ROLES)
        approver = self._contract.approver
        roles = (approver, *(role for role in APPROVER_ROLES if role != approver))
        found: list[dict[str, int]] = []
        for way in combinations_with_replacement(roles, added):
            counts = {**self._recorded, "persons": persons}
            for role in way:
                counts[role] += 1
            if self._can(*held, self._counted(counts)):
                found.append(counts)
        return found if len(found) <= ALTERNATIVES_MAX else found[:1]

    def _valued(
        self, chosen: frozenset[str], held: list[Term], under: Sequence[Term], approvals: Mapping[str, int] | None
    ) -> tuple[int, Alternative]:
        """The nearest values of some arguments, and how far they are in all."""
        terms = self._terms
        members = [self.members[name] for name in self.members if name in chosen]
        numbers = [each for each in members if each.range is not None]
        changes: dict[str, Change] = {}
        distance = self._least(self._distance(chosen), held) if numbers else 0
        held = [*held, terms.equal(self._distance(chosen), terms.integer(distance))] if numbers else held
        for each in numbers:
            value = self._placed(each, held)
            held = [*held, equals(terms, each.term, value)]
            changes[each.name] = Change(member=each.name, value=value, reads=self._read_with(each))
        for each in members:
            if each.range is None:
                passing = [value for value in each.choices if self._can(*held, equals(terms, each.term, value))]
                held = [*held, equals(terms, each.term, passing[0])]
                others, reads = tuple(str(value) for value in passing[1:]), self._read_with(each)
                changes[each.name] = Change(member=each.name, value=passing[0], others=others, reads=reads)
        if len(numbers) == 1:
            (alone,) = numbers
            rest = [equals(terms, each.term, changes[each.name].value) for each in members if each is not alone]
            rest += [*self._others(chosen | {APPROVALS}), self._counted(approvals or self._recorded)]
            changes[alone.name] = self._spanned(alone, int(changes[alone.name].value), rest, under)
        ordered = tuple(changes[each.name] for each in members)
        if len(ordered) > 1:
            # Each has the value that the others leave to it, so what bounds one bounds all.
            reads = tuple(sorted({fact for each in members for fact in self._read_with(each)}))
            ordered = tuple(replace(each, reads=reads) for each in ordered)
        return distance, Alternative(changes=ordered, approvals=approvals)

    def _placed(self, member: Member, held: Sequence[Term]) -> int:
        """Where a number comes to lie, as near as it can; below rather than above."""
        moved = self._least(self._distance({member.name}), held)
        below = int(member.now) - moved
        return below if self._can(*held, equals(self._terms, member.term, below)) else int(member.now) + moved

    def _spanned(self, member: Member, start: int, rest: Sequence[Term], under: Sequence[Term]) -> Change:
        """How far beyond the nearest value all pass, and from which facts the two bounds follow."""
        terms = self._terms
        low, high = member.range or (start, start)
        step, edge = (1, high) if start > int(member.now) else (-1, low)
        fails = terms.negation(terms.conjunction((self._passes, *under)))
        reach, limit = 0, abs(edge - start)
        while reach < limit:  # All within `reach` pass; not all within `limit + 1`, or that is beyond the range.
            middle = (reach + limit + 1) // 2
            ends = sorted((start, start + step * middle))
            if self._can(*rest, fails, terms.within(member.term, *ends)):
                limit = middle - 1
            else:
                reach = middle
        beyond = start + step * reach
        outside = [start - step, *([] if beyond == edge else [beyond + step])]
        reads = {fact for each in outside for fact in self._bounding(member, each, rest, under)}
        low, high = sorted((start, beyond))
        return Change(member=member.name, value=start, low=low, high=high, reads=tuple(sorted(reads)))

    def _bounding(self, member: Member, value: int, rest: Sequence[Term], under: Sequence[Term]) -> Iterator[str]:
        """The facts in what refuses a value."""
        at = equals(self._terms, member.term, value)
        for term in (*(each.term for each in self._at.requirements), *under):
            if not self._can(*rest, at, term):
                yield from self._at.facts(term)

    def _read_with(self, member: Member) -> tuple[str, ...]:
        """The facts in everything that looks at a member: any of them may say what it has to be."""
        looking = [each.term for each in self._at.requirements if self._at.looks_at(each.term, member.term)]
        return tuple(sorted({fact for term in looking for fact in self._at.facts(term)}))

    def _least(self, term: Term, held: Sequence[Term]) -> int:
        """The least value of a term that can be had, not below 0; something can be had."""
        terms = self._terms
        low, high = 0, self._value(term, held)
        while low < high:
            middle = (low + high) // 2
            if self._can(*held, terms.less_equal(term, terms.integer(middle))):
                high = self._modelled(term)
            else:
                low = middle + 1
        return high

    def _value(self, term: Term, held: Sequence[Term]) -> int:
        if not self._can(*held):
            raise _Unanswered("solver_differs")
        return self._modelled(term)

    def _modelled(self, term: Term) -> int:
        return int(self._solver.model((term,))[term.number])

    def _distance(self, chosen: frozenset[str] | set[str]) -> Term:
        """How far integers move, in all."""
        terms = self._terms
        total = terms.integer(0)
        for name in chosen:
            member = self.members[name]
            if member.range is not None:
                now = terms.integer(int(member.now))
                above = terms.subtract(member.term, now)
                below = terms.subtract(now, member.term)
                total = terms.add(total, terms.choice(terms.less_equal(now, member.term), above, below))
        return total

    def _others(self, chosen: frozenset[str] | set[str]) -> list[Term]:
        """That all members stay but these."""
        return [member.pin for name, member in self.members.items() if name not in chosen]

    def _counted(self, counts: Mapping[str, int]) -> Term:
        terms = self._terms
        return terms.conjunction(
            terms.equal(term, terms.integer(counts[name])) for name, term in self._at.counts.items()
        )

    def _can(self, *wishes: Term) -> bool:
        """Whether all can hold in this situation."""
        self._checks += 1
        answer = self._solver.check(*wishes) if self._checks <= _CHECKS_MAX else Verdict.UNKNOWN
        if answer is Verdict.UNKNOWN:
            raise _Unanswered("solver_limit")
        return answer is Verdict.SATISFIABLE


def _least_telling(requirement: Requirement) -> int:
    """Invariants are left out first, the permits last: a rule tells most."""
    return (Kind.INVARIANT, Kind.LIMIT, Kind.RULE, Kind.NO_PERMIT).index(requirement.source.kind)


def _values(alternative: Alternative) -> tuple[object, ...]:
    changes = tuple((change.member, change.value) for change in alternative.changes)
    return changes, tuple(sorted((alternative.approvals or {}).items()))
