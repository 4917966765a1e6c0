"""Text that is what it looks like: what one person writes and another decides on.

The canonical profile (`proofs.canonical`) keeps out what makes evidence ambiguous. This keeps out, where text comes in,
what a reader cannot see: characters without a glyph of their own (Default_Ignorable_Code_Point of the Unicode Character
Database), controls, line ends that only some see, private use, and marks piled up until they hide their neighbours.

Look-alikes are not refused in text: a name in Greek is a name. Whatever is compared or switched by its name (tenants,
principals, tools, arguments of the kind identifier, rules) is ASCII by its own pattern.
"""

from __future__ import annotations

import re
from typing import Any
from unicodedata import category

MARKS_MAX = 4  # In a row, in NFC. No script in use piles up more on one letter.

_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # All but tabulator and line feed; carriage return is below.
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_BLANKS = "\u2028\u2029\u2800\ufffc"  # Two line ends, a blank pattern of dots, a place for something that is not there.
_PRIVATE = "\ue000-\uf8ff\U000f0000-\U0010ffff"
_HIDDEN = re.compile(f"[{_CONTROLS}{_IGNORABLE}{_BLANKS}{_PRIVATE}]|\r(?!\n)")
_SELECTORS = re.compile("[\ufe0e\ufe0f]")
"""How the symbol before it is drawn. After anything else they say nothing, and could say a lot to each other."""
_KEYCAP = re.compile("[0-9#*]\ufe0f\u20e3")
_MARKED = "\u203c\u2049"  # ‼ and ⁉ are drawn as symbols, and are punctuation to Unicode.


def is_plain(text: str) -> bool:
    """Whether nothing in the text is hidden."""
    if text.isascii() and text.isprintable():
        return True
    return not (_HIDDEN.search(text) or _has_stray_selector(_KEYCAP.sub("", text)) or _is_piled_up(text))


def are_plain(value: Any) -> bool:
    """Whether every text in a JSON value is plain; names of members are not looked at."""
    if isinstance(value, str):
        return is_plain(value)
    if isinstance(value, dict):
        return all(map(are_plain, value.values()))
    return all(map(are_plain, value)) if isinstance(value, list) else True


def skeleton(name: str) -> str:
    """
    What a name of small letters, digits and `_` looks like at a glance: two with one skeleton are taken for each other.

    After UTS 39 §4, of which only these pairs are left within such names; how many `_` there are nobody counts.
    """
    for looks, like in (("0", "o"), ("1", "l"), ("rn", "m"), ("vv", "w"), ("_", "")):
        name = name.replace(looks, like)
    return name


def _has_stray_selector(text: str) -> bool:
    for found in _SELECTORS.finditer(text):
        before = text[found.start() - 1] if found.start() else "a"
        if before not in _MARKED and not category(before).startswith("S"):
            return True
    return False


def _is_piled_up(text: str) -> bool:
    marks = 0
    for character in text:
        marks = marks + 1 if not character.isascii() and category(character) in ("Mn", "Me") else 0
        if marks > MARKS_MAX:
            return True
    return False
