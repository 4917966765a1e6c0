"""Rates: how often a principal, a tool by a principal, and all of a tenant may ask, over every gateway of a database.

The count is the database's (`gateway.storage.rations`). Here are the rations that this process holds: a request that
one of them covers costs no round trip; otherwise it waits for the next one, together with all others of its rate. What
is known to be used up is refused without asking again. When the database cannot say, the request is refused too.

1. principal  its own rate first, so that what one agent asks too much is not taken from the others of its tenant
2. tenant     the quota of all its principals together, a twelfth of it in five seconds, so that a flood cannot spend a
              minute's at once; agents leave a tenth to people
3. tool       for calls, from the contract
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil

from gateway.clock import Clock
from gateway.encoding import sha256
from gateway.errors import RateExceeded, Unavailable
from gateway.identity import Principal, PrincipalKind
from gateway.ledger import LedgerUnavailable
from gateway.storage.rations import Ration, Want

EXPLANATIONS_PER_MINUTE = 20  # Of a principal: a second of a core each. People read slower than that.
FIRST_PART = 128
"""A first ration is this part of the rate: the most that a gateway which then falls idle keeps from the others."""
QUICK_SECONDS = 1.0
"""A ration that is used up sooner is followed by twice as many, so that a busy rate asks about once a second."""
SLOW_SECONDS = 5.0
"""One that lasted longer is followed by half as many."""
KEPT_MAX = 16_384  # Principals, and their tools.

_MINUTE_MS = 60_000
_SLICE_MS = 5_000
"""What a tenant's quota is cut into."""

Ask = Callable[[Want], Awaitable[Ration]]


def share(quota: int, principal: Principal) -> int:
    """How much of a tenant's quota a principal may fill. People, who may have to stop agents, find a tenth left."""
    return quota - quota // 10 if principal.kind is PrincipalKind.AGENT else quota


class Rates:
    """Lets requests pass, and refuses those above a rate. Belongs to one event loop."""

    def __init__(self, ask: Ask, clock: Clock, *, per_principal: int, per_tenant: int) -> None:
        self._ask = ask
        self._clock = clock
        self._per_principal = per_principal
        self._per_slice = max(1, per_tenant * _SLICE_MS // _MINUTE_MS)
        self._held: dict[tuple[int | str, ...], _Held] = {}

    async def take(self, principal: Principal) -> None:
        """
        Count one request of a principal, and of its tenant.

        Raises `RateExceeded` with the seconds until the next may pass, and `Unavailable` when there is no count.
        """
        await self._take("rate_exceeded", self._per_principal, principal.tenant, "principal", principal.reference)
        of_slice = share(self._per_slice, principal)
        await self._take("quota_exceeded", of_slice, principal.tenant, "tenant", span_ms=_SLICE_MS)

    async def take_tool(self, principal: Principal, tool: str, calls_per_minute: int) -> None:
        """Count one call to a tool. Raises as `take` does."""
        await self._take("rate_exceeded", calls_per_minute, principal.tenant, "tool", principal.reference, tool)

    async def take_explanation(self, principal: Principal) -> None:
        """Count one explanation. Raises as `take` does."""
        what = ("explanation", principal.reference)
        await self._take("rate_exceeded", EXPLANATIONS_PER_MINUTE, principal.tenant, *what)

    async def _take(self, reason: str, most: int, *what: str, span_ms: int = _MINUTE_MS) -> None:
        held = self._held.get((most, *what)) or self._keep(most, what, span_ms)
        while not held.use(self._clock.monotonic(), reason):
            held.waiting += 1
            try:
                if held.asking is None:
                    held.asking = asyncio.create_task(self._refill(held))
                fault = await asyncio.shield(held.asking)
            finally:
                held.waiting -= 1
            if fault is not None:
                raise Unavailable("ledger_unavailable", "the count of rates cannot be read") from fault

    async def _refill(self, held: _Held) -> LedgerUnavailable | None:
        """Take the next ration, for all who wait by now. Never raises: it may be that nobody waits any more."""
        asked_at = self._clock.monotonic()
        want = held.want(asked_at)
        try:
            held.take(await self._ask(want), want, asked_at)
        except LedgerUnavailable as error:
            return error
        finally:
            held.asking = None
        return None

    def _keep(self, most: int, what: tuple[str, ...], span_ms: int) -> _Held:
        if len(self._held) >= KEPT_MAX:
            now = self._clock.monotonic()
            self._held = {name: held for name, held in self._held.items() if held.ends > now or held.waiting}
        if len(self._held) >= KEPT_MAX:
            # What it holds is lost until the span ends: fewer pass, never more.
            del self._held[next(iter(self._held))]
        key = sha256((*what, span_ms))
        held = _Held(key=key, tenant=what[0], span_ms=span_ms, most=most, ahead=_first(most))
        self._held[most, *what] = held
        return held


@dataclass(slots=True, eq=False)
class _Held:
    """What this process holds of one rate."""

    key: bytes
    tenant: str
    span_ms: int
    most: int
    """Requests in one span."""
    ahead: int
    left: int = 0
    is_spent: bool = False
    """Nothing is left in the database either."""
    ends: float = 0.0
    """When the span ends, at the earliest, by the monotonic clock."""
    since: float = 0.0
    """When the last ration was asked for."""
    asking: asyncio.Task[LedgerUnavailable | None] | None = None
    waiting: int = 0

    def use(self, now: float, reason: str) -> bool:
        """Let one request pass. False: another ration is needed. Raises `RateExceeded` when there is none any more."""
        if now >= self.ends:
            return False
        if self.left:
            self.left -= 1
            return True
        if self.is_spent:
            raise RateExceeded(reason, ceil(self.ends - now))
        return False

    def want(self, now: float) -> Want:
        """What to ask for."""
        lasted = now - self.since
        if lasted < QUICK_SECONDS:
            self.ahead = min(self.ahead * 2, self.most)
        elif lasted > SLOW_SECONDS:
            self.ahead = max(self.ahead // 2, _first(self.most))
        return Want(
            key=self.key,
            tenant=self.tenant,
            span_ms=self.span_ms,
            most=self.most,
            needed=max(1, self.waiting),
            ahead=self.ahead,
        )

    def take(self, ration: Ration, want: Want, asked_at: float) -> None:
        """What was given. Whatever was left before is of a span that is over."""
        self.left, self.is_spent = ration.count, ration.count < want.needed
        self.ends, self.since = asked_at + ration.ends_ms / 1000, asked_at


def _first(most: int) -> int:
    return max(1, most // FIRST_PART)
