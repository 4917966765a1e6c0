"""`texts.json`: banned patterns, templates, and how the patterns are meant. Read strictly, refused whole.

```
{"lockgate_texts": 1,
 "mode": {"dialect": "python", "ignores_case": true, "dot_is_all": true},
 "banned": [{"id": "risk-free", "pattern": "risk\\\\W*free"}],
 "templates": [{"id": "pack", "text": "{name}, {count} pieces",
                "slots": {"name": {"letters": 40}, "count": {"integer": [1, 99]}}}]}
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from invariants.solving import languages
from invariants.texts import contexts, slots, templates
from invariants.texts.dialects import Dialect, Mode
from invariants.texts.errors import PatternRefused, TextsUnreadable
from invariants.texts.slots import Choices, Free, Integer, Letters, Matching, Slot
from invariants.texts.templates import Template
from proofs import canonical, shapes
from proofs.errors import EvidenceError

FORM = 1
BYTES_MAX = 256 * 1024  # A list that nobody can read in one sitting is not reviewed.
MEMBERS_MAX = 200  # Patterns, and templates; each is proved against each.
SLOTS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Banned:
    """What no text may contain: searched for, anywhere in it."""

    id: str
    pattern: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """A document that was read: every pattern has a language."""

    mode: Mode
    banned: tuple[Banned, ...]
    templates: tuple[Template, ...]

    def against(self, template: Template) -> Iterator[Banned]:
        """The patterns that a template is proved against."""
        return (each for each in self.banned if template.against is None or each.id in template.against)


def read(raw: bytes) -> Texts:
    """Read a document. Raises `TextsUnreadable`."""
    if len(raw) > BYTES_MAX:
        raise TextsUnreadable(f"texts: at most {BYTES_MAX} bytes expected")
    try:
        document = shapes.members(
            canonical.parse(raw), required={"lockgate_texts", "mode", "banned", "templates"}, form="texts"
        )
        if document["lockgate_texts"] != FORM:
            raise TextsUnreadable(f"texts: expected form {FORM}")
        mode = _mode(document["mode"])
        banned = tuple(_banned(each, mode) for each in _listed(document, "banned", 1, MEMBERS_MAX))
        known = frozenset(each.id for each in banned)
        found = tuple(_template(each, mode, known) for each in _listed(document, "templates", 1, MEMBERS_MAX))
    except EvidenceError as error:
        raise TextsUnreadable(f"texts: {error}") from error
    for ids in ([each.id for each in banned], [each.id for each in found]):
        if len(set(ids)) < len(ids):
            raise TextsUnreadable("texts: an id stands twice")
    return Texts(mode=mode, banned=banned, templates=found)


def _mode(document: Any) -> Mode:
    members = shapes.members(document, required={"dialect", "ignores_case", "dot_is_all"}, form="mode")
    if members["dialect"] not in tuple(Dialect):
        raise TextsUnreadable(f"mode: member `dialect`: expected one of {', '.join(Dialect)}")
    for name in ("ignores_case", "dot_is_all"):
        if not isinstance(members[name], bool):
            raise TextsUnreadable(f"mode: member `{name}`: expected true or false")
    return Mode(
        dialect=Dialect(members["dialect"]),
        ignores_case=members["ignores_case"],
        dot_is_all=members["dot_is_all"],
    )


def _banned(document: Any, mode: Mode) -> Banned:
    members = shapes.members(document, required={"id", "pattern"}, form="banned")
    banned = Banned(id=shapes.text(members, "id", shapes.NAME), pattern=_text(members["pattern"], "pattern"))
    with_place = _placing(f"banned `{banned.id}`")
    language = with_place(lambda: contexts.found(banned.pattern, mode))
    if languages.has_empty(language):
        raise TextsUnreadable(f"banned `{banned.id}`: `matches_empty`: it is found in every text, and bans all")
    return banned


def _template(document: Any, mode: Mode, known: frozenset[str]) -> Template:
    members = shapes.members(document, required={"id", "text", "slots"}, optional={"against"}, form="template")
    name = shapes.text(members, "id", shapes.NAME)
    text = _text(members["text"], "text")
    if len(text) > templates.TEMPLATE_CHARACTERS_MAX:
        raise TextsUnreadable(f"template `{name}`: at most {templates.TEMPLATE_CHARACTERS_MAX} characters expected")
    written = members["slots"]
    if not isinstance(written, Mapping) or len(written) > SLOTS_MAX:
        raise TextsUnreadable(f"template `{name}`: member `slots`: expected an object of at most {SLOTS_MAX}")
    asked = {slot for slot, _ in templates.pieces(text) if slot}
    if asked != set(written):
        raise TextsUnreadable(f"template `{name}`: its text and `slots` name different slots")
    template = Template(
        id=name,
        text=text,
        slots={slot: _slot(each) for slot, each in written.items()},
        against=_against(members["against"], known, name) if "against" in members else None,
    )
    for slot, each in template.slots.items():
        with_place = _placing(f"template `{name}`, slot `{slot}`")
        with_place(lambda each=each: slots.language(each, mode))  # type: ignore[misc]
    return template


def _against(value: Any, known: frozenset[str], template: str) -> frozenset[str]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each in known for each in value):
        raise TextsUnreadable(f"template `{template}`: member `against`: expected ids of banned patterns")
    return frozenset(value)


def _slot(document: Any) -> Slot:
    if not isinstance(document, Mapping) or len(document) != 1:
        raise TextsUnreadable("slot: expected an object of one member")
    ((kind, value),) = document.items()
    match kind, value:
        case "letters", int() if _within(value, 1, slots.LENGTH_MAX):
            return Letters(value)
        case "integer", [int(), int()] if 0 <= value[0] <= value[1] <= slots.INTEGER_MAX and bool not in map(
            type, value
        ):
            return Integer(*value)
        case "choice", list() if 1 <= len(value) <= slots.CHOICES_MAX:
            return Choices(tuple(_text(each, "choice") for each in value))
        case "pattern", str():
            return Matching(value)
        case "free_of", list() if 1 <= len(value) <= SLOTS_MAX:
            return Free(tuple(_text(each, "free_of") for each in value))
        case _:
            raise TextsUnreadable(
                f"slot: expected `letters` up to {slots.LENGTH_MAX}, `integer` with two bounds up to"
                f" {slots.INTEGER_MAX}, `choice`, `pattern` or `free_of`"
            )


def _placing(where: str) -> Callable[[Callable[[], languages.Language]], languages.Language]:
    """Runs what may refuse a pattern, and says in whose pattern."""

    def run(made: Callable[[], languages.Language]) -> languages.Language:
        try:
            return made()
        except PatternRefused as error:
            raise TextsUnreadable(f"{where}: {error}") from error

    return run


def _listed(document: Mapping[str, Any], name: str, minimum: int, maximum: int) -> Sequence[Any]:
    value = document[name]
    if not isinstance(value, list) or not minimum <= len(value) <= maximum:
        raise TextsUnreadable(f"texts: member `{name}`: expected a list of {minimum} to {maximum}")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TextsUnreadable(f"member `{name}`: expected a string")
    return value


def _within(value: int, minimum: int, maximum: int) -> bool:
    return type(value) is int and minimum <= value <= maximum
