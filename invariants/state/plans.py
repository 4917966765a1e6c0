"""Plans: calls in order, proved never to pass a ceiling, for every prefix and whichever one of them fails.

A call reserves what its contract declares and settles before the next one: committed, or, by the one that fails,
released. One that still runs, or is in doubt, stands on its counters as one that committed does, so it is covered too.
For each call, whatever lies within the intervals and whichever earlier call failed, its amount and ceiling can be
evaluated and what it reserves is within every hard ceiling.

Facts are read before the plan begins: what it settles counts against them. What a limit `shows` is the counter's own
reading at that moment. A plan runs in one window, the worst case. A soft ceiling refuses nothing; that it can be
overrun is told, because the call is then decided at another risk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from invariants.errors import Unsupported
from invariants.meaning.universe import Unknown
from invariants.reports import Verdict
from invariants.solving import cvc5_backend, smtlib
from invariants.solving.answers import Verdict as Answer
from invariants.solving.terms import BeyondSolvers, Sort, Term, Terms
from invariants.solving.transplants import Transplant
from invariants.solving.z3_backend import Solver
from invariants.state import amounts
from invariants.state.counters import COLUMNS, COUNTERS, Quantity
from invariants.state.machine import guard, moved
from invariants.state.plan_files import Given, Plan, PlannedCall
from invariants.state.plan_reports import Example, PlanFinding, PlanReport
from policies.schema import LongType, generate
from tool_registry.contracts import Limit

RESOURCES = 2_000_000
"""Of each solver, for one obligation."""


def prove(plan: Plan, resources: int = RESOURCES) -> PlanReport:
    """
    Settle every prefix of a plan, shortest first, by both solvers.

    Raises `Unsupported` for an amount or a ceiling without an exact meaning.
    """
    run = _Run(plan, resources)
    findings: list[PlanFinding] = []
    for place, call in enumerate(plan.calls, 1):
        settled = run.call(place, call)
        findings += settled
        if any(each.verdict is not Verdict.PROVED and not each.is_soft for each in settled):
            break
    return PlanReport(calls=len(plan.calls), findings=tuple(findings))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """One limit of the call at hand, in the plan's own terms."""

    limit: Limit
    counter: str
    amount: Term
    ceiling: Term
    defined: Term
    standing: Term
    """What stands on the counter before the call."""
    is_granted: Term


@dataclass(frozen=True, slots=True)
class _Open:
    """An integer that the plan leaves open."""

    term: Term
    least: int


class _Run:
    """The counters of a plan, call after call, as terms over what the plan leaves open and over who fails."""

    def __init__(self, plan: Plan, resources: int) -> None:
        self._standing = plan.standing
        self._resources = resources
        self._schema = generate({call.contract.name: call.contract for call in plan.calls}.values())
        self._terms = Terms()
        self._symbols = 0
        self._assertions: list[Term] = []
        self._open: dict[str, _Open] = {}
        self._columns: dict[str, dict[Quantity, Term]] = {}
        # The place of the call that fails; 0 where none does.
        self._failing = self._symbol(Sort.INTEGER)

    def call(self, place: int, call: PlannedCall) -> list[PlanFinding]:
        """What the call at `place` finds on its counters; afterwards they hold what it leaves."""
        claims = self._claims(place, call)
        findings = [self._finding(place, call, claim) for claim in claims]
        for claim in claims:
            self._settle(place, claim)
        return findings

    def _claims(self, place: int, call: PlannedCall) -> list[_Claim]:
        if not call.limits:
            return []
        translated = amounts.translate(call.contract, self._schema)
        universe = translated.universe
        unknowns = {each.number: each for each in universe.unknowns}
        shown = {each.shows: self._shown(call, each) for each in call.contract.limits if each.shows is not None}
        transplant = Transplant(
            universe.terms,
            self._terms,
            lambda symbol: self._value(place, call, unknowns[symbol.payload or 0], shown),
        )
        self._assertions += [transplant.term(axiom) for axiom in translated.given()]
        claims = []
        for each in translated.limits:
            if each.limit in call.limits:
                amount, ceiling = transplant.term(each.amount), transplant.term(each.ceiling)
                counter = call.counter(each.limit)
                claims.append(
                    _Claim(
                        limit=each.limit,
                        counter=counter,
                        amount=amount,
                        ceiling=ceiling,
                        defined=transplant.term(each.defined),
                        standing=self._stands(counter),
                        is_granted=self._granted(counter, amount, ceiling),
                    )
                )
        return claims

    def _finding(self, place: int, call: PlannedCall, claim: _Claim) -> PlanFinding:
        terms = self._terms
        errs = terms.negation(claim.defined)
        # Nothing is reserved where the amount is 0.
        reserves = terms.less(terms.integer(0), claim.amount)
        fails = terms.either(errs, terms.both(reserves, terms.negation(claim.is_granted)))
        # Of the calls before this one, at most one fails.
        given = (*self._assertions, terms.within(self._failing, 0, place - 1))
        script = smtlib.scripted(given, (terms.true, fails))
        solver = Solver(given, self._resources, (terms.true, fails))
        answers = (solver.settle(0), solver.settle(1)), cvc5_backend.settle_goals(script, self._resources)
        verdict, reason, example = *_verdict(*answers), None
        if verdict is Verdict.REFUTED:
            example, is_error = self._example(solver, claim, fails)
            reason = "not_evaluable" if is_error else "soft_overrun" if claim.limit.soft else "ceiling_exceeded"
        return PlanFinding(
            call=place,
            tool=call.contract.name,
            limit=claim.limit.name,
            counter=claim.counter,
            is_soft=claim.limit.soft and reason != "not_evaluable",
            verdict=verdict,
            reason=reason,
            digest=f"sha256:{sha256(script.question(1).encode()).hexdigest()}",
            example=example,
        )

    def _example(self, solver: Solver, claim: _Claim, fails: Term) -> tuple[Example, bool]:
        """The plainest there is: nobody fails if that will do, and what is open is at its least where it can be."""
        terms = self._terms
        kept = [fails]
        for each in (_Open(self._failing, 0), *self._open.values()):
            plainer = terms.equal(each.term, terms.integer(each.least))
            if solver.check(*kept, plainer) is Answer.SATISFIABLE:
                kept.append(plainer)
        solver.check(*kept)
        asked = [self._failing, claim.amount, claim.standing, claim.ceiling, claim.defined]
        values = solver.model([*asked, *(each.term for each in self._open.values())])
        failing, amount, standing, ceiling, is_defined = (int(values[each.number]) for each in asked)
        example = Example(
            failing=failing or None,
            amount=amount,
            standing=standing,
            ceiling=ceiling,
            values={name: int(values[each.term.number]) for name, each in self._open.items()},
        )
        return example, not is_defined

    def _settle(self, place: int, claim: _Claim) -> None:
        """Reserved and then committed, or released by the call that fails."""
        terms = self._terms
        amount = terms.choice(terms.less(terms.integer(0), claim.amount), claim.amount, terms.integer(0))
        has_failed = terms.equal(self._failing, terms.integer(place))
        columns = self._columns[claim.counter]
        for column, before in columns.items():
            held = moved(terms, before, COUNTERS.reserve.moves[column], amount)
            released = moved(terms, held, COUNTERS.release.moves[column], amount)
            committed = moved(terms, held, COUNTERS.commit.moves[column], amount)
            columns[column] = terms.choice(has_failed, released, committed)

    def _granted(self, counter: str, amount: Term, ceiling: Term) -> Term:
        values = {
            **self._columns[counter],
            Quantity.HELD: self._terms.integer(0),
            Quantity.AMOUNT: amount,
            Quantity.CEILING: ceiling,
            Quantity.SHOWN: self._stands(counter),
        }
        return guard(self._terms, COUNTERS.reserve, values)

    def _shown(self, call: PlannedCall, limit: Limit) -> Term:
        """What the question shows of a limit: 0 where it does not apply to the call."""
        return self._stands(call.counter(limit)) if limit in call.limits else self._terms.integer(0)

    def _stands(self, counter: str) -> Term:
        if counter not in self._columns:
            spent = self._given(f"standing of {counter}", self._standing.get(counter, 0))
            self._columns[counter] = {**dict.fromkeys(COLUMNS, self._terms.integer(0)), Quantity.SPENT: spent}
        columns = self._columns[counter]
        return self._terms.add(columns[Quantity.RESERVED], columns[Quantity.SPENT])

    def _value(self, place: int, call: PlannedCall, unknown: Unknown, shown: Mapping[str, Term]) -> Term:
        """What stands for an unknown of the tool's requests in this call of the plan."""
        given: Given | None = None
        match unknown.path:
            case ("context", "facts", group, name):
                if f"{group}.{name}" in shown:
                    return shown[f"{group}.{name}"]
                given = call.facts.get(group, {}).get(name)
            case ("context", "arguments", name):
                given = call.arguments.get(name)
            case ("present", "context", "arguments", name) if name in call.arguments:
                return self._terms.true
        where = f"call {place}: {'.'.join(unknown.path[1:])}"
        if given is not None:
            return self._given(where, given)
        symbol = self._symbol(unknown.sort)
        if isinstance(unknown.type, LongType):
            self._open[where] = _Open(symbol, unknown.type.minimum)
        return symbol

    def _given(self, where: str, given: Given) -> Term:
        terms = self._terms
        match given:
            case bool():
                return terms.boolean(value=given)
            case int():
                return terms.integer(given)
            case str():
                try:
                    return terms.text(given)
                except BeyondSolvers as error:
                    raise Unsupported("string_beyond_solvers", where) from error
            case (least, greatest):
                if least == greatest:
                    return terms.integer(least)
                symbol = self._symbol(Sort.INTEGER)
                self._open[where] = _Open(symbol, least)
                self._assertions.append(terms.within(symbol, least, greatest))
                return symbol

    def _symbol(self, sort: Sort) -> Term:
        self._symbols += 1
        return self._terms.symbol(sort, self._symbols - 1)


def _verdict(first: tuple[Answer, ...], second: tuple[Answer, ...]) -> tuple[Verdict, str]:
    """Of both solvers' answers to whether the plan can be at all, and whether the call can fail."""
    if Answer.UNKNOWN in (*first, *second):
        return Verdict.UNKNOWN, "solver_limit"
    if first != second:
        return Verdict.ENCODING_BUG, "solvers_differ"
    if first[0] is Answer.UNSATISFIABLE:
        return Verdict.VACUOUS, "assumptions_contradict"
    return (Verdict.PROVED, "holds") if first[1] is Answer.UNSATISFIABLE else (Verdict.REFUTED, "")
