"""A folder of rules becomes a signed bundle: Cedar, invariants, Rego, its data, and the cases (as `policies/base`)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from admin.errors import CommandError
from policies import bundles
from policies.bundles import Bundle, Manifest
from policies.errors import PolicyFault
from proofs.errors import EvidenceError
from proofs.keys import PrivateKey

TEXTS = {"policies": "policies.cedar", "invariants": "invariants.cedar", "rego": "deny.rego"}
DOCUMENTS = {"data": "data.json", "cases": "cases.json"}


def compose(folder: Path, *, tenant: str, environment: str, revision: int, days: int, now: datetime) -> Bundle:
    """
    The unsigned bundle of a folder, valid for `days` from `now`.

    Raises `CommandError` for a missing file and for content that is no bundle.
    """
    try:
        members: dict[str, Any] = {name: (folder / file).read_text("utf-8") for name, file in TEXTS.items()}
        members |= {name: json.loads((folder / file).read_bytes()) for name, file in DOCUMENTS.items()}
        start = now.astimezone(UTC).replace(microsecond=0)
        manifest = Manifest(
            tenant=tenant,
            environment=environment,
            revision=revision,
            created_at=start,
            not_after=start + timedelta(days=days),
        )
        return bundles.compose(members, manifest)
    except OSError as error:
        files = ", ".join((*TEXTS.values(), *DOCUMENTS.values()))
        raise CommandError(f"`{error.filename}` cannot be read", f"the folder holds {files}") from error
    except (PolicyFault, EvidenceError, ValueError) as error:
        raise CommandError(str(error), "`lockgate bundle check FOLDER` says more") from error


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
