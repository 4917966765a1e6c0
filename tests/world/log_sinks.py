"""A gateway whose standard error can be exchanged while it runs: for a pipe that nobody reads, or a full disk.

`python -m tests.world.log_sinks`. Everything else is the gateway's own. SIGUSR1: nobody reads. SIGUSR2: no space is
left. SIGHUP: as it was.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

STDERR = 2
BLOCKED, FULL, WELL = signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP


def main() -> int:
    """Serve as `python -m gateway` does."""
    from gateway import __main__ as process  # noqa: PLC0415 - only in the process that is started for it

    listen()
    return process.main()


def listen() -> None:
    """Exchange standard error when told."""
    sinks = {BLOCKED: _full_pipe(), FULL: os.open("/dev/full", os.O_WRONLY), WELL: os.dup(STDERR)}
    for number, sink in sinks.items():
        signal.signal(number, lambda _number, _frame, sink=sink: os.dup2(sink, STDERR))


def _full_pipe() -> int:
    """The end for writing of a pipe that takes nothing more, and whose reader reads nothing."""
    _, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (65536, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * size)
    os.set_blocking(writer, True)
    return writer


if __name__ == "__main__":
    sys.exit(main())
