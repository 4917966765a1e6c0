"""The approver's part of a statement, and the signature over the whole. The private key never leaves this process."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from admin.errors import CommandError
from admin.identities import Session
from proofs import approvals
from proofs.approvals import Statement, Verdict
from proofs.errors import EvidenceError
from proofs.keys import PrivateKey

NONCE_BYTES = 16
_GIVEN = ("call", "tool", "bundle", "requester", "not_after")  # Fixed by the gateway's answer.


def complete(given: Mapping[str, Any], *, approver: str, key: PrivateKey, verdict: Verdict, reason: str) -> Statement:
    """
    The whole statement of one approver. `shown` is empty: the command line commits to no page.

    Raises `CommandError` when the gateway's members are not what an approver signs.
    """
    document = {name: given.get(name) for name in _GIVEN} | {
        "approver": approver,
        "key": key.key_id,
        "verdict": verdict.value,
        "shown": "",
        "reason": reason,
        "nonce": base64.urlsafe_b64encode(secrets.token_bytes(NONCE_BYTES)).rstrip(b"=").decode(),
    }
    try:
        return approvals.parse(document)
    except EvidenceError as error:
        raise CommandError(
            f"this cannot be signed: {error}", "`lockgate explain CALL` shows whether the call is still parked"
        ) from error


def sign(statement: Statement, *, key: PrivateKey, session: Session) -> dict[str, Any]:
    """The body of `POST …/approvals` and `…/rejections`."""
    signature = approvals.sign(statement, key=key, environment=session.environment, tenant=session.tenant)
    return {"statement": statement.document(), "signature": signature}


def key_of(session: Session, key_file: Path | None) -> PrivateKey:
    """The approver's key: from a file of their own, or in development the one that `make dev` made for them."""
    try:
        if key_file is not None:
            return PrivateKey.load(key_file)
        if session.identity is not None and session.identity.private_key:
            return PrivateKey.from_text(session.identity.private_key)
    except EvidenceError as error:
        raise CommandError(str(error), "a key file holds one private key and is yours alone (chmod 600)") from error
    raise CommandError("there is no key to sign with", "say --key-file, or in development --as person:<id>")
