"""Facts: trusted values, each group with its source's own time stamp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from gateway.admission import Call
from gateway.tools import PreparedFact


class Reading(Struct, frozen=True, kw_only=True):
    """What a fact source answered."""

    at_ms: int
    """The source's clock when the values were true, in milliseconds since 1970."""
    values: Mapping[str, Any]


class FactReader(Protocol):
    """Reads one group of facts (`gateway.sources`; the tests' reader of planted facts)."""

    async def read(self, call: Call, fact: PreparedFact) -> Reading | None:
        """The reading; None where the source says that there is no such thing. Raises `Unavailable`."""
