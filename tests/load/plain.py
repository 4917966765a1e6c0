"""What the gateway is compared with: a plain ASGI app on the same server, settings and parser.

`python -m tests.load.plain URL READY`. `POST /insert` writes the body as one row and commits, on a connection of a
psycopg pool; `POST /decode` reads and parses the body as the call route does, and answers.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvicorn
import uvloop
from psycopg_pool import AsyncConnectionPool

from gateway.admission import parse
from gateway.doors.messages import Receive, Scope, Send, body
from gateway.requests import single_headers

INSERT = "insert into bench.plain (body) values (%s) returning id"
CONNECTIONS = 32  # As many as there are clients at most: nobody waits for a connection.
BODY_BYTES_MAX = 64 * 1024
BODY_SECONDS_MAX = 10
_HEADERS = [(b"content-type", b"application/json")]


class Plain:
    """The app."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = single_headers(scope["headers"])
        raw = await body(headers, receive, bytes_max=BODY_BYTES_MAX, seconds_max=BODY_SECONDS_MAX)
        if scope["path"] == "/insert":
            async with self._pool.connection() as connection:
                row = await (await connection.execute(INSERT, (raw,))).fetchone()
            answer = b'{"id":%d}' % (row[0] if row else 0)
        else:
            answer = b'{"members":%d}' % len(parse(raw))
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [*_HEADERS, (b"content-length", b"%d" % len(answer))],
            }
        )
        await send({"type": "http.response.body", "body": answer})


async def serve(url: str, ready: Path) -> None:
    """Serve until told to end; the port is written to `ready`."""
    autocommit = {"autocommit": True}
    async with AsyncConnectionPool(url, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=autocommit) as pool:
        await pool.wait()
        config = uvicorn.Config(
            Plain(pool),
            host="127.0.0.1",
            port=0,
            loop="none",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn offers a flag, no event
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        ready.write_text(str(port))  # noqa: ASYNC240 - before the first request
        await task


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], Path(sys.argv[2])))
