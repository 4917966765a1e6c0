"""Contracts made ready to run: validators, expressions and templates compiled once, when a tool set becomes active.

Stages read a `PreparedTool` and never parse an expression or a path on the call path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from gateway.encoding import encode
from invariants.expressions import compile_long
from policies.schema import TypedSchema
from tool_registry import shapes
from tool_registry.contracts import Contract, Effect, FactSource, Kind, Limit
from tool_registry.soundness import is_reference

_HOUR_MS = 3_600_000
_NUMBER = re.compile(r"0|[1-9][0-9]{0,14}")

Expression = Callable[[Mapping[str, Any]], int]
"""Cedar Long over a context; raises `invariants.expressions.EvaluationError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedLimit:
    """A limit with its expressions compiled."""

    limit: Limit
    amount: Expression
    ceiling: Expression | int
    """A number where the contract names one."""

    def key(self, *, tenant: str, tool: str, principal: str, arguments: Mapping[str, Any], now_ms: int) -> bytes:
        """SHA-256 of [tenant, tool, limit, filled-in key, window]; a new window is a new counter."""
        limit = self.limit
        tool, hour = (tool, now_ms // _HOUR_MS) if limit.window else ("", 0)
        if limit.key == "principal":
            return _known_key(tenant, tool, limit.name, principal, limit.window, hour)
        if limit.key == "tenant":
            return _known_key(tenant, tool, limit.name, "", limit.window, hour)
        return _key(tenant, tool, limit.name, fill_path(limit.key, arguments), limit.window, hour)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedFact:
    """A fact source with the validator of what it answers."""

    source: FactSource
    shape: shapes.Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTool:
    """One tool, ready for every stage."""

    contract: Contract
    arguments: shapes.Shape
    result: shapes.Shape
    facts: tuple[PreparedFact, ...]
    limits: tuple[PreparedLimit, ...]
    risk: Expression
    timestamps: tuple[str, ...]
    """Arguments that a question carries as seconds."""
    resolving: Mapping[str, shapes.Shape]
    """Arguments in which a token becomes its value, with the shape that the value must have. Most tools have none."""
    is_write: bool
    sources: Mapping[str, str]
    """Where each fact comes from, as packets name it."""

    def resource_id(self, tenant: str, arguments: Mapping[str, Any]) -> str:
        """The id of the resource that the question names."""
        name = self.contract.resource_argument
        return tenant if name is None else str(arguments[name])

    def subject(self, arguments: Mapping[str, Any]) -> str | None:
        """Whom an erasure of the call's payloads would name: its resource. None where that is the tenant itself."""
        name = self.contract.resource_argument
        return None if name is None else str(arguments.get(name, ""))


def prepare(contract: Contract, schema: TypedSchema) -> PreparedTool:
    """
    Compile one contract.

    Raises `invariants.errors.Unsupported` or `policies.cedar_syntax.SyntaxRefused` for an expression without a meaning.
    """

    expressions: dict[str, Expression] = {}

    def compiled(text: str) -> Expression:
        # Limits of one contract often count the same amount; one expression is then evaluated once for all of them.
        if text not in expressions:
            expressions[text] = compile_long(text, contract.name, schema)
        return expressions[text]

    def ceiling(text: str) -> Expression | int:
        expression = compiled(text)
        return int(text) if _NUMBER.fullmatch(text) else expression

    return PreparedTool(
        contract=contract,
        arguments=shapes.compile_shape(contract.arguments),
        result=shapes.compile_shape(contract.result),
        facts=tuple(PreparedFact(source=each, shape=shapes.compile_shape(each.fields)) for each in contract.facts),
        limits=tuple(
            PreparedLimit(limit=each, amount=compiled(each.amount), ceiling=ceiling(each.ceiling))
            for each in contract.limits
        ),
        risk=compiled(contract.risk),
        timestamps=tuple(each.name for each in contract.arguments if each.kind is Kind.TIMESTAMP),
        resolving={
            each.name: shapes.compile_shape((replace(each, resolves=False),))
            for each in contract.arguments
            if each.resolves
        },
        is_write=contract.effect is not Effect.READ,
        sources={each.name: f"{contract.connector.origin or 'ledger'}:{each.name}" for each in contract.facts},
    )


def fill_path(template: str, values: Mapping[str, Any]) -> str:
    """`/facts/order/{order_id}` with each value percent-encoded: no argument can leave its segment (RFC 3986 §3.3)."""
    parts = template.split("{")
    filled = parts[0]
    for part in parts[1:]:
        name, _, rest = part.partition("}")
        segment = quote(str(values[name]), safe="")
        # `.` and `..` mean something else to a server even inside one segment.
        filled += ("%2E" * len(segment) if segment in {".", ".."} else segment) + rest
    return filled


def referenced(wanted: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of an undo or confirming read: `arguments.x`, `facts.g.x` or `result.x` looked up, all else literal."""
    return {name: _looked_up(source, known) for name, source in wanted.items()}


def _looked_up(source: Any, known: Mapping[str, Any]) -> Any:
    if not is_reference(source):
        return source
    value: Any = known
    for member in source.split("."):
        value = value[member]
    return value


@lru_cache(maxsize=16)  # The current hour, and the clock's skew around it.
def _window(window: str, hour: int) -> str:
    instant = datetime.fromtimestamp(hour * _HOUR_MS // 1000, UTC)
    return instant.strftime("%Y-%m-%dT%H" if window == "hour" else "%Y-%m-%d")


def _key(tenant: str, tool: str, limit: str, filled: str, window: str | None, hour: int) -> bytes:
    shown = _window(window, hour) if window else ""
    return hashlib.sha256(encode([tenant, tool, limit, filled, shown])).digest()


_known_key = lru_cache(maxsize=4096)(_key)  # Counters of tenants and principals come with every call of theirs.
