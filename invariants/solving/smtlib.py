"""Terms as SMT-LIB 2: the portable form of an obligation, which its digest covers and any solver can read.

Symbols are `s` and a number, functions `f` and a number, shared subterms are definitions `t` and a number; names are
integers. Numbering follows the order in which operands are met, so the text depends on the graph alone and not on how
it came about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from invariants.solving import languages
from invariants.solving.languages import Language, Ranges
from invariants.solving.terms import CHARACTER_MAX, Op, Sort, Term, graph

_SORTS = {Sort.BOOL: "Bool", Sort.INTEGER: "Int", Sort.TEXT: "String"}
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
    Op.DIVIDE: "div",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Assertions and goals as text. Each goal may be asked for together with the assertions, without the others."""

    text: str
    """Declarations, definitions and assertions, without a command that asks."""
    goals: tuple[str, ...]
    """The constant that is equal to each goal, in order."""

    def question(self, goal: int) -> str:
        """Whether that goal and all assertions can hold at once: a whole script for any solver."""
        return f"{self.text}(check-sat-assuming ({self.goals[goal]}))\n"

    def questions(self) -> str:
        """All goals, one after the other, for a solver that is asked more than once."""
        return self.text + "".join(f"(check-sat-assuming ({name}))\n" for name in self.goals)


def script(assertions: Sequence[Term]) -> str:
    """The question whether all assertions can hold at once."""
    return scripted(assertions, ()).text + "(check-sat)\n"


def scripted(assertions: Sequence[Term], goals: Sequence[Term]) -> Script:
    """Assertions with goals, printed once for all of them."""
    names: dict[int, str] = {}
    lines = ["(set-logic ALL)", *_definitions((*assertions, *goals), names)]
    asked = tuple(f"q{number}" for number in range(len(goals)))
    for name, goal in zip(asked, goals, strict=True):
        lines += [f"(declare-const {name} Bool)", f"(assert (= {name} {names[goal.number]}))"]
    lines += [f"(assert {names[assertion.number]})" for assertion in assertions]
    return Script(text="\n".join(lines) + "\n", goals=asked)


def _definitions(roots: Sequence[Term], names: dict[int, str]) -> Iterator[str]:
    """Everything below `roots`, each with a name of its own."""
    functions: set[int] = set()
    definitions = 0
    for term in graph(roots):
        match term.op:
            case Op.SYMBOL:
                names[term.number] = f"s{term.payload}"
                yield f"(declare-const s{term.payload} {_SORTS[term.sort]})"
            case Op.CONSTANT:
                names[term.number] = _constant(term)
            case _:
                if term.op is Op.APPLY and term.payload not in functions:
                    functions.add(term.payload or 0)
                    sorts = " ".join(_SORTS[operand.sort] for operand in term.operands)
                    yield f"(declare-fun f{term.payload} ({sorts}) {_SORTS[term.sort]})"
                operands = " ".join(names[operand.number] for operand in term.operands)
                names[term.number] = f"t{definitions}"
                applied = f"({_operator(term)} {operands}{_pattern(term)})"
                yield f"(define-fun t{definitions} () {_SORTS[term.sort]} {applied})"
                definitions += 1


def _operator(term: Term) -> str:
    match term.op:
        case Op.APPLY:
            return f"f{term.payload}"
        case Op.LIKE | Op.IN_LANGUAGE:
            return "str.in_re"
        case _:
            return _OPERATORS[term.op]


def _pattern(term: Term) -> str:
    if term.language is not None:
        return " " + expression(term.language)
    if term.op is not Op.LIKE:
        return ""
    pieces = ["re.all" if piece is None else f"(str.to_re {quoted(piece)})" for piece in term.detail]
    match pieces:
        case []:
            return ' (str.to_re "")'
        case [only]:
            return f" {only}"
        case _:
            return f" (re.++ {' '.join(pieces)})"


def expression(language: Language) -> str:
    """A regular language as SMT-LIB writes it."""
    match language:
        case languages.EVERYTHING:
            return "re.all"
        case languages.Characters(of):
            return _characters(of)
        case languages.Sequence(parts):
            return _applied("re.++", list(_pieces(parts)), neutral='(str.to_re "")')
        case languages.Either(options):
            return _applied("re.union", sorted(map(expression, options)), neutral="re.none")
        case languages.Both(options):
            return _applied("re.inter", sorted(map(expression, options)), neutral="re.all")
        case languages.Complement(other):
            return f"(re.comp {expression(other)})"
        case languages.Repeat(inner, minimum, None):
            if minimum == 0:
                return f"(re.* {expression(inner)})"
            return f"(re.++ ((_ re.^ {minimum}) {expression(inner)}) (re.* {expression(inner)}))"
        case languages.Repeat(inner, minimum, maximum):
            return f"((_ re.loop {minimum} {maximum}) {expression(inner)})"


def _pieces(parts: Sequence[Language]) -> Iterator[str]:
    """Neighbouring characters as one text."""
    for is_text, run in groupby(parts, _is_character):
        if is_text:
            yield f"(str.to_re {quoted(''.join(chr(part.ranges[0][0]) for part in run))})"  # type: ignore[union-attr]
        else:
            yield from map(expression, run)


def _is_character(part: Language) -> bool:
    return isinstance(part, languages.Characters) and len(part.ranges) == 1 and part.ranges[0][0] == part.ranges[0][1]


def _applied(operator: str, operands: list[str], *, neutral: str) -> str:
    if len(operands) < 2:
        return operands[0] if operands else neutral
    return f"({operator} {' '.join(operands)})"


def _characters(of: Ranges) -> str:
    if of == ((0, CHARACTER_MAX),):
        return "re.allchar"
    # Ranges also for one character: solvers know these as conditions on a character, and a union of texts they do not.
    single = [f"(re.range {quoted(chr(first))} {quoted(chr(last))})" for first, last in of]
    return _applied("re.union", single, neutral="re.none")


def quoted(text: str) -> str:
    """A string literal: printable ASCII but quotes and backslashes stands for itself, all else by its number."""
    return '"' + escaped(text) + '"'


def escaped(text: str) -> str:
    """The inside of a literal. No escape that stands in the text survives as one."""
    return "".join(
        character if " " <= character <= "~" and character not in '"\\' else f"\\u{{{ord(character):x}}}"
        for character in text
    )


def _constant(term: Term) -> str:
    if term.sort is Sort.TEXT:
        return quoted(term.detail[0] or "")
    value = term.payload or 0
    if term.sort is Sort.BOOL:
        return "true" if value else "false"
    return str(value) if value >= 0 else f"(- {-value})"
