"""Run the back office: `python -m deploy.demo.backoffice --database-url URL --journal FILE --ready-file FILE`.

It listens on the loopback interface only, and ends when it is asked to (SIGTERM, SIGINT) or when the process that
started it is gone. Exit status: 0 ended as asked, 2 could not start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import uvicorn
import uvloop

from deploy.demo.backoffice import startup, web
from deploy.demo.backoffice.connections import DatabaseOwned, Pool, own
from deploy.demo.backoffice.effects import Effects
from deploy.demo.backoffice.faults import Faults
from deploy.demo.backoffice.journal import Journal, JournalUnusable
from deploy.demo.backoffice.operations import OPERATIONS

LOOPBACK = "127.0.0.1"
PARENT_CHECK_SECONDS = 0.2
SHUTDOWN_SECONDS = 3  # For requests under way; a fault that hangs is cut off then.


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and say on the error stream why it could not start."""
    options = _parser().parse_args(arguments)
    parent = os.getppid()
    try:
        uvloop.run(_serve(options, parent=parent))
    except (DatabaseOwned, JournalUnusable, startup.Unfit, psycopg.OperationalError, OSError) as error:
        print(f"backoffice: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.backoffice", description="A business to govern.")
    parser.add_argument("--database-url", required=True, help="a PostgreSQL database of its own")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--journal", type=Path, required=True, help="one line for each applied effect")
    parser.add_argument("--ready-file", type=Path, help='written when requests are served: {"url", "pid"}')
    parser.add_argument("--faults", action="store_true", help="let tests ask for faults")
    parser.add_argument("--reset", action="store_true", help="forget all rows and the journal, and seed anew")
    return parser


async def _serve(options: argparse.Namespace, *, parent: int) -> None:
    listener = socket.create_server((LOOPBACK, options.port), backlog=2048)
    owner = await own(options.database_url)
    journal = Journal(options.journal, anew=options.reset)
    pool = Pool(options.database_url)
    try:
        await startup.prepare(pool, journal, reset=options.reset)
        effects = Effects(pool=pool, journal=journal, operations=OPERATIONS)
        app = web.build(pool=pool, effects=effects, switches=Faults() if options.faults else None)
        server = _Server(app, ready_file=options.ready_file)
        watch = asyncio.create_task(_end_with_parent(server, parent))
        await server.serve(sockets=[listener])
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
    finally:
        listener.close()
        await pool.close()
        journal.close()
        await owner.close()


class _Server(uvicorn.Server):
    """uvicorn, with a ready file, and with an exit status of 0 when it was asked to end."""

    def __init__(self, app: Any, *, ready_file: Path | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",  # We run inside a loop already.
                http="httptools",
                lifespan="off",
                log_level="warning",
                access_log=False,  # Paths hold ids of people.
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
        )
        self._ready_file = ready_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready_file is not None and self.started and sockets:
            _say_ready(self._ready_file, port=sockets[0].getsockname()[1])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def _say_ready(path: Path, *, port: int) -> None:
    """Written whole or not at all: who waits for the file may read it as soon as it is there."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps({"url": f"http://{LOOPBACK}:{port}", "pid": os.getpid()}) + "\n", encoding="utf-8")
    draft.replace(path)


async def _end_with_parent(server: _Server, parent: int) -> None:
    """A process whose parent died is given to another one; that holds everywhere, and for threads that spawn."""
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody tells us, so we look
        await asyncio.sleep(PARENT_CHECK_SECONDS)
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
