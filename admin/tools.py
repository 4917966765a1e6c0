"""Commands about tools: what there is to ask for, what one of them takes, and registering another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from admin import calls, display, uploads
from admin.connection import ask
from admin.errors import Exit
from admin.options import Asked, Key, Reason, remote

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
            (tool.get("name"), tool.get("effect"), tool.get("approver"), tool.get("title")) for tool in found["tools"]
        ]
        display.table(("tool", "effect", "approver", "title"), rows)
    return Exit.DONE


@app.command()
@remote
def register(
    asked: Asked,
    file: Annotated[Path, typer.Argument(help="Tool declaration (YAML).", show_default=False)],
    approval: Annotated[
        list[str] | None, typer.Option(help="Approval id; may be repeated.", show_default=False)
    ] = None,
    reason: Reason = "",
    key: Key = "",
) -> Exit:
    """Upload a tool declaration (the active bundle is proved over it there), then ask to register it."""
    session = asked.session()
    digest = uploads.upload(asked, session, "/v1/tools", file)
    if digest is None:
        return uploads.refused()
    given = [f"digest={digest}"]
    answered = calls.send(session, "register_tool", given, reason=reason, key=key, approvals=approval or [])
    return display.call(answered, as_json=asked.as_json)
