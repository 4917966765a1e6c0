"""YAML for contracts: the part of the language in which a document has one reading.

One document of mappings, lists, texts, integers and `true` or `false`. Refused are anchors and aliases, tags and
directives, a member named twice, fractions, and every unquoted word that some YAML reader takes for something else than
text (`on`, `yes`, `null`, `0x1f`, `1_000`, `12:30`, `2026-01-31`): whoever means the text writes quotes.

A fault names the member and what was expected there. It repeats names of the shape `a_name`, and no values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tool_registry.contracts import INTEGER_MAX

BYTES_MAX = 64 * 1024  # Ten times the longest contract we have.
DEPTH_MAX = 10  # The deepest member is a field of a list in a record, at 7.

Tree = dict[str, "Tree"] | list["Tree"] | str | int | bool

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_NUMBERLIKE = re.compile(r"[-+]?\.?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|0o[0-7]+")  # YAML 1.2 reads more so.
_TEXT_TAG = "tag:yaml.org,2002:str"
_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # Only its parser runs: events, never objects.
_RESOLVER: Any = yaml.resolver.Resolver()


class DeclarationError(ValueError):
    """A declaration is not one. `member` is the path of the member, empty for the document itself."""

    def __init__(self, member: str, expected: str) -> None:
        super().__init__(f"member `{member}`: expected {expected}" if member else f"expected {expected}")
        self.member = member
        self.expected = expected


def parse(document: bytes) -> dict[str, Tree]:
    """
    Read one YAML document whose root is a mapping.

    Raises `DeclarationError`, whatever the bytes are.
    """
    if len(document) > BYTES_MAX:
        raise DeclarationError("", f"at most {BYTES_MAX} bytes")
    try:
        events = _parsed(document.decode("utf-8"))
        _opening(events)
        root = _node(events, next(events), "", DEPTH_MAX)
        next(events)  # the document's end
        if not isinstance(next(events), yaml.StreamEndEvent):
            raise DeclarationError("", "one document")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise DeclarationError("", f"well-formed YAML{place}") from None  # The cause quotes the document.
    except (UnicodeError, OverflowError) as error:
        raise DeclarationError("", "Unicode text in UTF-8") from error
    if not isinstance(root, dict):
        raise DeclarationError("", "a mapping")
    return root


def joined(path: str, name: str) -> str:
    """The path of a member; a name that is none (it may be anything that a client sends) is not repeated."""
    shown = name if _NAME.fullmatch(name) else "?"
    return f"{path}.{shown}" if path else shown


def _parsed(text: str) -> Iterator[yaml.Event]:
    if text.startswith("\ufeff"):
        raise DeclarationError("", "no byte order mark")
    return iter(yaml.parse(text, Loader=_Loader))


def _opening(events: Iterator[yaml.Event]) -> None:
    next(events)  # the stream's start
    start = next(events)
    if not isinstance(start, yaml.DocumentStartEvent):
        raise DeclarationError("", "a document")
    if start.version or start.tags:
        raise DeclarationError("", "no directives")


def _node(events: Iterator[yaml.Event], event: yaml.Event, path: str, depth: int) -> Tree:
    if depth == 0:
        raise DeclarationError(path, f"nesting of at most {DEPTH_MAX}")
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise DeclarationError(path, "no anchor and no alias")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, path)
    if getattr(event, "tag", None) is not None:
        raise DeclarationError(path, "no tag")
    if isinstance(event, yaml.SequenceStartEvent):
        return _list(events, path, depth)
    return _mapping(events, path, depth)


def _list(events: Iterator[yaml.Event], path: str, depth: int) -> list[Tree]:
    items: list[Tree] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        items.append(_node(events, event, f"{path}[{len(items)}]", depth - 1))
    return items


def _mapping(events: Iterator[yaml.Event], path: str, depth: int) -> dict[str, Tree]:
    members: dict[str, Tree] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        name = _node(events, event, joined(path, "?"), depth - 1)
        if not isinstance(name, str):
            raise DeclarationError(joined(path, "?"), "a text as the member's name")
        member = joined(path, name)
        if name in members:
            raise DeclarationError(member, "the member once")
        members[name] = _node(events, next(events), member, depth - 1)
    return members


def _scalar(event: yaml.ScalarEvent, path: str) -> str | int | bool:
    if event.tag is not None:
        raise DeclarationError(path, "no tag")
    text = event.value
    text.encode("utf-8")  # `"\uD800"` is well-formed YAML and no text.
    if not event.implicit[0]:
        return text
    if text in {"true", "false"}:
        return text == "true"
    if _INTEGER.fullmatch(text):
        return _integer(text, path)
    if _is_ambiguous(text):
        raise DeclarationError(path, "a text in quotes, an integer in plain decimal digits, true or false")
    return text


def _is_ambiguous(text: str) -> bool:
    if text in {"y", "Y", "n", "N"} or _NUMBERLIKE.fullmatch(text):
        return True
    return bool(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) != _TEXT_TAG)


def _integer(text: str, path: str) -> int:
    number = int(text)
    if abs(number) > INTEGER_MAX:
        raise DeclarationError(path, f"an integer from {-INTEGER_MAX} to {INTEGER_MAX}")
    return number
