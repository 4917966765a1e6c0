"""Rego in a worker process: narrows what Cedar grants. Asked over a socket, many questions in flight.

Undefined, another shape than `rego_answers` expects, an unknown id, an error of the evaluation: the answer carries
`errors` and the call is denied. A worker that is dead, slow or full is not an answer: `EngineUnavailable`. A dead or
slow worker is replaced by a new one, which is given the bundles again; what was in flight is not asked again.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import struct
import sys
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

from policies import rego_answers
from policies.errors import EngineUnavailable, PolicyFault
from policies.rego_answers import BYTES_MAX, FAILED, KEPT_MAX, MISSHAPEN, UNDEFINED, RegoAnswer, RegoRules
from proofs import canonical

_WORKER = Path(__file__).with_name("rego_worker.py")
_HEADER = struct.Struct(">IcI")  # As in `rego_worker`, which only the worker process may import: it loads regopy.
_IN_FLIGHT_MAX = 1024  # At 200 microseconds each, more would wait longer than the deadline.
# The engine's allocator reserves 256 GiB of addresses, so no resource limit holds it: its resident pages are watched.
_RESIDENT_BYTES_MAX = 512 * 1024 * 1024
_WATCH_SECONDS = 0.1
_BUILD_SECONDS_MAX = 5.0
_PAUSES_SECONDS = (0.0, 0.1, 0.5, 2.0)  # Before each new worker after a failed start; the last one repeats.


@dataclass(slots=True)
class _Loaded:
    slot: int
    rules: RegoRules
    answers: dict[bytes, RegoAnswer] = field(default_factory=dict)


class RegoWorker:
    """One worker process and the bundles it holds. Belongs to one event loop; not for two threads."""

    def __init__(self, *, deadline_seconds: float = 1.2) -> None:
        self._deadline = deadline_seconds
        self._bundles: dict[str, _Loaded] = {}
        self._slots = 0
        self._channel: _Channel | None = None
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The worker that answers now, for whoever watches processes. None while one starts."""
        return None if self._channel is None else self._channel.pid

    @property
    def loaded(self) -> frozenset[str]:
        """The bundles that can be asked about."""
        return frozenset(self._bundles)

    @property
    def is_answering(self) -> bool:
        """Whether there is a worker. One that does not answer in time is ended, and then there is none."""
        return self._channel is not None and not self._channel.closed.is_set()

    async def start(self) -> None:
        """Start the worker and keep one running until `close`. Returns when it answers."""
        self._keeper = asyncio.create_task(self._keep(), name="rego-keeper")
        await self._open_channel(_BUILD_SECONDS_MAX)

    async def close(self) -> None:
        """End the worker; what is in flight is unavailable."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None

    async def reach(self) -> None:
        """Raise `EngineUnavailable` unless a worker answers now."""
        await self._open_channel(self._deadline)

    async def load(self, name: str, rules: RegoRules) -> None:
        """
        Build a bundle in the worker, so that `decide` can name it.

        Raises `PolicyFault` when it does not build, or when the engine does not survive it: then it is not kept.
        """
        if name in self._bundles:
            return
        self._slots += 1
        loaded = _Loaded(self._slots, rules)
        try:
            built = await self._build(loaded)
        except EngineUnavailable:
            # The worker may have died of somebody else's question: what kills two of them is refused.
            try:
                built = await self._build(loaded)
            except EngineUnavailable as error:
                raise PolicyFault("deny.rego: the engine does not survive it") from error
        if built is None:
            raise PolicyFault("deny.rego: does not build")
        self._bundles[name] = loaded

    async def drop(self, name: str) -> None:
        """Forget a bundle that is no longer asked about."""
        loaded = self._bundles.pop(name, None)
        if loaded is not None and self._channel is not None:
            with suppress(EngineUnavailable):  # A worker that is gone has forgotten it too.
                await self._channel.post(b"D", loaded.slot, b"", within=self._deadline)

    async def decide(self, name: str, projection: bytes) -> RegoAnswer:
        """
        Evaluate a loaded bundle over a projection (see `projection`).

        Raises `EngineUnavailable` when no answer came within the deadline, from a worker that may be starting anew.
        """
        await self._open_channel(self._deadline)
        return await self.ask(name, projection)

    def ask(self, name: str, projection: bytes) -> Awaitable[RegoAnswer]:
        """As `decide`, but the question is on its way when this returns; the answer is awaited when it is needed."""
        loaded, channel = self._bundles.get(name), self._channel
        if loaded is None:
            return _unavailable("rego: the bundle is not loaded")
        if channel is None or channel.closed.is_set():
            return self.decide(name, projection)
        return _answer(loaded, channel.post(b"Q", loaded.slot, projection, within=self._deadline))

    async def _build(self, loaded: _Loaded) -> bytes | None:
        channel = await self._open_channel(_BUILD_SECONDS_MAX)
        return await channel.post(b"L", loaded.slot, _source(loaded.rules), within=_BUILD_SECONDS_MAX)

    async def _open_channel(self, within: float) -> _Channel:
        try:
            async with asyncio.timeout(within):
                while (channel := self._channel) is None or channel.closed.is_set():
                    self._ready.clear()
                    await self._ready.wait()
        except TimeoutError as error:
            raise EngineUnavailable("rego: the worker does not start") from error
        return channel

    async def _keep(self) -> None:
        """Run workers, one after the other, until cancelled."""
        failures = 0
        while True:
            await asyncio.sleep(_PAUSES_SECONDS[min(failures, len(_PAUSES_SECONDS) - 1)])
            try:
                process, channel = await _spawn()
            except OSError:
                failures += 1
                continue
            try:
                await self._restore(channel)
                self._channel, failures = channel, 0
                self._ready.set()
                await channel.closed.wait()
            except EngineUnavailable:
                failures += 1
            finally:
                self._ready.clear()
                self._channel = None
                channel.close()
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _restore(self, channel: _Channel) -> None:
        for loaded in tuple(self._bundles.values()):
            if await channel.post(b"L", loaded.slot, _source(loaded.rules), within=_BUILD_SECONDS_MAX) is None:
                raise EngineUnavailable("rego: a bundle that was built does not build again")


async def _answer(loaded: _Loaded, coming: asyncio.Future[bytes | None]) -> RegoAnswer:
    text = await coming
    if text is None:
        return FAILED
    known = loaded.answers.get(text)
    if known is None:
        known = read(text, loaded.rules)
        if len(loaded.answers) < KEPT_MAX:
            loaded.answers[text] = known
    return known


async def _unavailable(message: str) -> RegoAnswer:
    raise EngineUnavailable(message)


def read(text: bytes, rules: RegoRules) -> RegoAnswer:
    """The engine's text as an answer. Strict: whatever is not exactly the expected shape is an error."""
    if text == b"undefined":
        return UNDEFINED
    if len(text) > BYTES_MAX:
        return MISSHAPEN
    try:
        output = canonical.parse(text)
    except (canonical.Malformed, canonical.OutsideProfile):
        return MISSHAPEN
    match output:
        case {"expressions": [decision], **rest} if not rest:
            return rego_answers.read(decision, rules)
        case _:
            return MISSHAPEN


def _source(rules: RegoRules) -> bytes:
    return json.dumps({"module": rules.module, "data": dict(rules.data)}).encode()


class _Waiting(NamedTuple):
    answer: asyncio.Future[bytes | None]
    due: float


class _Channel(asyncio.Protocol):
    """Frames out, frames in, in order. Closes itself when the oldest question is not answered in time."""

    def __init__(self, pid: int) -> None:
        self.closed = asyncio.Event()
        self.pid = pid
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._received = bytearray()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None

    def post(self, kind: bytes, slot: int, body: bytes, *, within: float) -> asyncio.Future[bytes | None]:
        """
        Send a frame. The future has the worker's answer, or None if it failed.

        It raises `EngineUnavailable` when there is none in time, or when the worker is gone or full already.
        """
        waiting = _Waiting(self._loop.create_future(), self._loop.time() + within)
        if self.closed.is_set() or len(self._waiting) >= _IN_FLIGHT_MAX:
            waiting.answer.set_exception(EngineUnavailable("rego: the worker is gone or full"))
            return waiting.answer
        frame = _HEADER.pack(len(body), kind, slot) + body
        if not self._waiting and self._transport is not None:
            self._transport.write(frame)
        else:  # One write for all that ask in this turn of the loop.
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(frame)
        self._waiting.append(waiting)
        if self._watch is None:
            self._watch = self._loop.call_later(_WATCH_SECONDS, self._inspect)
        return waiting.answer

    def close(self) -> None:
        """Give up on the worker. Idempotent."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class does not say that it is one.

    def data_received(self, data: bytes) -> None:
        buffer = self._received
        buffer.extend(data)
        start = 0
        while len(buffer) - start >= _HEADER.size:
            length, kind, _ = _HEADER.unpack_from(buffer, start)
            end = start + _HEADER.size + length
            if len(buffer) < end:
                break
            # An answer without a question cannot be placed; nor can any that follows it.
            if not self._waiting:
                self.close()
                return
            waiting = self._waiting.popleft()
            if not waiting.answer.done():  # Done already: whoever asked was cancelled.
                waiting.answer.set_result(bytes(buffer[start + _HEADER.size : end]) if kind == b"O" else None)
            start = end
        del buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        if self._watch is not None:
            self._watch.cancel()
        while self._waiting:
            answer = self._waiting.popleft().answer
            if not answer.done():
                answer.set_exception(EngineUnavailable("rego: the worker is gone or slow"))

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is not None and not self.closed.is_set():
            self._transport.write(b"".join(unsent))

    def _inspect(self) -> None:
        """Runs while somebody waits. Answers come in order: behind a slow question all others wait too."""
        self._watch = None
        if not self._waiting:
            return
        if self._waiting[0].due <= self._loop.time() or _resident_bytes(self.pid) > _RESIDENT_BYTES_MAX:
            self.close()  # The keeper starts a new worker.
        else:
            self._watch = self._loop.call_later(_WATCH_SECONDS, self._inspect)


async def _spawn() -> tuple[asyncio.subprocess.Process, _Channel]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # Neither the environment nor the working directory decides what the worker imports.
            str(_WORKER),
            str(theirs.fileno()),
            pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,  # regopy prints parse errors with the input.
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            cwd="/",
        )
    ours.setblocking(False)
    _, channel = await asyncio.get_running_loop().create_unix_connection(lambda: _Channel(process.pid), sock=ours)
    return process, channel


def _resident_bytes(pid: int) -> int:
    """What the worker holds of the machine's memory; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * resource.getpagesize()
