"""Proofs over counters: from any sound state, no step of any call leads out of soundness.

For each limit of each contract, with its own amount and ceiling over every request for the tool:

- the counter starts sound;
- each step keeps it sound, and can be taken at all (a step that never can would keep everything).

Sound is: nothing is negative; windowed, reserved and spent are within the ceiling of the call that reserved last (of
every call, where the ceiling is a number); in flight, what is reserved and has yet to take effect is still there at the
source of the fact. Besides, each step counts the amount once: reserving adds it, within that call's own ceiling;
committing moves it; releasing takes it back. Taking effect never takes more than there was, and a soft ceiling is
overrun only by a call that was shown it.

Both solvers settle every obligation; offline commands and workers only. What is assumed is in `docs/counters.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from invariants.errors import Unsupported
from invariants.reports import Verdict
from invariants.solving import cvc5_backend, smtlib, z3_backend
from invariants.solving.answers import Verdict as Answer
from invariants.solving.smtlib import Script
from invariants.solving.terms import Sort, Term
from invariants.solving.z3_backend import Solver
from invariants.state import amounts, traces
from invariants.state.amounts import Amounts, LimitTerms
from invariants.state.counters import COUNTERS, Declaration
from invariants.state.machine import STEPS, Call, Counting, Machine, State
from invariants.state.traces import Line
from policies.schema import CedarSchema, generate
from tool_registry.contracts import Contract, Limit

RESOURCES = 2_000_000
"""Of each solver, for one obligation. The catalogue's need a few thousand."""

START = "start"
"""The obligation that a new counter is sound; the others are named after the step that keeps it so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterFinding:
    """The verdict on one obligation about one limit."""

    tool: str
    limit: str
    counting: Counting
    step: str
    """`start`, or a step of the machine. Empty where no obligation could be written."""
    verdict: Verdict
    reason: str = ""
    digest: str = ""
    """Of the obligation's text."""
    answers: Mapping[str, str]
    """What each solver said."""
    trace: tuple[Line, ...] = ()
    """With refuted: the steps that lead an empty counter there."""

    def document(self) -> dict[str, Any]:
        """Canonical JSON members."""
        return {
            "tool": self.tool,
            "limit": self.limit,
            "counting": self.counting.value,
            "step": self.step,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "digest": self.digest,
            "answers": dict(self.answers),
            "trace": [line.document() for line in self.trace],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Every obligation about one limit, as one text with a pair of goals for each: taken at all, and broken."""

    tool: str
    limit: str
    counting: Counting
    steps: tuple[str, ...]
    assertions: tuple[Term, ...]
    goals: tuple[Term, ...]
    script: Script

    def digest(self, place: int) -> str:
        """Of the obligation about the step at `place`: that it is broken by nothing."""
        return f"sha256:{sha256(self.script.question(2 * place + 1).encode()).hexdigest()}"


def answers(contracts: tuple[Contract, ...], memory_bytes: int) -> Iterator[dict[str, Any]]:
    """What the worker says: each verdict, then how many there were."""
    z3_backend.limit_memory(memory_bytes * 3 // 4)
    findings = prove(contracts)
    yield from (finding.document() for finding in findings)
    yield {"done": len(findings)}


def prove(
    contracts: Iterable[Contract], declaration: Declaration = COUNTERS, resources: int = RESOURCES
) -> tuple[CounterFinding, ...]:
    """The verdict on every obligation about every limit, tools by name."""
    listed = sorted(contracts, key=lambda each: each.name)
    schema = generate(listed)
    torn = frozenset(_torn(listed))
    return tuple(finding for contract in listed for finding in _prove(contract, schema, declaration, resources, torn))


def counting_of(limit: Limit) -> Counting:
    """How a limit counts."""
    if limit.window is None:
        return Counting.IN_FLIGHT
    return Counting.SOFT if limit.soft else Counting.WINDOWED


def sheet(contract: Contract, limit: Limit, schema: CedarSchema, declaration: Declaration = COUNTERS) -> Sheet:
    """The obligations about one limit of a contract, written anew. Raises `Unsupported`."""
    translated = amounts.translate(replace(contract, limits=(limit,)), schema)
    return _sheet(contract, translated, translated.limits[0], declaration)


def _torn(contracts: Iterable[Contract]) -> Iterator[tuple[str, str]]:
    """Counters in flight that two tools share and measure against different ceilings: there is no one fact to keep."""
    ceilings: dict[tuple[str, str], set[tuple[str | None, str]]] = {}
    for limit in (limit for contract in contracts for limit in contract.limits):
        if limit.window is None:
            ceilings.setdefault((limit.name, limit.key), set()).add((limit.since, " ".join(limit.ceiling.split())))
    yield from (counter for counter, found in ceilings.items() if len(found) > 1)


def _prove(
    contract: Contract,
    schema: CedarSchema,
    declaration: Declaration,
    resources: int,
    torn: frozenset[tuple[str, str]],
) -> Iterator[CounterFinding]:
    for limit in contract.limits:
        # A text of its own for each limit: what is said about the others has no place in it.
        try:
            if limit.window is None and (limit.name, limit.key) in torn:
                raise Unsupported("ceilings_differ", f"limit `{limit.name}` of `{contract.name}`")
            written = sheet(contract, limit, schema, declaration)
        except Unsupported as refused:
            yield CounterFinding(
                tool=contract.name,
                limit=limit.name,
                counting=counting_of(limit),
                step="",
                verdict=Verdict.UNKNOWN,
                reason=refused.reason_code,
                answers={},
            )
        else:
            yield from _settle(written, declaration, resources)


def _settle(written: Sheet, declaration: Declaration, resources: int) -> Iterator[CounterFinding]:
    first = Solver(written.assertions, resources, written.goals)
    second = cvc5_backend.settle_goals(written.script, resources)
    for place, step in enumerate(written.steps):
        taken, broken = 2 * place, 2 * place + 1
        premise = (first.settle(taken), second[taken])
        answers = (first.settle(broken), second[broken])
        verdict, reason = _verdict(premise, answers)
        story: tuple[Line, ...] = ()
        if verdict is Verdict.REFUTED:
            # A state that no story leads to is no counter-example: what had to be shown is then too weak to show it.
            found = traces.search(written.counting, declaration)
            verdict, reason = (verdict, reason) if found else (Verdict.UNKNOWN, "not_inductive")
            story = found or ()
        yield CounterFinding(
            tool=written.tool,
            limit=written.limit,
            counting=written.counting,
            step=step,
            verdict=verdict,
            reason=reason,
            digest=written.digest(place),
            answers={"z3": answers[0].value, "cvc5": answers[1].value},
            trace=story,
        )


def _verdict(premise: tuple[Answer, Answer], answers: tuple[Answer, Answer]) -> tuple[Verdict, str]:
    if Answer.UNKNOWN in (*premise, *answers):
        return Verdict.UNKNOWN, "solver_limit"
    if len(set(premise)) > 1 or len(set(answers)) > 1:
        return Verdict.ENCODING_BUG, "solvers_differ"
    if premise[0] is Answer.UNSATISFIABLE:
        return Verdict.VACUOUS, "premise_unreachable"
    if answers[0] is Answer.UNSATISFIABLE:
        return Verdict.PROVED, "holds"
    return Verdict.REFUTED, "violated"


def _sheet(contract: Contract, translated: Amounts, limit: LimitTerms, declaration: Declaration) -> Sheet:
    terms, counting = translated.universe.terms, counting_of(limit.limit)
    given = translated.given()
    machine = Machine(terms, declaration, counting)
    moment = _any(translated, limit, counting, len(translated.universe.unknowns))
    sound = machine.sound(moment)
    start = _start(translated, moment, counting)
    named: list[tuple[str, Term, Term]] = [
        (START, terms.true, terms.negation(machine.sound(start))),
    ]
    for step in STEPS[counting]:
        may, after = machine.take(step, moment, 0)
        taken = terms.both(sound, may)
        keeps = terms.both(machine.kept(step, moment, after, 0), machine.sound(after))
        named.append((step.value, taken, terms.both(taken, terms.negation(keeps))))
    # A call reserves only an amount above 0 that can be evaluated, under a ceiling that can.
    assertions = (*given, limit.defined, terms.less(terms.integer(0), limit.amount))
    goals = tuple(goal for _, *pair in named for goal in pair)
    return Sheet(
        tool=contract.name,
        limit=limit.limit.name,
        counting=counting,
        steps=tuple(name for name, _, _ in named),
        assertions=assertions,
        goals=goals,
        script=smtlib.scripted(assertions, goals),
    )


def _any(translated: Amounts, limit: LimitTerms, counting: Counting, first: int) -> State:
    """
    Any state at all: a call of this limit, another whose reading it may touch, and the sum of all others.

    Numbers of unknowns go on after those of the request.
    """
    terms = translated.universe.terms
    numbers = iter(range(first, first + 16))

    def unknown(sort: Sort = Sort.INTEGER) -> Term:
        return terms.symbol(sort, next(numbers))

    spent = unknown()
    has_fact = counting is Counting.IN_FLIGHT
    call, other = (
        Call(
            amount=amount,
            ceiling=ceiling,
            shown=unknown(),
            held=unknown(),
            # Windowed, all calls count the same row; in flight, each since the fact that it read.
            spent=unknown() if has_fact else spent,
            has_landed=unknown(Sort.BOOL) if has_fact else terms.false,
        )
        for amount, ceiling in ((limit.amount, limit.ceiling), (unknown(), unknown()))
    )
    return State(
        calls=(call, other),
        others=unknown(),
        others_landed=unknown() if has_fact else terms.integer(0),
        # A ceiling that is a number is that of every call, at every moment.
        granted=limit.ceiling if limit.ceiling.payload is not None else unknown(),
        rest=unknown(),
    )


def _start(translated: Amounts, moment: State, counting: Counting) -> State:
    """A counter of which nobody has taken anything; calls may have read their facts."""
    terms = translated.universe.terms
    nothing = terms.integer(0)
    calls = tuple(
        replace(
            call,
            held=nothing,
            spent=nothing,
            has_landed=terms.false,
            ceiling=moment.rest if counting is Counting.IN_FLIGHT else call.ceiling,
        )
        for call in moment.calls
    )
    return replace(
        moment,
        calls=calls,
        others=nothing,
        others_landed=nothing,
        granted=moment.granted if moment.calls[0].ceiling is moment.granted else nothing,
    )
