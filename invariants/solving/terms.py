"""The prover's own term language: small, typed, hash-consed. Solvers, printers and evaluators are written against it.

Three sorts: truth values, unbounded integers and texts. Texts are strings that patterns look into; a text of a user
reaches a solver as an escaped literal, never as a symbol: symbols and functions are numbers. Building folds constants
and drops what cannot matter, so a rule that cannot match costs nothing.

Equal terms of one `Terms` are one object: compare with `is`. Terms of different `Terms` never meet.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from invariants.solving import languages
from invariants.solving.languages import Language


@unique
class Sort(StrEnum):
    """What a term denotes."""

    BOOL = "Bool"
    INTEGER = "Int"
    TEXT = "Text"


@unique
class Op(StrEnum):
    """The closed list of operators. Arithmetic is that of mathematical integers: overflow is a question of its own."""

    CONSTANT = "constant"
    SYMBOL = "symbol"
    NOT = "not"
    AND = "and"
    OR = "or"
    IF = "if"
    EQUAL = "equal"
    LESS_EQUAL = "less_equal"
    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    DIVIDE = "divide"
    """By a positive constant, rounded down."""
    APPLY = "apply"
    """An unknown function, by its number, of its operands."""
    LIKE = "like"
    """Whether a text matches a pattern: `detail`, with None for any run of characters."""
    IN_LANGUAGE = "in_language"
    """Whether a text is one of a regular language: `language`, of the characters of solvers."""


Pattern = tuple[str | None, ...]

# SMT-LIB's strings end here. A later character takes the place of a surrogate, which no string of Cedar has: one for
# one, as they are met, so that what was other stays other and patterns match as before.
CHARACTER_MAX = 0x2FFFF
_PLACES = range(0xD800, 0xE000)


class BeyondSolvers(ValueError):
    """More different characters that solvers do not know than there are places for."""


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """A node of the graph. Made by `Terms` only; identity is equality."""

    number: int
    """Order of making, so that operands always have smaller numbers."""
    op: Op
    sort: Sort
    operands: tuple[Term, ...]
    payload: int | None
    """The value of a constant (0 or 1 for a truth value), the number of a symbol or function, else None."""
    detail: Pattern = ()
    """The text of a constant, alone; the pieces of a pattern."""
    language: Language | None = None


class Terms:
    """Makes terms, each once."""

    __slots__ = ("_known", "_originals", "_places", "false", "true")

    def __init__(self) -> None:
        self._known: dict[tuple[Op, Sort, tuple[int, ...], int | None, Pattern, Language | None], Term] = {}
        self._places: dict[str, str] = {}
        self._originals: dict[str, str] = {}
        self.true = self._make(Op.CONSTANT, Sort.BOOL, (), 1)
        self.false = self._make(Op.CONSTANT, Sort.BOOL, (), 0)

    def boolean(self, *, value: bool) -> Term:
        return self.true if value else self.false

    def integer(self, value: int) -> Term:
        return self._make(Op.CONSTANT, Sort.INTEGER, (), value)

    def text(self, value: str) -> Term:
        """The constant of a string. Raises `BeyondSolvers`."""
        return self._make(Op.CONSTANT, Sort.TEXT, (), None, (self.placed(value),))

    def placed(self, value: str) -> str:
        """A string in the characters of solvers. Raises `BeyondSolvers`."""
        return value if value.isascii() else "".join(map(self._place, value))

    def original(self, placed: str) -> str:
        """The string that `placed` stands for."""
        return "".join(self._originals.get(character, character) for character in placed)

    def _place(self, character: str) -> str:
        if ord(character) <= CHARACTER_MAX:
            return character
        if character not in self._places:
            if len(self._places) == len(_PLACES):
                raise BeyondSolvers("too many characters beyond those of solvers")
            place = chr(_PLACES[len(self._places)])
            self._places[character], self._originals[place] = place, character
        return self._places[character]

    def application(self, sort: Sort, number: int, operands: tuple[Term, ...]) -> Term:
        """An unknown function's value. Numbers are unique over symbols and functions; without operands, a symbol."""
        return self._make(Op.APPLY, sort, operands, number) if operands else self.symbol(sort, number)

    def like(self, text: Term, pattern: Pattern) -> Term:
        """Whether `text` matches `pattern`, all of it. Raises `BeyondSolvers`."""
        _require(Sort.TEXT, text)
        pattern = tuple(piece if piece is None else self.placed(piece) for piece in pattern)
        if text.op is Op.CONSTANT:
            return self.boolean(value=matches(text.detail[0] or "", pattern))
        return self._make(Op.LIKE, Sort.BOOL, (text,), None, pattern)

    def in_language(self, text: Term, language: Language) -> Term:
        """Whether `text` is one of `language`. Raises `BeyondSolvers`."""
        _require(Sort.TEXT, text)
        if any(of[-1][1] > CHARACTER_MAX for of in languages.classes(language) if of):
            raise BeyondSolvers("a language of characters beyond those of solvers")
        if text.op is Op.CONSTANT:
            return self.boolean(value=languages.contains(language, text.detail[0] or ""))
        return self._make(Op.IN_LANGUAGE, Sort.BOOL, (text,), None, language=language)

    def divide(self, first: Term, divisor: int) -> Term:
        """The quotient rounded down."""
        _require(Sort.INTEGER, first)
        if divisor <= 0:
            raise ValueError("a positive divisor expected")
        if first.op is Op.CONSTANT:
            return self.integer(_value(first) // divisor)
        return first if divisor == 1 else self._make(Op.DIVIDE, Sort.INTEGER, (first, self.integer(divisor)), None)

    def symbol(self, sort: Sort, number: int) -> Term:
        """An unknown. Numbers are unique over all sorts; what they mean is kept beside the terms."""
        return self._make(Op.SYMBOL, sort, (), number)

    def negation(self, term: Term) -> Term:
        _require(Sort.BOOL, term)
        if term.op is Op.CONSTANT:
            return self.false if term is self.true else self.true
        if term.op is Op.NOT:
            return term.operands[0]
        return self._make(Op.NOT, Sort.BOOL, (term,), None)

    def conjunction(self, terms: Iterable[Term]) -> Term:
        return self._junction(Op.AND, terms, neutral=self.true, decisive=self.false)

    def disjunction(self, terms: Iterable[Term]) -> Term:
        return self._junction(Op.OR, terms, neutral=self.false, decisive=self.true)

    def both(self, first: Term, second: Term) -> Term:
        return self.conjunction((first, second))

    def either(self, first: Term, second: Term) -> Term:
        return self.disjunction((first, second))

    def implication(self, premise: Term, conclusion: Term) -> Term:
        return self.either(self.negation(premise), conclusion)

    def choice(self, condition: Term, then: Term, other: Term) -> Term:
        _require(Sort.BOOL, condition)
        _require(then.sort, other)
        if condition is self.true or then is other:
            return then
        if condition is self.false:
            return other
        if then.sort is Sort.BOOL:
            return self.both(self.implication(condition, then), self.either(condition, other))
        return self._make(Op.IF, then.sort, (condition, then, other), None)

    def equal(self, first: Term, second: Term) -> Term:
        _require(first.sort, second)
        if first is second:
            return self.true
        if first.op is Op.CONSTANT and second.op is Op.CONSTANT:
            return self.false
        if first.sort is Sort.BOOL and Op.CONSTANT in (first.op, second.op):
            known, other = (first, second) if first.op is Op.CONSTANT else (second, first)
            return other if known is self.true else self.negation(other)
        if first.number > second.number:
            first, second = second, first
        return self._make(Op.EQUAL, Sort.BOOL, (first, second), None)

    def less_equal(self, first: Term, second: Term) -> Term:
        _require(Sort.INTEGER, first, second)
        if first is second:
            return self.true
        if first.payload is not None and second.payload is not None and first.op is second.op is Op.CONSTANT:
            return self.boolean(value=first.payload <= second.payload)
        return self._make(Op.LESS_EQUAL, Sort.BOOL, (first, second), None)

    def less(self, first: Term, second: Term) -> Term:
        return self.negation(self.less_equal(second, first))

    def add(self, first: Term, second: Term) -> Term:
        return self._arithmetic(Op.ADD, first, second)

    def subtract(self, first: Term, second: Term) -> Term:
        return self._arithmetic(Op.SUBTRACT, first, second)

    def multiply(self, first: Term, second: Term) -> Term:
        return self._arithmetic(Op.MULTIPLY, first, second)

    def within(self, term: Term, minimum: int, maximum: int) -> Term:
        """Whether an integer lies in an inclusive range."""
        return self.both(
            self.less_equal(self.integer(minimum), term),
            self.less_equal(term, self.integer(maximum)),
        )

    def _junction(self, op: Op, terms: Iterable[Term], *, neutral: Term, decisive: Term) -> Term:
        operands: dict[int, Term] = {}
        for term in terms:
            _require(Sort.BOOL, term)
            for part in term.operands if term.op is op else (term,):
                if part is decisive:
                    return decisive
                if part is not neutral:
                    operands[part.number] = part
        for part in operands.values():
            if part.op is Op.NOT and part.operands[0].number in operands:
                return decisive
        if not operands:
            return neutral
        if len(operands) == 1:
            return next(iter(operands.values()))
        return self._make(op, Sort.BOOL, tuple(operands.values()), None)

    def _arithmetic(self, op: Op, first: Term, second: Term) -> Term:
        _require(Sort.INTEGER, first, second)
        if first.op is Op.CONSTANT and second.op is Op.CONSTANT:
            return self.integer(_COMPUTE[op](_value(first), _value(second)))
        return self._make(op, Sort.INTEGER, (first, second), None)

    def _make(
        self,
        op: Op,
        sort: Sort,
        operands: tuple[Term, ...],
        payload: int | None,
        detail: Pattern = (),
        language: Language | None = None,
    ) -> Term:
        key = (op, sort, tuple(operand.number for operand in operands), payload, detail, language)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Term(len(self._known), op, sort, operands, payload, detail, language)
        return known


def matches(text: str, pattern: Pattern) -> bool:
    """Whether all of `text` matches: pieces in order, with any run of characters where the pattern has None."""
    runs: list[str] = [""]
    for piece in pattern:
        if piece is None:
            runs.append("")
        else:
            runs[-1] += piece
    if len(runs) == 1:
        return text == runs[0]
    first, *middle, last = runs
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    place, end = len(first), len(text) - len(last)
    for run in middle:
        place = text.find(run, place, end)
        if place < 0:
            return False
        place += len(run)
    return True


def graph(roots: Iterable[Term]) -> Iterator[Term]:
    """Every term below `roots`, each once, operands first. No recursion: depth is not bounded by the interpreter."""
    seen: set[int] = set()
    for root in roots:
        stack = [(root, False)]
        while stack:
            term, is_open = stack.pop()
            if is_open:
                yield term
            elif term.number not in seen:
                seen.add(term.number)
                stack.append((term, True))
                stack.extend((operand, False) for operand in reversed(term.operands))


def is_hard(root: Term) -> bool:
    """Whether a product of two unknowns, or a pattern, is below: what solvers give up on."""
    return any(
        term.op is Op.LIKE
        or (term.op is Op.MULTIPLY and all(operand.op is not Op.CONSTANT for operand in term.operands))
        for term in graph((root,))
    )


def applications(roots: Iterable[Term]) -> tuple[Term, ...]:
    """Every symbol and function value below `roots`, operands first."""
    return tuple(term for term in graph(roots) if term.op in (Op.SYMBOL, Op.APPLY))


def symbols(roots: Iterable[Term]) -> tuple[Term, ...]:
    """The unknowns below `roots`, by number."""
    found = (term for term in graph(roots) if term.op is Op.SYMBOL)
    return tuple(sorted(found, key=_value))


Value = int | str
"""Of a constant or an unknown: truth values are 0 and 1, texts are themselves."""


def valuation(roots: Iterable[Term], unknown: Callable[[Term, tuple[Value, ...]], Value]) -> dict[int, Value]:
    """The value of every term below `roots` by its number. `unknown` says what symbols and functions give."""
    known: dict[int, Value] = {}
    for term in graph(roots):
        operands = tuple(known[operand.number] for operand in term.operands)
        known[term.number] = unknown(term, operands) if term.op in (Op.SYMBOL, Op.APPLY) else _ground(term, operands)
    return known


def _ground(term: Term, operands: tuple[Any, ...]) -> Value:
    match term.op:
        case Op.CONSTANT:
            return term.detail[0] or "" if term.sort is Sort.TEXT else _value(term)
        case Op.NOT:
            return int(not operands[0])
        case Op.AND:
            return int(min(operands))
        case Op.OR:
            return int(max(operands))
        case Op.IF:
            return operands[1] if operands[0] else operands[2]  # type: ignore[no-any-return]
        case Op.EQUAL:
            return int(operands[0] == operands[1])
        case Op.LESS_EQUAL:
            return int(operands[0] <= operands[1])
        case Op.LIKE:
            return int(matches(operands[0], term.detail))
        case Op.IN_LANGUAGE:
            return int(languages.contains(term.language or languages.NOTHING, operands[0]))
        case _:
            return _COMPUTE[term.op](operands[0], operands[1])


_COMPUTE: Mapping[Op, Callable[[int, int], int]] = {
    Op.ADD: operator.add,
    Op.SUBTRACT: operator.sub,
    Op.MULTIPLY: operator.mul,
    Op.DIVIDE: operator.floordiv,
}


def _value(term: Term) -> int:
    if term.payload is None:
        raise TypeError(f"`{term.op}` has no value")
    return term.payload


def _require(sort: Sort, *terms: Term) -> None:
    for term in terms:
        if term.sort is not sort:
            raise TypeError(f"`{term.op}` of sort {term.sort}: {sort} expected")
