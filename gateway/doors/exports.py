"""Exports under way: so many of a tenant, each for as long as somebody reads it.

An export goes on after its route has returned, page by page, at the pace of whoever reads it. So it has a place of its
own until its last page is taken; and a reader who stops is cut off, with what was kept for the connection.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from fastapi.responses import StreamingResponse

from gateway.doors.connections import ABORT
from gateway.errors import RateExceeded

OF_A_TENANT_MAX = 4  # Auditors are few, and each may try twice.
STALLED_SECONDS = 10.0  # For one page: who takes less than 50 KB a second has always been a fault, or an attack.


class Exports:
    """Places for exports, of each tenant."""

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def place(self, tenant: str) -> Iterator[None]:
        """A place, until the block is left. Raises `RateExceeded` for a tenant that has all of its own."""
        if self._under_way[tenant] >= OF_A_TENANT_MAX:
            raise RateExceeded("quota_exceeded", 1)
        self._under_way[tenant] += 1
        try:
            yield
        finally:
            self._under_way[tenant] -= 1


class Export(StreamingResponse):
    """The log of a tenant as JSON lines, for as long as somebody takes them; then `leaving` is closed."""

    def __init__(self, tenant: str, pages: AsyncIterator[bytes], leaving: ExitStack) -> None:
        name = f"lockgate-{tenant}.jsonl"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        super().__init__(pages, media_type="application/jsonl", headers=headers)
        self._leaving = leaving

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it."""

        async def send_in_time(message: Any) -> None:
            try:
                async with asyncio.timeout(STALLED_SECONDS):
                    await send(message)
            except TimeoutError:
                scope[ABORT]()  # Closed tidily, it would wait for the same reader. What streams is cancelled by it.

        with self._leaving:
            await super().__call__(scope, receive, send_in_time)
