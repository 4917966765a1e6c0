"""One gateway over HTTP: it listens, takes connections within bounds, and ends tidily.

Told to end, it goes step by step: not ready any more, so that whoever balances load looks elsewhere; then no new
connection; then what is under way is answered; then the parts are drained and closed.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from gateway.app import gateway
from gateway.clock import SystemClock
from gateway.doors.lobby import Lobby
from gateway.logs import log
from gateway.settings import Settings

# What a call leaves behind goes with its last reference. The collector, which looks for cycles, need not look at what
# lives as long as the process, nor after every few hundred values: it took a tenth of a call's time.
YOUNG_MAX = 20_000
STOP_SECONDS = 20  # What is in flight is answered; deadlines are shorter than this.
KEPT_SECONDS = 60
"""Above what the lobby grants: it ends connections. A common client keeps one for 5 s; if both gave up at the same
moment, it would send a call on what is being closed, and not know whether it was read."""
DESCRIPTORS_KEPT = 1024
"""For tools, the database, workers and files: connections leave so many descriptors to them."""


async def serve(settings: Settings) -> None:
    """Run one gateway, and end it on SIGTERM or SIGINT."""
    ending = asyncio.Event()
    async with gateway(settings, ending=ending) as app:
        lobby = Lobby(SystemClock(), connections_max=connections_max(settings.connections_max))
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                loop="none",
                http=lobby.guest,  # type: ignore[arg-type]  # called, as the class would be
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,  # No header says who asks, from where, or in whose name.
                timeout_keep_alive=KEPT_SECONDS,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers a flag, no event
            await asyncio.sleep(0.01)
        watching = asyncio.create_task(lobby.watch())
        if server.started:
            port = server.servers[0].sockets[0].getsockname()[1]
            gc.collect()
            gc.freeze()
            gc.set_threshold(YOUNG_MAX)
            log().info("gateway_started", host=settings.host, port=port, environment=settings.environment)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, _end(server, ending, settings.drain_seconds))
        await task
        watching.cancel()


def connections_max(wanted: int) -> int:
    """
    How many connections there may be, with as many descriptors as the system lets this process open.

    Without a bound below that, one that is out of descriptors could not reach its tools for a crowd that does nothing.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # As it was, then.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(soft - DESCRIPTORS_KEPT, soft // 4))


def _end(server: uvicorn.Server, ending: asyncio.Event, drain_seconds: float) -> Callable[[], None]:
    def stop() -> None:
        server.should_exit = True

    def end() -> None:
        """The second signal does not wait for whoever balances load."""
        if ending.is_set():
            stop()
        else:
            ending.set()
            asyncio.get_running_loop().call_later(drain_seconds, stop)

    return end
