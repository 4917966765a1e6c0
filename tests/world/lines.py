"""A line to something that listens, which can go bad in every way that a connection can.

It stands before a TCP port or a Unix socket, in a thread of its own, and passes bytes on until told otherwise.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum, unique
from pathlib import Path

DRIP_SECONDS = 0.2
_RESET = struct.pack("ii", 1, 0)  # Lingering for 0 seconds: closing sends RST, not FIN.
_GARBAGE = bytes(range(255, 0, -1)) * 4

Address = Path | tuple[str, int]


@unique
class Trouble(StrEnum):
    """What is wrong with the line."""

    REFUSED = "refused"
    """Nobody listens, and connections that stood are cut."""
    RESET = "reset"
    """A connection is made, and reset as soon as something is sent."""
    SILENT = "silent"
    """Takes everything, passes nothing on, and says nothing."""
    DRIPPING = "byte by byte"
    """Passes on what is sent; the answer comes one byte at a time."""
    HALF = "half an answer"
    """Passes on what is sent; half of the answer comes, then the end."""
    CUT = "reset within the answer"
    """The same, and a reset in the place of an end."""
    SLOW = "a second late"
    """Passes everything on; each answer comes a second late."""
    GARBAGE = "garbage"
    """Passes nothing on, and says something that is no protocol."""


class Line:
    """Before one listener. `port` is 0 for a Unix socket, whose place is `place`."""

    def __init__(self, target: Address, place: Path | None = None) -> None:
        self._target = target
        self.place = place
        self.port = 0
        self._trouble: Trouble | bytes | None = None
        """Bytes: what is said in the place of every answer, nothing being passed on."""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._listen())

    @contextmanager
    def troubled(self, trouble: Trouble | bytes) -> Iterator[None]:
        """Be bad like this meanwhile; then as before, on new connections."""
        self._do(self._become(trouble))
        try:
            yield
        finally:
            self._do(self._become(None))

    def close(self) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _do(self, what: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _end(self) -> None:
        await self._become(Trouble.REFUSED)
        if running := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(running, timeout=5)
            await asyncio.sleep(0)  # For what their ends set off.

    async def _become(self, trouble: Trouble | bytes | None) -> None:
        self._trouble = trouble
        if trouble is Trouble.REFUSED and self._server is not None:
            self._server.close()
            self._server = None
        elif trouble is not Trouble.REFUSED and self._server is None:
            await self._listen()
        if trouble in (None, Trouble.REFUSED, Trouble.RESET):
            for writer in tuple(self._open):
                _reset(writer)

    async def _listen(self) -> None:
        if self.place is not None:
            self.place.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._accept, self.place, backlog=512)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=512)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if isinstance(self._target, Path):
                there = await asyncio.open_unix_connection(self._target)
            else:
                there = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(writer)
            self._open.discard(writer)
            return
        back = asyncio.create_task(self._back(there[0], writer))
        with suppress(OSError):
            await self._forth(reader, writer, there[1])
        there[1].close()
        with suppress(OSError, asyncio.CancelledError):
            await back
        writer.close()
        self._open.discard(writer)

    async def _forth(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            match self._trouble:
                case Trouble.RESET:
                    _reset(writer)
                    return
                case Trouble.SILENT:
                    continue
                case Trouble.GARBAGE:
                    writer.write(_GARBAGE)
                    writer.close()
                    return
                case bytes(said):
                    writer.write(said)
                    await writer.drain()
                    writer.close()
                    return
                case _:
                    if there.is_closing():
                        return
                    there.write(data)
                    await there.drain()

    async def _back(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while (data := await there.read(65536)) and not writer.is_closing():
                match self._trouble:
                    case Trouble.DRIPPING:
                        for byte in data:
                            if self._trouble is not Trouble.DRIPPING or writer.is_closing():
                                _reset(writer)
                                return
                            writer.write(bytes([byte]))
                            await asyncio.sleep(DRIP_SECONDS)
                    case Trouble.SLOW:
                        await asyncio.sleep(1.0)
                        writer.write(data)
                    case Trouble.HALF:
                        writer.write(data[: len(data) // 2])
                        writer.close()
                        return
                    case Trouble.CUT:
                        writer.write(data[: len(data) // 2])
                        await asyncio.sleep(0.01)  # What is still buffered would be dropped.
                        _reset(writer)
                        return
                    case _:
                        writer.write(data)
                        await writer.drain()
        writer.close()


@contextmanager
def before(target: Address, place: Path | None = None) -> Iterator[Line]:
    """A line to that listener: a Unix socket at `place`, or a port of its own."""
    line = Line(target, place)
    try:
        yield line
    finally:
        line.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):  # It may be gone already; a Unix socket knows no reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
