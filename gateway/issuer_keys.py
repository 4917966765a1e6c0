"""Configured issuers and their keys: read from files, each key with its time, and read again when the files change.

A key counts from its `nbf` until its `exp` (seconds since 1970, members of its own in the JWK, RFC 7517 §4), exactly by
the gateway's clock: so a rotation is announced in the file, and its grace ends by itself. A key that has left the file
counts no more within `LOOK_SECONDS`. Nothing is ever fetched.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from gateway.clock import Clock
from gateway.errors import Misconfigured, Unavailable
from gateway.logs import log

KEY_TYPES = frozenset({"OKP", "EC", "RSA"})
RSA_BITS_MIN = 2048  # RFC 7518 §3.3
LOOK_SECONDS = 1.0  # A look costs some microseconds; a key that is taken away is a matter of seconds.
UNREADABLE_SECONDS_MAX = 60.0  # A file that is being replaced is whole again by then; after it, nobody comes in.


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerKey:
    """A public key and its time."""

    public: Any
    not_before: int | None
    """Seconds since 1970; None: from ever."""
    not_after: int | None
    """Exclusive: at this very second a token of the key is 401."""

    def counts(self, now: int) -> bool:
        """Whether a token that it signed is good now, whenever it was signed."""
        return (self.not_before is None or self.not_before <= now) and (self.not_after is None or now < self.not_after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One configured issuer with the keys of its file, parsed once."""

    name: str
    audience: str
    keys: Mapping[str, IssuerKey]
    tenants: frozenset[str]
    """The tenants that this issuer may speak for, and no other."""


class Issuers:
    """What the files say now."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Raises `Misconfigured` when they cannot be used: a gateway must not start like that."""
        self._path = path
        self._clock = clock
        self._looked_at = clock.monotonic()
        self._unreadable_since: float | None = None
        self._state = _state(path)
        self._known = {issuer.name: issuer for issuer in _read(path)}
        self._tenants = frozenset(tenant for issuer in self._known.values() for tenant in issuer.tenants)
        self.edition = 0
        """Counts the readings: what was verified under another one is verified again."""

    @property
    def tenants(self) -> frozenset[str]:
        """Every tenant that somebody may speak for. A tenant that the file names later needs a start."""
        return self._tenants

    def current(self) -> Mapping[str, Issuer]:
        """
        The issuers by name.

        Raises `Unavailable` when the files have been unreadable for too long: what they had said counts until then.
        """
        now = self._clock.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._look(now)
        if self._unreadable_since is not None and now - self._unreadable_since > UNREADABLE_SECONDS_MAX:
            raise Unavailable("issuers_unreadable", "the keys of the issuers cannot be read")
        return self._known

    def _look(self, now: float) -> None:
        try:
            state = _state(self._path)
            if state != self._state:
                self._known = {issuer.name: issuer for issuer in _read(self._path)}
                self._state = state
                self.edition += 1
                log().info("issuers_read", edition=self.edition)
        except Misconfigured:
            if self._unreadable_since is None:
                self._unreadable_since = now
                log().error("issuers_unreadable")
            return
        self._unreadable_since = None


def _state(path: Path) -> tuple[tuple[int, int, int], ...]:
    """What changes when a file is written or replaced. Raises `Misconfigured` for one that is not there."""
    try:
        documents = json.loads(path.read_bytes())
        files = [path, *(path.parent / document["keys"] for document in documents)]
        return tuple((found.st_ino, found.st_mtime_ns, found.st_size) for found in (each.stat() for each in files))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(path, error) from error


def _read(path: Path) -> tuple[Issuer, ...]:
    try:
        return tuple(_issuer(document, path.parent) for document in json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, JoseError) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> Misconfigured:
    return Misconfigured(f"issuers file `{path.name}` cannot be used: {error}")


def _issuer(document: Mapping[str, Any], folder: Path) -> Issuer:
    keys: dict[str, IssuerKey] = {}
    for each in json.loads((folder / document["keys"]).read_bytes())["keys"]:
        name, key = _key(dict(each))
        if name in keys:
            raise ValueError("two keys have one `kid`")
        keys[name] = key
    return Issuer(
        name=str(document["issuer"]),
        audience=str(document["audience"]),
        keys=keys,
        tenants=frozenset(document["tenants"]),
    )


def _key(document: dict[str, Any]) -> tuple[str, IssuerKey]:
    not_before, not_after = (document.pop(name, None) for name in ("nbf", "exp"))
    for time in (not_before, not_after):
        if time is not None and type(time) is not int:
            raise ValueError("`nbf` and `exp` of a key are seconds since 1970")
    (key,) = KeySet.import_key_set({"keys": [document]}).keys
    if not key.kid or key.key_type not in KEY_TYPES:
        raise ValueError("every key needs a `kid` and a type of OKP, EC or RSA")
    public = key.as_dict(private=False)
    if public.get("crv", "Ed25519") not in {"Ed25519", "P-256"}:
        raise ValueError("curves other than Ed25519 and P-256 are not taken")
    if key.key_type == "RSA" and _bits(str(public["n"])) < RSA_BITS_MIN:
        raise ValueError("RSA keys need at least 2048 bits")
    return key.kid, IssuerKey(public=key, not_before=not_before, not_after=not_after)


def _bits(number: str) -> int:
    return len(base64.urlsafe_b64decode(number + "=" * (-len(number) % 4))) * 8
