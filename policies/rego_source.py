"""What a Rego module may use, and what it reads: checked on its text before any engine sees it.

A module gets a closed list of pure, bounded built-ins. Whatever reaches the network, the clock, randomness or the
engine's environment (`http.send`, `time.*`, `rand.*`, `net.*`, `opa.runtime`), makes work out of nothing
(`numbers.range`) or matches patterns that can explode is simply not on it. `import` and `with` are refused: the one
could bring in, the other could replace, what was checked here. So are template strings, whose calls would hide in a
text, and what the two engines decide differently, found by comparing them (`make conformance`): `max` and `min` of
numbers, `%` and `/`, `not` before a call, membership of what is not bound, all of `data` at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PACKAGE = "lockgate"
ANSWER = "lockgate_answer"
"""The name of a rule that a module may not have: it is added where the module goes to an OPA server."""

BUILT_INS = frozenset(
    {
        "abs", "array.concat", "concat", "contains", "count", "endswith", "intersection", "is_array", "is_boolean",
        "is_number", "is_object", "is_string", "object.get", "startswith", "sum", "union",
    }
)  # fmt: skip
# A name before a bracket that is no call: `x in (…)`, `not (…)`.
_WORDS = frozenset({"as", "default", "else", "every", "false", "if", "in", "not", "null", "package", "some", "true"})
_REFUSED_WORDS = frozenset({"with", "import"})
_REFUSED_MARKS = {
    "$": "template strings are not used here",  # Their calls would hide in a text.
    "%": "`%` is not used here",  # The worker's engine gets it wrong, for small numbers too.
    "/": "`/` is not used here",  # It makes numbers that are no integers.
}
# The rest of a line after `not`: a call with an operand that is missing is false to the one engine, undefined to the
# other.
_PLAIN_NEGATION = re.compile(r"[ \t]+[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*[ \t]*(?=[\n;}\]]|$)")
_TOKEN = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
  | (?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
  | (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
  | (?P<space>\s+)
  | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_HEADER = re.compile(rf"\s*package {PACKAGE}\n(?:\s*import rego\.v1\n)?")


def faults(module: str) -> tuple[str, ...]:
    """What the module uses and must not, in words for its author. Empty: it may be given to an engine."""
    header = _HEADER.match(_without_comments(module))
    if header is None:
        return (f"deny.rego: expected `package {PACKAGE}` first, then at most `import rego.v1`",)
    body = _without_comments(module)[header.end() :]
    return tuple(dict.fromkeys([*_faults(body), *_negations(body)]))


def reads(module: str) -> dict[str, frozenset[str] | None] | None:
    """
    The members of `input` that the module names, each with what it names of it; None stands for all of it.

    What it does not name cannot decide anything, so it need not be sent.
    """
    named: dict[str, frozenset[str] | None] = {}
    for kind, word in _words(module):
        if kind != "name" or word.split(".")[0] != "input":
            continue
        if "." not in word:
            return None
        _, member, *inner = word.split(".")
        before = named.get(member, frozenset())
        named[member] = before | {inner[0]} if inner and before is not None else None
    return named


def moved(module: str, package: str, data: str) -> str:
    """The same module in another package, which reads the bundle's data at the path `data`."""
    text = _without_comments(module)
    header = _HEADER.match(text)
    parts, before = [f"package {package}\n\nimport rego.v1\n"], ""
    for found in _TOKEN.finditer(text, header.end() if header else 0):
        word = found.group()
        if found.lastgroup == "name" and before != "." and word.split(".")[0] == "data":
            parts.append(data + word.removeprefix("data"))
        else:
            parts.append(word)
        before = word
    return "".join(parts)


def _faults(body: str) -> Iterator[str]:
    allowed = BUILT_INS | _WORDS | frozenset(_functions(body))
    before, kind_before, earlier = "", "", ("", "")
    for kind, word in _words(body):
        if kind == "name" and word in _REFUSED_WORDS:
            yield f"deny.rego: `{word}` is not used here"
        if kind == "mark" and word in ('"', "`"):
            yield "deny.rego: a string does not end"
        if kind == "name" and word.split(".")[0] == ANSWER:
            yield f"deny.rego: `{ANSWER}` is not used here"
        if kind == "mark" and word in _REFUSED_MARKS:
            yield f"deny.rego: {_REFUSED_MARKS[word]}"
        if kind == "name" and before != "." and word.split(".")[:2] in (["data"], ["data", PACKAGE]):
            yield f"deny.rego: `{word}`: expected a member of the bundle's data, as in `data.freezes`"
        if kind == "mark" and word == "(":
            if kind_before == "name" and before not in allowed:
                yield f"deny.rego: `{before}` is not on the list of built-ins"
            elif before in ("]", ")", "}") or kind_before == "text":
                yield "deny.rego: a function is called by a name that is computed"
        if word == "in" and before == "]" and earlier[0] == "[" and earlier[1].isidentifier():
            # The worker's engine answers undefined over a name that is not bound yet, which would deny nothing.
            yield "deny.rego: bind before you test membership: `some name, value in …`, then `value in …`"
        earlier = (earlier[1], before)
        before, kind_before = word, kind


def _negations(body: str) -> Iterator[str]:
    for found in _TOKEN.finditer(body):
        if found.lastgroup == "name" and found.group() == "not" and not _PLAIN_NEGATION.match(body, found.end()):
            yield "deny.rego: `not` stands before a name alone: give the condition a rule of its own"


def _functions(body: str) -> Iterator[str]:
    """Functions of the module's own: names at the start of a line, directly before a bracket."""
    for found in _TOKEN.finditer(body):
        is_first = found.start() == 0 or body[found.start() - 1] == "\n"
        if found.lastgroup == "name" and is_first and body[found.end() : found.end() + 1] == "(":
            yield found.group()


def _words(text: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(text):
        if found.lastgroup not in ("space", "comment"):
            yield str(found.lastgroup), found.group()


def _without_comments(module: str) -> str:
    return "".join("" if found.lastgroup == "comment" else found.group() for found in _TOKEN.finditer(module))
