"""One HTTP connection: uvicorn's, with an end to the head of a request, and one reading of it.

llhttp reads a head of any length, and keeps all of it in memory; so with the trailers of a chunked body. Here a request
whose target and headers, or whose trailers, are longer than `HEAD_BYTES_MAX` is answered with 431 (RFC 6585 §5) as soon
as that is known, and the connection ends. So it does after bytes that are no request, and after a head that could be
read in two ways (`heads`): with 400, and with a note of it. No such answer goes before that of an earlier request.
"""

from __future__ import annotations

from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.doors import heads, problems
from gateway.errors import BadRequest, Fault

HEAD_BYTES_MAX = 32 * 1024  # Room for the longest token, and for what proxies add.

WHOLE = "lockgate.whole"
"""In a scope: all of the request has arrived, and nobody need watch the clock while reading it."""

ABORT = "lockgate.abort"
"""In a scope: ends the connection at once, whatever is still to be sent."""

UNREAD = "lockgate.unread"
"""The type of a scope that is no request: its `fault` says what the connection has refused, for the record."""

_TITLES = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class Connection(HttpToolsProtocol):
    """Counts the head of each request while it arrives."""

    _is_head = True
    """Between two requests, or within a head: a header that is read now belongs to one."""
    _went_on = False
    """Whether what was read last ended a head or a message, or held a piece of a body."""
    _unread = 0
    """Bytes of a head, or of trailers, that are not whole yet; their headers are not known one by one."""
    _head = 0
    _fault: Fault | None = None
    """Why the head was refused that ended the parser."""
    _is_over = False
    """Nothing more is read: the connection ends with the answer that is under way."""

    def data_received(self, data: bytes) -> None:
        """As uvicorn does, unless a head goes on for too long."""
        if self._is_over:
            return
        self._went_on = False
        super().data_received(data)
        self._unread = 0 if self._went_on else self._unread + len(data)
        if self._unread > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(_too_long())

    def on_message_begin(self) -> None:
        """A new head."""
        self._is_head, self._head = True, 0
        super().on_message_begin()
        self.scope[ABORT] = self.transport.abort  # type: ignore[literal-required]  # ours, beside ASGI's

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
        """Dispatch the request, if its head is not too long and has one reading."""
        if self._head > HEAD_BYTES_MAX:
            self._fault = _too_long()
        else:
            version, switches = self.parser.get_http_version(), self.parser.should_upgrade()
            self._fault = heads.fault(version, self.url, self.headers, switches=switches)
        if self._fault is not None:
            # What a callback raises ends the parser, and comes back to us as `send_400_response`.
            raise self._fault
        self._is_head, self._went_on = False, True
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

    def on_response_complete(self) -> None:
        """The next request, if there may be one."""
        is_last = not self.pipeline
        super().on_response_complete()
        if self._is_over and is_last:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP, or a head that was refused."""
        self._refuse(self._fault or (_too_long() if self._head > HEAD_BYTES_MAX else heads.malformed()))

    def _refuse(self, fault: Fault) -> None:
        if self._is_head:
            self._tell(fault)
        cycle: RequestResponseCycle | None = vars(self)["cycle"]  # none before the first request
        is_running = cycle is not None and not cycle.response_complete and (self._is_head or cycle.response_started)
        if self.pipeline or is_running:
            # INVARIANT: answers come in the order of requests. This one would be taken for that of a call which is
            # running now, and would say that nothing reached the tool.
            self._is_over = True
            if not self._is_head and self.pipeline:
                self.pipeline.popleft()  # The one whose body is broken. It has not begun.
            self.flow.pause_reading()
            return
        content = orjson.dumps(problems.document(fault))
        head = (
            b"HTTP/1.1 %d %s\r\n"
            b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head % (fault.status, _TITLES[fault.status], len(content)) + content)
        self.transport.close()

    def _tell(self, fault: Fault) -> None:
        # A request whose body is broken has been dispatched, and its route records what becomes of it.
        scope: Any = {"type": UNREAD, "fault": fault}
        task = self.loop.create_task(self.app(scope, _nothing, _nobody))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)


def _too_long() -> Fault:
    return BadRequest("head_too_large", f"at most {HEAD_BYTES_MAX} bytes of target and headers", status=431)


async def _nothing() -> Any:
    return {"type": "http.disconnect"}


async def _nobody(message: Any) -> None:
    """Nobody is told anything more."""
