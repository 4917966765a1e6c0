"""A question that a solver found, as a person reads it: the call as it would be typed, who asks, what was known.

What a question leaves at nothing is not shown: approvals that nobody gave, members that hold no record. Facts are all
shown, zeros too, because a witness mostly turns on one of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

_COUNTED = ("no", "one", "two", "three")


def rows(question: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A question document, a member a row: the call first, the day last."""
    context = question["context"]
    yield "call", call(question)
    yield "asked by", f"{asker(question)}, {_principal(question)}"
    yield "facts", ", ".join(_members(context["facts"], separator=" "))
    yield "approvals", approvals(context["approvals"])
    yield "risk", f"R{context['risk']}"
    yield "day", ", ".join(_day(context))


def sentence(question: Mapping[str, Any]) -> str:
    """The same in one line, for a cell of a table."""
    context = question["context"]
    facts = " and ".join(_members(context["facts"], separator=" "))
    known = f" where {facts}" if facts else ""
    return f"{call(question)} by {asker(question)}{known}, approved by {approvals(context['approvals'])}"


def call(question: Mapping[str, Any]) -> str:
    """As `lockgate call` takes it."""
    return " ".join([question["action"], *_members(question["context"]["arguments"], separator="=")])


def asker(question: Mapping[str, Any]) -> str:
    """Who asks, by what matters to rules."""
    principal, context = question["principal"], question["context"]
    if principal["type"] == "Person":
        roles = " and ".join(principal["roles"])
        return f"a person of {roles}" if roles else "a person without a role"
    registered = "" if context["registered"] else ", not registered"
    return f"an agent at L{context['autonomy']}{registered}"


def approvals(counts: Mapping[str, int]) -> str:
    """Who has signed."""
    given = {role: count for role, count in counts.items() if count}
    persons = given.pop("persons", 0)
    by_role = " and ".join(f"{_counted(count)} of {role}" for role, count in given.items())
    if not by_role:
        return "nobody" if not persons else f"{_counted(persons)} without a role"
    # One person may sign in several roles, so their number says more than the roles do.
    return by_role if persons == sum(given.values()) else f"{by_role} ({_counted(persons)} in all)"


def _counted(count: int) -> str:
    return _COUNTED[count] if count < len(_COUNTED) else str(count)


def _principal(question: Mapping[str, Any]) -> str:
    principal = question["principal"]
    return f"{principal['type'].lower()}/{principal['id']}"


def _members(record: Mapping[str, Any], *, separator: str, path: str = "") -> Iterator[str]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _members(value, separator=separator, path=f"{path}{name}.")
        else:
            yield f"{path}{name}{separator}{_written(value, is_quoted=separator == ' ')}"


def _written(value: Any, *, is_quoted: bool) -> str:
    is_plain = isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum()
    return value if is_plain and not is_quoted else json.dumps(value, ensure_ascii=False)


def _day(context: Mapping[str, Any]) -> Iterator[str]:
    yield f"{context['environment']} of {context['tenant']}"
    if context.get("reason_code"):
        yield f"reason {context['reason_code']}"
    try:
        yield datetime.fromtimestamp(context["now"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        yield f"{context['now']} s after 1970"  # A year that calendars do not have.
