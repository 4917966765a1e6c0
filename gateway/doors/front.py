"""The front: `POST /v1/calls` by exact match, before any router; all else goes on to the app.

The same object also stands in the router, so that going round the front changes nothing. It holds one of the two
outermost loops: what nobody foresaw is 503 before the intent (after it the pipeline has made it 504 already).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.admission import correlation_shown
from gateway.answers import Reply
from gateway.doors.connections import UNREAD, WHOLE
from gateway.doors.messages import (
    Receive,
    Scope,
    Send,
    body,
    require_host,
    require_json,
    require_query,
    send_fault,
    send_reply,
)
from gateway.entries import note
from gateway.errors import Fault, Unavailable
from gateway.identity import Principal
from gateway.ledger import SYSTEM, Strike
from gateway.lights import Lights
from gateway.logs import dropped, log, log_call
from gateway.metrics import Metrics
from gateway.pipeline import Pipeline
from gateway.requests import Incoming, single_headers
from gateway.settings import Settings

Counts = Callable[[Principal, str, str], tuple[Strike, ...]]
"""What a refusal for that reason counts for, of a call by that principal to that tool."""

CALLS = "/v1/calls"
_RECORDED_ELSEWHERE = "entry"
_NO_QUERY: frozenset[str] = frozenset()


class CallDoor:
    """An ASGI endpoint for calls."""

    def __init__(
        self, pipeline: Pipeline, lights: Lights, metrics: Metrics, settings: Settings, counts: Counts
    ) -> None:
        self._pipeline = pipeline
        self._counts = counts
        self._lights = lights
        self._metrics = metrics
        self._hosts = frozenset(settings.allowed_hosts)
        self._bytes_max = settings.body_bytes_max
        self._seconds_max = settings.body_seconds_max
        self._room = settings.calls_in_flight_max
        self._inside = 0
        metrics.in_flight.set_function(lambda: self._inside)
        metrics.lines_dropped.set_function(dropped)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call."""
        incoming = Incoming(headers={}, body=_no_body)
        answer = await self._answered(incoming, self._read(scope, receive, incoming))
        if isinstance(answer, Fault):
            await send_fault(send, answer)
        else:
            await send_reply(send, answer)

    async def take(self, incoming: Incoming) -> Reply | Fault:
        """One call of several that came together: counted, logged and recorded as one that came by itself."""
        return await self._answered(incoming, self._called(incoming))

    async def _answered(self, incoming: Incoming, work: Awaitable[Reply]) -> Reply | Fault:
        self._inside += 1
        try:
            reply = await work
        except Fault as fault:
            return self._tell(fault, incoming)
        except Exception as error:  # noqa: BLE001 - the outermost loop before the intent: nothing happened
            log().error("call_failed", error=error)
            return self._tell(Unavailable("internal", "nothing was done; the log has the details"), incoming)
        finally:
            self._inside -= 1
        self._metrics.answered(reply.status, "")
        _log(reply.status, "", reply.document, incoming)
        return reply

    def unread(self, fault: Fault) -> None:
        """Record what the connection refused: bytes that never became a request."""
        self._tell(fault, Incoming(headers={}, body=_no_body))

    async def _read(self, scope: Scope, receive: Receive, incoming: Incoming) -> Reply:
        incoming.headers = headers = single_headers(scope["headers"])
        require_host(headers, self._hosts)

        def read() -> Awaitable[bytes]:
            require_query(scope["query_string"], _NO_QUERY)
            require_json(headers)
            seconds_max = None if scope.get(WHOLE) else self._seconds_max
            return body(headers, receive, bytes_max=self._bytes_max, seconds_max=seconds_max)

        incoming.body = read
        return await self._called(incoming)

    async def _called(self, incoming: Incoming) -> Reply:
        if self._inside > self._room:
            raise Unavailable("overloaded", "too many calls at once")
        return await self._pipeline.call(incoming)

    def _tell(self, fault: Fault, incoming: Incoming) -> Fault:
        """Count every fault; leave a light entry for one that no entry records yet."""
        self._metrics.answered(fault.status, fault.reason)
        _log(fault.status, fault.reason, fault.members, incoming)
        if _RECORDED_ELSEWHERE not in fault.members:
            principal = incoming.principal
            strikes = () if principal is None else self._counts(principal, incoming.tool, fault.reason)
            # Without a tenant that somebody vouched for, the attempt is noted on the chain of tenant `system`.
            self._lights.note(
                note(
                    principal.tenant if principal else SYSTEM,
                    fault.reason,
                    principal=principal.reference if principal else None,
                    strikes=strikes,
                )
            )
        return fault


def _log(status: int, reason: str, document: Mapping[str, Any], incoming: Incoming) -> None:
    """One line per call, by which its correlation id is found in the log."""
    correlation = incoming.headers.get("x-correlation-id")
    log_call(status, reason, document.get("call", ""), correlation_shown(correlation) if correlation else "")


async def _no_body() -> bytes:
    return b""


ASGI = Callable[[Any, Any, Any], Awaitable[None]]


def front(calls: CallDoor, app: ASGI) -> ASGI:
    """An ASGI app: the call route straight to its door, everything else to `app`."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == CALLS and scope["method"] == "POST":
            await calls(scope, receive, send)
        elif scope["type"] == UNREAD:
            calls.unread(scope["fault"])
        else:
            await app(scope, receive, send)

    return route
