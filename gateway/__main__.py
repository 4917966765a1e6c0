"""`python -m gateway`: one gateway process, settings from `LOCKGATE_` variables.

`python -m gateway COMMAND` is for the operator of its host: `prepare-log-key`, `rotate-log-key`, `accept-database`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys

import uvicorn
import uvloop

from gateway import operating
from gateway.app import gateway
from gateway.doors.connections import Connection
from gateway.errors import Misconfigured
from gateway.ledger import LedgerUnavailable
from gateway.logs import configure, log
from gateway.settings import Settings, read
from gateway.storage.cluster import ClusterFailed
from gateway.storage.connections import DatabaseUnavailable
from gateway.storage.identity import DatabaseOfAnother
from gateway.storage.journal import LogSetBack
from gateway.storage.migrations import MigrationFailed
from gateway.storage.places import UnfitPlace
from gateway.storage.rotation import InTheWay
from gateway.storage.signers import LogOfAnother
from gateway.storage.startup import UnsafeDatabase
from proofs.errors import KeyUnreadable

# What a call leaves behind goes with its last reference. The collector, which looks for cycles, need not look at what
# lives as long as the process, nor after every few hundred values: it took a tenth of a call's time.
YOUNG_MAX = 20_000
STOP_SECONDS = 20  # What is in flight is answered; deadlines are shorter than this.
_REFUSED = (
    Misconfigured,
    KeyUnreadable,
    UnsafeDatabase,
    LogSetBack,
    LogOfAnother,
    ClusterFailed,
    UnfitPlace,
    DatabaseUnavailable,
    DatabaseOfAnother,
    MigrationFailed,
    LedgerUnavailable,
    InTheWay,
)
_COMMANDS = {
    "prepare-log-key": operating.prepare_log_key,
    "rotate-log-key": operating.rotate_log_key,
    "accept-database": operating.accept_database,
}


def main(command: str = "") -> int:
    """Serve until told to end, or carry out a command. 2: it must not be done like this, and said why."""
    try:
        settings = read()
        configure(settings.log_level)
        if command:
            for sentence in _COMMANDS[command](settings):
                print(sentence)
            return 0
        uvloop.run(serve(settings))
    except _REFUSED as error:
        print(f"lockgate: {error}", file=sys.stderr)
        return 2
    return 0


async def serve(settings: Settings) -> None:
    """Run one gateway over HTTP, and end it tidily on SIGTERM or SIGINT."""
    async with gateway(settings) as app:
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                loop="none",
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,  # No header says who asks, from where, or in whose name.
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers a flag, no event
            await asyncio.sleep(0.01)
        if server.started:
            port = server.servers[0].sockets[0].getsockname()[1]
            gc.collect()
            gc.freeze()
            gc.set_threshold(YOUNG_MAX)
            log().info("gateway_started", host=settings.host, port=port, environment=settings.environment)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, _end, server)
        await task


def _end(server: uvicorn.Server) -> None:
    server.should_exit = True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m gateway", description=__doc__)
    parser.add_argument("command", nargs="?", default="", choices=["", *_COMMANDS], metavar="COMMAND")
    sys.exit(main(parser.parse_args().command))
