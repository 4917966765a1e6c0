"""Issuers with keys of every type, and keys that were exchanged: the key alone says which algorithm, and how long."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey
from joserfc.jws import serialize_compact

from gateway.errors import Misconfigured, Unauthenticated, Unavailable
from gateway.identity import Identity
from gateway.issuer_keys import UNREADABLE_SECONDS_MAX, Issuers
from tests.world.stories import Story, eventually

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


@dataclass(slots=True)
class StandingClock:
    """Stands until it is moved."""

    at_ms: int = NOW * 1000
    seconds: float = 0.0

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic(self) -> float:
        return self.seconds


def write(folder: Path, *keys: Key, **times: int) -> Path:
    """The files of an issuer with these keys, all of them with these times."""
    documents = [{**key.as_dict(private=False), **times} for key in keys]
    (folder / "keys.jwks").write_text(json.dumps({"keys": documents}))
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "keys": "keys.jwks", "tenants": ["acme"]}
    (folder / "issuers.json").write_text(json.dumps([issuer]))
    return folder / "issuers.json"


def identity(folder: Path, *keys: Key, clock: StandingClock | None = None, **times: int) -> Identity:
    """Verifies tokens of an issuer with these keys."""
    clock = clock or StandingClock()
    return Identity(Issuers(write(folder, *keys, **times), clock), clock)


def claims(**changed: Any) -> bytes:
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
        **changed,
    }
    return json.dumps(members).encode()


def token(key: AsymmetricKey, algorithm: str, *, kid: str = "one", **changed: Any) -> bytes:
    """An Authorization header with an operator's token."""
    return b"Bearer " + serialize_compact({"alg": algorithm, "kid": kid}, claims(**changed), key, [algorithm]).encode()


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


@pytest.mark.parametrize("is_warm", [False, True], ids=["first seen", "seen before"])
def test_a_key_counts_until_the_very_end_of_its_time(tmp_path: Path, is_warm: bool) -> None:
    """
    A08: a token is good until the last millisecond before its key's `exp`, and 401 from then on, also one that was
    verified before; and not before the key's `nbf`.
    """
    key, clock = KEYS["OKP"][0], StandingClock()
    verifier = identity(tmp_path, key, clock=clock, nbf=NOW - 10, exp=NOW + 10)
    asks = [token(key, "EdDSA", iat=NOW - 20, exp=NOW + 60) for _ in range(4)]
    told = []

    for ask, at_ms in zip(
        asks, [NOW * 1000 - 10_001, NOW * 1000 - 10_000, NOW * 1000 + 9_999, NOW * 1000 + 10_000], strict=True
    ):
        if is_warm:
            clock.at_ms = NOW * 1000
            verifier.identify(ask)
        clock.at_ms = at_ms
        try:
            told.append(verifier.identify(ask).id)
        except Unauthenticated as fault:
            told.append(fault.reason)

    assert told == ["token_key", "per_ada", "per_ada", "token_key"]


def test_a_key_that_leaves_the_file_counts_no_more(tmp_path: Path) -> None:
    """
    A08: the file is read again when it changes, without a start: a key that was taken out is 401 within a second, also
    for a token that was seen before, and a new one is good.
    """
    old, new = OKPKey.generate_key("Ed25519", {"kid": "old"}), OKPKey.generate_key("Ed25519", {"kid": "new"})
    asks, clock = [token(old, "EdDSA", kid="old"), token(new, "EdDSA", kid="new")], StandingClock()
    verifier = identity(tmp_path, old, clock=clock)
    assert verifier.identify(asks[0]).id == "per_ada"

    write(tmp_path, new)
    clock.seconds += 1

    assert verifier.identify(asks[1]).id == "per_ada"
    with pytest.raises(Unauthenticated, match="token_key"):
        verifier.identify(asks[0])


@pytest.mark.parametrize("file", ["keys.jwks", "issuers.json"])
@pytest.mark.parametrize(
    "content", [b"", b"[{", b"null", b"\xff", None], ids=["empty", "half", "null", "bytes", "gone"]
)
def test_files_that_cannot_be_read_are_believed_for_a_minute(tmp_path: Path, file: str, content: bytes | None) -> None:
    """
    A09: while a file is replaced what it had said counts; one that stays unreadable is 503, seen tokens or not; one
    that is whole again counts at once.
    """
    key, clock = KEYS["OKP"][0], StandingClock()
    verifier = identity(tmp_path, key, clock=clock)
    seen, unseen = token(key, "EdDSA"), token(key, "EdDSA")
    whole = (tmp_path / file).read_bytes()
    assert verifier.identify(seen).id == "per_ada"

    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    clock.seconds += 1
    within = [verifier.identify(each).id for each in (seen, unseen)]
    clock.seconds += UNREADABLE_SECONDS_MAX + 1
    for each in (seen, unseen):
        with pytest.raises(Unavailable, match="issuers_unreadable"):
            verifier.identify(each)
    (tmp_path / file).write_bytes(whole)
    clock.seconds += 1

    assert within == ["per_ada"] * 2
    assert verifier.identify(seen).id == "per_ada"


def test_a_tenant_that_the_file_names_later_needs_a_start(tmp_path: Path) -> None:
    """
    A chain, rules and switches of a tenant begin with a start; until then nobody comes in for it.
    """
    key, clock = KEYS["OKP"][0], StandingClock()
    verifier = identity(tmp_path, key, clock=clock)
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "keys": "keys.jwks", "tenants": ["acme", "later"]}
    (tmp_path / "issuers.json").write_text(json.dumps([issuer]))
    clock.seconds += 1

    with pytest.raises(Unauthenticated, match="token_claims"):
        verifier.identify(token(key, "EdDSA", tenant="later"))


@pytest.mark.parametrize("times", [{"exp": "1790000000"}, {"nbf": 1.5}, {"exp": True}])
def test_a_key_with_a_time_of_another_form_keeps_the_gateway_from_starting(
    tmp_path: Path, times: dict[str, Any]
) -> None:
    """
    A08: a bound that could be misread is none.
    """
    with pytest.raises(Misconfigured):
        identity(tmp_path, KEYS["OKP"][0], **times)


def test_two_keys_of_one_name_keep_the_gateway_from_starting(tmp_path: Path) -> None:
    """
    A08: which of them a `kid` means would be chance.
    """
    with pytest.raises(Misconfigured):
        identity(tmp_path, KEYS["OKP"][0], STRANGERS["OKP"][0])


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


def test_a_running_gateway_follows_its_issuers_file(story: Story) -> None:
    """
    A08: over HTTP, without a restart: a second key with an end is good until that second and 401 from then on; without
    an end it is good again, and out of the file it is not.
    """
    folder = story.world.cast.folder
    file, before = folder / "issuer.jwks", (folder / "issuer.jwks").read_text()
    key = OKPKey.generate_key("Ed25519", {"kid": "second"})
    ends = int(time.time()) + 4
    token_of_it = _minted(story, key)

    def publish(*documents: dict[str, Any]) -> None:
        fresh = folder / "issuer.jwks.new"
        fresh.write_text(json.dumps({"keys": [*json.loads(before)["keys"], *documents]}))
        fresh.rename(file)

    def is_known() -> bool:
        return story.client.get("/v1/tools", token_of_it).status == 200

    public = dict(key.as_dict(private=False))
    try:
        assert not is_known()
        publish({**public, "exp": ends})
        assert eventually(is_known, 3)
        while time.time() < ends:
            asked_at, answer = time.time(), story.client.get("/v1/tools", token_of_it)
            assert answer.status == 200 or time.time() >= ends, asked_at
        late = story.client.get("/v1/tools", token_of_it)
        publish(public)
        again = eventually(is_known, 3)
        publish()
        gone = eventually(lambda: not is_known(), 3)
    finally:
        file.write_text(before)

    assert (late.status, late.reason) == (401, "token_key")
    assert (again, gone) == (True, True)
    assert story.client.get("/v1/tools", story.person("auditor").token).status == 200


def _minted(story: Story, key: OKPKey) -> str:
    """A token of the world's issuer, signed with another key."""
    _, body, _ = story.token("per_ada", ["operator"]).split(".")
    members = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    header = {"alg": "EdDSA", "kid": "second"}
    return str(serialize_compact(header, json.dumps(members).encode(), key, ["EdDSA"]))
