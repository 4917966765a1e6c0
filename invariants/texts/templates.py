"""Templates: text with typed slots, such as `{name} - {count} pieces, ships in {days} days`.

`{{` and `}}` stand for braces. Each slot stands once: two places with one value are beyond regular languages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from invariants.solving import languages
from invariants.solving.languages import Language
from invariants.texts import slots
from invariants.texts.dialects import Mode
from invariants.texts.errors import TextsUnreadable
from invariants.texts.slots import Slot

TEMPLATE_CHARACTERS_MAX = 4096

_PIECE = re.compile(r"\{\{|\}\}|\{([a-z][a-z0-9_]{0,62})\}|[^{}]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A text with slots."""

    id: str
    text: str
    slots: Mapping[str, Slot]
    against: frozenset[str] | None = None
    """The banned patterns that it is proved against, by id. None: all."""

    def parts(self, mode: Mode) -> tuple[tuple[str | None, Language], ...]:
        """The slots by name, and between them None for what stands in the template. Raises `PatternRefused`."""
        return tuple(
            (name, slots.language(self.slots[name], mode)) if name else (None, languages.literal(text))
            for name, text in pieces(self.text)
        )

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with values in its slots, whether or not they fit."""
        return "".join(values[name] if name else text for name, text in pieces(self.text))


def pieces(text: str) -> Sequence[tuple[str, str]]:
    """
    The names of slots, and in order with them the texts between, one of each pair empty.

    Raises `TextsUnreadable` for a brace that is neither doubled nor of a slot, and for a slot that stands twice.
    """
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        piece = _PIECE.match(text, position)
        if piece is None:
            raise TextsUnreadable(f"template: a single brace at {position}")
        name = piece.group(1) or ""
        if name and any(name == other for other, _ in found):
            raise TextsUnreadable(f"template: slot `{name}` stands twice, which is beyond regular languages")
        found.append((name, "" if name else piece.group()[:1] if piece.group() in ("{{", "}}") else piece.group()))
        position = piece.end()
    return found


def split(parts: Sequence[tuple[str | None, Language]], text: str) -> dict[str, str] | None:
    """Values of the slots with which the template gives that text, or None. No backtracking: places, part by part."""
    reached: list[dict[int, int]] = [{0: 0}]
    for _, language in parts:
        following: dict[int, int] = {}
        for start in reached[-1]:
            rest = language
            for end in range(start, len(text) + 1):
                if languages.has_empty(rest):
                    following.setdefault(end, start)
                if rest == languages.NOTHING or end == len(text):
                    break
                rest = languages.derivative(rest, ord(text[end]))
        reached.append(following)
    if len(text) not in reached[-1]:
        return None
    values: dict[str, str] = {}
    end = len(text)
    for (name, _), starts in zip(reversed(parts), reversed(reached[1:]), strict=True):
        if name is not None:
            values[name] = text[starts[end] : end]
        end = starts[end]
    return dict(reversed(values.items()))
