"""The fast encoder of canonical bytes, for values that were built or checked by us.

Equal byte for byte to `proofs.canonical.encode` on the profile (property-tested); it does not check the profile itself.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def encode(value: Any) -> bytes:
    """Canonical bytes (RFC 8785) of a value already inside the profile."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def sha256(value: Any) -> bytes:
    """SHA-256 of the canonical bytes: the form of every digest inside the gateway."""
    return hashlib.sha256(encode(value)).digest()


def digest_text(digest: bytes) -> str:
    """A raw digest in the form that leaves the gateway."""
    return "sha256:" + digest.hex()
