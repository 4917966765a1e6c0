"""Logs for operators: events as past participles with a few plain members, one JSON object a line on standard error.

Logs may be lost; evidence is in the log of entries. Only identifiers, counts and closed words are ever passed here:
`_require_plain` drops anything else, so a value cannot slip in by a careless call.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import logging
import re
import sys
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO

import orjson
import structlog

_PLAIN = re.compile(r"[\w./:@ -]{0,200}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_OWN = {"event", "level", "timestamp", "exception"}


def configure(level: str) -> None:
    """Set up structlog once per process."""
    global _calls  # noqa: PLW0603 - as structlog, this module is set up once per process
    number = logging.getLevelNamesMapping()[level.upper()]
    lines = _Lines(sys.stderr.buffer)
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


_LOG = structlog.get_logger()
_calls: _Lines | None = None
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
    now = time.time()
    at = f"{_second(int(now))}.{int(now % 1 * 1e6):06d}Z"
    line = f'"status":{status},"reason":"{reason}","call":"{call}","correlation_id":"{correlation}"'
    _calls.write(f'{{{line},"event":"call_answered","level":"info","timestamp":"{at}"}}\n'.encode())


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


class _Lines(io.BytesIO):
    """
    A file to which the lines of one turn of the event loop go together: a system call for each would cost more than
    making it. What a thread says is written at once.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._lines: list[bytes] = []
        atexit.register(self._write_out)

    def write(self, line: Any) -> int:
        if not self._lines:
            try:
                asyncio.get_running_loop().call_soon(self._write_out)
            except RuntimeError:
                self._file.write(line)
                self._file.flush()
                return len(line)
        self._lines.append(line)
        return len(line)

    def _write_out(self) -> None:
        lines, self._lines = self._lines, []
        self._file.write(b"".join(lines))
        self._file.flush()
