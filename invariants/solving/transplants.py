"""Terms of one `Terms` made again in another, with something else in the place of their unknowns.

So several requests, each with a universe of its own, come together in one question.
"""

from __future__ import annotations

from collections.abc import Callable

from invariants.solving.languages import NOTHING
from invariants.solving.terms import Op, Sort, Term, Terms, graph


class Transplant:
    """Takes terms from `source` into `target`. `unknown` gives what stands there for a symbol, asked once for each."""

    __slots__ = ("_known", "_source", "_target", "_unknown")

    def __init__(self, source: Terms, target: Terms, unknown: Callable[[Term], Term]) -> None:
        self._source = source
        self._target = target
        self._unknown = unknown
        self._known: dict[int, Term] = {}

    def term(self, root: Term) -> Term:
        """The term in the target. Raises `TypeError` for an unknown function: only symbols can be replaced."""
        for term in graph((root,)):
            if term.number not in self._known:
                self._known[term.number] = self._made(term, [self._known[each.number] for each in term.operands])
        return self._known[root.number]

    def _made(self, term: Term, operands: list[Term]) -> Term:  # noqa: C901, PLR0912 - one case for each operator
        into = self._target
        match term.op:
            case Op.SYMBOL:
                return self._unknown(term)
            case Op.CONSTANT:
                return self._constant(term)
            case Op.NOT:
                return into.negation(operands[0])
            case Op.AND:
                return into.conjunction(operands)
            case Op.OR:
                return into.disjunction(operands)
            case Op.IF:
                return into.choice(*operands)
            case Op.EQUAL:
                return into.equal(*operands)
            case Op.LESS_EQUAL:
                return into.less_equal(*operands)
            case Op.ADD:
                return into.add(*operands)
            case Op.SUBTRACT:
                return into.subtract(*operands)
            case Op.MULTIPLY:
                return into.multiply(*operands)
            case Op.DIVIDE:
                return into.divide(operands[0], term.operands[1].payload or 0)
            case Op.LIKE:
                pieces = (each if each is None else self._source.original(each) for each in term.detail)
                return into.like(operands[0], tuple(pieces))
            case Op.IN_LANGUAGE:
                return into.in_language(operands[0], term.language or NOTHING)
            case Op.APPLY:
                raise TypeError("a term without unknown functions expected")

    def _constant(self, term: Term) -> Term:
        value = term.payload or 0
        match term.sort:
            case Sort.BOOL:
                return self._target.boolean(value=value == 1)
            case Sort.INTEGER:
                return self._target.integer(value)
            case Sort.TEXT:
                return self._target.text(self._source.original(term.detail[0] or ""))
