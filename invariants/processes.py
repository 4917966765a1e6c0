"""Solver processes for a program that must stay alive and responsive: each task in one of its own, bounded, killable.

Whatever becomes of the process (killed, out of memory, out of time, talking nonsense), the caller gets a reason and
never an exception from it. No solver is loaded in this process.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import pickle
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from invariants.errors import Busy, InvariantError
from invariants.jobs import ProofLimits
from invariants.worker import EXIT_OUT_OF_MEMORY

_ROOT = Path(__file__).resolve().parent.parent
_LINE_BYTES_MAX = 1024 * 1024  # A counter-example is a question, some kilobytes.
_ENVIRONMENT = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")  # The worker needs no setting and no secret.

Hear = Callable[[dict[str, Any]], None]
"""Takes one answer. Raises `InvariantError` for one that was not asked for."""


class Queue:
    """A turn for each task, one after the other: a second upload waits rather than share the machine with the first."""

    def __init__(self, waiting_max: int = 16) -> None:
        self._turn = asyncio.Semaphore(1)
        self._waiting_max = waiting_max
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for it. Raises `Busy` when too many wait already."""
        if self._waiting >= self._waiting_max:
            raise Busy("too many proofs wait already")
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1


async def converse(task: str, job: object, limits: ProofLimits, hear: Hear) -> str:
    """
    Let one process do a task (`worker.TASKS`) and tell `hear` each answer.

    Returns why answers may be missing (`worker_died`, `out_of_memory`, `out_of_time`), or nothing when it ended well.
    Cancelled, it leaves no process behind.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "invariants.worker",
        task,
        str(limits.memory_bytes),
        str(math.ceil(limits.seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=_ROOT,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        limit=_LINE_BYTES_MAX,
    )
    try:
        async with asyncio.timeout(limits.seconds):
            await _exchange(process, job, hear)
            code = await process.wait()
    except TimeoutError:
        return "out_of_time"
    except (InvariantError, ValueError, RecursionError, OSError):
        # A broken pipe, a line without end or bottom, or an answer that was not asked for.
        return "worker_died"
    finally:
        await _end(process)
    if code == 0:
        return ""
    return "out_of_memory" if code == EXIT_OUT_OF_MEMORY else "worker_died"


async def _exchange(process: asyncio.subprocess.Process, job: object, hear: Hear) -> None:
    stdin, stdout = process.stdin, process.stdout
    if stdin is None or stdout is None:
        raise InvariantError("pipes expected")
    try:
        stdin.write(pickle.dumps(job))
        await stdin.drain()
    except RuntimeError as error:
        raise BrokenPipeError("the process was gone at once") from error  # What uvloop says of a closed pipe.
    stdin.close()
    while line := await stdout.readline():
        document = json.loads(line)
        if not isinstance(document, dict):
            raise InvariantError("an object expected")
        hear(document)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        try:
            process.kill()
        except ProcessLookupError:
            return
        await process.wait()
