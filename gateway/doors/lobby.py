"""The lobby: connections on which no request is under way, bounded in number and in time.

Whoever connects and says nothing, sends the head of a request one byte after the other, or has an answer and goes on
with what nobody waits for, costs a descriptor and nothing else; but those are counted too. Who has waited for
`WAIT_SECONDS` is sent away, and when there is no room for a new connection, whoever has waited longest is. A connection
with a request under way is never closed for another: what it may hold is bounded elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.clock import Clock
from gateway.doors.connections import Connection

WAIT_SECONDS = 10.0
"""For the whole head of a request. One that takes longer has always been a fault, or an attack."""
_TURN_SECONDS = 1.0


class Lobby:
    """Every connection of a gateway, and which of them wait. Belongs to one event loop."""

    def __init__(self, clock: Clock, *, connections_max: int) -> None:
        self._clock = clock
        self._max = connections_max
        self._count = 0
        self._waiting: dict[Guest, float] = {}
        """Since when, the longest first."""

    def guest(self, *arguments: Any, **named: Any) -> Guest:
        """A protocol for a new connection, as uvicorn asks for one."""
        return Guest(self, *arguments, **named)

    def opened(self, guest: Guest) -> None:
        """Somebody came."""
        self._count += 1
        self.waits(guest)
        if self._count > self._max:
            self._send_away(next(iter(self._waiting)))

    def closed(self, guest: Guest) -> None:
        """Somebody has gone."""
        self._count -= 1
        self._waiting.pop(guest, None)

    def waits(self, guest: Guest) -> None:
        """It has no request under way."""
        self._waiting[guest] = self._clock.monotonic()

    def asks(self, guest: Guest) -> None:
        """The head of a request is whole."""
        self._waiting.pop(guest, None)

    async def watch(self) -> None:
        """Send away who has waited too long, until cancelled."""
        while True:
            await asyncio.sleep(_TURN_SECONDS)
            late = self._clock.monotonic() - WAIT_SECONDS
            for guest in [guest for guest, since in self._waiting.items() if since < late]:
                self._send_away(guest)

    def _send_away(self, guest: Guest) -> None:
        self._waiting.pop(guest, None)
        guest.go()


class Guest(Connection):
    """A connection that tells the lobby whether it waits."""

    def __init__(self, lobby: Lobby, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._lobby = lobby

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is counted from now on."""
        super().connection_made(transport)  # type: ignore[arg-type]  # as uvicorn narrows it
        self._lobby.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Until now."""
        self._lobby.closed(self)
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """A request is under way, unless its head was refused."""
        super().on_headers_complete()
        self._lobby.asks(self)

    def on_response_complete(self) -> None:
        """It waits again, if no other request came behind the one that is answered."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._lobby.waits(self)

    def go(self) -> None:
        """End the connection, also where an answer waits for a reader who does not read."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()
