"""Heads and framings with two readings, or none: 4xx, on every kind of route, and never another request's answer."""

from __future__ import annotations

import time

import pytest

from deploy.demo.world import Gateway
from tests.world import wire
from tests.world.stories import Story, eventually
from tests.world.wire import RawAnswer

CALL = b'{"tool":"get_order","arguments":{"order_id":"ord_1001"}}'
SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def head(story: Story, line: str, *headers: str) -> bytes:
    """A request head of somebody who may ask, with these lines."""
    token = story.person("auditor").token
    known = ["Host: localhost", f"Authorization: Bearer {token}", "Content-Type: application/json"]
    return "\r\n".join([line, *known, *headers]).encode("latin-1") + b"\r\n\r\n"


def asked(story: Story, gateway: Gateway, line: str, *headers: str, body: bytes = b"") -> RawAnswer:
    """What the gateway says to that."""
    return wire.send(gateway.url, head(story, line, *headers) + body)


POST = "POST /v1/calls HTTP/1.1"
LENGTH = f"Content-Length: {len(CALL)}"
CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CALL), CALL)


def test_the_request_that_the_attacks_change_is_good(story: Story, gateway: Gateway) -> None:
    """
    With a length, in chunks, and after `100 Continue` the same request is answered 200.
    """
    answers = [
        asked(story, gateway, POST, LENGTH, body=CALL),
        asked(story, gateway, POST, CHUNKED, body=CHUNKS),
        asked(story, gateway, POST, LENGTH, "Expect: 100-continue", body=CALL),
    ]

    assert [answer.status for answer in answers] == [200] * 3


FRAMINGS = {
    "length and chunks": ([LENGTH, CHUNKED], CHUNKS),
    "chunks and length": ([CHUNKED, "Content-Length: 5"], CHUNKS),
    "another coding first": (["Transfer-Encoding: gzip, chunked"], CHUNKS),
    "another coding last": (["Transfer-Encoding: chunked, identity"], CHUNKS),
    "a coding that sounds like it": (["Transfer-Encoding: xchunked"], CHUNKS),
    "chunked twice": ([CHUNKED, CHUNKED], CHUNKS),
    "a blank before the colon": (["Transfer-Encoding : chunked"], CHUNKS),
    "two equal lengths": ([LENGTH, LENGTH], CALL),
    "a list of lengths": (["Content-Length: 5, 5"], CALL),
    "a signed length": (["Content-Length: +5"], CALL),
    "a negative length": (["Content-Length: -5"], CALL),
    "a hexadecimal length": (["Content-Length: 0x38"], CALL),
    "a length of thirty digits": (["Content-Length: " + "9" * 30], CALL),
    "a chunk of no size": ([CHUNKED], b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk of negative size": ([CHUNKED], b"-1\r\n{}\r\n0\r\n\r\n"),
    "a chunk of endless size": ([CHUNKED], b"f" * 18 + b"\r\n{}\r\n0\r\n\r\n"),
    "a chunk longer than its size": ([CHUNKED], b"2\r\n{}xx0\r\n\r\n"),
    "a switch of protocols with a body": ([LENGTH, "Connection: Upgrade", "Upgrade: h2c"], CALL),
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_a_body_has_one_length(story: Story, gateway: Gateway, name: str) -> None:
    """
    J04: framings that two readers could read differently are 400 with a reason, and the connection ends.
    """
    headers, body = FRAMINGS[name]

    answers = wire.talk(gateway.url, head(story, POST, *headers) + body, SMUGGLED, pause_seconds=0.02)

    assert [(answer.status, answer.headers["content-type"]) for answer in answers] == [
        (400, "application/problem+json")
    ]
    assert answers[0].reason in {"malformed_http", "upgrade_unsupported"}


def test_chunks_of_an_old_protocol_are_no_framing(story: Story, gateway: Gateway) -> None:
    """
    J04: HTTP/1.0 knows no chunks (RFC 9112 §6.1).
    """
    answer = asked(story, gateway, "POST /v1/calls HTTP/1.0", CHUNKED, body=CHUNKS)

    assert (answer.status, answer.reason) == (400, "malformed_http")


@pytest.mark.parametrize("route", ["/v1/tools", "/v1/audit/export", "/healthz"])
@pytest.mark.parametrize("protocol", ["websocket", "h2c", "TLS/1.0"])
def test_no_other_protocol_is_spoken(story: Story, gateway: Gateway, route: str, protocol: str) -> None:
    """
    J10: a switch of protocols is refused on every route, and what follows it is not read as a request.
    """
    asks = head(story, f"GET {route} HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}")

    answers = wire.talk(gateway.url, asks, SMUGGLED, pause_seconds=0.05)

    assert [(answer.status, answer.reason) for answer in answers] == [(400, "upgrade_unsupported")]


LINES = {
    "HTTP/0.9": "GET /v1/tools HTTP/0.9",
    "HTTP/2.0": "GET /v1/tools HTTP/2.0",
    "HTTP/9.9": "GET /v1/tools HTTP/9.9",
    "no version": "GET /v1/tools",
    "lower case": "get /v1/tools HTTP/1.1",
    "a made-up method": "FROB /v1/tools HTTP/1.1",
    "a tunnel": "CONNECT localhost:80 HTTP/1.1",
    "a tunnel to a path": "CONNECT /v1/tools HTTP/1.1",
    "an absolute target": "GET http://localhost/v1/tools HTTP/1.1",
    "an absolute target elsewhere": "GET http://evil.example/v1/tools HTTP/1.1",
    "an absolute target with a user": "GET http://a@localhost/v1/tools HTTP/1.1",
    "another scheme": "GET file:///etc/passwd HTTP/1.1",
    "an authority": "GET localhost:80 HTTP/1.1",
    "a star": "OPTIONS * HTTP/1.1",
    "no target": "GET  HTTP/1.1",
    "no slash": "GET v1/tools HTTP/1.1",
    "a fragment": "GET /v1/tools#x HTTP/1.1",
    "a blank": "GET /v1/tools /x HTTP/1.1",
    "bytes above ASCII": "GET /v1/tools/\xc3\xa9 HTTP/1.1",
    "a NUL": "GET /v1/to\0ols HTTP/1.1",
    "a backslash": "GET /v1\\tools HTTP/1.1",
    "an escaped slash": "GET /v1%2ftools HTTP/1.1",
    "an escaped backslash": "GET /v1%5Ctools HTTP/1.1",
    "an escaped dot": "GET /%2e%2e/v1/tools HTTP/1.1",
    "an escaped letter": "GET /v1/%74ools HTTP/1.1",
    "an escaped NUL": "GET /v1/bundles/%00 HTTP/1.1",
    "an escaped line end": "GET /v1/tools%0d%0aX-A:a HTTP/1.1",
    "half an escape": "GET /v1/tools% HTTP/1.1",
    "an escape twice over": "GET /v1/tools%253A HTTP/1.1",
    "an escaped surrogate": "GET /v1/bundles/%ed%a0%80 HTTP/1.1",
}


@pytest.mark.parametrize("name", LINES)
def test_a_request_line_has_one_reading(story: Story, gateway: Gateway, name: str) -> None:
    """
    J11, A10: other versions, methods and forms of target, and escapes in a path, are 400 with a reason, token or not.
    """
    answers = [
        asked(story, gateway, LINES[name]),
        wire.send(gateway.url, LINES[name].encode("latin-1") + b"\r\nHost: localhost\r\n\r\n"),
    ]

    assert [answer.status for answer in answers] == [400, 400]
    assert {answer.reason for answer in answers} <= {"malformed_http", "target_malformed", "upgrade_unsupported"}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}


def test_the_colon_of_a_digest_may_be_escaped(story: Story, gateway: Gateway) -> None:
    """
    The one escape that clients write into our paths is read as what it is.
    """
    digest = story.client.get("/v1/bundles", story.person("auditor").token).document["in_force"]["bundle"]

    escaped = asked(story, gateway, f"GET /v1/bundles/{digest.replace(':', '%3A')} HTTP/1.1")
    plain = asked(story, gateway, f"GET /v1/bundles/{digest} HTTP/1.1")

    assert (escaped.status, escaped.body) == (plain.status, plain.body)


FIELDS = {
    "a fold": "X-A: a\r\n b",
    "a folded token": "Authorization: Bearer\r\n a.b.c",
    "a carriage return": "X-A: a\rb",
    "a line feed": "X-A: a\n\nb",
    "a NUL": "X-A: a\0b",
    "a name with a blank": "X A: b",
    "no name": ": b",
    "no colon": "X-A",
    "a second host": "Host: localhost",
    "a second token": "Authorization: Bearer a.b.c",
    "a second media type": "Content-Type: application/json",
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_one_line(story: Story, gateway: Gateway, name: str) -> None:
    """
    J10: folds, bare line ends, NUL and repeated single fields are 400 (401 for the token), with a reason.
    """
    answer = asked(story, gateway, "GET /v1/tools HTTP/1.1", FIELDS[name])

    assert answer.status in {400, 401}
    assert answer.reason in {"malformed_http", "header_repeated", "token_malformed"}


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff" * 99]
)
def test_what_is_no_request_is_recorded(story: Story, gateway: Gateway, rubbish: bytes) -> None:
    """
    G12, J10: bytes that are no request are 400, and a note on the chain of tenant `system` says so.
    """
    before = story.size("system")

    answer = wire.send(gateway.url, rubbish)

    assert (answer.status, answer.reason) == (400, "malformed_http")
    assert eventually(lambda: story.size("system") > before)
    assert "malformed_http" in {entry.get("reason") for entry in story.entries("system", after=before)}


@pytest.mark.parametrize(
    "after", [b"\x00\xff rubbish\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 80_000], ids=["rubbish", "long"]
)
def test_a_refusal_never_stands_for_the_answer_before_it(story: Story, gateway: Gateway, after: bytes) -> None:
    """
    J04: what follows a request on its connection, while it runs, is refused after its answer: a 4xx would have said
    that nothing reached the tool.
    """
    parked = story.parked_refund()
    waiting = wire.request(
        "GET", f"/v1/calls/{parked.call}?wait=1", headers=[("Authorization", f"Bearer {parked.token}")]
    )

    started = time.monotonic()
    answers = wire.talk(gateway.url, waiting, after, pause_seconds=0.1)

    assert [answer.status for answer in answers] == [200]
    assert time.monotonic() - started < 5


def test_requests_in_a_row_are_answered_in_their_order(story: Story, gateway: Gateway) -> None:
    """
    J04: pipelined requests are answered one by one; after the first that is refused the connection ends.
    """
    token = [("Authorization", f"Bearer {story.person('auditor').token}")]
    row = [wire.request("GET", path, headers=token) for path in ("/v1/tools/none", "/v1/nothing", "/v1/keys")]
    broken = wire.request("POST", "/v1/calls", headers=[*token, ("Transfer-Encoding", "chunked")]) + b"zz\r\n"

    answers = [wire.talk(gateway.url, b"".join(row) + bad + SMUGGLED) for bad in (b"GET /v1%2ftools\r\n\r\n", broken)]

    for told in answers:
        assert [answer.status for answer in told] == [404, 404, 200]


QUERIES = [
    ("GET", "/v1/calls?tenant=globex"),
    ("GET", "/v1/calls?state=parked&state=executed"),
    ("GET", "/v1/calls?state[]=parked"),
    ("GET", "/v1/calls?before_ms=1&before_ms=2"),
    ("GET", "/v1/tools?x=1"),
    ("GET", "/v1/tools/get_order?tenant=globex"),
    ("GET", "/v1/audit/export?tenant=globex"),
    ("GET", "/v1/audit/entries?after=1&%61fter=2"),
    ("GET", "/v1/audit/checkpoint?tenant=acme&tenant=globex"),
    ("GET", "/v1/bundles?%ff=%00"),
    ("POST", "/v1/calls?dry_run=true"),
]


@pytest.mark.parametrize(("method", "target"), QUERIES)
def test_a_query_says_what_the_route_takes_once(story: Story, gateway: Gateway, method: str, target: str) -> None:
    """
    J11, B05: a member of a query that the route does not know, another tenant's name among them, or that comes twice
    is 422.
    """
    answer = asked(story, gateway, f"{method} {target} HTTP/1.1", *([LENGTH] if method == "POST" else []), body=CALL)

    assert (answer.status, answer.reason) == (422, "query_malformed")


def test_cancelling_takes_no_word(story: Story, gateway: Gateway) -> None:
    """
    B05, J07: a body that says anything, or is none, is refused before the call is looked at; `{}` says nothing.
    """
    parked = story.parked_refund()
    path, broken = f"/v1/calls/{parked.call}/cancel", [b'{"tenant":"globex"}', b"{", b"[]", b"\xff"]

    answers = [story.client.request("POST", path, parked.token, body=raw) for raw in broken]
    typed = [
        story.client.request("POST", path, parked.token, body=raw, headers={"Content-Type": "application/json"})
        for raw in broken
    ]
    state = story.client.get(f"/v1/calls/{parked.call}", parked.token).document["status"]
    done = story.client.request("POST", path, parked.token, body={})

    assert [answer.status for answer in answers] == [415] * 4
    assert [answer.status for answer in typed] == [422, 400, 422, 400]
    assert (state, done.document["status"]) == ("parked", "cancelled")


UPLOADS = ["/v1/bundles", "/v1/tools"]
FOREIGN_MEDIA = [
    "text/html",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "text/plain",
    "*/*",
]


@pytest.mark.parametrize("path", UPLOADS)
def test_an_upload_is_no_other_media_and_not_packed(story: Story, path: str) -> None:
    """
    J04, J05: an upload that says it is something else, or that is packed, is 415; without a word its bytes decide.
    """
    token = story.person("security").token
    told = [{"Content-Type": media} for media in FOREIGN_MEDIA] + [{"Content-Encoding": "gzip"}]
    taken: list[dict[str, str]] = [{}, {"Content-Type": "application/yaml"}, {"Content-Type": "application/json"}]

    refused = [story.client.request("POST", path, token, body=b"{}", headers=headers) for headers in told]
    judged = [story.client.request("POST", path, token, body=b"{}", headers=headers) for headers in taken]

    assert [answer.status for answer in refused] == [415] * len(told)
    assert [answer.status for answer in judged] == [422] * len(taken)
