"""The command `agents`: how far each agent may go alone with what, since when, and by which rule it was lowered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from admin import display
from admin.connection import ask
from admin.errors import Exit
from admin.options import Asked, remote

app = typer.Typer()


@app.command()
@remote
def agents(
    asked: Asked, name: Annotated[str, typer.Argument(help="One agent in full.", show_default=False)] = ""
) -> Exit:
    """The agents of the tenant and their levels; with NAME, also what counts against it now."""
    found = display.require(ask(asked.session(), "GET", f"/v1/agents/{name}" if name else "/v1/agents"))
    if asked.as_json:
        display.document(found)
        return Exit.DONE
    display.table(("agent", "action", "level", "since", "by"), _rows([found] if name else found["agents"]))
    if found.get("counted"):
        display.table(
            ("counts now", "action", "events", "lowers at", "to"),
            [
                (each.get("rule"), each.get("action"), each.get("count"), each.get("times"), f"L{each.get('to')}")
                for each in found["counted"]
            ],
        )
    return Exit.DONE


def _rows(listed: Sequence[Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    for agent in listed:
        for each in agent.get("actions", ()):
            by = f"rule {each['rule']}, entry {each['entry']}" if "rule" in each else each.get("by")
            yield agent.get("agent"), each.get("action"), f"L{each.get('level')}", each.get("since", ""), by
