"""Tokens forged, altered, replayed elsewhere or sent twice: nobody comes in, and nothing in a token is ever fetched."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from joserfc.jwk import OctKey
from joserfc.jws import serialize_compact

from deploy.demo.cast import AUDIENCE, ISSUER
from proofs.keys import PrivateKey
from tests.world import surface, wire
from tests.world.stories import Story

HOUR = 3600


def encoded(part: bytes | Mapping[str, Any]) -> str:
    """One part of a token."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changed: Any) -> dict[str, Any]:
    """The claims of an operator's good token, some changed; None takes one away."""
    now = int(time.time())
    good: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "per_operator_1",
        "iat": now,
        "exp": now + HOUR,
        "jti": secrets.token_hex(8),
        "tenant": "acme",
        "kind": "person",
        "person": "per_operator_1",
        "roles": ["operator"],
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def minted(
    story: Story, header: bytes | Mapping[str, Any] | None = None, body: bytes | None = None, **changed: Any
) -> str:
    """A token with any header and claims, under the issuer's own signature."""
    issuer = story.world.cast.issuer.key
    seed = issuer.as_dict(private=True)["d"]
    key = PrivateKey.from_seed(base64.urlsafe_b64decode(seed + "=" * (-len(seed) % 4)))
    head = header if header is not None else {"alg": "EdDSA", "kid": issuer.kid}
    signed = f"{encoded(head)}.{encoded(body if body is not None else claims(**changed))}"
    return f"{signed}.{encoded(key.sign(signed.encode()))}"


def refused(story: Story, token: str) -> str:
    """The reason of the 401 that a token meets, at the call door and at a plain route alike."""
    call = story.client.call(token, "get_order", {"order_id": "ord_1001"})
    plain = story.client.get("/v1/tools", token)
    assert (call.status, plain.status) == (401, 401), (call.document, plain.document)
    assert call.headers["www-authenticate"].startswith("Bearer")
    assert call.reason == plain.reason
    return call.reason


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[str, list[str]]]:
    """A port of ours, and everybody who ever connected to it."""
    met: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))

    def listen() -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return
            met.append(str(address))
            connection.close()

    threading.Thread(target=listen, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/keys", met
    server.close()


def test_the_token_that_the_attacks_change_is_good(story: Story) -> None:
    """
    A token with none of the faults below is taken: each refusal has the fault for its cause.
    """
    assert story.client.get("/v1/tools", minted(story)).status == 200


@pytest.mark.parametrize(
    "values",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        ["Basic b3BlcmF0b3I6eA=="],
        ["Bearer a.b"],
        ["Bearer a.b.c.d"],
        ["Bearer ..", "Bearer .."],
        ["Bearer \xff\xfe.\x80.\x81"],
        ["Bearer " + "a" * 9000],
    ],
    ids=["none", "empty", "scheme", "blank", "basic", "two-parts", "four-parts", "two-headers", "bytes", "long"],
)
def test_a_request_without_one_whole_bearer_token_is_nobodys(story: Story, gateway: Any, values: list[str]) -> None:
    """
    A01: no, empty, two or malformed Authorization headers are 401 with a challenge, at the call door too.
    """
    headers = [("Authorization", value) for value in values] + [("Content-Type", "application/json")]

    answers = [
        wire.send(gateway.url, wire.request("GET", "/v1/tools", headers=headers)),
        wire.send(gateway.url, wire.request("POST", "/v1/calls", headers=headers, body=b"{}")),
    ]

    assert [answer.status for answer in answers] == [401, 401]
    assert all(answer.headers["www-authenticate"].startswith("Bearer") for answer in answers)


def test_two_good_tokens_are_no_token(story: Story, gateway: Any) -> None:
    """
    A01: two Authorization headers are two opinions on who asks, also when each is good.
    """
    good = ("Authorization", f"Bearer {minted(story)}")

    answer = wire.send(gateway.url, wire.request("GET", "/v1/tools", headers=[good, good]))

    assert (answer.status, answer.reason) == (401, "token_malformed")


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "NONE", "", "HS256", "eddsa", "RS256", "ES256"])
def test_the_algorithm_is_the_keys_and_never_the_tokens_word(story: Story, algorithm: str) -> None:
    """
    A02: `none` in any case, another key type's algorithm and an unsigned token are 401.
    """
    kid = story.world.cast.issuer.key.kid
    token = minted(story, {"alg": algorithm, "kid": kid})
    unsigned = token.rsplit(".", 1)[0] + "."

    assert refused(story, token) == "token_algorithm"
    assert refused(story, unsigned) == "token_algorithm"


def test_a_public_key_is_no_secret_to_sign_with(story: Story) -> None:
    """
    A02: an HMAC keyed with the issuer's public key, in every form it is published in, verifies nothing.
    """
    issuer = story.world.cast.issuer
    public = issuer.key.as_dict(private=False)
    raw = base64.urlsafe_b64decode(str(public["x"]) + "=")
    forms = [raw, str(public["x"]).encode(), json.dumps(public).encode()]

    for secret in forms:
        header = {"alg": "HS256", "kid": issuer.key.kid}
        token = serialize_compact(header, json.dumps(claims()).encode(), OctKey.import_key(secret), ["HS256"])
        assert refused(story, token) == "token_algorithm"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b'{"alg":"EdDSA","kid":"dev-1","crit":["x"],"x":1}', "token_header"),
        (b'{"alg":"EdDSA","kid":"dev-1","b64":false,"crit":["b64"]}', "token_header"),
        (b'{"alg":"none","alg":"EdDSA","kid":"dev-1"}', "token_malformed"),
        (b'{"alg":"EdDSA","kid":"dev-1","kid":"dev-2"}', "token_malformed"),
        (b'{"alg":["EdDSA"],"kid":"dev-1"}', "token_header"),
        (b'["EdDSA"]', "token_malformed"),
        (b'{"alg":"EdDSA"}', "token_key"),
        (b'{"kid":"dev-1"}', "token_key"),
        (b"\xff\xfe", "token_malformed"),
    ],
)
def test_a_header_has_one_reading_or_none(story: Story, header: bytes, reason: str) -> None:
    """
    A03: critical extensions, duplicate members and other shapes of a JOSE header are 401.
    """
    assert refused(story, minted(story, header)) == reason


@pytest.mark.parametrize(
    "kid",
    [
        "unknown",
        "../../../../etc/passwd",
        "dev-1' or '1'='1",
        "k" * 4000,
        "http://127.0.0.1/keys",
        "",
        "dev-1\x00",
        " dev-1",
        "dev-1\n",
    ],
)
def test_a_key_id_is_looked_up_and_nothing_else(story: Story, kid: str) -> None:
    """
    A04: an unknown, path-like, SQL-like, long or padded key id is 401.
    """
    assert refused(story, minted(story, {"alg": "EdDSA", "kid": kid})) in {"token_key", "token_malformed"}


@pytest.mark.parametrize("member", ["jku", "x5u", "jwk", "x5c"])
def test_a_token_cannot_make_the_gateway_fetch_a_key(
    story: Story, listener: tuple[str, list[str]], member: str
) -> None:
    """
    A04: keys named or carried by a token are 401, and the listener that they name is never called.
    """
    url, met = listener
    own = PrivateKey.generate()
    key = {"kty": "OKP", "crv": "Ed25519", "kid": "dev-1", "x": own.public.text}
    header = {"alg": "EdDSA", "kid": "dev-1", member: {"jwk": key, "x5c": [url]}.get(member, url)}
    signed = f"{encoded(header)}.{encoded(claims(iss=url))}"
    own_token = f"{signed}.{encoded(own.sign(signed.encode()))}"

    assert refused(story, own_token) == "token_header"
    assert refused(story, minted(story, header)) == "token_header"
    assert refused(story, minted(story, iss=url)) == "token_issuer"
    assert met == []


NOW = int(time.time())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"exp": NOW - 1}, "token_expired"),
        ({"exp": 0}, "token_expired"),
        ({"exp": None}, "token_times"),
        ({"exp": str(NOW + HOUR)}, "token_times"),
        ({"exp": NOW + HOUR + 0.5}, "token_malformed"),
        ({"exp": True}, "token_times"),
        ({"exp": [NOW + HOUR]}, "token_times"),
        ({"nbf": NOW + HOUR}, "token_times"),
        ({"nbf": "0"}, "token_times"),
        ({"iat": None}, "token_times"),
        ({"iat": NOW + HOUR}, "token_times"),
    ],
)
def test_a_token_has_its_time(story: Story, changed: dict[str, Any], reason: str) -> None:
    """
    A05: expired, not yet valid, from the future, or with times that are no integers: 401.
    """
    assert refused(story, minted(story, **changed)) == reason


@pytest.mark.parametrize("exp", [b"1e30", b"1e10", b"99999999999999999999", b"NaN", b"Infinity", b"-0"])
def test_a_time_outside_the_profile_is_no_time(story: Story, exp: bytes) -> None:
    """
    A05: `exp` as 1e30, NaN or an integer of any size beyond 2^53 is 401, never a token without end.
    """
    body = json.dumps(claims(exp=1)).encode().replace(b'"exp": 1', b'"exp": ' + exp)

    assert refused(story, minted(story, body=body)) == "token_malformed"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "https://issuer.example"}, "token_issuer"),
        ({"iss": ISSUER + "/"}, "token_issuer"),
        ({"iss": [ISSUER]}, "token_issuer"),
        ({"iss": None}, "token_issuer"),
        ({"aud": "another"}, "token_audience"),
        ({"aud": None}, "token_audience"),
        ({"aud": [AUDIENCE, "another"]}, "token_audience"),
        ({"aud": [AUDIENCE, AUDIENCE]}, "token_audience"),
        ({"aud": {"0": AUDIENCE}}, "token_malformed"),
        ({"tenant": "initech"}, "token_claims"),
        ({"tenant": "ACME"}, "token_claims"),
        ({"tenant": ["acme"]}, "token_claims"),
        ({"kind": "system"}, "token_claims"),
        ({"roles": ["root"]}, "token_claims"),
        ({"roles": "operator"}, "token_claims"),
        ({"roles": [["operator"]]}, "token_claims"),
        ({"roles": {"operator": 1}}, "token_claims"),
        ({"person": None}, "token_claims"),
        ({"sub": None}, "token_claims"),
        ({"jti": None}, "token_claims"),
        ({"act": {"sub": "agent-x"}}, "token_claims"),
        ({"kind": "agent", "act": {"sub": "agent-x"}, "person": None}, "token_claims"),
    ],
)
def test_a_token_for_somebody_else_is_not_for_us(story: Story, changed: dict[str, Any], reason: str) -> None:
    """
    A06: a good signature over another issuer, audience, tenant or kind is 401; a list with others besides us too.
    """
    assert refused(story, minted(story, **changed)) == reason


def test_an_audience_list_of_us_alone_is_for_us(story: Story) -> None:
    """
    A06: the documented rule for lists: exactly this gateway, and nobody who could replay the token here.
    """
    assert story.client.get("/v1/tools", minted(story, aud=[AUDIENCE])).status == 200


def test_a_changed_claim_breaks_the_signature(story: Story) -> None:
    """
    A06: a token whose claims were exchanged after signing is 401, also right after the good one was seen.
    """
    good = minted(story)
    assert story.client.get("/v1/tools", good).status == 200
    head, _, signature = good.split(".")

    forged = f"{head}.{encoded(claims(roles=['founder'], person='per_founder_1'))}.{signature}"

    assert refused(story, forged) == "token_signature"


@pytest.mark.parametrize(("method", "path"), surface.guarded())
def test_every_route_but_the_public_ones_wants_a_token(gateway: Any, method: str, path: str) -> None:
    """
    A11: each route of the router and of the OpenAPI document is 401 without a token, whatever the body.
    """
    headers = [("Content-Type", "application/json")]
    asked = wire.request(method, surface.filled(path), headers=headers, body=b"{}" if method == "POST" else b"")

    answer = wire.send(gateway.url, asked)

    assert (answer.status, answer.reason) == (401, "token_missing")


def test_router_and_document_name_the_same_routes() -> None:
    """
    A11: no route is in the router and missing from the OpenAPI document, or the other way round.
    """
    assert surface.routes() == surface.described()


@pytest.mark.parametrize("path", sorted(surface.PUBLIC))
def test_the_public_routes_are_the_named_ones(gateway: Any, path: str) -> None:
    """
    A11: the explicit public list answers without a token.
    """
    query = "?tenant=acme" if path.endswith("checkpoint") else ""

    assert wire.send(gateway.url, wire.request("GET", path + query)).status == 200


NOT_FOR_RUNNERS = [
    ("POST", "/v1/calls/{call}/approvals"),
    ("POST", "/v1/calls/{call}/rejections"),
    ("POST", "/v1/verdicts"),
    ("POST", "/v1/tools"),
    ("GET", "/v1/bundles"),
    ("POST", "/v1/bundles"),
    ("GET", "/v1/audit/entries"),
    ("GET", "/v1/audit/export"),
]


@pytest.mark.parametrize(("method", "path"), NOT_FOR_RUNNERS)
def test_a_runner_does_not_govern_its_own_runs(story: Story, method: str, path: str) -> None:
    """
    A12: an agent that approves, uploads, or reads bundles and the log is refused with 403, for its own call too.
    """
    agent = story.agent(1)
    own = story.refund(agent.token, story.order(), 1_000)
    assert own.status == 202

    answer = story.client.request(
        method, path.replace("{call}", own.call), agent.token, body={} if method == "POST" else None
    )

    assert (answer.status, answer.reason) == (403, "people_only")


@pytest.mark.parametrize("tool", ["engage_kill", "publish_bundle", "set_autonomy", "register_key", "release_kill"])
def test_a_runner_does_not_ask_for_governance(story: Story, tool: str) -> None:
    """
    A12: also an agent whose token names governance tools is refused, without anybody being asked to approve.
    """
    arguments: dict[str, dict[str, Any]] = {
        "engage_kill": {"scope": "tool", "target": "get_order", "reason": "mine"},
        "publish_bundle": {"digest": "sha256:" + "0" * 64},
        "set_autonomy": {"agent": "agent-l1", "action": "*", "level": 3},
        "register_key": {"person": "per_x", "public_key": PrivateKey.generate().public.text},
        "release_kill": {"scope": "tool", "target": "get_order"},
    }
    token = story.world.cast.issuer.agent("acme", "agent-usurper", [tool])
    code = story.client.get(f"/v1/tools/{tool}", token).document["reason_codes"][0]

    answer = story.client.call(token, tool, arguments[tool], reason=code)

    assert answer.status == 403
    assert answer.reason in {"policy_denied", "invariant_violated", "fact_missing"}


FORWARDED = {
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-User": "per_founder_1",
    "Forwarded": "for=127.0.0.1;host=evil.example",
    "X-Original-URL": "/v1/audit/export",
    "X-Rewrite-URL": "/v1/audit/export",
    "X-HTTP-Method-Override": "DELETE",
    "X-Principal": "person/per_founder_1",
    "X-Tenant": "globex",
    "Lockgate-Tenant": "globex",
    "X-Roles": "founder",
    "X-Remote-User": "per_founder_1",
}


@pytest.mark.parametrize("header", FORWARDED)
def test_no_header_says_who_asks_or_for_what(story: Story, header: str) -> None:
    """
    A13: identity, tenant and route come from token and request line; such headers change no answer.
    """
    token = minted(story)
    paths = ["/v1/tools/get_order", "/v1/audit/export", "/v1/calls/call_" + "0" * 32, "/healthz"]

    plain = [story.client.request("GET", path, token) for path in paths]
    dressed = [story.client.request("GET", path, token, headers={header: FORWARDED[header]}) for path in paths]

    assert [(each.status, each.document) for each in dressed] == [(each.status, each.document) for each in plain]
    assert [each.status for each in plain] == [200, 403, 404, 200]
