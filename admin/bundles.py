"""Commands about bundles: check one offline, upload and publish it, make it the active one.

Publishing and activating are governed calls: they park until security and founder have approved.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from admin import (
    calls,
    candidates,
    comparing,
    display,
    identities,
    mutants,
    proving,
    rehearsal,
    solving,
    uploads,
    writing,
)
from admin.candidates import Place, Tools
from admin.connection import ask
from admin.errors import CommandError, Exit, Found
from admin.options import AsJson, Asked, Key, Reason, offline, remote
from policies import bundles
from tool_registry.registry import CATALOGUE

app = typer.Typer(help="Check, prove, compare, publish and activate policy bundles.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="Bundle file (JSON).", show_default=False)]
Folder = Annotated[Path, typer.Argument(help="Folder of rules, laid out as policies/base.", show_default=False)]
Digest = Annotated[str, typer.Argument(help="sha256:…", show_default=False)]
Approvals = Annotated[
    list[str] | None, typer.Option("--approval", help="Approval id; may be repeated.", show_default=False)
]


@app.command(cls=solving.Command)
@offline
@solving.answering
def check(
    place: Place,
    no_proof: Annotated[
        bool, typer.Option("--no-proof", help="Leave the solvers out: validation and cases only.")
    ] = False,
    tools: Tools = CATALOGUE,
    as_json: AsJson = False,
) -> Found:
    """Validate a bundle, run its cases, prove its invariants and look at its rules here, without a gateway."""
    report = rehearsal.rehearse(candidates.read(place, candidates.toolbox(tools)), is_proved=not no_proof)
    if as_json:
        display.document(report.document())
    else:
        display.sentence(report.headline)
        display.table(("step", "status", "detail"), report.rows())
    if report.code is Found.BAD_INPUT:
        display.next_step("mend what validation found, or say --tools with the tools it is written for")
    return report.code


for part in (proving, comparing, mutants):
    app.add_typer(part.app)


@app.command()
@remote
def sign(
    asked: Asked,
    folder: Folder,
    revision: Annotated[int, typer.Option(min=1, help="Newer than the active one.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Bundle file to write.", show_default=False)],
    key_file: Annotated[
        Path | None, typer.Option(help="Signer's private key (a file at 0600).", show_default=False)
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="How long the bundle may decide.")] = 90,
) -> Exit:
    """Make a signed bundle of a folder of rules; in development the key is the one that `make dev` made."""
    key = writing.key_of(key_file, identities.bundle_key(asked.options.dev_file))
    environment = asked.options.environment or ("" if key_file else "dev")
    if not environment:
        raise CommandError("the environment is part of the signature", "say --environment dev or prod")
    tenant = asked.options.tenant or (asked.session().tenant if asked.options.identity else "")
    if not tenant:
        raise CommandError("a bundle is made for one tenant", "say --tenant, or --as somebody of it")
    now = datetime.now(UTC)
    bundle = writing.compose(folder, tenant=tenant, environment=environment, revision=revision, days=days, now=now)
    signed = bundles.sign(bundle, key)
    out.write_bytes(signed.raw)
    if asked.as_json:
        display.document({"file": str(out), "digest": signed.digest, "revision": revision})
    else:
        display.pairs([("bundle", signed.digest), ("revision", revision), ("file", str(out))])
    return Exit.DONE


@app.command(name="list")
@remote
def list_(asked: Asked) -> Exit:
    """The bundles that the gateway knows, and which one is active."""
    found = display.require(ask(asked.session(), "GET", "/v1/bundles"))
    if asked.as_json:
        display.document(found)
    else:
        force = found.get("in_force") or {}
        display.pairs([(f"in force as revision {force.get('revision')}", force.get("bundle"))])
        display.pairs((_state(each, force.get("bundle")), each.get("digest")) for each in found.get("bundles", []))
    return Exit.DONE


@app.command()
@remote
def publish(asked: Asked, file: File, approval: Approvals = None, reason: Reason = "", key: Key = "") -> Exit:
    """Upload a bundle (signature, cases and proof run there), then ask to publish it."""
    session = asked.session()
    digest = uploads.upload(asked, session, "/v1/bundles", file)
    if digest is None:
        return uploads.refused()
    given = [f"digest={digest}"]
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


def _state(bundle: Mapping[str, Any], in_force: object) -> str:
    if bundle.get("active_as"):
        return f"revision {bundle['active_as']}" + (", in force" if bundle.get("digest") == in_force else "")
    return "published" if bundle.get("published") else "uploaded"
