"""Terms as SMT-LIB 2: the portable form of an obligation, which its digest covers and any solver can read.

Symbols are `s` and a number, shared subterms are definitions `t` and a number; names are integers. Numbering follows
the order in which operands are met, so the text depends on the graph alone and not on how it came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from invariants.terms import Op, Sort, Term, graph

_SORTS = {Sort.BOOL: "Bool", Sort.INTEGER: "Int", Sort.NAME: "Int"}
_OPERATORS = {
    Op.NOT: "not",
    Op.AND: "and",
    Op.OR: "or",
    Op.IF: "ite",
    Op.EQUAL: "=",
    Op.LESS_EQUAL: "<=",
    Op.ADD: "+",
    Op.SUBTRACT: "-",
    Op.MULTIPLY: "*",
}


def script(assertions: Sequence[Term]) -> str:
    """The question whether all assertions can hold at once."""
    return "\n".join(_lines(assertions)) + "\n"


def _lines(assertions: Iterable[Term]) -> Iterator[str]:
    roots = tuple(assertions)
    names: dict[int, str] = {}
    definitions = 0
    yield "(set-logic ALL)"
    for term in graph(roots):
        match term.op:
            case Op.SYMBOL:
                names[term.number] = f"s{term.payload}"
                yield f"(declare-const s{term.payload} {_SORTS[term.sort]})"
            case Op.CONSTANT:
                names[term.number] = _constant(term)
            case _:
                operands = " ".join(names[operand.number] for operand in term.operands)
                names[term.number] = f"t{definitions}"
                yield f"(define-fun t{definitions} () {_SORTS[term.sort]} ({_OPERATORS[term.op]} {operands}))"
                definitions += 1
    for root in roots:
        yield f"(assert {names[root.number]})"
    yield "(check-sat)"


def _constant(term: Term) -> str:
    value = term.payload or 0
    if term.sort is Sort.BOOL:
        return "true" if value else "false"
    return str(value) if value >= 0 else f"(- {-value})"
