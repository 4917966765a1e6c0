"""Z3 behind terms: the only module that imports it, and only the worker process imports this module.

One `Solver` for each type of request. The resource limit decides when to give up, so the same question
has the same answer on every machine; wall time is the supervisor's safety net. Z3's answers are objects that are all
truthy: they are compared here and leave as an enum.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import z3

from invariants.solving import smtlib
from invariants.solving.answers import Verdict
from invariants.solving.languages import NOTHING
from invariants.solving.terms import Op, Pattern, Sort, Term, Value, graph

__all__ = ["SOLVER_VERSION", "Solver", "Verdict", "limit_memory"]

VERSION: str = z3.get_version_string()
SOLVER_VERSION = f"z3 {VERSION}"

_ESCAPE = re.compile(r"\\u\{([0-9a-fA-F]+)\}")
_BINARY: Mapping[Op, Callable[[Any, Any], Any]] = {
    Op.EQUAL: operator.eq,
    Op.LESS_EQUAL: operator.le,
    Op.ADD: operator.add,
    Op.SUBTRACT: operator.sub,
    Op.MULTIPLY: operator.mul,
    Op.DIVIDE: operator.truediv,  # Z3's quotient of integers, rounded down for a positive divisor.
}


def options(resources: int) -> dict[str, str]:
    """How each solver is set."""
    return {"rlimit": str(resources), "random_seed": "0"}


def used(resources: int) -> dict[str, object]:
    """Who answers, as reports and certificates name it."""
    chosen = sorted(f"{name}={value}" for name, value in options(resources).items())
    return {"name": "z3", "version": VERSION, "options": chosen}


def limit_memory(memory_bytes: int) -> None:
    """Bound the memory of every solver of this process. Beyond it a check is unknown."""
    z3.set_param("memory_max_size", max(1, memory_bytes // 2**20))


@cache
def _context() -> z3.Context:
    """One for the process, which has one thread: to make one costs as much as a proof."""
    return z3.Context()


class Solver:
    """Assertions, goals that may be asked for one by one, and what follows from them."""

    __slots__ = ("_context", "_expressions", "_functions", "_is_readable", "_is_trying", "_model", "_solver")

    def __init__(self, assertions: Sequence[Term], resources: int, goals: Sequence[Term] = ()) -> None:
        self._context = _context()
        self._is_trying = False
        self._solver = z3.Solver(ctx=self._context)
        for name, value in options(resources).items():
            self._solver.set(name, int(value))
        self._expressions: dict[int, Any] = {}
        self._functions: dict[int, Any] = {}
        self._model: Any = None
        # The text that every solver reads and digests cover; reading it is also much faster than building it.
        self._is_readable = self._read(smtlib.scripted(assertions, goals).text)

    def settle(self, goal: int) -> Verdict:
        """Whether the assertions can hold together with a goal, by its place."""
        self._forget()
        return self._check(goal)

    def check(self, *extra: Term) -> Verdict:
        """Whether the assertions can hold together with `extra`, which is forgotten when something else is asked."""
        self._forget()
        self._solver.push()
        self._is_trying = True
        try:
            self._add(extra)
        except z3.Z3Exception:
            return Verdict.UNKNOWN  # Out of memory, as below.
        return self._check()

    def require(self, *terms: Term) -> None:
        """Further assertions, for good. Take the last model before."""
        self._forget()
        self._add(terms)

    def _add(self, terms: Iterable[Term]) -> None:
        for term in terms:
            self._solver.add(self._expression(term))

    def _forget(self) -> None:
        """What was tried out. Not at once, since a model is asked of the solver only by those who look at it."""
        self._model = None
        if self._is_trying:
            self._solver.pop()
            self._is_trying = False

    def _read(self, text: str) -> bool:
        try:
            self._solver.from_string(text)
        except z3.Z3Exception:
            return False  # Out of memory: nothing will be found out.
        return True

    def _check(self, goal: int | None = None) -> Verdict:
        if not self._is_readable:
            return Verdict.UNKNOWN
        try:
            assumptions = () if goal is None else (z3.Bool(f"q{goal}", ctx=self._context),)
            answer = self._solver.check(*assumptions)
            if answer == z3.sat:
                return Verdict.SATISFIABLE
            return Verdict.UNSATISFIABLE if answer == z3.unsat else Verdict.UNKNOWN
        except z3.Z3Exception:
            # Out of memory, or interrupted: nothing was found out.
            return Verdict.UNKNOWN

    def bound(self, resources: int) -> None:
        """Let every further check give up earlier."""
        self._solver.set("rlimit", resources)

    def model(self, roots: Iterable[Term]) -> dict[int, Value]:
        """The last satisfiable check's value of every term below `roots`, by the term's number."""
        if self._model is None:
            self._model = self._solver.model()
        return {term.number: self._value(term) for term in graph(roots)}

    def _value(self, term: Term) -> Value:
        value = self._model.eval(self._expression(term), model_completion=True)
        match term.sort:
            case Sort.BOOL:
                return int(z3.is_true(value))
            case Sort.TEXT:
                # Z3 answers with escapes, a backslash of the text itself among them.
                return _ESCAPE.sub(lambda match: chr(int(match.group(1), 16)), value.as_string())
            case _:
                return int(value.as_long())

    def _expression(self, root: Term) -> Any:
        for term in graph((root,)):
            if term.number not in self._expressions:
                operands = [self._expressions[operand.number] for operand in term.operands]
                self._expressions[term.number] = self._built(term, operands)
        return self._expressions[root.number]

    def _built(self, term: Term, operands: list[Any]) -> Any:
        match term.op:
            case Op.SYMBOL:
                return self._symbol(term)
            case Op.CONSTANT if term.sort is Sort.BOOL:
                return z3.BoolVal(term.payload == 1, ctx=self._context)
            case Op.CONSTANT if term.sort is Sort.TEXT:
                return z3.StringVal(smtlib.escaped(term.detail[0] or ""), ctx=self._context)
            case Op.CONSTANT:
                return z3.IntVal(term.payload, ctx=self._context)
            case Op.NOT:
                return z3.Not(operands[0])
            case Op.AND:
                return z3.And(*operands)
            case Op.OR:
                return z3.Or(*operands)
            case Op.IF:
                return z3.If(*operands)
            case Op.APPLY:
                return self._function(term)(*operands)
            case Op.LIKE:
                return z3.InRe(operands[0], self._pattern(term.detail))
            case Op.IN_LANGUAGE:
                return z3.InRe(operands[0], self._language(term))
            case _:
                return _BINARY[term.op](operands[0], operands[1])

    def _function(self, term: Term) -> Any:
        number = term.payload or 0
        if number not in self._functions:
            sorts = [self._sort(operand.sort) for operand in term.operands]
            self._functions[number] = z3.Function(f"f{number}", *sorts, self._sort(term.sort))
        return self._functions[number]

    def _sort(self, sort: Sort) -> Any:
        match sort:
            case Sort.BOOL:
                return z3.BoolSort(ctx=self._context)
            case Sort.INTEGER:
                return z3.IntSort(ctx=self._context)
            case Sort.TEXT:
                return z3.StringSort(ctx=self._context)

    def _pattern(self, pattern: Pattern) -> Any:
        anything = z3.Full(z3.ReSort(z3.StringSort(ctx=self._context)))
        pieces = [
            anything if piece is None else z3.Re(z3.StringVal(smtlib.escaped(piece), ctx=self._context))
            for piece in pattern
        ]
        match pieces:
            case []:
                return z3.Re(z3.StringVal("", ctx=self._context))
            case [only]:
                return only
            case _:
                return z3.Concat(*pieces)

    def _language(self, term: Term) -> Any:
        text = f"(declare-const text String)(assert (str.in_re text {smtlib.expression(term.language or NOTHING)}))"
        (membership,) = z3.parse_smt2_string(text, ctx=self._context)
        return membership.arg(1)

    def _symbol(self, term: Term) -> Any:
        # The solver never sees a name that somebody wrote: two such names once collapsed into one symbol.
        return z3.Const(f"s{term.payload}", self._sort(term.sort))
