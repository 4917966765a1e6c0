"""Gateways side by side on one ground; whichever falls is started again, as whoever runs it would."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from deploy.demo.world import Gateway, GatewayFailed
from tests.world.ground import SETTINGS, Ground, wait_for

START_SECONDS_MAX = 90
"""A gateway that finds no database ends at once, and is started again until there is one."""


@dataclass(slots=True)
class Fleet:
    """Some gateways on one database and one business."""

    ground: Ground
    settings: Mapping[str, str]
    gateways: list[Gateway] = field(default_factory=list)

    def url(self, number: int) -> str:
        """Where somebody asks now; clients are spread over the gateways by their number."""
        return self.gateways[number % len(self.gateways)].url

    def replace(self, place: int) -> None:
        """Start the gateway at this place anew; what runs there is killed first."""
        if self.gateways[place].process.poll() is None:
            self.gateways[place].kill()
        self.gateways[place] = self.start()

    def start(self) -> Gateway:
        """One more gateway, as soon as it can be had."""
        until = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                return self.ground.world.gateway(settings=self.settings, port=0)
            except GatewayFailed:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    def settled(self, *tenants: str) -> None:
        """Wait until no call of these tenants is executing or in doubt."""
        for tenant in tenants:
            wait_for(lambda tenant=tenant: self.ground.oracle.open_calls(tenant) == 0, "open calls were not settled")  # type: ignore[misc]

    def wrong(self) -> list[str]:
        """What the oracle finds wrong now, when nobody writes and every call is settled."""
        return list(self.ground.oracle.reconcile(self.url(0)).wrong)


@contextmanager
def fleet(ground: Ground, count: int, settings: Mapping[str, str] | None = None) -> Iterator[Fleet]:
    """So many gateways; they end with the block."""
    started = Fleet(ground, {**SETTINGS, **(settings or {})})
    try:
        started.gateways += [started.start() for _ in range(count)]
        yield started
    finally:
        for gateway in started.gateways:
            if gateway.process.poll() is None:
                gateway.kill()
