"""Disguise: one text written so that a pattern does not see it, though a person or a program reads it back.

Two kinds are taken off. *Written otherwise*: full-width digits, letters of other scripts, invisible characters,
percent signs, entities of HTML and escapes of JSON become one plain text that remembers where each character came from.
*Packed*: a run of hexadecimal or base64, also compressed, is opened, and s p a c e d letters are joined. What comes out
is bounded by what went in, so that both are linear. What is enciphered or told in several places is not seen.
"""

from __future__ import annotations

import base64
import binascii
import html
import itertools
import unicodedata
import urllib.parse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import re2

_ESCAPE = re2.compile(
    r"(?:%[0-9A-Fa-f]{2})+|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});|(?:\\+u[0-9A-Fa-f]{4})+|\\+[nrt/\"]"
)
_UNUSUAL = re2.compile(r"[^\t\n\r -~]")
_SPACED = re2.compile(r"(?:^|\s)((?:\S\s{1,3}){6,}\S)(?:\s|$)")
_PACKED = re2.compile(r"[A-Za-z0-9+/_-]{12,}={0,2}")
_HEXADECIMAL = re2.compile(r"(?:[0-9A-Fa-f]{2}){6,}")
_LOOK_ALIKES = dict(
    zip("аеорсухіјѕһԁАВЕКМНОРСТУХІЈЅοαρνΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aeopcyxijshdABEKMHOPCTYXIJSoapvABEZHIKMNOPTYX", strict=True)  # noqa: RUF001
)
"""Letters of Cyrillic and Greek that pass for Latin ones."""
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_GZIP = b"\x1f\x8b"
_GROWTH_MAX = 4
"""What one byte, packed, or one character may become: what people write stays below, a bomb does not."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A text as it reads, with the place of each of its characters in the text as it was written."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def written(self, start: int, end: int) -> tuple[int, int]:
        """Where the characters from `start` to before `end` were written. At least one."""
        return self.starts[start], self.ends[end - 1]


def plain(text: str) -> Plain | None:
    """The text as it reads, or None when it is written plainly."""
    if not (_UNUSUAL.search(text) or _ESCAPE.search(text)):
        return None
    read = [
        (character, start, end)
        for piece, start, end in _pieces(text)
        for character in itertools.chain.from_iterable(map(_plain_character, piece))
    ]
    if not read:
        return None
    characters, starts, ends = zip(*read, strict=True)
    return Plain(text="".join(characters), starts=starts, ends=ends)


def packed(text: str) -> Iterator[tuple[str, int, int]]:
    """What runs of spaced letters, hexadecimal and base64 hold where that is text, and where they stand."""
    for match in _SPACED.finditer(text):
        yield "".join(match.group(1).split()), match.start(1), match.end(1)
    for match in _PACKED.finditer(text):
        for content in _opened(match.group()):
            yield content, match.start(), match.end()


def _pieces(text: str) -> Iterator[tuple[str, int, int]]:
    at = 0
    for match in _ESCAPE.finditer(text):
        yield from ((text[place], place, place + 1) for place in range(at, match.start()))
        yield _unescaped(match.group()), match.start(), match.end()
        at = match.end()
    yield from ((text[place], place, place + 1) for place in range(at, len(text)))


def _unescaped(escape: str) -> str:
    if escape[0] == "%":
        return urllib.parse.unquote(escape)
    if escape[0] == "&":
        return html.unescape(escape)
    if escape[-1] in _ESCAPED or escape[-1] in '/"':
        return _ESCAPED.get(escape[-1], escape[-1])
    codes = b"".join(bytes.fromhex(code[:4]) for code in escape.split("u")[1:])
    return codes.decode("utf-16-be", "replace")


def _plain_character(character: str) -> str:
    """What one character reads as: nothing for an invisible one, ASCII for digits, spaces and dashes of any script."""
    if character.isascii():
        return character
    if character in _LOOK_ALIKES:
        return _LOOK_ALIKES[character]
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    match unicodedata.category(character):
        case "Cf" | "Mn" | "Me":
            return ""
        case "Zs":
            return " "
        case "Pd":
            return "-"
    read = unicodedata.normalize("NFKC", character)
    return read if len(read) <= _GROWTH_MAX else character  # Two ligatures stand for whole sentences.


def _opened(run: str) -> Iterator[str]:
    if _HEXADECIMAL.fullmatch(run):
        yield from _as_text(bytes.fromhex(run))
    body = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        yield from _as_text(base64.b64decode(body + "=" * (-len(body) % 4)))
    except binascii.Error:
        return


def _as_text(content: bytes) -> Iterator[str]:
    if content.startswith(_GZIP):
        try:
            content = zlib.decompressobj(wbits=31).decompress(content, _GROWTH_MAX * len(content))
        except zlib.error:
            return
    try:
        yield content.decode()
    except UnicodeDecodeError:
        return
