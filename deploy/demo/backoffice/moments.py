"""Times on the wire: RFC 3339 in UTC and whole seconds."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

_FORM = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


def stamp(moment: datetime) -> str:
    """`2026-11-20T05:00:00Z`, fractions dropped."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: str) -> datetime | None:
    """The instant of a text in that form, or None."""
    if not _FORM.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
    except ValueError:
        return None


def plain(value: Any) -> Any:
    """A database value as JSON can carry it."""
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, date):
        return value.isoformat()
    return value
