"""Z3 behind terms: the only module that imports it, and only the worker process imports this module.

One `Solver` per obligation, in a context of its own. The resource limit decides when to give up, so the same question
has the same answer on every machine; wall time is the supervisor's safety net. Z3's answers are objects that are all
truthy: they are compared here and leave as an enum.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import z3

from invariants.solving import smtlib
from invariants.solving.answers import Verdict
from invariants.solving.terms import Op, Pattern, Sort, Term, Value, graph

__all__ = ["SOLVER_VERSION", "Solver", "Verdict", "limit_memory"]

SOLVER_VERSION = f"z3 {z3.get_version_string()}"

_ESCAPE = re.compile(r"\\u\{([0-9a-fA-F]+)\}")
_BINARY: Mapping[Op, Callable[[Any, Any], Any]] = {
    Op.EQUAL: operator.eq,
    Op.LESS_EQUAL: operator.le,
    Op.ADD: operator.add,
    Op.SUBTRACT: operator.sub,
    Op.MULTIPLY: operator.mul,
    Op.DIVIDE: operator.truediv,  # Z3's quotient of integers, rounded down for a positive divisor.
}


def limit_memory(memory_bytes: int) -> None:
    """Bound the memory of every solver of this process. Beyond it a check is unknown."""
    z3.set_param("memory_max_size", max(1, memory_bytes // 2**20))


class Solver:
    """Assertions of one obligation, and what follows from them."""

    __slots__ = ("_context", "_expressions", "_functions", "_model", "_solver", "_symbols")

    def __init__(self, assertions: Iterable[Term], resources: int) -> None:
        self._context = z3.Context()
        self._solver = z3.Solver(ctx=self._context)
        self._solver.set("rlimit", resources)
        self._solver.set("random_seed", 0)
        self._expressions: dict[int, Any] = {}
        self._functions: dict[int, Any] = {}
        self._symbols: dict[int, tuple[Sort, Any]] = {}
        self._model: Any = None
        for assertion in assertions:
            self._solver.add(self._expression(assertion))

    def check(self, *extra: Term) -> Verdict:
        """Whether the assertions can hold together with `extra`, which is forgotten afterwards."""
        self._solver.push()
        try:
            for term in extra:
                self._solver.add(self._expression(term))
            answer = self._solver.check()
            if answer == z3.sat:
                self._model = self._solver.model()
                return Verdict.SATISFIABLE
            return Verdict.UNSATISFIABLE if answer == z3.unsat else Verdict.UNKNOWN
        except z3.Z3Exception:
            # Out of memory, or interrupted: nothing was found out.
            return Verdict.UNKNOWN
        finally:
            self._solver.pop()

    def bound(self, resources: int) -> None:
        """Let every further check give up earlier."""
        self._solver.set("rlimit", resources)

    def values(self) -> dict[int, int]:
        """The assignment of the last satisfiable check by symbol number. Symbols that do not matter are 0."""
        return {number: self._number(sort, symbol) for number, (sort, symbol) in self._symbols.items()}

    def model(self, roots: Iterable[Term]) -> dict[int, Value]:
        """The last satisfiable check's value of every term below `roots`, by the term's number."""
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

    def _number(self, sort: Sort, symbol: Any) -> int:
        if sort is Sort.TEXT:
            raise TypeError("a text has no number")
        value = self._model.eval(symbol, model_completion=True)
        return int(z3.is_true(value)) if sort is Sort.BOOL else int(value.as_long())

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
            case Sort.INTEGER | Sort.NAME:
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

    def _symbol(self, term: Term) -> Any:
        # The solver never sees a name that somebody wrote: two such names once collapsed into one symbol.
        number = term.payload or 0
        name = f"s{number}"
        symbol = z3.Const(name, self._sort(term.sort))
        self._symbols[number] = (term.sort, symbol)
        return symbol
