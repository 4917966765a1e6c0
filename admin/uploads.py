"""Bytes that the gateway judges before it keeps them: bundles and tool declarations. Nothing is in force by that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from admin import display, questions
from admin.connection import ask
from admin.errors import CommandError, Exit
from admin.identities import Session
from admin.options import Asked


def upload(asked: Asked, session: Session, path: str, file: Path) -> str | None:
    """
    Upload, and return the digest; None when it was refused, which has been shown with all that was found.

    Raises `CommandError` for a file that cannot be read and for any other refusal.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CommandError(f"`{file}` cannot be read", "say the path of the file to upload") from error
    display.progress("uploading; signature, cases and proof take a moment")
    answered = ask(session, "POST", path, body=content)
    document = answered.document if isinstance(answered.document, dict) else {}
    if answered.status == 422 and "findings" in document:
        _show_findings(document, as_json=asked.as_json)
        return None
    digest = str(display.require(answered)["digest"])
    display.progress(f"uploaded as {digest}")
    return digest


def refused() -> Exit:
    """What a command ends with when the upload was refused."""
    display.progress("nothing was stored; `lockgate bundle check` looks at a bundle without a gateway")
    return Exit.NO


def _show_findings(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        display.document(document)
        return
    display.pairs([("refused at", document.get("stage")), ("digest", document.get("digest"))])
    rows = []
    for finding in document["findings"]:
        where = finding.get("invariant") or finding.get("case") or finding.get("rule") or finding.get("file")
        rows.append((where, finding.get("message"), finding.get("sentence"), _call(finding)))
    display.table(("where", "what", "sentence", "the call"), rows)


def _call(finding: Mapping[str, Any]) -> Any:
    found = finding.get("would_allow") or finding.get("errs_on")
    try:
        return questions.sentence(found) if isinstance(found, Mapping) else ""
    except (KeyError, TypeError, AttributeError):
        return found  # The question of another release: better as it came than not at all.
