"""Commands of the auditor: fetch the log, keys, checkpoints, certificates and packets; verify offline."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from admin import display
from admin.connection import ask, stream
from admin.errors import CommandError, Exit
from admin.options import AsJson, Asked, offline, remote
from proofs import canonical, certificates
from proofs.errors import EvidenceError
from tool_registry.registry import load_catalogue

app = typer.Typer(help="Fetch the log, keys, checkpoints, certificates and packets.", no_args_is_help=True)
verifying = typer.Typer()

Out = Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.", show_default=False)]


@app.command()
@remote
def export(asked: Asked, out: Out = None) -> Exit:
    """The tenant's whole log as JSON lines, for `lockgate verify`."""
    pieces = stream(asked.session(), "/v1/audit/export")
    if out is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return Exit.DONE
    partial = out.with_name(out.name + ".partial")
    size = lines = 0
    try:
        with partial.open("wb") as file:
            for piece in pieces:
                file.write(piece)
                size += len(piece)
                lines += piece.count(b"\n")
            file.flush()
            os.fsync(file.fileno())
        # Renamed only when whole: half an export looks like a truncated log.
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        told = f"`{out}` cannot be written: {(error.strerror or 'no reason given').lower()}"
        raise CommandError(told, "make room there, or name another file") from error
    if asked.as_json:
        display.document({"file": str(out), "bytes": size, "lines": lines})
    display.progress(f"wrote {lines} lines ({size} bytes) to {out}")
    return Exit.DONE


@app.command()
@remote
def keys(asked: Asked, out: Out = None) -> Exit:
    """The public keys that the log is verified with. Keep them from before: the log cannot vouch for its own keys."""
    _write(dict(display.require(ask(asked.session(is_public=True), "GET", "/v1/keys"))), out)
    return Exit.DONE


@app.command()
@remote
def checkpoint(asked: Asked, out: Out = None) -> Exit:
    """The newest signed checkpoint. Kept outside, it later proves that nothing before it was cut off."""
    session = asked.session(is_public=True)
    parameters = {"tenant": session.tenant} if session.tenant else {}
    _write(dict(display.require(ask(session, "GET", "/v1/audit/checkpoint", parameters=parameters))), out)
    return Exit.DONE


@app.command()
@remote
def certificate(
    asked: Asked,
    out: Annotated[Path, typer.Option(help="Folder to write to.", show_default=False)],
    digest: Annotated[str, typer.Argument(help="sha256:…, as entries name it; default: the one in force.")] = "",
) -> Exit:
    """A certificate with its bundle, its keys, and the tools registered at run time: all that a re-check needs."""
    session = asked.session()
    wanted = digest or display.require(ask(session, "GET", "/v1/bundles"))["in_force"]["certificate"]
    folder = out / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    raw = b"".join(stream(session, f"/v1/certificates/{wanted}"))
    (out / "certificate.json").write_bytes(raw)
    try:
        found = certificates.parse(canonical.parse(raw)).certificate
    except EvidenceError as error:
        raise CommandError(f"the certificate cannot be read: {error}", "use the release of the gateway") from error
    (out / "bundle.json").write_bytes(b"".join(stream(session, f"/v1/bundles/{found.bundle}")))
    _write(dict(display.require(ask(session, "GET", "/v1/keys"))), out / "keys.json")
    known = {contract.digest for contract in load_catalogue().contracts.values()}
    added = {name: each for name, each in found.tools.items() if each not in known}
    for name, each in added.items():
        (folder / f"{name}.yaml").write_bytes(b"".join(stream(session, f"/v1/declarations/{each}")))
    if asked.as_json:
        display.document({"folder": str(out), "certificate": wanted, "bundle": found.bundle, "tools": sorted(added)})
    display.progress(
        f"python -m invariants recheck {out}/certificate.json --bundle {out}/bundle.json --keys {out}/keys.json"
        f" --tools {folder}"
    )
    return Exit.DONE


@app.command()
@remote
def packet(
    asked: Asked, call: Annotated[str, typer.Argument(help="call_…", show_default=False)], out: Out = None
) -> Exit:
    """The action packet of a call, for `python -m invariants settle`."""
    _write(dict(display.require(ask(asked.session(), "GET", f"/v1/calls/{call}/packet"))), out)
    return Exit.DONE


@verifying.command()
@offline
def verify(
    export: Annotated[Path, typer.Argument(help="What `lockgate audit export` wrote.", show_default=False)],
    keys: Annotated[Path, typer.Option(help="Public keys, from `lockgate audit keys`.", show_default=False)],
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint kept from earlier or later.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> Exit:
    """Verify an export offline: every entry, signature and checkpoint; names the first bad one."""
    for path in (export, keys, *(checkpoint or [])):
        if not path.is_file():
            raise CommandError(f"`{path}` is no file", "`lockgate audit export --out FILE` and `audit keys --out FILE`")
    arguments = ["verify", str(export), "--keys", str(keys)]
    for path in checkpoint or []:
        arguments += ["--checkpoint", str(path)]
    # The stand-alone verifier as it is: what an outsider runs is what we run.
    command = [sys.executable, "-P", "-m", "proofs", *arguments, *(["--json"] if as_json else [])]
    sys.stdout.flush()
    os.execve(sys.executable, command, _environment())  # noqa: S606 - our own interpreter and a fixed module name


def _environment() -> dict[str, str]:
    source = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))}


def _write(found: dict[str, object], out: Path | None) -> None:
    if out is None:
        display.document(found)
        return
    out.write_text(json.dumps(found, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    display.progress(f"wrote {out}")
