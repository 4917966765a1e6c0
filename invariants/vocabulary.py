"""The unknowns of one action's questions, what they stand for, and the values that expressions over them can have.

An unknown is a number to everything below this module; its path in the question stands in a table beside it. Texts
(string literals, entity ids, entity types) are numbered the same way. Both are numbered as they are first met, so the
same policies give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from invariants.solving.terms import Sort, Term, Terms
from policies.schema import ActionType, BoolType, LongType, RecordType, StringType, ValueType


@dataclass(frozen=True, slots=True)
class Long:
    """An integer."""

    term: Term


@dataclass(frozen=True, slots=True)
class Bool:
    """A truth value."""

    term: Term


@dataclass(frozen=True, slots=True)
class String:
    """A string, known only as the same as or other than another."""

    term: Term


@dataclass(frozen=True, slots=True)
class EntityValue:
    """An entity: its type and its id."""

    type: Term
    id: Term


@dataclass(frozen=True, slots=True)
class RecordValue:
    """A record of the context, known by its path; its members become unknowns when they are looked at."""

    type: RecordType
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Nothing:
    """No value: the expression always errs."""


Value = Long | Bool | String | EntityValue | RecordValue | Nothing


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an expression gives: `value` where `ok` is true, an error elsewhere."""

    ok: Term
    value: Value


@dataclass(frozen=True, slots=True)
class Symbol:
    """What an unknown stands for."""

    number: int
    sort: Sort
    path: tuple[str, ...]
    """`("context", "risk")`, `("principal", "type")`, `("present", "context", …)`, `("role", name)`."""
    type: ValueType | None
    """The schema's type, for members of the context."""


class Vocabulary:
    """The unknowns and names of one action's questions, numbered as they are first met."""

    __slots__ = ("_numbers", "_symbols", "action", "terms")

    def __init__(self, action: ActionType) -> None:
        self.action = action
        self.terms = Terms()
        self._symbols: dict[tuple[str, ...], Symbol] = {}
        self._numbers: dict[str, int] = {}

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(self._symbols.values())

    @property
    def names(self) -> tuple[str, ...]:
        """Texts by number."""
        return tuple(self._numbers)

    def name(self, text: str) -> Term:
        """The constant of a text: a string literal, an entity id or an entity type."""
        return self.terms.name(self._numbers.setdefault(text, len(self._numbers)))

    def unknown(self, sort: Sort, path: tuple[str, ...], kind: ValueType | None = None) -> Term:
        known = self._symbols.setdefault(path, Symbol(len(self._symbols), sort, path, kind))
        return self.terms.symbol(sort, known.number)

    def is_known(self, path: tuple[str, ...]) -> bool:
        """Whether the unknown occurs already."""
        return path in self._symbols

    def principal(self) -> EntityValue:
        return EntityValue(
            self.unknown(Sort.NAME, ("principal", "type")),
            self.unknown(Sort.NAME, ("principal", "id")),
        )

    def resource(self) -> EntityValue:
        return EntityValue(self.name(self.action.resource_type), self.unknown(Sort.NAME, ("resource", "id")))

    def act(self) -> EntityValue:
        return EntityValue(self.name("Action"), self.name(self.action.name))

    def context(self) -> RecordValue:
        return RecordValue(self.action.context, ("context",))

    def has_role(self, role: str) -> Term:
        """Whether the principal has `role` as a parent."""
        return self.unknown(Sort.BOOL, ("role", role))

    def member(self, record: RecordValue, name: str) -> Outcome | None:
        """A member of a record: `ok` says whether it is there. None: the record can have no such member."""
        attribute = record.type.attribute(name)
        if attribute is None:
            return None
        path = (*record.path, name)
        present = self.terms.true
        if not attribute.is_required:
            present = self.unknown(Sort.BOOL, ("present", *path))
        match attribute.type:
            case LongType():
                return Outcome(present, Long(self.unknown(Sort.INTEGER, path, attribute.type)))
            case BoolType():
                return Outcome(present, Bool(self.unknown(Sort.BOOL, path, attribute.type)))
            case StringType():
                return Outcome(present, String(self.unknown(Sort.NAME, path, attribute.type)))
            case RecordType():
                return Outcome(present, RecordValue(attribute.type, path))
