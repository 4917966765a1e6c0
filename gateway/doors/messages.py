"""Requests and answers on the wire: bounded bodies in, JSON out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from gateway.answers import Reply
from gateway.doors import problems
from gateway.errors import BadRequest, Fault

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_UTF_8 = r"""[ \t]*(;[ \t]*(charset=(utf-8|"utf-8"))?[ \t]*)?"""
_JSON = re.compile("application/json" + _UTF_8, re.IGNORECASE)
_DOCUMENT = re.compile("(application/(json|(x-)?yaml|octet-stream)|text/(x-)?yaml)" + _UTF_8, re.IGNORECASE)
_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


async def body(headers: Mapping[str, str], receive: Receive, *, bytes_max: int, seconds_max: float | None) -> bytes:
    """
    The whole body, counted while it is read. No `seconds_max` for one that has arrived.

    Raises `BadRequest`: 413 above the limit, 415 for any encoding, 408 for one that takes too long.
    """
    length = headers.get("content-length")
    if length is not None and (not (length.isascii() and length.isdigit()) or len(length) > 12):
        raise BadRequest("length_malformed", "Content-Length must be a number")
    if length is not None and int(length) > bytes_max:
        raise _too_large(bytes_max)
    if seconds_max is None:
        return await _read(receive, bytes_max)
    try:
        async with asyncio.timeout(seconds_max):
            return await _read(receive, bytes_max)
    except TimeoutError as error:
        raise BadRequest("body_slow", f"the body took longer than {seconds_max} s", status=408) from error


def require_json(headers: Mapping[str, str]) -> None:
    """Raises `BadRequest` (415) for another media type, charset or any content encoding."""
    if headers.get("content-type") == "application/json" and "content-encoding" not in headers:
        return
    if not _JSON.fullmatch(headers.get("content-type", "")):
        raise BadRequest("media_type", "expected application/json in UTF-8", status=415)
    _require_plain(headers)


def require_document(headers: Mapping[str, str]) -> None:
    """As `require_json`, for an upload: JSON, YAML, or bytes of no declared type, whose digest says what they are."""
    if "content-type" in headers and not _DOCUMENT.fullmatch(headers["content-type"]):
        raise BadRequest("media_type", "expected application/json or application/yaml in UTF-8", status=415)
    _require_plain(headers)


def require_query(query: bytes, names: frozenset[str]) -> None:
    """Raises `BadRequest` (422) for a member that nobody looks at, and for one that comes twice."""
    given = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)] if query else []
    if len(set(given)) != len(given) or not names.issuperset(given):
        expected = ", ".join(f"`{name}`" for name in sorted(names)) or "no member"
        raise BadRequest("query_malformed", f"expected in the query, at most once: {expected}", status=422)


def require_host(headers: Mapping[str, str], allowed: frozenset[str]) -> None:
    """Raises `BadRequest`: 400 for no or a malformed Host, 421 for one that is not ours (RFC 9110 §7.4)."""
    host = headers.get("host", "")
    if host in allowed:
        return
    name, colon, port = host.rpartition(":") if host.count(":") == 1 else (host, "", "")
    if not name or (colon and not (port.isascii() and port.isdigit())) or set(name) & set("/?#@\\ "):
        raise BadRequest("host_malformed", "expected one Host header with a name and a port")
    if name.lower() not in allowed:
        raise BadRequest("host_unknown", "this gateway does not answer to that name", status=421)


async def send_reply(send: Send, reply: Reply) -> None:
    """An answer as JSON."""
    content = orjson.dumps(reply.document) if reply.content is None else reply.content
    await _send(send, reply.status, content, reply.headers, b"application/json")


async def send_fault(send: Send, fault: Fault) -> None:
    """A fault as a problem document; after 413 the rest of the body is not waited for."""
    headers = {**fault.headers, "Connection": "close"} if fault.status in (408, 413) else fault.headers
    await _send(send, fault.status, orjson.dumps(problems.document(fault)), headers, b"application/problem+json")


async def _send(send: Send, status: int, content: bytes, headers: Mapping[str, str], media: bytes) -> None:
    pairs = [(b"content-type", media), (b"content-length", b"%d" % len(content)), *_ALWAYS]
    if headers:
        pairs += [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})


def _require_plain(headers: Mapping[str, str]) -> None:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest("content_encoding", "bodies are not encoded", status=415)


async def _read(receive: Receive, bytes_max: int) -> bytes:
    chunks: list[bytes] = []
    count = 0
    while True:
        message = await receive()
        if message.get("more_body") is False and not chunks and len(message["body"]) <= bytes_max:
            return message["body"]  # type: ignore[no-any-return]  # as ASGI has it
        if message["type"] == "http.disconnect":
            raise BadRequest("body_incomplete", "the body ended early")
        chunk = message.get("body", b"")
        count += len(chunk)
        if count > bytes_max:
            raise _too_large(bytes_max)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def _too_large(bytes_max: int) -> BadRequest:
    return BadRequest("body_too_large", f"at most {bytes_max} bytes", status=413)
