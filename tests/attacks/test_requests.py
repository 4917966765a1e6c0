"""Bytes, numbers, headers and paths that have two readings, none, or no end: 4xx, never 5xx, and no effect."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from deploy.demo.world import Gateway
from tests.world import surface, wire
from tests.world.stories import REASON, REFUND, Story
from tests.world.wire import RawAnswer

KIB = 1024
BODY_MAX = 64 * KIB
PIECES_MAX = 100
"""Ten seconds of a tenth each: twenty times what the impatient gateway allows a body, on however busy a machine."""


@pytest.fixture(scope="module")
def order(story: Story) -> str:
    """The order that every attack of this page is about; at its end the journal knows nothing of it."""
    return story.order(50_000)


@pytest.fixture(scope="module", autouse=True)
def _no_effect(story: Story, order: str) -> Iterator[None]:
    yield
    assert story.effects_on(order) == []


def body(order: str, amount: str = "1250", more: str = "") -> str:
    """A refund's body as text, so that numbers and members can be anything."""
    return (
        f'{{"tool":"{REFUND}","arguments":{{"order_id":"{order}","amount_cents":{amount}}},'
        f'"reason_code":"{REASON}"{more}}}'
    )


def post(story: Story, raw: bytes | str, **headers: str) -> RawAnswer:
    """POST raw bytes to the call door as somebody of finance, whose refund would run at once."""
    given = {
        "Authorization": f"Bearer {story.person('finance').token}",
        "Content-Type": "application/json",
        "Idempotency-Key": f"attack-{time.monotonic_ns()}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    content = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass")
    url = story.world.gateways[0].url
    return wire.send(url, wire.request("POST", "/v1/calls", headers=list(given.items()), body=content))


def dry(story: Story, raw: bytes | str) -> RawAnswer:
    """The same without a wish to run."""
    return post(story, raw, Prefer="dry-run")


def test_the_request_that_the_attacks_change_is_good(story: Story, order: str) -> None:
    """
    Without the fault the request would be permitted: each refusal has the fault for its cause.
    """
    answer = dry(story, body(order))

    assert (answer.status, json.loads(answer.body)["verdict"]) == (200, "permit")


NUMBERS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "1e3",
    "10.0",
    "1250.5",
    "-0",
    "01250",
    "+1250",
    "0x10",
    "9007199254740992",
    "-9007199254740992",
    "9223372036854775808",
    "1" * 5000,
    "1_000",
    "",
    "'1250'",
]


@pytest.mark.parametrize("number", NUMBERS, ids=[number[:20] or "nothing" for number in NUMBERS])
def test_a_number_is_an_integer_of_the_profile(story: Story, order: str, number: str) -> None:
    """
    J01, J06, I03: floats, exponents, infinities, signs and integers without end are 400, never rounded.
    """
    answer = post(story, body(order, number))

    assert (answer.status, answer.reason) == (400, "malformed_json")


@pytest.mark.parametrize("number", ["0", "-1", "-1250", "100000001", "9007199254740991"])
def test_an_amount_lies_within_the_contract(story: Story, order: str, number: str) -> None:
    """
    I03: zero, negative and excessive amounts are 422, with the place and without the value.
    """
    answer = post(story, body(order, number))

    assert (answer.status, answer.reason) == (422, "contract_violated")
    assert json.loads(answer.body)["faults"][0]["pointer"] == "/amount_cents"


@pytest.mark.parametrize("value", ["true", "false", '"10"', '" 12 "', '"1_000"', "null", "[1250]", '{"value":1250}'])
def test_nothing_becomes_an_integer_that_is_none(story: Story, order: str, value: str) -> None:
    """
    J06: booleans, text and containers in the place of an integer are 422; nothing is coerced.
    """
    answer = post(story, body(order, value))

    assert (answer.status, answer.reason) == (422, "contract_violated")


def test_bytes_are_one_json_document(story: Story, order: str) -> None:
    """
    J01: invalid UTF-8, lone surrogates, NUL, byte order marks, trailing bytes and two documents are 400.
    """
    good = body(order)
    broken = [
        b"",
        b" ",
        b"\xff" + good.encode(),
        good.replace(order, "ord_\xff").encode("latin-1"),
        good.replace(order, order + r"\ud800"),
        good.replace(order, order + "\ud800"),
        good.replace(order, order + r"\u0000"),
        good.replace(order, order + "\x00"),
        "\ufeff" + good,
        good + "x",
        good + good,
        good[:-1],
        good.encode("utf-16"),
        good.replace('"', "'"),
        good[:-1] + ",}",
        good.replace("},", "},,", 1),
        "// comment\n" + good,
        "\x0c" + good,
    ]

    answers = [post(story, each) for each in broken]

    assert [(answer.status, answer.reason) for answer in answers] == [(400, "malformed_json")] * len(broken)


@pytest.mark.parametrize("text", ["ord\u200b_1", "ord\u202e_1", "caf\u0065\u0301", "\u2066ord_1"])
def test_text_has_one_form(story: Story, order: str, text: str) -> None:
    """
    J01, K02: zero-width, bidi and decomposed characters are 422 wherever they stand.
    """
    answers = [post(story, body(text)), post(story, body(order, more=f',"{text}":1'))]

    assert [(answer.status, answer.reason) for answer in answers] == [(422, "outside_profile")] * 2


def test_a_member_comes_once(story: Story, order: str) -> None:
    """
    J02: duplicate members are 400 at any depth, also when one of them is written with an escape.
    """
    good = body(order)
    doubled = [
        good[:-1] + f',"tool":"{REFUND}"}}',
        body(order, '1,"amount_cents":2'),
        body(order, r'1,"\u0061mount_cents":2'),
        body(order, more=',"x":{"y":[{"z":1,"z":1}]}'),
    ]

    answers = [post(story, each) for each in doubled]

    assert [(answer.status, answer.reason) for answer in answers] == [(400, "malformed_json")] * len(doubled)


@pytest.mark.parametrize("depth", [65, 1000, 30_000])
@pytest.mark.parametrize("form", ["[", '{"a":'])
def test_depth_is_bounded(story: Story, order: str, depth: int, form: str) -> None:
    """
    J03: nesting above 64 is 400 at once, closed or not, and the gateway goes on.
    """
    opened = form * min(depth, BODY_MAX // len(form) - 100)
    closed = opened + "1" + ("]" if form == "[" else "}") * (len(opened) // len(form))

    started = time.monotonic()
    answers = [post(story, body(order, opened)), post(story, body(order, closed))]
    took = time.monotonic() - started

    assert {answer.status for answer in answers} <= {400, 413}
    assert took < 2


@pytest.mark.parametrize(
    "raw",
    [
        b'{"tool":"issue_refund","arguments":{' + b",".join(b'"k%d":1' % number for number in range(5000)) + b"}}",
        b'{"tool":"issue_refund","arguments":[' + b"1," * 30_000 + b"1]}",
        b'{"tool":"issue_refund","arguments":{},"approvals":[' + b'"a",' * 12_000 + b'"a"]}',
        b'{"tool":"' + b"x" * 60_000 + b'","arguments":{}}',
    ],
    ids=["keys", "items", "approvals", "name"],
)
def test_width_is_bounded(story: Story, raw: bytes) -> None:
    """
    J03: what fits into the body limit is refused quickly, and the answer stays short.
    """
    started = time.monotonic()
    answer = post(story, raw)

    assert answer.status in {400, 404, 422}
    assert time.monotonic() - started < 1
    assert len(answer.body) < 4 * KIB


def test_a_body_ends_at_the_limit(story: Story, gateway: Gateway, order: str) -> None:
    """
    J04: one byte above the limit is 413, declared or counted; at the limit the body is read.
    """
    good = body(order)
    padded = good + " " * (BODY_MAX - len(good))
    token = story.person("finance").token
    chunked = [
        ("Authorization", f"Bearer {token}"),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "chunked-body"),
        ("Transfer-Encoding", "chunked"),
    ]
    chunks = b"%x\r\n%s\r\n" % (KIB, b" " * KIB) * 80 + b"0\r\n\r\n"

    assert dry(story, padded).status == 200
    assert post(story, padded + " ").status == 413
    assert wire.send(gateway.url, wire.request("POST", "/v1/calls", headers=chunked), more=chunks).status == 413


def test_a_length_that_lies_is_refused(story: Story, gateway: Gateway, order: str) -> None:
    """
    J04: a body shorter than declared, two lengths, a length with a chunked body, and no number: 400 or closed.
    """
    token = story.person("finance").token
    headers = [("Authorization", f"Bearer {token}"), ("Content-Type", "application/json"), ("Idempotency-Key", "lies")]
    raw = body(order).encode()
    lengths = [
        [("Content-Length", "10"), ("Content-Length", str(len(raw)))],
        [("Content-Length", "ten")],
        [("Content-Length", "-5")],
        [("Content-Length", "0x10")],
        [("Content-Length", "9" * 30)],
        [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
    ]

    answers = [
        wire.send(gateway.url, wire.request("POST", "/v1/calls", headers=[*headers, *given]), more=raw)
        for given in lengths
    ]

    assert {answer.status for answer in answers} <= {0, 400, 413}


def test_a_body_cut_off_has_no_effect(story: Story, gateway: Gateway, order: str) -> None:
    """
    J04: a client that goes away within its body leaves nothing behind.
    """
    raw = body(order).encode()
    parts = urlsplit(gateway.url)
    head = wire.request(
        "POST",
        "/v1/calls",
        headers=[
            ("Authorization", f"Bearer {story.person('finance').token}"),
            ("Content-Type", "application/json"),
            ("Idempotency-Key", "cut-off"),
            ("Content-Length", str(len(raw) + 10)),
        ],
    )

    with socket.create_connection((str(parts.hostname), int(parts.port or 0))) as connection:
        connection.sendall(head + raw)

    assert story.client.get("/healthz").status == 200


def test_a_compressed_body_is_not_unpacked(story: Story, order: str) -> None:
    """
    J04: any content encoding is 415, a gzip bomb among them; bytes of gzip without the header are 400.
    """
    bomb = gzip.compress(b" " * 30_000_000)

    answers = [post(story, bomb, Content_Encoding=encoding) for encoding in ("gzip", "deflate", "br", "gzip, gzip")]

    assert [(answer.status, answer.reason) for answer in answers] == [(415, "content_encoding")] * 4
    assert post(story, bomb).status == 400


@pytest.fixture(scope="module")
def impatient(story: Story) -> Iterator[Gateway]:
    """A second gateway of the same world that waits half a second for a body."""
    gateway = story.world.gateway(settings={"LOCKGATE_BODY_SECONDS_MAX": "0.5"})
    yield gateway
    gateway.stop()


def test_a_slow_body_is_not_waited_for(story: Story, impatient: Gateway) -> None:
    """
    J04: a body that takes longer than its time is 408 and the connection ends; others are served meanwhile.
    """
    token = story.person("finance").token
    headers = [("Authorization", f"Bearer {token}"), ("Content-Type", "application/json"), ("Idempotency-Key", "slow")]
    unfinished = wire.request("POST", "/v1/calls", headers=[*headers, ("Content-Length", "1000")]) + b"{"

    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(wire.send, impatient.url, unfinished) for _ in range(8)]
        healthy = wire.send(impatient.url, wire.request("GET", "/healthz"))
        answers = [each.result() for each in slow]

    assert healthy.status == 200
    assert [(answer.status, answer.reason) for answer in answers] == [(408, "body_slow")] * 8


DRIPS = {
    # how: (path, header of the body, a piece)
    "a call": ("/v1/calls", ("Content-Length", "1000"), b" "),
    "a call in chunks": ("/v1/calls", ("Transfer-Encoding", "chunked"), b"1\r\n \r\n"),
    "an upload": ("/v1/bundles", ("Content-Length", "1000"), b" "),
}


@pytest.mark.parametrize("how", DRIPS)
def test_a_body_that_goes_on_gets_no_more_time(story: Story, impatient: Gateway, how: str) -> None:
    """
    J04: a byte every tenth of a second does not begin the time anew: 408 after half a second in all, of the hundred
    seconds that the body would take.
    """
    path, framing, piece = DRIPS[how]
    token = story.person("security").token
    headers = [("Authorization", f"Bearer {token}"), ("Content-Type", "application/json"), ("Idempotency-Key", "drip")]
    head = wire.request("POST", path, headers=[*headers, framing])

    answer, pieces = wire.drip(impatient.url, head, piece, pieces_max=PIECES_MAX)

    assert (answer.status, answer.reason) == (408, "body_slow")
    assert 1 <= pieces < PIECES_MAX


@pytest.mark.parametrize(
    "media",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/jsonp",
        "application/json, text/plain",
        "application/json; charset=utf-8; charset=utf-16",
        "text/json",
    ],
)
def test_a_body_is_declared_as_json(story: Story, order: str, media: str) -> None:
    """
    J05: any other media type or charset is 415.
    """
    answer = post(story, body(order), Content_Type=media)

    assert (answer.status, answer.reason) == (415, "media_type")


def test_two_content_types_are_two_opinions(story: Story, gateway: Gateway, order: str) -> None:
    """
    J05, J10: a single-valued header that comes twice is 400.
    """
    token = story.person("finance").token
    base = [("Authorization", f"Bearer {token}"), ("Content-Type", "application/json"), ("Idempotency-Key", "twice")]
    doubled = [
        ("Content-Type", "application/json"),
        ("Idempotency-Key", "other"),
        ("X-Correlation-Id", "a"),
        ("Prefer", "dry-run"),
        ("Host", "localhost"),
    ]

    answers = [
        wire.send(
            gateway.url,
            wire.request(
                "POST",
                "/v1/calls",
                headers=[*base, header, *([header] if header[0] in {"X-Correlation-Id", "Prefer"} else [])],
                body=body(order).encode(),
            ),
        )
        for header in doubled
    ]

    assert {answer.status for answer in answers} == {400}
    assert {answer.reason for answer in answers} <= {"header_repeated", ""}


MEMBERS = ["extra", "__proto__", "__class__", "constructor", "tenant", "tenant_id", "principal", "roles", "risk"]


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_that_nobody_asked_for_is_refused(story: Story, order: str, member: str) -> None:
    """
    J07, B05: extra members, prototype-like names and claims about oneself are 422, outside and inside the arguments.
    """
    outside = post(story, body(order, more=f',"{member}":"globex"'))
    inside = post(story, body(order, f'1250,"{member}":"globex"'))

    assert (outside.status, outside.reason) == (422, "unknown_member")
    assert (inside.status, inside.reason) == (422, "contract_violated")


@pytest.mark.parametrize(
    "raw",
    [
        "[]",
        '"text"',
        "1",
        "null",
        "{}",
        '{"tool":null}',
        '{"tool":1}',
        '{"tool":["issue_refund"]}',
        '{"tool":{"issue_refund":1}}',
        '{"tool":"issue_refund"}',
        '{"tool":"issue_refund","arguments":[]}',
        '{"tool":"issue_refund","arguments":null}',
        '{"tool":"issue_refund","arguments":{},"reason_code":[]}',
        '{"tool":"get_order","arguments":{"order_id":"ord_1001"},"reason_code":{"a":1}}',
        '{"tool":"get_order","arguments":{"order_id":"ord_1001"},"approvals":{}}',
        '{"tool":"get_order","arguments":{"order_id":"ord_1001"},"approvals":[1]}',
        '{"tool":"get_order","arguments":{"order_id":"ord_1001"},"approvals":[["a"]]}',
        '{"tool":"get_order","arguments":{"order_id":"ord_1001"},"edits":null}',
        '{"tool":"get_order","arguments":{"order_id":"ord_1001"},"edits":["call_"]}',
        '{"tool":"get_order","arguments":{"order_id":["ord_1001"]}}',
    ],
)
def test_another_shape_is_unprocessable(story: Story, raw: str) -> None:
    """
    J07: well-formed JSON of another shape is 422, whatever stands in the place of a name.
    """
    assert post(story, raw).status == 422


@pytest.mark.parametrize("key", ["", "x", "k" * 256, "k" * 10_000, "with space", "tab\there", "caf\xe9", "\x7f\x7f"])
def test_a_key_is_visible_ascii(story: Story, order: str, key: str) -> None:
    """
    F15: a key that is short, long, or of other characters is 400, and none is 400.
    """
    answer = post(story, body(order), Idempotency_Key=key)

    assert answer.status == 400


HOSTS = [
    "evil.example",
    "evil/x?",
    "evil#",
    "localhost/x",
    "localhost@evil",
    "local host",
    "localhost:http",
    "",
    "::1",
    "a" * 300,
]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ["/healthz", "/v1/tools", "/v1/calls", "/v1/calls/"])
def test_a_host_that_is_not_ours_is_not_answered(gateway: Gateway, host: str, path: str) -> None:
    """
    A10: another, malformed or empty Host is 400 or 421 on every route, and never part of an answer or a redirect.
    """
    answer = wire.send(gateway.url, wire.request("GET", path, host=host))

    assert answer.status in ({404} if path.endswith("/") else {400, 421})
    assert b"evil" not in answer.body
    assert "evil" not in answer.headers.get("location", "")


@pytest.mark.parametrize(("method", "path"), surface.routes())
def test_no_route_answers_under_another_name(gateway: Gateway, method: str, path: str) -> None:
    """
    A10: whichever route is asked under a strange Host is not reached, with or without a body.
    """
    headers = [("Content-Type", "application/json")]
    body = b"{}" if method == "POST" else b""

    answers = [
        wire.send(gateway.url, wire.request(method, surface.filled(path), headers=headers, body=body, host=host))
        for host in ("evil.example", "evil/x?", "evil#")
    ]

    assert [answer.reason for answer in answers] == ["host_unknown", "host_malformed", "host_malformed"]
    assert [answer.status for answer in answers] == [421, 400, 400]


def test_a_request_without_a_host_or_with_two_is_refused(gateway: Gateway) -> None:
    """
    A10: no Host is 400, and so are two, also when both are ours.
    """
    answers = [
        wire.send(gateway.url, wire.request("GET", "/healthz", host=None)),
        wire.send(gateway.url, wire.request("GET", "/healthz", headers=[("Host", "localhost")])),
        wire.send(gateway.url, wire.request("GET", "/healthz", headers=[("Host", "evil.example")])),
    ]

    assert [answer.status for answer in answers] == [400] * 3


def test_an_absolute_target_changes_no_protection(gateway: Gateway) -> None:
    """
    A10: an absolute-form target reaches no route without its token.
    """
    answers = [
        wire.send(gateway.url, wire.request("GET", f"http://{host}/v1/tools"))
        for host in ("localhost", "evil.example", "127.0.0.1:1")
    ]

    assert all(answer.status in {0, 400, 401, 404, 421} for answer in answers)


PATHS = [
    "//v1/tools",
    "/v1//tools",
    "/./v1/tools",
    "/v1/./tools",
    "/healthz/../v1/tools",
    "/healthz/%2e%2e/v1/tools",
    "/healthz%2f..%2fv1/tools",
    "/v1/tools/",
    "/v1/calls/",
    "/v1/tools;x=1",
    "/v1/tools%00",
    "/v1/tools%0a",
    "/v1/tools%3f",
    "/V1/TOOLS",
    "/healthz/",
    "/v1/keys/../audit/export",
    "/v1\\tools",
    "/v1/%74ools",
    "/v1/c%61lls",
    "/v1/calls/%2e%2e/tools",
    "/v1/calls/call_%00",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/metrics/../v1/tools",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_written_otherwise_opens_no_other_door(gateway: Gateway, path: str) -> None:
    """
    J11: doubled, dotted, encoded, trailing and matrix forms are 400, 401 or 404 without a token, never a redirect.
    """
    answer = wire.send(gateway.url, wire.request("GET", path))

    assert answer.status in {400, 401, 404}


def test_what_is_no_route_is_a_problem_document_too(gateway: Gateway) -> None:
    """
    J11: unknown paths and methods answer as every refusal does, with a stable reason.
    """
    unknown = wire.send(gateway.url, wire.request("GET", "/v1/nothing"))
    method = wire.send(gateway.url, wire.request("DELETE", "/v1/tools"))
    door = wire.send(gateway.url, wire.request("PUT", "/v1/calls"))

    assert (unknown.status, unknown.reason) == (404, "not_found")
    assert (method.status, method.reason) == (405, "method_not_allowed")
    assert (door.status, door.reason) == (405, "method_not_allowed")
    assert {each.headers["content-type"] for each in (unknown, method, door)} == {"application/problem+json"}


def test_headers_are_bounded_and_have_no_second_line(gateway: Gateway) -> None:
    """
    J10: a header of 64 kB, a hundred thousand bytes of headers, CR or LF or NUL in one: refused, and no 5xx.
    """
    plain = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    requests = [
        plain + b"X-Long: " + b"a" * 64 * KIB + b"\r\n\r\n",
        plain + b"".join(b"X-H%d: %s\r\n" % (number, b"a" * 1000) for number in range(100)) + b"\r\n",
        plain + b"X-Endless: " + b"a" * 100 * KIB,
        plain + b"X-Split: a\rb\r\n\r\n",
        plain + b"X-Zero: a\x00b\r\n\r\n",
        plain + b"X-Fold: a\r\n b\r\n\r\n",
        plain + b"No colon here\r\n\r\n",
        plain + b"Bad Name: a\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]

    answers = [wire.send(gateway.url, each) for each in requests[:-1]]

    assert [(answer.status, answer.reason) for answer in answers[:3]] == [(431, "head_too_large")] * 3
    assert {answer.status for answer in answers[3:]} <= {0, 200, 400}


def test_a_hundred_small_headers_are_taken(gateway: Gateway) -> None:
    """
    J10: many small headers within the limit are harmless.
    """
    headers = [(f"X-H{number}", "a") for number in range(100)]

    assert wire.send(gateway.url, wire.request("GET", "/healthz", headers=headers)).status == 200


SECRETS = ["usr_secret_value_77", "4111111111111111", "hunter2-password"]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_refusal_never_repeats_what_was_sent(story: Story, order: str, secret: str) -> None:
    """
    J06, H01: problem documents name the place and what was expected, never the value.
    """
    answers = [
        post(story, body(order, f'"{secret}"')),
        post(story, body(secret)),
        post(story, body(order, more=f',"{secret[:4]}":"{secret}"')),
        post(story, body(order).replace(REFUND, secret)),
        post(story, body(order).replace(REASON, secret)),
        post(story, body(order) + secret),
        post(story, body(order), X_Correlation_Id=secret + " "),
        post(story, body(order), Authorization=f"Bearer {secret}"),
    ]

    assert all(400 <= answer.status < 500 or answer.status == 200 for answer in answers)
    assert [answer.status for answer in answers if secret.encode() in answer.body] == []


def test_the_query_of_a_listing_is_strict(story: Story) -> None:
    """
    J06: numbers and states of a query string are of their form or 422.
    """
    token = story.person("auditor").token
    queries: list[Any] = ["wait=-1", "wait=1e9", "wait=99999", "wait=", "wait=1_0", "wait=\u0661"]
    calls = [story.client.get(f"/v1/calls/call_{'0' * 32}?{query}", token).status for query in queries]
    others = [
        story.client.get(path, token).status
        for path in ("/v1/calls?state=none", "/v1/calls?before_ms=x", "/v1/audit/entries?after=-1")
    ]

    assert calls == [422] * len(queries)
    assert others == [422] * 3
