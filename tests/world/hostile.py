"""Requests that nobody should send: a table of bodies, heads and targets for any route, and mutations of good ones."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A route, and somebody who comes as far as possible on it."""

    method: str
    path: str
    token: str
    body: bytes = b""
    """A good one, of a route that takes one."""
    media: str = "application/json"
    key: str = "hostile-key"
    """Empty for a route that refuses one."""

    def request(
        self,
        *,
        line: str = "",
        headers: Sequence[str] = (),
        without: Sequence[str] = (),
        body: bytes | None = None,
        length: str | None = None,
    ) -> bytes:
        """The request with something about it changed: its line, headers more or less, its body, how long that is."""
        content = self.body if body is None else body
        known = {
            "Host": "localhost",
            "Authorization": f"Bearer {self.token}",
            **({"Idempotency-Key": self.key} if self.key else {}),
            **({"Content-Type": self.media} if self.method == "POST" else {}),
            **({"Content-Length": str(len(content))} if content or self.method == "POST" else {}),
        }
        lines = [line or f"{self.method} {self.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in known.items() if name not in without]
        if length is not None:
            lines = [each for each in lines if not each.startswith("Content-Length")] + [length]
        return "\r\n".join([*lines, *headers]).encode("latin-1") + b"\r\n\r\n" + content


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One hostile request, and which statuses may answer it."""

    name: str
    request: bytes
    statuses: frozenset[int]
    """0: the connection ends, or goes on waiting, without an answer."""


REFUSED = frozenset({400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 422, 431})
UNREAD = frozenset({400})
ANY = frozenset({200, 201, 202, *REFUSED})


def cases(aim: Aim) -> Iterator[Case]:
    """Everything that is tried of one route."""
    yield from _targets(aim)
    yield from _heads(aim)
    if aim.method == "POST":
        yield from _framings(aim)
        yield from _media(aim)
        yield from _bodies(aim)


def large() -> Mapping[str, bytes]:
    """Documents of about a megabyte, each hard on some part of a reader; cut where a route takes less."""
    return {
        "a million items": b'{"a":[' + b"1," * 999_999 + b"1]}",
        "a hundred thousand members": b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b"}",
        "half a million items": b'{"a":[' + b"1," * 520_000 + b"1]}",
        "many members": b"{" + b",".join(b'"k%d":1' % number for number in range(95_000)) + b"}",
        "one member again and again": b"{" + b",".join([b'"k":1'] * 170_000) + b"}",
        "depth": b"[" * 1_040_000,
        "depth of objects": b'{"a":' * 200_000,
        "a number of a million digits": b'{"a":' + b"1" * 1_040_000 + b"}",
        "numbers of five thousand digits": b'{"a":[' + b",".join([b"1" * 5_000] * 200) + b"]}",
        "escapes": b'{"a":"' + rb"\u0041" * 170_000 + b'"}',
        "text above ASCII": b'{"a":"' + "\u00e9".encode() * 520_000 + b'"}',
        "marks": b'{"a":"a' + "\u0301\u0323".encode() * 260_000 + b'"}',
        "empty objects": b'{"a":[' + b"{}," * 340_000 + b"{}]}",
        "blanks": b" " * 1_040_000 + b"{}",
        "dashes": b"- " * 500_000,
        "colons": b"a:\n" * 300_000,
    }


def _bodies(aim: Aim) -> Iterator[Case]:
    good = aim.body.decode()
    for name, text in {**_encoded(good), **_documents(good, good[1:])}.items():
        content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        yield Case(name=f"body: {name}", request=aim.request(body=content), statuses=REFUSED)


def _encoded(good: str) -> Mapping[str, str | bytes]:
    """Bytes and characters that are none, or that hide something."""
    return {
        "nothing": b"",
        "blank": b" ",
        "UTF-16": good.encode("utf-16"),
        "UTF-16 without a mark": good.encode("utf-16-le"),
        "UTF-32": good.encode("utf-32"),
        "UTF-7": b"+AHsAfQ-",
        "byte order mark": b"\xef\xbb\xbf" + good.encode(),
        "Latin-1": b'{"caf\xe9":1}',
        "overlong": b'{"a":"\xc0\xaf"}',
        "overlong NUL": b'{"a":"\xc0\x80"}',
        "surrogate as bytes": b'{"a":"\xed\xa0\x80"}',
        "beyond Unicode": b'{"a":"\xf4\x90\x80\x80"}',
        "half a character": b'{"a":"\xe2\x82"}',
        "lone surrogate": r'{"a":"\ud800"}',
        "surrogates the wrong way round": r'{"a":"\udc00\ud800"}',
        "escaped NUL": r'{"a":"\u0000"}',
        "raw NUL": b'{"a":"\x00"}',
        "raw line feed": b'{"a":"\n"}',
        "bad escape": r'{"a":"\x41"}',
        "short escape": r'{"a":"\u12"}',
        "zero width": '{"a":"a\u200bb"}',
        "bidi": '{"a":"a\u202eb"}',
        "tag": '{"a":"a\U000e0041b"}',
        "gzip": gzip.compress(good.encode()),
    }


def _documents(good: str, inner: str) -> Mapping[str, str | bytes]:
    """Text that is not one JSON document of the profile; `inner` is the good one without its first brace."""
    return {
        "two documents": good + good,
        "trailing comma": good[:-1] + ",}",
        "trailing text": good + "x",
        "comment": "/**/" + good,
        "single quotes": good.replace('"', "'") if '"' in good else "{'a':1}",
        "unquoted": "{a:1}",
        "cut": good[: len(good) // 2] or "{",
        "number": "1",
        "text": '"a"',
        "null": "null",
        "true": "true",
        "list": "[]",
        "list of itself": f"[{good}]",
        "twice": f'{{"a":1,"a":1,{inner}',
        "twice, escaped": f'{{"a":1,"\\u0061":1,{inner}',
        "twice, deep": f'{{"x":{{"y":[{{"z":1,"z":2}}]}},{inner}',
        "NaN": f'{{"x":NaN,{inner}',
        "Infinity": f'{{"x":-Infinity,{inner}',
        "1e400": f'{{"x":1e400,{inner}',
        "-0": f'{{"x":-0,{inner}',
        "1.0": f'{{"x":1.0,{inner}',
        "1e0": f'{{"x":1e0,{inner}',
        "leading zero": f'{{"x":01,{inner}',
        "plus": f'{{"x":+1,{inner}',
        "hexadecimal": f'{{"x":0x10,{inner}',
        "2^53": f'{{"x":9007199254740992,{inner}',
        "-2^53": f'{{"x":-9007199254740992,{inner}',
        "5,000 digits": f'{{"x":{"9" * 5000},{inner}',
        "prototype": f'{{"__proto__":{{"roles":["founder"]}},{inner}',
        "class": f'{{"__class__":"x",{inner}',
        "tenant": f'{{"tenant":"globex",{inner}',
        "odd name": f'{{"\u0430":1,{inner}',
        "long name": f'{{"{"a" * 65}":1,{inner}',
        "empty name": f'{{"":1,{inner}',
        "depth 65": f'{{"x":{"[" * 65}{"]" * 65},{inner}',
        "depth 1,000": '{"a":' * 1_000 + "1" + "}" * 1_000,
        "depth 30,000": "[" * 30_000 + "]" * 30_000,
        "depth 30,000, open": "[" * 30_000,
        "9,000 members": "{" + ",".join(f'"k{number}":1' for number in range(5_000)) + "}",
        "30,000 items": f'{{"x":[{"1," * 30_000}1],{inner}',
        "60,000 escapes": '{"a":"' + r"\u0041" * 10_000 + '"}',
    }


def _framings(aim: Aim) -> Iterator[Case]:
    bomb = gzip.compress(b" " * 20_000_000)
    chunked = ["Transfer-Encoding: chunked"]
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(aim.body), aim.body) if aim.body else b"0\r\n\r\n"

    def lengths(name: str, length: str, headers: Sequence[str] = (), body: bytes | None = None) -> Case:
        request = aim.request(length=length, headers=headers, body=body)
        return Case(name=f"framing: {name}", request=request, statuses=UNREAD | {413})

    def chunks(name: str, body: bytes, *headers: str) -> Case:
        request = aim.request(length=chunked[0], headers=headers, body=body)
        return Case(name=f"framing: {name}", request=request, statuses=REFUSED)

    yield lengths("signed", "Content-Length: +5")
    yield lengths("negative", "Content-Length: -5")
    yield lengths("hexadecimal", "Content-Length: 0x10")
    yield lengths("thirty digits", "Content-Length: " + "9" * 30)
    yield lengths("ten terabytes", "Content-Length: 10000000000000")
    yield lengths("two", f"Content-Length: {len(aim.body)}", ["Content-Length: 3"])
    yield lengths("two alike", f"Content-Length: {len(aim.body)}", [f"Content-Length: {len(aim.body)}"])
    yield lengths("list", "Content-Length: 5, 5")
    yield lengths("and chunks", f"Content-Length: {len(aim.body)}", chunked, whole)
    yield lengths("chunks twice", chunked[0], chunked, whole)
    yield lengths("another coding", "Transfer-Encoding: gzip, chunked", (), whole)
    yield lengths("no coding", "Transfer-Encoding: identity", (), whole)
    yield lengths("blank before colon", "Transfer-Encoding : chunked", (), whole)
    yield chunks("no size", b"zz\r\n{}\r\n0\r\n\r\n")
    yield chunks("negative size", b"-1\r\n{}\r\n0\r\n\r\n")
    yield chunks("endless size", b"f" * 18 + b"\r\n{}\r\n0\r\n\r\n")
    yield chunks("wrong size", b"2\r\n{}xx\r\n0\r\n\r\n")
    yield chunks("bare line feeds", b"2\n{}\n0\n\n")
    yield chunks("long extension", b"2;a=" + b"b" * 70_000 + b"\r\n{}\r\n0\r\n\r\n")
    yield chunks("too much", b"%x\r\n%s\r\n" % (64 * KIB, b" " * 64 * KIB) * 40 + b"0\r\n\r\n")
    yield Case(
        name="framing: above the limit", request=aim.request(body=b" " * (2048 * KIB + 1)), statuses=frozenset({413, 0})
    )
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
        request = aim.request(headers=[f"Content-Encoding: {coding}"], body=bomb)
        yield Case(name=f"framing: packed by {coding}", request=request, statuses=frozenset({415, 413}))
    twice = aim.request(headers=["Content-Encoding: gzip", "Content-Encoding: identity"])
    yield Case(name="framing: two encodings", request=twice, statuses=UNREAD)


def _media(aim: Aim) -> Iterator[Case]:
    for media in (
        "text/html",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/problem+json",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json, text/plain",
        "application/jsonp",
        "application/json; utf-8",
        "*/*",
        "\xff",
    ):
        request = aim.request(without=["Content-Type"], headers=[f"Content-Type: {media}"])
        yield Case(name=f"media: {media}", request=request, statuses=frozenset({415}))
    twice = aim.request(headers=["Content-Type: text/plain"])
    yield Case(name="media: two", request=twice, statuses=UNREAD)


def _targets(aim: Aim) -> Iterator[Case]:
    method, path = aim.method, aim.path
    bare, _, query = path.partition("?")
    rest = f"?{query}" if query else ""
    elsewhere = {
        "doubled slash": f"/{path}",
        "inner doubled slash": path.replace("/", "//", 2),
        "dot": f"/.{path}",
        "dots": f"/healthz/..{path}",
        "matrix": f"{bare};x=1{rest}",
        "Tomcat's dots": f"/..;{path}",
        "trailing slash": f"{bare}/{rest}",
        "capitals": bare.upper() + rest,
    }
    for name, target in elsewhere.items():
        request = aim.request(line=f"{method} {target} HTTP/1.1")
        yield Case(name=f"target: {name}", request=request, statuses=frozenset({400, 404, 405}))
    unread = {
        "escaped slash": bare.replace("/", "%2f", 2),
        "escaped dots": f"/%2e%2e{path}",
        "escaped NUL": f"{bare}%00{rest}",
        "escaped line end": f"{bare}%0d%0aX-A:%20b",
        "escaped twice": f"{bare}%252f",
        "escaped letter": f"/%{ord(bare[1]):x}{bare[2:]}{rest}",
        "half an escape": f"{bare}%",
        "backslash": f"{bare}\\x",
        "fragment": f"{path}#x",
        "absolute": f"http://localhost{path}",
        "absolute elsewhere": f"http://evil.example{path}",
        "user": f"http://a:b@localhost{path}",
        "no slash": path[1:],
        "star": "*",
        "blank": f"{path} x",
        "above ASCII": f"{bare}\xe9",
        "NUL": f"{bare}\0",
        "long": bare + "a" * 40_000,
    }
    for name, target in unread.items():
        request = aim.request(line=f"{method} {target} HTTP/1.1")
        yield Case(name=f"target: {name}", request=request, statuses=frozenset({400, 431}))
    for query in (
        "tenant=globex",
        "x=1&x=2",
        "wait=1&wait=2",
        "state[]=parked",
        "%ff=%ff",
        "=",
        "&&;",
        "after=-1",
        "a" * 9_000,
    ):
        request = aim.request(line=f"{method} {bare}?{query} HTTP/1.1")
        yield Case(name=f"query: {query[:20]}", request=request, statuses=ANY)


def _heads(aim: Aim) -> Iterator[Case]:
    method, path = aim.method, aim.path
    lines = {
        "HTTP/0.9": f"{method} {path} HTTP/0.9",
        "HTTP/2.0": f"{method} {path} HTTP/2.0",
        "HTTP/1.9": f"{method} {path} HTTP/1.9",
        "no version": f"{method} {path}",
        "lower case": f"{method.lower()} {path} HTTP/1.1",
        "made up": f"FROB {path} HTTP/1.1",
        "tunnel": f"CONNECT {path} HTTP/1.1",
        "tabulators": f"{method}\t{path}\tHTTP/1.1",
    }
    for name, line in lines.items():
        yield Case(name=f"line: {name}", request=aim.request(line=line), statuses=UNREAD)
    for other in ("TRACE", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"):
        request = aim.request(line=f"{other} {path} HTTP/1.1")
        yield Case(name=f"line: {other}", request=request, statuses=frozenset({404, 405}))
    fields = {
        "fold": "X-A: a\r\n b",
        "carriage return": "X-A: a\rb",
        "bare line feed": "X-A: a\nX-B: b",
        "NUL": "X-A: a\0b",
        "blank in the name": "X A: b",
        "no name": ": b",
        "no colon": "X-A",
        "websocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==",
        "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        "second host": "Host: localhost",
        "long": "X-A: " + "a" * 64 * KIB,
        "many": "\r\n".join(f"X-{number}: {'a' * 100}" for number in range(1_000)),
        "second correlation": "X-Correlation-Id: a\r\nX-Correlation-Id: b",
    }
    for name, text in fields.items():
        yield Case(name=f"field: {name}", request=aim.request(headers=[text]), statuses=frozenset({400, 431}))
    for host in ("evil.example", "evil/x?", "evil#", "", "localhost:http", "a" * 300):
        request = aim.request(without=["Host"], headers=[f"Host: {host}"])
        yield Case(name=f"host: {host[:20]}", request=request, statuses=frozenset({400, 421}))
    yield Case(name="host: none", request=aim.request(without=["Host"]), statuses=UNREAD)
    harmless = [
        "X-Forwarded-For: 127.0.0.1",
        "X-Tenant: globex",
        "X-HTTP-Method-Override: DELETE",
        "X-A: \xff\xfe",
        "Expect: 9",
    ]
    for text in harmless:
        yield Case(name=f"field: {text[:20]}", request=aim.request(headers=[text]), statuses=ANY)


_PIECES = (
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b"{", b"}", b"[", b'"', b"\\", b"%00", b"%2f", b"../", b"\xff"),
    *(b"\xc3\x28", b"\xe2\x80\xae", b"\\ud800", b"9" * 40, b"-1", b"1e400", b"null", b"HTTP/0.9", b"GET ", b"\r\n\r\n"),
    *(
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: evil\r\n",
        b"0\r\n\r\n",
        b"A" * 3000,
        b"globex",
    ),
)


def mutated(request: bytes, chance: random.Random) -> bytes:
    """The request after one to four changes by chance: bits, pieces left out, doubled, moved or put in."""
    changed = bytearray(request)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed) + 1)
        length = chance.choice((1, 1, 2, 5, 20, 200))
        match chance.randrange(6):
            case 0 if changed:
                changed[place % len(changed)] ^= 1 << chance.randrange(8)
            case 1:
                del changed[place : place + length]
            case 2:
                changed[place:place] = changed[place : place + length]
            case 3:
                piece = bytes(changed[place : place + length])
                del changed[place : place + length]
                there = chance.randrange(len(changed) + 1)
                changed[there:there] = piece
            case 4:
                changed[place:place] = chance.choice(_PIECES)
            case _:
                changed[place : place + 1] = bytes([chance.randrange(256)])
    return bytes(changed)
