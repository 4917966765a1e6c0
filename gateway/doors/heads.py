"""The head of a request has one reading, or the request is refused before anything else looks at it.

Whatever a proxy in front and the gateway could read differently is refused, harmless here or not: a target in another
form than the origin's, an escape in a path, another framing than a length or plain chunks, a switch of protocols.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.errors import BadRequest

VERSIONS = frozenset({"1.0", "1.1"})

# The colon of a digest is the one character of our paths that clients like to escape. Any other escape could only
# write a path otherwise: a slash, a dot, a NUL, or a letter that a rule in front of us looks for.
_PATH = rb"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%3[Aa])*"
_TARGET = re.compile(_PATH + rb"(?:\?[!-\"$-~]*)?")


def fault(version: str, target: bytes, headers: Iterable[tuple[bytes, bytes]], *, switches: bool) -> BadRequest | None:
    """
    Why this head is refused, or None; `switches` when it asks for another protocol, or for a tunnel.

    Not checked: `Host`, which the routes compare, and repeated headers (`requests.single_headers`).
    """
    if version not in VERSIONS:
        return malformed("expected HTTP/1.1")
    if switches:
        # The parser takes whatever follows such a head for the other protocol, a body too (RFC 9110 §7.8).
        return BadRequest("upgrade_unsupported", "expected HTTP/1.1 without Upgrade and without CONNECT")
    if not _TARGET.fullmatch(target):
        # RFC 9112 §3.2.2 would take the host from a target in absolute form: nobody's proxy is behind this door.
        return BadRequest("target_malformed", "expected `/path?query`, with no escape in the path but `%3A`")
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and (version == "1.0" or codings != [b"chunked"]):
        return malformed("expected no Transfer-Encoding but `chunked`")  # RFC 9112 §6.1
    return None


def malformed(detail: str = "") -> BadRequest:
    """Bytes that are no HTTP request, or not one that can be read in one way alone."""
    return BadRequest("malformed_http", detail or "expected an HTTP/1.1 request")
