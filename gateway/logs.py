"""Logs for operators: events as past participles with a few plain members, one JSON object a line on standard error.

Logs may be lost; evidence is in the log of entries. Only identifiers, counts and closed words are ever passed here:
`_require_plain` drops anything else, so a value cannot slip in by a careless call. Nobody waits for a line: where
nobody reads them, or the disk is full, lines are kept up to a bound, then dropped and counted.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import logging
import os
import re
import select
import sys
import threading
import time
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
import structlog

_PLAIN = re.compile(r"[\w./:@ -]{0,200}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_OWN = {"event", "level", "timestamp", "exception"}
WAITING_BYTES_MAX = 1024 * 1024
"""Lines that wait for their reader. More are dropped: the newest, so that what began the trouble is read."""
_PIECE_BYTES = select.PIPE_BUF  # A pipe that is writable takes as much without blocking (POSIX `write`).
_PAUSE_SECONDS = 0.05
_LAST_SECONDS = 1.0  # What an end of the process waits for a reader.


def configure(level: str) -> None:
    """Set up structlog, and what libraries log, once per process."""
    global _calls, _lines  # noqa: PLW0603 - as structlog, this module is set up once per process
    number = logging.getLevelNamesMapping()[level.upper()]
    lines = _lines = Lines(sys.stderr.fileno())
    atexit.register(lines.finish)
    _calls = lines if number <= logging.INFO else None
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_messages,
            _require_plain,
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(file=lines),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Libraries()], force=True)


_LOG = structlog.get_logger()
_lines: Lines | None = None
_calls: Lines | None = None
"""Where lines about calls go; None where they are below the level."""


def log() -> Any:
    """The logger."""
    return _LOG


def log_call(status: int, reason: str, call: str, correlation: str) -> None:
    """
    `call_answered`, as `log().info` would write it. It comes with each call, so it goes round the processors.

    Reason and ids are closed words and checked ids; anything else is left out, as `_require_plain` would.
    """
    if _calls is None:
        return
    reason, call, correlation = (
        each if not each or _WORD.fullmatch(each) else "withheld" for each in (reason, call, correlation)
    )
    line = f'"status":{status},"reason":"{reason}","call":"{call}","correlation_id":"{correlation}"'
    _calls.write(f'{{{line},"event":"call_answered","level":"info","timestamp":"{_now()}"}}\n'.encode())


def dropped() -> int:
    """How many lines of this process nobody will read."""
    return 0 if _lines is None else _lines.dropped


class Lines(io.BytesIO):
    """
    A file that never makes its writer wait, over a descriptor that may.

    The lines of one turn of the event loop go together: a system call for each would cost more than making it. What
    cannot be written waits and is tried again with the next line, or soon. What a thread says is tried at once.
    """

    def __init__(self, descriptor: int, *, waiting_bytes_max: int = WAITING_BYTES_MAX) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._room = waiting_bytes_max
        self._writable = select.poll()
        self._writable.register(descriptor, select.POLLOUT)
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._due: asyncio.AbstractEventLoop | None = None
        """The loop that will write soon: a line that comes meanwhile need not ask for it."""
        self._untold = 0
        self.dropped = 0

    def write(self, line: Any) -> int:
        """Take a line, or drop it where too many wait. The descriptor gets it now or later."""
        with self._lock:
            if len(self._waiting) + len(line) > self._room:
                self.dropped += 1
                self._untold += 1
                return len(line)
            self._tell_of_dropped()
            self._waiting += line
            if self._due is not None and not self._due.is_closed():
                return len(line)
            try:
                loop = self._due = asyncio.get_running_loop()
            except RuntimeError:
                self._write_out()
                return len(line)
        loop.call_soon(self._turn, loop)
        return len(line)

    def finish(self) -> None:
        """Write what waits, within a second."""
        until = time.monotonic() + _LAST_SECONDS
        while time.monotonic() < until:
            with self._lock:
                self._tell_of_dropped()
                self._write_out()
                if not self._waiting:
                    return
            time.sleep(_PAUSE_SECONDS)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._write_out()
            if self._waiting:
                loop.call_later(_PAUSE_SECONDS, self._turn, loop)
            else:
                self._due = None

    def _tell_of_dropped(self) -> None:
        if self._untold:
            members = b'"lines":%d,"event":"lines_dropped","level":"warning"' % self._untold
            self._waiting += b'{%b,"timestamp":"%b"}\n' % (members, _now().encode())
            self._untold = 0

    def _write_out(self) -> None:
        """As much as the descriptor takes at once. A reader that is gone or a full disk is no reader either."""
        with suppress(OSError):
            while self._waiting and self._writable.poll(0):
                written = os.write(self._descriptor, self._waiting[:_PIECE_BYTES])
                del self._waiting[:written]


class _Libraries(logging.Handler):
    """What a library logs: that it did, and what kind of fault it met. Its message may quote a request."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else record.msg if isinstance(record.msg, Exception) else None
        members: dict[str, Any] = {} if error is None else {"error": error}
        if isinstance(error, OSError) and error.errno is not None:
            members["cause"] = os.strerror(error.errno)
        _LOG.warning("library_warned", library=record.name, **members)


def _now() -> str:
    now = time.time()
    return f"{_second(int(now))}.{int(now % 1 * 1e6):06d}Z"


@lru_cache(maxsize=4)
def _second(now: int) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _without_messages(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A fault is named by its class and place: its message may quote a value."""
    error = event.pop("error", None)
    if isinstance(error, BaseException):
        event["error_class"] = type(error).__name__
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        if frame is not None:
            event["error_at"] = f"{frame.tb_frame.f_globals.get('__name__', '')}:{frame.tb_lineno}"
    return event


def _require_plain(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if name in _OWN or isinstance(value, int | float | bool) or value is None:
            continue
        if not isinstance(value, str) or not _PLAIN.fullmatch(value):
            event[name] = "withheld"
    return event
