"""Z3 behind terms: the only module that imports it, and only the worker process imports this module.

One `Solver` per obligation, in a context of its own. The resource limit decides when to give up, so the same question
has the same answer on every machine; wall time is the supervisor's safety net. Z3's answers are objects that are all
truthy: they are compared here and leave as an enum.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum, unique
from typing import Any

import z3

from invariants.terms import Op, Sort, Term, graph

SOLVER_VERSION = f"z3 {z3.get_version_string()}"


@unique
class Verdict(StrEnum):
    """What a solver says about a set of assertions."""

    SATISFIABLE = "sat"
    UNSATISFIABLE = "unsat"
    UNKNOWN = "unknown"


def limit_memory(memory_bytes: int) -> None:
    """Bound the memory of every solver of this process. Beyond it a check is unknown."""
    z3.set_param("memory_max_size", max(1, memory_bytes // 2**20))


class Solver:
    """Assertions of one obligation, and what follows from them."""

    __slots__ = ("_context", "_expressions", "_model", "_solver", "_symbols")

    def __init__(self, assertions: Iterable[Term], resources: int) -> None:
        self._context = z3.Context()
        self._solver = z3.Solver(ctx=self._context)
        self._solver.set("rlimit", resources)
        self._solver.set("random_seed", 0)
        self._expressions: dict[int, Any] = {}
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

    def _number(self, sort: Sort, symbol: Any) -> int:
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
            case Op.EQUAL:
                return operands[0] == operands[1]
            case Op.LESS_EQUAL:
                return operands[0] <= operands[1]
            case Op.ADD:
                return operands[0] + operands[1]
            case Op.SUBTRACT:
                return operands[0] - operands[1]
            case Op.MULTIPLY:
                return operands[0] * operands[1]

    def _symbol(self, term: Term) -> Any:
        # The solver never sees a name that somebody wrote: two such names once collapsed into one symbol.
        number = term.payload or 0
        name = f"s{number}"
        make = z3.Bool if term.sort is Sort.BOOL else z3.Int
        symbol = make(name, ctx=self._context)
        self._symbols[number] = (term.sort, symbol)
        return symbol
