"""The approver's part of a statement, and the signature over the whole. The private key never leaves this process."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from admin.errors import CommandError
from admin.identities import Session
from proofs import signatures
from proofs.keys import PrivateKey

GIVEN = frozenset({"call", "tool", "bundle", "requester", "not_after"})
"""Members that the gateway's answer to the parked call fixes (design §7)."""


def complete(given: Mapping[str, Any], *, approver: str, key: PrivateKey, verdict: str, reason: str) -> dict[str, Any]:
    """
    The whole statement of one approver.

    `shown` is empty: the command line commits to no page. Raises `CommandError` when the gateway's members are not
    exactly those that an approver may sign unseen by this program.
    """
    missing = sorted(GIVEN - set(given))
    if missing:
        raise CommandError(
            f"the statement lacks {', '.join(missing)}", "is the call still parked? `lockgate explain` shows its state"
        )
    return {
        **{name: given[name] for name in sorted(GIVEN)},
        "approver": approver,
        "key": key.public.key_id,
        "verdict": verdict,
        "shown": "",
        "reason": reason,
        "nonce": base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode(),
    }


def sign(statement: Mapping[str, Any], *, key: PrivateKey, session: Session) -> dict[str, Any]:
    """The body of `POST …/approvals` and `…/rejections`."""
    context = signatures.context("approval", session.environment, session.tenant)
    return {"statement": dict(statement), "signature": signatures.sign(key, context, statement)}


def key_of(session: Session, key_file: Path | None) -> PrivateKey:
    """The approver's key: from a file of their own, or in development the one that `make dev` made for them."""
    if key_file is not None:
        try:
            return PrivateKey.load(key_file)
        except (OSError, ValueError) as error:
            raise CommandError(
                f"key file `{key_file}` cannot be used: {error}", "it must be yours alone (chmod 600) and hold one key"
            ) from error
    if session.identity is not None and session.identity.private_key:
        return PrivateKey.from_text(session.identity.private_key)
    raise CommandError("there is no key to sign with", "say --key-file, or in development --as person:<id>")
