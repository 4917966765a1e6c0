"""Commands about calls: send, cancel, undo, list."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from admin import arguments, display
from admin.connection import Answered, ask
from admin.errors import CommandError, Exit
from admin.identities import Session
from admin.options import Asked, Call, Key, Reason, remote

app = typer.Typer(no_args_is_help=True)


@app.command()
@remote
def call(
    asked: Asked,
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="Name of the tool.", show_default=False)],
    given: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]", help="Arguments of the tool.", show_default=False)
    ] = None,
    reason: Reason = "",
    key: Key = "",
    approval: Annotated[
        list[str] | None, typer.Option(help="Approval id; may be repeated.", show_default=False)
    ] = None,
    edits: Annotated[str, typer.Option(help="The parked call that this one replaces.", show_default=False)] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide and check, run nothing.")] = False,
    correlation: Annotated[str, typer.Option(help="Ties calls of one incident together.", show_default=False)] = "",
) -> Exit:
    """Call a tool: `lockgate call issue_refund order_id=ord_1001 amount_cents=1250 --as agent:…`."""
    session = asked.session()
    answered = send(
        session,
        tool,
        given or [],
        reason=reason,
        key=key,
        approvals=approval or [],
        edits=edits,
        correlation=correlation,
        is_dry_run=dry_run,
    )
    return display.call(answered, as_json=asked.as_json)


def send(
    session: Session,
    tool: str,
    given: list[str],
    *,
    reason: str = "",
    key: str = "",
    approvals: list[str] | None = None,
    edits: str = "",
    correlation: str = "",
    is_dry_run: bool = False,
) -> Answered:
    """One call under one key; a key is made, and said, where none is given."""
    contract = display.require(ask(session, "GET", f"/v1/tools/{tool}"))
    body: dict[str, Any] = {
        "tool": tool,
        "arguments": arguments.read(given, contract),
        "reason_code": reason or _default_reason(session, contract),
        "approvals": approvals or [],
    }
    if edits:
        body["edits"] = edits
    used = key or str(uuid.uuid4())
    headers = {"Idempotency-Key": used}
    if correlation:
        headers["X-Correlation-Id"] = correlation
    if is_dry_run:
        headers["Prefer"] = "dry-run"
    answered = ask(session, "POST", "/v1/calls", body=body, headers=headers)
    if not key and not is_dry_run and contract.get("effect") != "read":
        display.progress(f"key {used}")
    return answered


@app.command()
@remote
def cancel(asked: Asked, call: Call) -> Exit:
    """Withdraw a parked call of one's own."""
    answered = ask(asked.session(), "POST", f"/v1/calls/{call}/cancel", body={})
    display.require(answered)
    display.call(answered, as_json=asked.as_json)
    return Exit.DONE


@app.command()
@remote
def undo(asked: Asked, call: Call, reason: Reason = "", key: Key = "") -> Exit:
    """Take an executed call back by its undo tool: a new call, decided like any other."""
    body = {"reason_code": reason} if reason else {}
    headers = {"Idempotency-Key": key or f"undo-{call}"}  # One call is undone once, however often this is sent.
    answered = ask(asked.session(), "POST", f"/v1/calls/{call}/undo", body=body, headers=headers)
    return display.call(answered, as_json=asked.as_json)


@app.command(name="calls")
@remote
def list_(
    asked: Asked,
    state: Annotated[str, typer.Option(help="Only these, e.g. parked or in_doubt.", show_default=False)] = "",
) -> Exit:
    """The tenant's calls, newest first; agents see their own."""
    parameters = {"state": state} if state else {}
    found = display.require(ask(asked.session(), "GET", "/v1/calls", parameters=parameters))
    if asked.as_json:
        display.document(found)
    else:
        columns = ("call", "status", "tool", "principal", "created_at")
        display.table(columns, [[each.get(column) for column in columns] for each in found.get("calls", [])])
    return Exit.DONE


def _default_reason(session: Session, contract: Mapping[str, Any]) -> str:
    codes = [str(code) for code in contract.get("reason_codes") or []]
    if not codes or contract.get("effect") == "read":
        return ""
    if len(codes) > 1 and session.environment != "dev":
        # The reason goes on record: where it counts, somebody has to mean it.
        raise CommandError("the tool wants a reason code", f"say --reason with one of: {', '.join(codes)}")
    others = f" (others: {', '.join(codes[1:])}; --reason chooses)" if len(codes) > 1 else ""
    display.progress(f"reason {codes[0]}{others}")
    return codes[0]
