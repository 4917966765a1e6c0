"""Commands for the kill switch. Both are governed calls: engaging needs one operator, releasing two other persons."""

from __future__ import annotations

from typing import Annotated

import typer

from admin import calls, display
from admin.errors import Exit
from admin.options import Asked, Key, Reason, remote

app = typer.Typer(help="Stop an agent, a tool, a tenant or everything; let it go again.", no_args_is_help=True)

Scope = Annotated[str, typer.Argument(help="agent, tool, tenant or everything.", show_default=False)]
Target = Annotated[str, typer.Argument(help="Id of the agent, name of the tool or tenant; * for all.")]


@app.command()
@remote
def engage(
    asked: Asked,
    scope: Scope,
    target: Target = "*",
    because: Annotated[str, typer.Option(help="Why, for the record.", show_default=False)] = "stopped by an operator",
    reason: Reason = "",
    key: Key = "",
) -> Exit:
    """Stop it: effective on the next dispatch."""
    given = [f"scope={scope}", f"target={target}", f"reason={because}"]
    answered = calls.send(asked.session(), "engage_kill", given, reason=reason, key=key)
    return display.call(answered, as_json=asked.as_json)


@app.command()
@remote
def release(
    asked: Asked,
    scope: Scope,
    target: Target = "*",
    approval: Annotated[
        list[str] | None, typer.Option(help="Approval id; may be repeated.", show_default=False)
    ] = None,
    reason: Reason = "",
    key: Key = "",
) -> Exit:
    """Let it go again: parks until security and founder have approved."""
    given = [f"scope={scope}", f"target={target}"]
    answered = calls.send(asked.session(), "release_kill", given, reason=reason, key=key, approvals=approval or [])
    return display.call(answered, as_json=asked.as_json)
