"""Bytes as text: base64url without padding (RFC 4648 §5), one text for each byte string.

`decode` takes that text only, so evidence cannot be respelt. `decode_any` also takes padding and the standard alphabet,
for what people and other programs hand in.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

from proofs.errors import Misshapen


def encode(data: bytes) -> str:
    """Return `data` as base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str, *, length: int) -> bytes:
    """
    Return the `length` bytes that `text` stands for.

    Raises `Misshapen` for every other text, also for another spelling of the same bytes.
    """
    data = decode_any(text, length=length)
    if encode(data) != text:
        raise Misshapen("base64", "not in base64url without padding")
    return data


def decode_any(text: str, *, length: int) -> bytes:
    """As `decode`, but admits padding and the standard alphabet. Bits left over at the end are still refused."""
    plain = text.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        data = b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (Base64Error, ValueError):
        # The decoder's exception may carry the text, which may be a private key.
        data = b""
    if len(data) != length or encode(data) != plain:
        raise Misshapen("base64", f"expected {length} bytes as base64url")
    return data
