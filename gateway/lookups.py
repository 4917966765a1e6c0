"""Look-ups: addresses of host names, so that a name for which nobody answers keeps only its own callers waiting.

One look-up of a host is under way at a time, in a thread of its own, and whoever needs the host meanwhile waits for
that one. What hangs does not pile up: there are never more threads than hosts, and hosts are what settings name. Nobody
waits longer than a bound, which ends before a byte of any request has left. Addresses are believed for a few seconds
once a connection was made; whether one may be meant is looked at by whoever connects, each time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from threading import Thread

LOOK_UP_SECONDS = 1.0  # Below what a fact and most tools are given: the rest of their time is for the connection.
FRESH_SECONDS = 5.0  # A service that moves is followed so soon; a busy one costs a look-up so rarely.

Resolve = Callable[[str], Awaitable[list[str]]]
"""A host name's addresses as text. Raises `OSError` for a name without any."""


async def resolve(host: str) -> list[str]:
    """By the machine's own resolver. It cannot be interrupted, so the end of the program does not wait for it."""
    found: Future[list[str]] = Future()
    Thread(target=_resolve, args=(host, found), name="look-up", daemon=True).start()
    return await asyncio.wrap_future(found)


class LookUps:
    """Finds addresses. Belongs to one event loop."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._under_way: dict[str, asyncio.Future[list[str]]] = {}
        self._kept: dict[str, tuple[Sequence[str], float]] = {}
        """With the second of the loop's clock until which they are fresh."""

    async def find(self, host: str) -> Sequence[str]:
        """The addresses of a host. Raises `OSError`, which `TimeoutError` is one of, and `UnicodeError`."""
        kept = self._fresh(host)
        if kept is not None:
            return kept
        look_up = self._under_way.get(host) or self._begin(host)
        async with asyncio.timeout(LOOK_UP_SECONDS):
            return await asyncio.shield(look_up)  # Others wait for it too.

    def keep(self, host: str, addresses: Sequence[str]) -> None:
        """Believe addresses one of which was connected to, for a while that further connections do not prolong."""
        if self._fresh(host) is None:
            self._kept[host] = addresses, asyncio.get_running_loop().time() + FRESH_SECONDS

    def forget(self, host: str) -> None:
        """None of them answers any more: the next connection looks again."""
        self._kept.pop(host, None)

    def _fresh(self, host: str) -> Sequence[str] | None:
        addresses, until = self._kept.get(host, ((), 0.0))
        return addresses if asyncio.get_running_loop().time() < until else None

    def _begin(self, host: str) -> asyncio.Future[list[str]]:
        look_up = self._under_way[host] = asyncio.ensure_future(self._resolve(host))
        look_up.add_done_callback(lambda _: self._end(host))
        return look_up

    def _end(self, host: str) -> None:
        look_up = self._under_way.pop(host)
        if not look_up.cancelled():
            look_up.exception()  # Read, as perhaps nobody waits for it any more.


def _resolve(host: str, found: Future[list[str]]) -> None:
    if not found.set_running_or_notify_cancel():
        return
    try:
        addresses = [str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
        found.set_result(list(dict.fromkeys(addresses)))
    except BaseException as error:  # noqa: BLE001 - the outermost call of this thread: without a word all would wait on
        found.set_exception(error)
