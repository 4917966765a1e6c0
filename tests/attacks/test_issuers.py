"""Issuers with keys of every type, and keys that were exchanged: the key alone says which algorithm, and how long."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import serialize_compact

from gateway.errors import Misconfigured, Unauthenticated
from gateway.identity import Identity, read_issuers

NOW = 1_790_000_000
ISSUER, AUDIENCE = "https://issuer.example", "gateway"
AsymmetricKey = RSAKey | ECKey | OKPKey


def generated(kid: str = "one") -> Mapping[str, tuple[AsymmetricKey, str]]:
    """A key of each type, with its algorithm."""
    return {
        "RSA": (RSAKey.generate_key(2048, {"kid": kid}), "RS256"),
        "EC": (ECKey.generate_key("P-256", {"kid": kid}), "ES256"),
        "OKP": (OKPKey.generate_key("Ed25519", {"kid": kid}), "EdDSA"),
    }


KEYS, STRANGERS = generated(), generated()


@dataclass(frozen=True, slots=True)
class StandingClock:
    """Always now."""

    def now_ms(self) -> int:
        return NOW * 1000

    def monotonic(self) -> float:
        return 0.0


def identity(folder: Path, *keys: Key) -> Identity:
    """Verifies tokens of an issuer with these keys."""
    (folder / "keys.jwks").write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "keys": "keys.jwks", "tenants": ["acme"]}
    (folder / "issuers.json").write_text(json.dumps([issuer]))
    return Identity(read_issuers(folder / "issuers.json"), StandingClock())


def claims() -> bytes:
    """An operator's."""
    members: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "per_ada",
        "iat": NOW,
        "exp": NOW + 60,
        "jti": secrets.token_hex(8),
        "tenant": "acme",
        "kind": "person",
        "person": "per_ada",
        "roles": ["operator"],
    }
    return json.dumps(members).encode()


def token(key: AsymmetricKey, algorithm: str, *, kid: str = "one") -> bytes:
    """An Authorization header with an operator's token."""
    return b"Bearer " + serialize_compact({"alg": algorithm, "kid": kid}, claims(), key, [algorithm]).encode()


def keyed(secret: bytes) -> bytes:
    """The same under HS256: by hand, because no library would take a public key for a secret."""
    signed = encoded(b'{"alg":"HS256","kid":"one"}') + b"." + encoded(claims())
    return b"Bearer " + signed + b"." + encoded(hmac.digest(secret, signed, "sha256"))


def encoded(part: bytes) -> bytes:
    """One part of a token."""
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def public_forms(key: AsymmetricKey) -> list[bytes]:
    """Every form in which an issuer publishes a key."""
    public = key.as_dict(private=False)
    numbers = [str(public[name]) for name in ("n", "x") if name in public]
    raw = [base64.urlsafe_b64decode(number + "=" * (-len(number) % 4)) for number in numbers]
    return [*raw, *(number.encode() for number in numbers), json.dumps(public).encode(), key.as_bytes(private=False)]


@pytest.mark.parametrize("kind", KEYS)
def test_a_token_is_good_under_the_algorithm_of_its_key(tmp_path: Path, kind: str) -> None:
    """
    A02: RS256, ES256 and EdDSA are taken where the issuer's key is of that type.
    """
    key, algorithm = KEYS[kind]

    assert identity(tmp_path, key).identify(token(key, algorithm)).id == "per_ada"


@pytest.mark.parametrize("kind", KEYS)
def test_no_public_key_of_any_type_is_a_secret(tmp_path: Path, kind: str) -> None:
    """
    A02: an HMAC keyed with a public key in any form it is published in, PEM among them, verifies nothing.
    """
    key, _ = KEYS[kind]
    verifier = identity(tmp_path, key)

    for form in public_forms(key):
        with pytest.raises(Unauthenticated, match="token_algorithm"):
            verifier.identify(keyed(form))


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("other", KEYS)
def test_no_key_of_a_stranger_is_taken(tmp_path: Path, kind: str, other: str) -> None:
    """
    A02: a stranger's token under the issuer's key id is refused: by its algorithm, or by its signature.
    """
    stranger, algorithm = STRANGERS[other]
    reason = "token_signature" if kind == other else "token_algorithm"

    with pytest.raises(Unauthenticated, match=reason):
        identity(tmp_path, KEYS[kind][0]).identify(token(stranger, algorithm))


def test_an_exchanged_key_counts_as_long_as_it_is_in_the_file(tmp_path: Path) -> None:
    """
    A08: while the file holds both keys both sign; from the start without the old one, its tokens are 401.
    """
    old, new = OKPKey.generate_key("Ed25519", {"kid": "old"}), OKPKey.generate_key("Ed25519", {"kid": "new"})
    tokens = [token(old, "EdDSA", kid="old"), token(new, "EdDSA", kid="new")]

    both = [identity(tmp_path, old, new).identify(each).id for each in tokens]
    without = identity(tmp_path, new)

    assert both == ["per_ada"] * 2
    assert without.identify(tokens[1]).id == "per_ada"
    with pytest.raises(Unauthenticated, match="token_key"):
        without.identify(tokens[0])
    with pytest.raises(Unauthenticated, match="token_signature"):
        without.identify(token(old, "EdDSA", kid="new"))


@pytest.mark.parametrize(
    "key",
    [
        RSAKey.generate_key(1024, {"kid": "weak"}),
        ECKey.generate_key("P-384", {"kid": "other"}),
        OctKey.generate_key(256, {"kid": "shared"}),
    ],
    ids=["short RSA", "other curve", "shared secret"],
)
def test_a_key_that_could_not_be_relied_on_keeps_the_gateway_from_starting(tmp_path: Path, key: Key) -> None:
    """
    A02: short keys, other curves and shared secrets are no issuer's keys.
    """
    with pytest.raises(Misconfigured):
        identity(tmp_path, key)
