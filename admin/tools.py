"""Commands about tools: what there is to ask for, and what one of them takes."""

from __future__ import annotations

from typing import Annotated

import typer

from admin import display
from admin.arguments import kinds_of
from admin.connection import ask
from admin.errors import Exit
from admin.options import Asked, remote

app = typer.Typer()


@app.command()
@remote
def tools(
    asked: Asked, name: Annotated[str, typer.Argument(help="One tool in full.", show_default=False)] = ""
) -> Exit:
    """The tools of the tenant; with NAME, one contract in full."""
    found = display.require(ask(asked.session(), "GET", f"/v1/tools/{name}" if name else "/v1/tools"))
    if asked.as_json:
        display.document(found)
    elif name:
        display.pairs((member, value) for member, value in found.items())
    else:
        rows = [
            (tool.get("name"), tool.get("effect"), " ".join(kinds_of(tool)), tool.get("title"))
            for tool in found.get("tools", [])
        ]
        display.table(("tool", "effect", "arguments", "title"), rows)
    return Exit.DONE
