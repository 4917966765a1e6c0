"""Canaries: made-up secrets and personal data, none like another, to be searched for wherever they must not be."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.outside.redactor import FORMS

ENCODINGS: dict[str, Callable[[str], str]] = {
    name: form for name, form in FORMS.items() if name not in ("HTML escaped", "JSON escapes", "in two halves")
}
"""The spellings of catalogue H02, and the value as it is."""

_WORD_LETTERS = ("bcdfghklmnprstvz", "aeiou")


@dataclass(frozen=True, slots=True)
class Canary:
    """A value that stands nowhere else."""

    kind: str
    value: str
    has_shape: bool
    """Whether patterns can know it in free text; words need a label, or the optional detector."""


_DESTROYED = frozenset({("bearer token", "upper case")})


def is_readable(canary: Canary, spelling: str) -> bool:
    """Whether a pattern can know it in free text: not a word, and still what it was."""
    return canary.has_shape and (canary.kind, spelling) not in _DESTROYED


def hatch(kind: str, chance: Random) -> Canary:
    """A new one."""
    make, has_shape = KINDS[kind]
    return Canary(kind, make(chance), has_shape)


def _word(chance: Random, syllables: int = 4) -> str:
    return "".join(chance.choice(letters) for _ in range(syllables) for letters in _WORD_LETTERS)


def _digits(chance: Random, count: int) -> str:
    return str(chance.randrange(1, 10)) + "".join(str(chance.randrange(10)) for _ in range(count - 1))


def _card(chance: Random) -> str:
    body = "4" + _digits(chance, 14)
    doubled = sum(sum(divmod(2 * int(digit), 10)) if at % 2 == 0 else int(digit) for at, digit in enumerate(body))
    return body + str(-doubled % 10)


def _iban(chance: Random) -> str:
    account = _digits(chance, 18)
    return f"DE{98 - int(account + '131400') % 97:02}{account}"


def _bearer(chance: Random) -> str:
    parts = ({"alg": "EdDSA"}, {"sub": _word(chance)})
    head, body = (base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts)
    return f"{head}.{body}.{_word(chance, 12)}"


def _given(chance: Random) -> str:
    return f"{_word(chance, 3).title()} {_word(chance).title()}"


KINDS: dict[str, tuple[Callable[[Random], str], bool]] = {
    "e-mail": (lambda chance: f"{_word(chance)}@{_word(chance)}.example", True),
    "telephone": (lambda chance: f"+49 {_digits(chance, 3)} {_digits(chance, 4)} {_digits(chance, 4)}", True),
    "card": (_card, True),
    "bank account": (_iban, True),
    "social security number": (lambda chance: f"{_digits(chance, 3)}-{_digits(chance, 2)}-{_digits(chance, 4)}", True),
    "address of the net": (lambda chance: ".".join(str(chance.randrange(101, 250)) for _ in range(4)), True),
    "link": (lambda chance: f"https://{_word(chance)}.example/{_word(chance)}", True),
    "key of an interface": (lambda chance: f"sk-{_word(chance, 12)}{_digits(chance, 6)}", True),
    "bearer token": (_bearer, True),
    "passport": (lambda chance: f"C{_digits(chance, 8)}", True),
    "password": (lambda chance: f"password:{_word(chance, 6)}{_digits(chance, 4)}", True),
    "name": (_given, False),
    "street": (lambda chance: f"{_digits(chance, 2)} {_word(chance).title()} Lane", False),
    "town": (lambda chance: f"{_digits(chance, 5)} {_word(chance).title()}", False),
    "answer to a question": (lambda chance: f"{_word(chance, 5)} {_word(chance, 5)}", False),
}
"""What they look like, and whether patterns can know them."""
