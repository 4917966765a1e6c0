"""Ed25519 keys, their files, and the ring of public keys that a verifier trusts.

A key id is `key_` and the first 16 hexadecimal digits of SHA-256 over the raw public key. Keys travel as base64url.
Who holds which key is the keys file's claim: nothing here decides whom to trust.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proofs import base64url, canonical, shapes
from proofs.errors import EvidenceError, KeyUnreadable

KEY_BYTES = 32
SIGNATURE_BYTES = 64
KEYS_FILE_BYTES_MAX = 16 * 1024 * 1024  # About 50,000 keys.

_FIELD = 2**255 - 19
_CURVE_D = -121665 * pow(121666, -1, _FIELD) % _FIELD
_SIGN_BIT = 1 << 255
# The y of the eight points of small order: a signature under such a key can be made to fit any message.
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD - 1,
        int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"),
        int.from_bytes(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"),
    }
)


class PublicKey:
    """An Ed25519 public key that is a point of the curve, of large order, in its one encoding."""

    __slots__ = ("_key", "key_id", "raw")

    def __init__(self, raw: bytes) -> None:
        """Raises `KeyUnreadable` for bytes that are no usable key."""
        if len(raw) != KEY_BYTES:
            raise KeyUnreadable("key", f"public key: expected {KEY_BYTES} bytes, got {len(raw)}")
        if not _is_usable_point(raw):
            raise KeyUnreadable("key", "public key: not a usable point of the curve")
        self.raw = bytes(raw)
        self.key_id = "key_" + sha256(raw).hexdigest()[:16]
        self._key = Ed25519PublicKey.from_public_bytes(self.raw)

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """Read a key from base64url, or from base64 with or without padding."""
        return cls(_decode(text, "public key"))

    @property
    def text(self) -> str:
        """The key as base64url without padding."""
        return base64url.encode(self.raw)

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Say whether `signature` is this key's signature over `data`."""
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"PublicKey({self.key_id})"


class PrivateKey:
    """An Ed25519 private key. It shows itself by its key id only."""

    __slots__ = ("_key", "_seed", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise KeyUnreadable("key", f"private key: expected a seed of {KEY_BYTES} bytes, got {len(seed)}")
        self._seed = bytes(seed)
        self._key = Ed25519PrivateKey.from_private_bytes(self._seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> PrivateKey:
        """Make a key from the operating system's randomness."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """The key of a 32-byte seed."""
        return cls(seed)

    @classmethod
    def from_text(cls, text: str) -> PrivateKey:
        """Read a seed from base64url, or from base64 with or without padding."""
        return cls(_decode(text, "private key"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PrivateKey:
        """
        Read a key file.

        Raises `KeyUnreadable` when the file is missing, is no regular file, or lets anyone but its owner in.
        """
        named = f"key file `{Path(path).name}`"
        try:
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                raw = file.read(4 * KEY_BYTES)
        except OSError as error:
            raise KeyUnreadable("key_file", f"{named}: {error.strerror}") from error
        if not stat.S_ISREG(mode):
            raise KeyUnreadable("key_file", f"{named}: not a regular file")
        if mode & 0o077:
            raise KeyUnreadable("key_file_open", f"{named}: mode is {mode & 0o777:04o}, expected 0600 or less")
        try:
            return cls.from_text(raw.decode("ascii", "replace").strip())
        except KeyUnreadable as error:
            raise KeyUnreadable(error.reason, f"{named}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a new key file with mode 0600 and flush it. An existing file is never overwritten."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(self.text.encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def text(self) -> str:
        """The seed as base64url without padding. Secret."""
        return base64url.encode(self._seed)

    @property
    def key_id(self) -> str:
        """The id of the public half."""
        return self.public.key_id

    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of the signature over `data`."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"PrivateKey({self.key_id})"


_OPTIONAL = ("not_before_ms", "not_after_ms", "size_min", "size_max", "person")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """One line of a keys file: a public key, and what it is trusted for."""

    public: PublicKey
    purposes: frozenset[str]
    """`checkpoint`, `approval`, `bundle`, `certificate`."""
    tenant: str = "*"
    """One tenant, or `*` for all."""
    not_before_ms: int | None = None
    """Inclusive."""
    not_after_ms: int | None = None
    """Exclusive."""
    size_min: int | None = None
    """Smallest checkpoint that the key may have signed, inclusive."""
    size_max: int | None = None
    """Largest one, inclusive: what a key that was replaced, or stolen, signed beyond it counts for nothing."""
    person: str | None = None
    """Whose key it is, as `person/<id>`. Approvals under this key must then name that person."""

    def document(self) -> dict[str, Any]:
        """The line as canonical JSON members."""
        optional = {name: getattr(self, name) for name in _OPTIONAL}
        return {
            "key_id": self.public.key_id,
            "algorithm": "Ed25519",
            "public_key": self.public.text,
            "purposes": sorted(self.purposes),
            "tenant": self.tenant,
            **{name: value for name, value in optional.items() if value is not None},
        }


class KeyRing:
    """The public keys that a verifier trusts, each for its purposes, tenant, time and sizes."""

    __slots__ = ("_by_id", "keys")

    def __init__(self, keys: tuple[TrustedKey, ...]) -> None:
        self.keys = keys
        self._by_id: dict[str, list[TrustedKey]] = {}
        for key in keys:
            self._by_id.setdefault(key.public.key_id, []).append(key)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KeyRing:
        """Read a keys file. Raises `KeyUnreadable`."""
        try:
            with Path(path).open("rb") as file:
                raw = file.read(KEYS_FILE_BYTES_MAX + 1)
        except OSError as error:
            raise KeyUnreadable("keys_file", f"keys file: {error.strerror}") from error
        if len(raw) > KEYS_FILE_BYTES_MAX:
            raise KeyUnreadable("keys_file", f"keys file: larger than {KEYS_FILE_BYTES_MAX} bytes")
        return cls.parse(raw)

    @classmethod
    def parse(cls, raw: bytes) -> KeyRing:
        """Read the bytes of a keys file. Raises `KeyUnreadable`."""
        try:
            document = shapes.members(canonical.parse(raw), required={"keys"}, form="keys file")
            if not isinstance(document["keys"], list):
                raise KeyUnreadable("keys_file", "keys file: member `keys`: expected a list")
            return cls(tuple(_trusted_key(line) for line in document["keys"]))
        except KeyUnreadable:
            raise
        except EvidenceError as error:
            raise KeyUnreadable("keys_file", f"keys file: {error}") from error

    def find(self, key_id: str, purpose: str, tenant: str, at_ms: int, *, size: int | None = None) -> PublicKey | None:
        """Return the key if it is trusted for this purpose and tenant at this time, and for a checkpoint's size."""
        trusted = self.trusted(key_id, purpose, tenant, at_ms, size=size)
        return trusted.public if trusted else None

    def trusted(
        self, key_id: str, purpose: str, tenant: str, at_ms: int, *, size: int | None = None
    ) -> TrustedKey | None:
        """As `find`, with the whole line of the keys file."""
        for key in self._by_id.get(key_id, ()):
            fits = purpose in key.purposes and key.tenant in ("*", tenant)
            if fits and _is_within(key, at_ms) and (size is None or _is_of_size(key, size)):
                return key
        return None

    def lists(self, key_id: str) -> bool:
        """Whether a line is about this key, for whatever purpose, tenant or time."""
        return key_id in self._by_id

    def purposes(self, key_id: str, tenant: str) -> frozenset[str]:
        """Everything that a key is trusted for in a tenant, at some time."""
        lines = [key for key in self._by_id.get(key_id, ()) if key.tenant in ("*", tenant)]
        return frozenset(purpose for key in lines for purpose in key.purposes)

    def extended(self, key: TrustedKey) -> KeyRing:
        """A ring that trusts this key besides."""
        return KeyRing((*self.keys, key))

    def why_not(self, key_id: str, purpose: str, tenant: str, at_ms: int, *, size: int | None = None) -> str:
        """Say, for people, why `find` returned None."""
        named = self._by_id.get(key_id, [])
        if not named:
            return f"key `{key_id}` is not in the keys file"
        if not any(purpose in key.purposes for key in named):
            return f"key `{key_id}` is not trusted for the purpose `{purpose}`"
        if not any(purpose in key.purposes and key.tenant in ("*", tenant) for key in named):
            return f"key `{key_id}` is not trusted for the tenant `{tenant}`"
        if size is not None and self.find(key_id, purpose, tenant, at_ms) is not None:
            return f"key `{key_id}` is not trusted for a checkpoint of that size"
        return f"key `{key_id}` was not valid at {at_ms} ms"

    def document(self) -> dict[str, Any]:
        """The content of a keys file as canonical JSON members."""
        return {"keys": [key.document() for key in self.keys]}


def _trusted_key(document: Any) -> TrustedKey:
    line = shapes.members(
        document,
        required={"key_id", "algorithm", "public_key", "purposes", "tenant"},
        optional=frozenset(_OPTIONAL),
        form="keys file: key",
    )
    if line["algorithm"] != "Ed25519" or not isinstance(line["public_key"], str):
        raise KeyUnreadable("keys_file", "keys file: expected `algorithm` Ed25519 and `public_key` as text")
    public = PublicKey.from_text(line["public_key"])
    if line["key_id"] != public.key_id:
        raise KeyUnreadable("keys_file", f"keys file: `key_id` is not `{public.key_id}`, the id of its public key")
    purposes = line["purposes"]
    if not isinstance(purposes, list) or not all(isinstance(purpose, str) for purpose in purposes):
        raise KeyUnreadable("keys_file", "keys file: member `purposes`: expected a list of strings")
    if line["tenant"] != "*":
        shapes.text(line, "tenant", shapes.NAME)
    return TrustedKey(
        public=public,
        purposes=frozenset(purposes),
        tenant=line["tenant"],
        not_before_ms=_optional_natural(line, "not_before_ms"),
        not_after_ms=_optional_natural(line, "not_after_ms"),
        size_min=_optional_natural(line, "size_min"),
        size_max=_optional_natural(line, "size_max"),
        person=shapes.text(line, "person", shapes.PERSON) if line.get("person") is not None else None,
    )


def _optional_natural(line: Mapping[str, Any], name: str) -> int | None:
    return None if line.get(name) is None else shapes.natural(line, name)


def _is_within(key: TrustedKey, at_ms: int) -> bool:
    is_early = key.not_before_ms is not None and at_ms < key.not_before_ms
    is_late = key.not_after_ms is not None and at_ms >= key.not_after_ms
    return not (is_early or is_late)


def _is_of_size(key: TrustedKey, size: int) -> bool:
    return (key.size_min or 0) <= size and (key.size_max is None or size <= key.size_max)


def _decode(text: str, what: str) -> bytes:
    try:
        return base64url.decode_any(text, length=KEY_BYTES)
    except EvidenceError as error:
        raise KeyUnreadable("key", f"{what}: {error}") from error


def _is_usable_point(raw: bytes) -> bool:
    y = int.from_bytes(raw, "little") & (_SIGN_BIT - 1)
    if y >= _FIELD or y in _SMALL_ORDER_Y:
        return False
    # RFC 8032 §5.1.3: x² = (y² - 1) / (d·y² + 1) must have a root; Euler's criterion on numerator times denominator.
    y_squared = y * y
    x_squared_class = (y_squared - 1) * (_CURVE_D * y_squared + 1) % _FIELD
    return pow(x_squared_class, (_FIELD - 1) // 2, _FIELD) == 1
