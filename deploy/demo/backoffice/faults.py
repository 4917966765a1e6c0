"""Faults on demand, for tests: the business does what it was asked and then answers badly, late or not at all.

The routes exist only when the process was started with `--faults`.

| mode            | what happens                                                                      |
|-----------------|-----------------------------------------------------------------------------------|
| `hang_before`   | nothing for `seconds`, then as usual (so a deadline has passed by then)           |
| `hang_after`    | the effect is applied; the answer comes `seconds` later                           |
| `reset_after`   | the effect is applied; the connection is reset                                    |
| `half_answer`   | the effect is applied; half of the announced body is sent, then the end of file   |
| `garbage_200`   | the effect is applied; 200 with something that is no JSON                         |
| `error_500_after` | the effect is applied; 500                                                      |
| `stale`         | facts only: their time stamp lies `seconds` in the past                           |
| `none`          | takes a fault back                                                                |
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deploy.demo.backoffice.effects import Refusal

SECONDS_UNLESS_TOLD = 3_600
SECONDS_MAX = 86_400
COUNT_MAX = 1_000_000


@unique
class Mode(StrEnum):
    """How to misbehave."""

    HANG_BEFORE = "hang_before"
    HANG_AFTER = "hang_after"
    RESET_AFTER = "reset_after"
    HALF_ANSWER = "half_answer"
    GARBAGE_200 = "garbage_200"
    ERROR_500_AFTER = "error_500_after"
    STALE = "stale"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A mode, and for how many more requests."""

    mode: Mode
    count: int
    seconds: float


class Faults:
    """What is switched on: by tool, `facts/{group}`, `views/{tool}` or `operations/status`; `*` is every operation."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}

    def switch(self, order: Any) -> None:
        """Take `{tool, mode, count?, seconds?}`; raises `Refusal` for anything else."""
        if not isinstance(order, dict) or not isinstance(order.get("tool"), str):
            raise Refusal("malformed_arguments", status=422)
        count, seconds = order.get("count", 1), order.get("seconds", SECONDS_UNLESS_TOLD)
        if not _is_whole(count, most=COUNT_MAX) or not _is_whole(seconds, most=SECONDS_MAX):
            raise Refusal("malformed_arguments", status=422)
        try:
            mode = Mode(str(order.get("mode")))
        except ValueError as error:
            raise Refusal("unknown_mode", status=422) from error
        if mode is Mode.NONE or count == 0:
            self._faults.pop(order["tool"], None)
        else:
            self._faults[order["tool"]] = Fault(mode=mode, count=count, seconds=seconds)

    def take(self, name: str) -> Fault | None:
        """The fault for this request, counted down."""
        key = name if name in self._faults or "/" in name else "*"
        fault = self._faults.get(key)
        if fault is not None:
            self._faults[key] = replace(fault, count=fault.count - 1)
            if fault.count == 1:
                del self._faults[key]
        return fault


async def before(fault: Fault | None) -> None:
    """What happens before the request is looked at."""
    if fault is not None and fault.mode is Mode.HANG_BEFORE:
        await asyncio.sleep(fault.seconds)


async def after(fault: Fault | None, answer: Response) -> Response:
    """What becomes of the answer."""
    if fault is None:
        return answer
    match fault.mode:
        case Mode.HANG_AFTER:
            await asyncio.sleep(fault.seconds)
            return answer
        case Mode.GARBAGE_200:
            return Response(b'{"amount_cents": 12', media_type="application/json")
        case Mode.ERROR_500_AFTER:
            return Response(b'{"error":"internal"}', status_code=500, media_type="application/json")
        case Mode.RESET_AFTER:
            return _Reset()
        case Mode.HALF_ANSWER:
            return _Half(bytes(answer.body))
        case _:
            return answer


class _Reset(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _abort(receive, linger=struct.pack("ii", 1, 0))  # Lingering for 0 seconds: closing sends RST, not FIN.


class _Half(Response):
    def __init__(self, body: bytes) -> None:
        super().__init__(body, media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await asyncio.sleep(0.05)  # Let the half leave: aborting drops what is still buffered.
        _abort(receive, linger=None)


def _abort(receive: Receive, *, linger: bytes | None) -> None:
    """ASGI has no way to cut a connection; uvicorn's `receive` is bound to the request, which has the transport."""
    transport: asyncio.Transport = receive.__self__.transport  # type: ignore[attr-defined]
    connection = transport.get_extra_info("socket")
    if linger is not None and connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def _is_whole(value: object, *, most: int) -> bool:
    return type(value) is int and 0 <= value <= most
