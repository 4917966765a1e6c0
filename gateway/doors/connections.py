"""One HTTP connection: uvicorn's, with an end to the head of a request.

llhttp reads a head of any length, and keeps all of it in memory. Here a request whose target and headers are longer
than `HEAD_BYTES_MAX` is answered with 431 (RFC 6585 §5) as soon as that is known, and the connection ends.
"""

from __future__ import annotations

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.doors import problems
from gateway.errors import BadRequest

HEAD_BYTES_MAX = 32 * 1024  # Room for the longest token, and for what proxies add.


class Connection(HttpToolsProtocol):
    """Counts the head of each request while it arrives."""

    _is_head = True
    """Between two requests, or within a head: whatever is read now belongs to one."""
    _has_ended = False
    _unread = 0
    """Bytes of a head that is not whole yet; its headers are not known one by one."""
    _head = 0

    def data_received(self, data: bytes) -> None:
        """As uvicorn does, unless a head goes on for too long."""
        was_head, self._has_ended = self._is_head, False
        super().data_received(data)
        if was_head and self._is_head and not self._has_ended:
            self._unread += len(data)
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
        """One whole header."""
        self._head += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Dispatch the request, if its head is not too long."""
        self._is_head, self._has_ended, self._unread = False, True, 0
        if self._head > HEAD_BYTES_MAX:
            # What a callback raises ends the parser, and comes back to us as `send_400_response`.
            raise BadRequest("head_too_large", status=431)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next byte belongs to the next head."""
        self._is_head = True
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
