"""One HTTP connection: uvicorn's, with an end to the head of a request.

llhttp reads a head of any length, and keeps all of it in memory; so with the trailers of a chunked body. Here a request
whose target and headers, or whose trailers, are longer than `HEAD_BYTES_MAX` is answered with 431 (RFC 6585 §5) as soon
as that is known, and the connection ends.
"""

from __future__ import annotations

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.doors import problems
from gateway.errors import BadRequest

HEAD_BYTES_MAX = 32 * 1024  # Room for the longest token, and for what proxies add.

WHOLE = "lockgate.whole"
"""In a scope: all of the request has arrived, and nobody need watch the clock while reading it."""


class Connection(HttpToolsProtocol):
    """Counts the head of each request while it arrives."""

    _is_head = True
    """Between two requests, or within a head: a header that is read now belongs to one."""
    _went_on = False
    """Whether what was read last ended a head or a message, or held a piece of a body."""
    _unread = 0
    """Bytes of a head, or of trailers, that are not whole yet; their headers are not known one by one."""
    _head = 0

    def data_received(self, data: bytes) -> None:
        """As uvicorn does, unless a head goes on for too long."""
        self._went_on = False
        super().data_received(data)
        self._unread = 0 if self._went_on else self._unread + len(data)
        if self._unread > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse()

    def on_message_begin(self) -> None:
        """A new head."""
        self._is_head, self._head = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One whole header. Nobody asks for trailers, so they are not kept (RFC 9110 §6.5.1)."""
        if self._is_head:
            self._head += len(name) + len(value)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Dispatch the request, if its head is not too long."""
        self._is_head, self._went_on = False, True
        if self._head > HEAD_BYTES_MAX:
            # What a callback raises ends the parser, and comes back to us as `send_400_response`.
            raise BadRequest("head_too_large", status=431)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body; whoever reads it counts it."""
        self._went_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The next byte belongs to the next head."""
        self._is_head, self._went_on = True, True
        self.scope[WHOLE] = True  # type: ignore[literal-required]  # ours, beside ASGI's
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP, or a head that is too long."""
        if self._head > HEAD_BYTES_MAX:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        fault = BadRequest("head_too_large", f"at most {HEAD_BYTES_MAX} bytes of target and headers", status=431)
        content = orjson.dumps(problems.document(fault))
        head = (
            b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
            b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head % len(content) + content)
        self.transport.close()
