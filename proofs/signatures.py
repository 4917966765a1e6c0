"""Signatures over statements: Ed25519 over `context || 0x00 || canonical(statement)`.

The context string `lockgate/<purpose>/v1/<environment>/<tenant>` keeps a signature from serving another purpose,
environment or tenant. It holds no NUL, so context and statement cannot run into each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Any

from proofs import base64url, canonical, shapes
from proofs.errors import Misshapen, NotCanonical
from proofs.keys import SIGNATURE_BYTES, PrivateKey, PublicKey


@unique
class Purpose(StrEnum):
    """What a signature is for. A key serves the purposes that its keys file names."""

    CHECKPOINT = "checkpoint"
    APPROVAL = "approval"
    BUNDLE = "bundle"
    CERTIFICATE = "certificate"
    LOG_KEY = "log-key"
    """A log's next key says that it is held by whom the log names it for; no keys file trusts a key for that."""


def context(purpose: str, environment: str, tenant: str) -> bytes:
    """Return the context string. Raises `ValueError` for an unknown purpose or a name that is not plain."""
    if not (shapes.NAME.fullmatch(environment) and shapes.NAME.fullmatch(tenant)):
        raise ValueError("context: environment and tenant are plain names")
    return f"lockgate/{Purpose(purpose).value}/v1/{environment}/{tenant}".encode("ascii")


def message(context: bytes, statement: Mapping[str, Any]) -> bytes:
    """Return the bytes that are signed."""
    return context + b"\0" + canonical.encode(dict(statement))


def sign(key: PrivateKey, context: bytes, statement: Mapping[str, Any]) -> str:
    """Sign `statement` and return the signature as base64url without padding."""
    return base64url.encode(key.sign(message(context, statement)))


def verify(public: PublicKey, context: bytes, statement: Mapping[str, Any], signature: str) -> bool:
    """
    Say whether `signature` is `public`'s signature over `statement` in `context`.

    Admits padding and the standard alphabet: forms that must be spelt one way check that when they are parsed.
    """
    try:
        return public.verify(base64url.decode_any(signature, length=SIGNATURE_BYTES), message(context, statement))
    except (Misshapen, NotCanonical):
        return False
