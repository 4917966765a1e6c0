"""Salted commitments: a digest may leave the gateway without giving away, by guessing, what it covers.

commitment = SHA-256( `lockgate/commitment/<purpose>/v1` || 0x00 || salt || data ), the salt being 16 random bytes that
are kept beside the data and destroyed with it. After that the commitment still stands in the log and opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re

SALT_BYTES = 16  # 128 bits: guessing the salt is as hard as forging a digest is unwelcome.

_PURPOSE = re.compile(r"[a-z][a-z0-9_-]{0,62}")


def commit(purpose: str, salt: bytes, data: bytes) -> str:
    """Return the commitment to `data` as `sha256:<hex>`. Purposes in use: `payload`, `call`, `shown`."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"salt: expected {SALT_BYTES} bytes, got {len(salt)}")
    if not _PURPOSE.fullmatch(purpose):
        raise ValueError("purpose: expected a plain name")
    return "sha256:" + hashlib.sha256(b"lockgate/commitment/%b/v1\0%b%b" % (purpose.encode(), salt, data)).hexdigest()


def opens(commitment: str, purpose: str, salt: bytes, data: bytes) -> bool:
    """Say whether `salt` and `data` are what `commitment` was made from."""
    return len(salt) == SALT_BYTES and hmac.compare_digest(commitment, commit(purpose, salt, data))
