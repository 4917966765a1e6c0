"""A folder of rules becomes a signed bundle: Cedar, invariants, Rego, its data, cases, and autonomy rules if any.

`policies/base` is laid out so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from admin.errors import CommandError
from policies import bundles
from policies.bundles import Bundle, Manifest
from policies.errors import PolicyFault
from proofs import canonical
from proofs.errors import EvidenceError
from proofs.keys import PrivateKey

TEXTS = {"policies": "policies.cedar", "invariants": "invariants.cedar", "rego": "deny.rego"}
DOCUMENTS = {"data": "data.json", "cases": "cases.json"}
OPTIONAL = {"autonomy": "autonomy.json"}
_WHOLE = f"the folder holds {', '.join((*TEXTS.values(), *DOCUMENTS.values()))}"
FILE_BYTES_MAX = 4 * 1024 * 1024  # What a bundle may have, and room for signatures and white space.


def compose(folder: Path, *, tenant: str, environment: str, revision: int, days: int, now: datetime) -> Bundle:
    """
    The unsigned bundle of a folder, valid for `days` from `now`.

    Raises `CommandError` for a missing file and for content that is no bundle.
    """
    members: dict[str, Any] = {name: _text(folder / file) for name, file in TEXTS.items()}
    members |= {name: _document(folder / file) for name, file in DOCUMENTS.items()}
    members |= {name: _document(folder / file) for name, file in OPTIONAL.items() if (folder / file).exists()}
    try:
        start = now.astimezone(UTC).replace(microsecond=0)
        manifest = Manifest(
            tenant=tenant,
            environment=environment,
            revision=revision,
            created_at=start,
            not_after=start + timedelta(days=days),
        )
        return bundles.compose(members, manifest)
    except (PolicyFault, EvidenceError) as error:
        raise CommandError(
            f"`{folder}` is no bundle: {error}", "docs/policies.md says what each file of the folder holds"
        ) from error


def content(path: Path, next_step: str) -> bytes:
    """The bytes of a file of a bundle. Raises `CommandError` where there is none, or one that no bundle can hold."""
    if path.exists() and not path.is_file():
        raise CommandError(f"`{path}` is no file", next_step)
    try:
        with path.open("rb") as file:
            found = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise CommandError(f"`{path}` cannot be read", next_step) from error
    if len(found) > FILE_BYTES_MAX:
        raise CommandError(f"`{path}` is larger than {FILE_BYTES_MAX} bytes", "make the bundle smaller: split it")
    return found


def key_of(key_file: Path | None, development: str) -> PrivateKey:
    """The signer's key: from a file, or the development gateway's. Raises `CommandError` where there is neither."""
    try:
        if key_file is not None:
            return PrivateKey.load(key_file)
        if development:
            return PrivateKey.from_text(development)
    except EvidenceError as error:
        raise CommandError(str(error), "a key file holds one private key and is yours alone (chmod 600)") from error
    raise CommandError("there is no key to sign with", "say --key-file, or start `make dev`")


def _text(path: Path) -> str:
    try:
        return content(path, _WHOLE).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CommandError(f"`{path}` is not UTF-8 (byte {error.start})", "save the file as UTF-8") from error


def _document(path: Path) -> Any:
    try:
        return canonical.parse(content(path, _WHOLE))
    except EvidenceError as error:
        raise CommandError(
            f"`{path}` cannot be read: {error}", "JSON in UTF-8, each member once, is expected"
        ) from error
