"""The reference table of all tools, as Markdown, for the docs."""

from __future__ import annotations

from collections.abc import Iterator

from tool_registry.contracts import Contract, Field, Kind, Limit
from tool_registry.registry import Registry


def table(registry: Registry) -> str:
    """One row for each tool, by name. The same registry gives the same text."""
    return "\n".join(_lines(registry)) + "\n"


def _lines(registry: Registry) -> Iterator[str]:
    yield "| tool | effect | risk | approver | undo | facts | limits |"
    yield "|---|---|---|---|---|---|---|"
    for contract in registry.contracts.values():
        cells = (
            f"`{contract.name}`({', '.join(_argument(each) for each in contract.arguments)})",
            _effect(contract),
            f"`{_escaped(contract.risk)}`",
            contract.approver,
            f"`{contract.undo.tool}`" if contract.undo else "none",
            "<br>".join(_facts(contract)) or "none",
            "<br>".join(_limit(each) for each in contract.limits) or "none",
        )
        yield f"| {' | '.join(cells)} |"


def _effect(contract: Contract) -> str:
    return f"{contract.effect.value}, {contract.family.value}"


def _argument(field: Field) -> str:
    match field.kind:
        case Kind.INTEGER:
            return f"{field.name}: {field.minimum}…{field.maximum}"
        case Kind.CHOICE:
            return f"{field.name}: {' or '.join(field.choices)}"
        case Kind.IDENTIFIER if field.prefix:
            return f"{field.name}: {field.prefix}_…"
        case _:
            return f"{field.name}: {field.kind.value}"


def _facts(contract: Contract) -> Iterator[str]:
    for source in contract.facts:
        members = ", ".join(each.name for each in source.fields)
        yield f"{source.name}: {members} (at most {source.age_seconds_max} s old)"


def _limit(limit: Limit) -> str:
    period = f"each {limit.window}" if limit.window else f"in flight since `{limit.since}`"
    whose = "of agents, " if limit.agents_only else ""
    firmness = ", soft" if limit.soft else ""
    return f"{limit.name}: {whose}{period}, to `{_escaped(limit.ceiling)}`{firmness}"


def _escaped(expression: str) -> str:
    # A bar ends the cell, even inside code.
    return expression.replace("context.", "").replace("|", "\\|")
