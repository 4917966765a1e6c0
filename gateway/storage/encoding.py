"""Canonical bytes, fast: orjson where its output is provably the canonical one, `proofs.canonical` everywhere else.

`encode` equals `proofs.canonical.encode` byte for byte, refusals included (property test). orjson sorts and escapes as
the profile does for ASCII; what its output cannot rule out (a float, a null that was NaN, a key outside the profile,
text that needs NFC) takes the slow way, which decides. Objects that are no JSON at all are not told apart: orjson
writes a UUID as its text.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from proofs import canonical

_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER  # beyond 53 bits
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)

# May match inside a string, which costs time only; never misses a float, a null, a NUL or a key outside the profile.
_DOUBTFUL = re.compile(rb'(?:":|[,\[]|^)-?[0-9]+[.eE]|null|\\u|[{,]"(?![A-Za-z_][A-Za-z0-9_]{0,63}":)(?:[^"\\]|\\.)*":')
_DEPTH_SURE = 32
"""Fewer brackets than this cannot nest deeper than the parser admits."""


def encode(value: Any) -> bytes:
    """The canonical bytes of `value`. Raises `canonical.OutsideProfile` as `canonical.encode` does."""
    try:
        data = orjson.dumps(value, option=_OPTIONS)
    except TypeError:  # orjson's one exception, also for a lone surrogate and an integer out of range
        return canonical.encode(value)
    if not data.isascii() or _DOUBTFUL.search(data) or data.count(b"{") + data.count(b"[") > _DEPTH_SURE:
        return canonical.encode(value)
    return data
