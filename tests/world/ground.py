"""A world to break: gateways on it are killed and started again, and the oracle is asked after each fall."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from deploy.demo.cast import Person
from deploy.demo.client import Answer, Client
from deploy.demo.world import Gateway, World
from tests.world.oracle import CHAINS, Findings, Oracle

LEASE_GRACE_MS = 800
"""Shorter than in production: an open intent is swept this long after its tool's deadline."""
SETTINGS = {"LOCKGATE_LEASE_GRACE_MS": str(LEASE_GRACE_MS), "LOCKGATE_SWEEP_SECONDS": "0.2"}
RECOVERY_SECONDS_MAX = 20
RATE_EXCEEDED = 429
FAULTY = ("*", "issue_refund", "revoke_push_tokens", "facts/order")
"""What tests make misbehave."""


@dataclass(slots=True)
class Ground:
    """One world with at most one gateway of its own at a time, unless a test asks for more."""

    world: World
    oracle: Oracle
    current: Gateway | None = None
    _settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))

    def gateway(self) -> Gateway:
        """The gateway that runs, started when none does."""
        if self.current is None or self.current.process.poll() is not None:
            self.current = self.world.gateway(settings=self._settings)
        return self.current

    def restart(self, *, crash: str = "", settings: Mapping[str, str] | None = None) -> Gateway:
        """Kill what runs and start anew, perhaps with a kill point."""
        self.kill()
        self.current = self.world.gateway(crash=crash, settings={**self._settings, **(settings or {})})
        return self.current

    def kill(self) -> None:
        """SIGKILL to the gateway that runs."""
        if self.current is not None and self.current.process.poll() is None:
            self.current.kill()

    def client(self) -> Client:
        """A client of the gateway that runs."""
        return Client(self.gateway().url)

    def person(self, role: str, number: int = 1, tenant: str = "acme") -> Person:
        """Somebody of a role."""
        return self.world.cast.person(tenant, role, number)

    def refund(self) -> Answer:
        """What is asked when any governed write will do: a small refund under a key of its own."""
        arguments = {"order_id": "ord_1003", "amount_cents": 3}
        return self.client().call(self.person("finance").token, "issue_refund", arguments, reason="damaged_item")

    def fault(self, tool: str, mode: str, *, count: int = 1, seconds: int = 0) -> None:
        """Have the business misbehave."""
        order = {"tool": tool, "mode": mode, "count": count, **({"seconds": seconds} if seconds else {})}
        httpx2.post(self.world.business.url + "/faults", json=order, trust_env=False).raise_for_status()

    def business_is_well(self) -> None:
        """Take every fault of the business back."""
        for tool in FAULTY:
            self.fault(tool, "none")

    def settled(self, tenant: str = "acme") -> None:
        """Wait until no call of the tenant is executing or in doubt."""
        wait_for(lambda: self.oracle.open_calls(tenant) == 0, "open calls were not settled")

    def finally_answered(self, again: Callable[[Client], Answer]) -> Answer:
        """Present the same call until its state is final: what a careful client does after any fault."""
        return insist(self.client(), again)

    def last_words(self, lines: int = 5) -> str:
        """The end of the gateways' log, for the message of a test that fails."""
        log = self.gateway().log.read_text().splitlines()
        return "the log ends: " + " | ".join(log[-lines:])

    def reconcile(self, chains: Sequence[str] = CHAINS) -> Findings:
        """Ask the oracle, who verifies these chains."""
        return self.oracle.reconcile(self.gateway().url, chains=chains)


@contextmanager
def ground(*, loopback_origins: tuple[str, ...] = ()) -> Iterator[Ground]:
    """A new world to break."""
    home = Path(tempfile.mkdtemp(prefix="lockgate-ground-"))
    home.chmod(0o755)  # The server's user passes through; what is inside is private.
    try:
        with World.start(home / "home", faults=True, loopback_origins=loopback_origins) as world:
            yield Ground(world, Oracle(world))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def insist(client: Client, again: Callable[[Client], Answer]) -> Answer:
    """The answer to the same call presented until its state is final, or the last one when that takes too long."""
    until = time.monotonic() + RECOVERY_SECONDS_MAX
    answer = again(client)
    while answer.status in (409, 429, 503, 504) and time.monotonic() < until:
        if answer.status == RATE_EXCEEDED:
            time.sleep(float(answer.headers["Retry-After"]))  # Known to the second, and no part of any recovery.
            until = time.monotonic() + RECOVERY_SECONDS_MAX
        time.sleep(0.1)
        answer = again(client)
    return answer


def wait_for(is_so: Callable[[], bool], otherwise: str, seconds: float = RECOVERY_SECONDS_MAX) -> None:
    """Wait for something that must come to be."""
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, otherwise
        time.sleep(0.05)
