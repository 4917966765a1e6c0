"""Commands about many calls at once: what waits for persons, and a file of calls in one request."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from admin import display
from admin.connection import ask
from admin.errors import CommandError, Exit
from admin.options import Asked, remote

app = typer.Typer(no_args_is_help=True)


@app.command()
@remote
def waiting(asked: Asked) -> Exit:
    """What waits for approval, by who asks and for which tool, the longest waiting first; agents see their own."""
    found = display.require(ask(asked.session(), "GET", "/v1/waiting"))
    if asked.as_json:
        display.document(found)
        return Exit.DONE
    groups = found.get("groups", [])
    columns = ("principal", "tool", "calls", "totals", "oldest_at", "first_expires_at")
    display.table(columns, [[each.get(column) for column in columns] for each in groups])
    oldest = [(each.get("principal"), call) for each in groups for call in each.get("oldest", [])]
    rows = [(call.get("call"), asker, call.get("arguments"), _roles(call)) for asker, call in oldest]
    display.table(("call", "principal", "arguments", "needs"), rows)
    return Exit.DONE


@app.command()
@remote
def batch(
    asked: Asked,
    file: Annotated[
        Path, typer.Argument(help="JSON: a list of calls, each as `POST /v1/calls` takes it, with a `key`.")
    ],
) -> Exit:
    """Send the calls of a file in one request; each is decided alone. Sent again with its keys, nothing runs twice."""
    calls = _read(file)
    answered = ask(asked.session(), "POST", "/v1/batches", body={"calls": calls})
    found = display.require(answered)
    answers = found["answers"]
    if asked.as_json:
        display.document({"answers": [{"key": each["key"], **told} for each, told in zip(calls, answers, strict=True)]})
    else:
        bodies = [each["body"] for each in answers]
        rows = [
            (body.get("call"), each["key"], each.get("tool"), body.get("reason") or body.get("status"))
            for each, body in zip(calls, bodies, strict=True)
        ]
        display.table(("call", "key", "tool", "status"), rows)
    return _exit_of([each["status"] for each in answers])


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        calls = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise CommandError(f"`{file}` cannot be read as JSON", "give a file with a list of calls") from error
    if not isinstance(calls, list) or not all(isinstance(each, Mapping) for each in calls):
        raise CommandError(f"`{file}` holds no list of calls", 'such as [{"key": "…", "tool": "…", "arguments": {}}]')
    return [{"key": str(uuid.uuid4()), **each} for each in calls]


def _roles(call: Mapping[str, Any]) -> str:
    return ", ".join(f"{each.get('persons')} {each.get('role')}" for each in call.get("needs", []))


def _exit_of(statuses: list[int]) -> Exit:
    """The one that most needs somebody to look: in doubt, not found out, refused, parked, done."""
    if 504 in statuses:
        return Exit.IN_DOUBT
    if any(status in (429, 503) for status in statuses):
        return Exit.UNKNOWN
    if any(status >= 400 for status in statuses):
        return Exit.NO
    return Exit.PARKED if 202 in statuses else Exit.DONE
