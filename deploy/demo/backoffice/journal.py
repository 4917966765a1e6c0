"""The journal: one line for each applied effect, in a file that only this process writes.

`append` returns when the line is on disk. Lines that arrive while one flush is under way share the next. A line that
was torn by a crash is cut off when the file is opened; `complete` in `startup` then writes what is missing from the
effects in the database, so that after any crash journal and database name the same effects, each exactly once.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from pathlib import Path
from typing import Any


class JournalUnusable(Exception):
    """The file is held by another process, is not a journal, or could not be flushed."""


class Journal:
    """An append-only file of JSON lines `{effect_id, tool, arguments, at}`."""

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise JournalUnusable("another process writes this journal") from error
        if anew:
            os.ftruncate(self._file, 0)
        self._cut_torn_line()
        _sync_directory(path.parent)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self.is_broken = False
        """A flush failed. What follows it on disk is unknown, so nothing more is written or answered."""

    def effect_ids(self) -> set[str]:
        """Effect ids of all lines; reads the whole file, at start only."""
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            return {_effect_id(line) for line in file}

    async def append(self, entry: dict[str, Any]) -> None:
        """Write one line; on disk when this returns. Raises `JournalUnusable` when that cannot be said."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((_line(entry), written))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        await written

    def append_now(self, entries: list[dict[str, Any]]) -> None:
        """Write lines without the event loop, at start only."""
        self._write(b"".join(_line(entry) for entry in entries))

    def close(self) -> None:
        os.close(self._file)

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._write, b"".join(line for line, _ in batch))
            except (OSError, JournalUnusable) as error:
                for _, written in batch:
                    if not written.done():
                        written.set_exception(JournalUnusable(f"journal could not be flushed: {error}"))
                continue
            for _, written in batch:
                if not written.done():  # Its request may have been cancelled at shutdown; the line stands.
                    written.set_result(None)
        self._flusher = None

    def _write(self, lines: bytes) -> None:
        if self.is_broken:
            raise JournalUnusable("an earlier flush failed")
        try:
            while lines:
                lines = lines[os.write(self._file, lines) :]
            os.fsync(self._file)
        except OSError:
            self.is_broken = True
            raise

    def _cut_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        tail = b""
        while size and b"\n" not in tail:
            start = max(0, size - len(tail) - 65536)
            tail = os.pread(self._file, size - start, start)
            if start == 0:
                break
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            os.ftruncate(self._file, size - len(tail) + whole)
            os.fsync(self._file)


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _effect_id(line: bytes) -> str:
    try:
        return str(json.loads(line)["effect_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise JournalUnusable("the file is not a journal") from error


def _sync_directory(path: Path) -> None:
    """Make the file's name durable too: a flushed file without a name is lost after a power cut."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
