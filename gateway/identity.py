"""Who asks: a bearer token (RFC 7519, RFC 8725) becomes a principal, or 401.

Only configured issuers and their key files count (`issuer_keys`); nothing in a token can make the gateway fetch
anything. Verified tokens are remembered by their digest, in a bounded cache, until they or their key expire.

Claims: iss, aud, exp, iat, sub and jti are essential. `tenant`, `kind` (agent or person), `roles`, `person` and `tools`
are ours; `act` is the delegation chain of RFC 8693 §4.1: its outermost actor is the principal, `sub` the subject.
"""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError

from gateway.clock import Clock
from gateway.errors import Unauthenticated
from gateway.issuer_keys import Issuer, IssuerKey, Issuers
from policies.questions import ROLES
from proofs import canonical, shapes

ALGORITHMS = {"OKP": ("EdDSA", "Ed25519"), "EC": ("ES256",), "RSA": ("RS256",)}
"""By the key's type, never by the token's word (RFC 8725 §3.1). RFC 9864 renamed EdDSA; issuers still say both."""

warnings.filterwarnings("ignore", message="EdDSA is deprecated")  # both names verify the same Ed25519 signature

TOKEN_BYTES_MAX = 8 * 1024  # A larger token has always been an attack or a mistake.
CACHE_MAX = 10_000  # About 10 MB of principals.
SKEW_SECONDS = 30  # Clocks of issuer and gateway may differ by this much, for `iat` and `nbf` only.
DELEGATES_MAX = 8  # A longer delegation has always been a mistake or an attack.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}")
_HEADER_MEMBERS = {"alg", "kid", "typ"}


@unique
class PrincipalKind(StrEnum):
    """Agents are subject to autonomy levels, people to approvals alone."""

    AGENT = "agent"
    PERSON = "person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks, in one tenant. Its existence means that a configured issuer vouched for every member."""

    tenant: str
    kind: PrincipalKind
    id: str
    """Agent id, or person id: two accounts of one person are one principal."""
    subject: str | None
    """On whose behalf an agent acts; None when it acts for itself."""
    subject_person: str | None
    delegates: tuple[str, ...]
    """Every actor of the chain, outermost first, without the principal."""
    roles: tuple[str, ...]
    """Sorted. Empty for agents."""
    tools: frozenset[str]
    """An agent's registration: the tools that it may ask for."""
    issued_at: int
    expires_at: int
    reference: str = field(init=False)
    """`agent/<id>` or `person/<id>`: what every entry names the principal by."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reference", f"{self.kind.value}/{self.id}")

    def document(self) -> dict[str, Any]:
        """What the ledger keeps, to exclude these persons from approving."""
        return {
            "kind": self.kind.value,
            "id": self.id,
            "subject": self.subject or "",
            "subject_person": self.subject_person or "",
            "delegates": list(self.delegates),
        }


class Identity:
    """Verifies tokens."""

    def __init__(self, issuers: Issuers, clock: Clock) -> None:
        self._issuers = issuers
        self._clock = clock
        self._cache: OrderedDict[bytes, tuple[Principal, IssuerKey]] = OrderedDict()
        self._edition = issuers.edition

    def identify(self, authorization: bytes | None) -> Principal:
        """
        The principal of an Authorization header.

        Raises `Unauthenticated`; its reason says which rule failed, never what the token held. Raises `Unavailable`
        when the keys cannot be read.
        """
        token = _bearer(authorization)
        digest = hashlib.sha256(token).digest()
        now = self._clock.now_ms() // 1000
        issuers = self._issuers.current()
        if self._edition != self._issuers.edition:
            self._edition = self._issuers.edition
            self._cache.clear()
        known = self._cache.get(digest)
        if known is None:
            known = self._cache[digest] = self._verify(token, issuers, now)
            if len(self._cache) > CACHE_MAX:
                self._cache.popitem(last=False)
        principal, key = known
        if principal.expires_at <= now:
            raise Unauthenticated("token_expired")
        if not key.counts(now):
            raise Unauthenticated("token_key", "the issuer's key is past its time, or before it")
        return principal

    def _verify(self, token: bytes, issuers: Mapping[str, Issuer], now: int) -> tuple[Principal, IssuerKey]:
        header, claims = _open(token)
        issuer = issuers.get(claims.get("iss", "")) if isinstance(claims.get("iss"), str) else None
        if issuer is None:
            raise Unauthenticated("token_issuer", "the issuer is not configured")
        key = issuer.keys.get(header["kid"])
        if key is None:
            raise Unauthenticated("token_key", "the issuer's key file has no such key")
        algorithms = ALGORITHMS[key.public.key_type]
        if header["alg"] not in algorithms:
            raise Unauthenticated("token_algorithm", "the algorithm is not the one of the key")
        try:
            jws.deserialize_compact(token.decode("ascii"), key.public, algorithms=list(algorithms))
        except (JoseError, ValueError) as error:
            raise Unauthenticated("token_signature", "the signature does not verify") from error
        _require_times(claims, now)
        if claims.get("aud") not in (issuer.audience, [issuer.audience]):
            # A token for several audiences could be replayed here by any of the others.
            raise Unauthenticated("token_audience", "the token is not for this gateway alone")
        principal = _principal(claims)
        if principal.tenant not in issuer.tenants & self._issuers.tenants:
            raise Unauthenticated("token_claims", "the issuer does not speak for this tenant")
        return principal, key


def _bearer(authorization: bytes | None) -> bytes:
    if not authorization:
        raise Unauthenticated("token_missing")
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer" or not token or b" " in token:
        raise Unauthenticated("token_malformed", "expected `Authorization: Bearer TOKEN`")
    if len(token) > TOKEN_BYTES_MAX:
        raise Unauthenticated("token_malformed", "the token is too long")
    return token


def _open(token: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """Header and claims, read strictly: duplicate members, floats and unknown header members are refused."""
    parts = token.split(b".")
    if len(parts) != 3:
        raise Unauthenticated("token_malformed", "expected three parts")
    try:
        header, claims = (canonical.parse(_base64url(part)) for part in parts[:2])
    except (ValueError, canonical.Malformed, canonical.OutsideProfile) as error:
        raise Unauthenticated("token_malformed", "header or claims cannot be read") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unauthenticated("token_malformed", "header and claims must be objects")
    # crit, jku, x5u, x5c, jwk, b64: none of them is ever followed (RFC 8725 §3.10).
    if not set(header) <= _HEADER_MEMBERS or not all(isinstance(value, str) for value in header.values()):
        raise Unauthenticated("token_header", "only alg, kid and typ are understood")
    named = {name: str(value) for name, value in header.items()}
    if "alg" not in named or not _ID.fullmatch(named.get("kid", "")):
        raise Unauthenticated("token_key", "a key id is needed")
    return named, claims


def _base64url(part: bytes) -> bytes:
    return base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _require_times(claims: Mapping[str, Any], now: int) -> None:
    for name in ("exp", "iat"):
        if type(claims.get(name)) is not int:
            raise Unauthenticated("token_times", f"`{name}` must be an integer")
    if claims["exp"] <= now:
        raise Unauthenticated("token_expired")
    if claims["iat"] > now + SKEW_SECONDS:
        raise Unauthenticated("token_times", "`iat` is in the future")
    if "nbf" in claims and (type(claims["nbf"]) is not int or claims["nbf"] > now + SKEW_SECONDS):
        raise Unauthenticated("token_times", "`nbf` is in the future")


def _principal(claims: Mapping[str, Any]) -> Principal:
    for name in ("sub", "jti", "tenant", "kind"):
        if not isinstance(claims.get(name), str) or not _ID.fullmatch(claims[name]):
            raise Unauthenticated("token_claims", f"`{name}` must be an identifier")
    if not shapes.NAME.fullmatch(claims["tenant"]):
        raise Unauthenticated("token_claims", "`tenant` must be a tenant name")
    try:
        kind = PrincipalKind(claims["kind"])
    except ValueError as error:
        raise Unauthenticated("token_claims", "`kind` must be agent or person") from error
    chain = _actors(claims.get("act"))
    if chain and kind is not PrincipalKind.AGENT:
        raise Unauthenticated("token_claims", "only an agent may act for a subject")
    person = claims.get("person", "")
    if not isinstance(person, str) or (person and not shapes.NAME.fullmatch(person)):
        # Of a subject too: who is excluded from approving is compared with who approves, letter by letter.
        raise Unauthenticated("token_claims", "`person` must be a plain name")
    if not person and (chain or kind is PrincipalKind.PERSON):
        # Beside `act` too: a subject known by an account alone could approve its own agent under another account.
        raise Unauthenticated("token_claims", "`person` is needed for a person, and for the subject of a delegation")
    is_person = kind is PrincipalKind.PERSON
    name = person if is_person else (chain[0] if chain else claims["sub"])
    if not shapes.NAME.fullmatch(name):
        # A principal that the log's forms cannot name could not be approved, switched off or searched for.
        raise Unauthenticated("token_claims", "the principal's id must be a plain name")
    return Principal(
        tenant=claims["tenant"],
        kind=kind,
        id=name,
        subject=claims["sub"] if chain else None,
        subject_person=person or None,
        delegates=tuple(chain[1:]),
        roles=_roles(claims.get("roles", [])) if is_person else (),
        tools=_tools(claims.get("tools", [])),
        issued_at=claims["iat"],
        expires_at=claims["exp"],
    )


def _actors(act: Any) -> list[str]:
    chain: list[str] = []
    while act is not None:
        actor = act.get("sub") if isinstance(act, dict) else None
        if not isinstance(actor, str) or not shapes.NAME.fullmatch(actor) or len(chain) == DELEGATES_MAX:
            raise Unauthenticated("token_claims", "`act` must be a chain of at most 8 actors with plain names")
        chain.append(actor)
        act = act.get("act")
    return chain


def _roles(roles: Any) -> tuple[str, ...]:
    if not isinstance(roles, list) or not all(role in ROLES for role in roles if isinstance(role, str)):
        raise Unauthenticated("token_claims", "`roles` must be a list of known roles")
    if not all(isinstance(role, str) for role in roles):
        raise Unauthenticated("token_claims", "`roles` must be a list of known roles")
    return tuple(sorted(set(roles)))


def _tools(tools: Any) -> frozenset[str]:
    if not isinstance(tools, list) or len(tools) > 500 or not all(isinstance(tool, str) for tool in tools):
        raise Unauthenticated("token_claims", "`tools` must be a list of tool names")
    return frozenset(tools)
