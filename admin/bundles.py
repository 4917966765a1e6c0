"""Commands about bundles: check one offline, upload and publish it, make it the active one.

Publishing and activating are governed calls: they park until security and founder have approved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from admin import calls, display, rehearsal
from admin.connection import ask
from admin.errors import CommandError, Exit
from admin.options import AsJson, Asked, Key, Reason, offline, remote

app = typer.Typer(help="Check, publish and activate policy bundles.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="Bundle file (JSON).", show_default=False)]
Digest = Annotated[str, typer.Argument(help="sha256:…", show_default=False)]
Approvals = Annotated[
    list[str] | None, typer.Option("--approval", help="Approval id; may be repeated.", show_default=False)
]


@app.command()
@offline
def check(
    file: File,
    no_proof: Annotated[
        bool, typer.Option("--no-proof", help="Leave the solver out: validation and cases only.")
    ] = False,
    as_json: AsJson = False,
) -> Exit:
    """Validate a bundle, run its cases and prove its invariants here, without a gateway."""
    report = rehearsal.rehearse(_read(file), is_proved=not no_proof)
    if as_json:
        display.document(report.document())
    else:
        display.table(("step", "status", "detail"), report.rows())
    return Exit.DONE if report.is_good else Exit.NO


@app.command(name="list")
@remote
def list_(asked: Asked) -> Exit:
    """The bundles that the gateway knows, and which one is active."""
    found = display.require(ask(asked.session(), "GET", "/v1/bundles"))
    if asked.as_json:
        display.document(found)
    else:
        rows = [
            (each.get("revision"), each.get("digest"), each.get("state") or each.get("status"))
            for each in found.get("bundles", [])
        ]
        display.table(("revision", "digest", "state"), rows)
    return Exit.DONE


@app.command()
@remote
def publish(asked: Asked, file: File, approval: Approvals = None, reason: Reason = "", key: Key = "") -> Exit:
    """Upload a bundle (signature, cases and proof run there), then ask to publish it."""
    session = asked.session()
    display.progress("uploading; signature, cases and proof take a moment")
    uploaded = display.require(ask(session, "POST", "/v1/bundles", body=_read(file)))
    display.progress(f"uploaded as {uploaded.get('digest')}")
    given = [f"digest={uploaded.get('digest')}"]
    answered = calls.send(session, "publish_bundle", given, reason=reason, key=key, approvals=approval or [])
    return display.call(answered, as_json=asked.as_json)


@app.command()
@remote
def activate(asked: Asked, digest: Digest, approval: Approvals = None, reason: Reason = "", key: Key = "") -> Exit:
    """Make a published bundle the active one."""
    answered = calls.send(
        asked.session(), "activate_bundle", [f"digest={digest}"], reason=reason, key=key, approvals=approval or []
    )
    return display.call(answered, as_json=asked.as_json)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CommandError(f"bundle file `{file}` cannot be read", "say the path of a bundle (JSON)") from error
