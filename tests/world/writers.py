"""Careful clients under load: each asks for its writes under a key of their own, again and again until it knows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx2

from deploy.demo.cast import TENANTS
from deploy.demo.client import Answer, Client
from deploy.demo.world import World
from tests.world.crowd import Ask

CLIENTS = 8
FINAL_SECONDS_MAX = 90
"""Longer than any fall and recovery; whoever knows nothing by then never will."""
PAUSE_SECONDS = 0.03
UNSETTLED = (409, 429, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write that somebody wants done once."""

    tenant: str
    token: str
    tool: str
    arguments: Mapping[str, Any]
    reason: str
    key: str

    @property
    def ask(self) -> Ask:
        """The same for a crowd."""
        return Ask(token=self.token, tool=self.tool, arguments=self.arguments, reason=self.reason, key=self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a client was told of one write in the end, and how often it asked before."""

    write: Write
    call: str
    status: str
    """`executed` or `failed`."""
    asked: int
    unknown: int
    """How often it could not know: 504, or no answer at all."""


class Ids:
    """Orders and users of the business: enough of them that no limit of one is met."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.orders = {tenant: self._rows(tenant, "orders") for tenant in TENANTS}
        self.users = {tenant: self._rows(tenant, "users") for tenant in TENANTS}

    def write(self, chance: Random, *, cents_max: int = 9) -> Write:
        """A refund, as often as not, or something that can be undone."""
        tenant = chance.choice(TENANTS)
        if chance.random() < 0.5:
            return self.refund(chance, tenant, cents_max=cents_max)
        key = _key(chance)
        user = chance.choice(self.users[tenant])["id"]
        if chance.random() < 0.5:
            return self._by(tenant, "operator", "revoke_push_tokens", {"user_id": user}, "user_request", key)
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
        arguments = {"target": user, "friction_type": "captcha", "expires_at": until.isoformat().replace("+00:00", "Z")}
        return self._by(tenant, "operator", "apply_friction", arguments, "spam_suspected", key)

    def refund(self, chance: Random, tenant: str = TENANTS[0], *, cents_max: int = 9) -> Write:
        """A refund of a few cents."""
        order = chance.choice(self.orders[tenant])
        arguments = {"order_id": order["id"], "amount_cents": chance.randint(1, cents_max)}
        return self._by(tenant, "finance", "issue_refund", arguments, "damaged_item", _key(chance))

    def _by(self, tenant: str, role: str, tool: str, arguments: Mapping[str, Any], reason: str, key: str) -> Write:
        token = self._world.cast.person(tenant, role).token
        return Write(tenant=tenant, token=token, tool=tool, arguments=arguments, reason=reason, key=key)

    def _rows(self, tenant: str, table: str) -> list[dict[str, Any]]:
        answer = httpx2.get(
            f"{self._world.business.url}/state/{table}",
            params={"limit": "500"},
            headers={"Lockgate-Tenant": tenant},
            trust_env=False,
        )
        rows: list[dict[str, Any]] = answer.json()["rows"]
        # An order that was paid back, or nearly, has room for little.
        return [row for row in rows if table != "orders" or row["paid_cents"] - row["refunded_cents"] > 2_000]


@dataclass(slots=True)
class Writers:
    """Some clients at work on a list of writes. `url` says where a client finds a gateway now."""

    url: Callable[[int], str]
    writes: Sequence[Write]
    told: list[Told] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answers that no careful client should ever get."""
    released: int | None = None
    """How many writes may be begun as yet; None: all of them."""
    _next: int = 0
    _busy: int = 0
    _is_open: bool = True
    _moved: threading.Condition = field(default_factory=threading.Condition)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Send everybody to work."""
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    @property
    def begun(self) -> int:
        """How many writes somebody has begun with."""
        return self._next

    def until_begun(self, count: int) -> None:
        """Wait until so many writes were begun."""
        with self._moved:
            self._moved.wait_for(lambda: self._next >= min(count, len(self.writes)))

    def release(self, count: int | None) -> None:
        """Let nobody run further ahead than this."""
        with self._moved:
            self.released = count
            self._moved.notify_all()

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Nobody begins a write inside the block, and those begun before have ended."""
        with self._moved:
            self._is_open = False
            self._moved.wait_for(lambda: self._busy == 0)
        try:
            yield
        finally:
            with self._moved:
                self._is_open = True
                self._moved.notify_all()

    def join(self) -> None:
        """Wait until every write is final, or given up."""
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        while (write := self._take()) is not None:
            try:
                self._finish(number, write)
            finally:
                with self._moved:
                    self._busy -= 1
                    self._moved.notify_all()

    def _take(self) -> Write | None:
        with self._moved:
            self._moved.wait_for(lambda: self._is_open and (self.released is None or self._next < self.released))
            if self._next == len(self.writes):
                return None
            self._next += 1
            self._busy += 1
            self._moved.notify_all()
            return self.writes[self._next - 1]

    def _finish(self, number: int, write: Write) -> None:
        asked = unknown = 0
        client, url = None, ""
        until = time.monotonic() + FINAL_SECONDS_MAX
        while time.monotonic() < until:
            if client is None or url != self.url(number):
                url = self.url(number)
                client = Client(url)
            asked += 1
            try:
                answer = ask(client, write)
            except httpx2.TransportError:
                unknown, client = unknown + 1, None
                time.sleep(PAUSE_SECONDS)
                continue
            if answer.status == 200:
                status = str(answer.document["status"])
                self.told.append(Told(write=write, call=answer.call, status=status, asked=asked, unknown=unknown))
                return
            if answer.status not in UNSETTLED:
                self.wrong.append(f"{write.tool} {write.key}: {answer.status} {answer.reason}")
                return
            unknown += answer.status == 504
            time.sleep(PAUSE_SECONDS)
        self.wrong.append(f"{write.tool} {write.key}: not final after {FINAL_SECONDS_MAX} s")


def _key(chance: Random) -> str:
    return f"{chance.getrandbits(128):032x}"


def ask(client: Client, write: Write) -> Answer:
    """Send the write once."""
    return client.call(write.token, write.tool, write.arguments, reason=write.reason, key=write.key)
