"""What tests of the whole gateway keep telling: somebody asks, somebody approves, the journal says what happened."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from deploy.demo.cast import Agent, Person
from deploy.demo.client import Answer, Client
from deploy.demo.world import Gateway, World
from gateway.storage.connections import connect
from proofs.keys import PrivateKey
from tool_registry.contracts import Effect, Family
from tool_registry.registry import load_catalogue

WAIT_SECONDS = 5.0
POLL_SECONDS = 0.02
REFUND = "issue_refund"
REASON = "damaged_item"
AGENT_TOOLS = sorted(
    name
    for name, contract in load_catalogue().contracts.items()
    if contract.family is Family.BUSINESS or contract.effect is Effect.READ
)


@dataclass(slots=True)
class Story:
    """A world with its gateway, and newcomers in it, so that no test meets the counters of another."""

    world: World
    client: Client
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def order(self, cents: int = 5_000, tenant: str = "acme", *, paid: int = 0) -> str:
        """A new order of somebody, with at least twice so much left to give back, or exactly what was `paid`."""
        name, paid = f"ord_{secrets.token_hex(6)}", paid or 2 * max(cents, 50_000)
        with connect(self.world.cluster.url("backoffice", "backoffice")) as connection:
            connection.execute(
                """with made as (
                insert into business.orders (tenant, id, user_id, status, paid_cents, placed_at, ship_to)
                select tenant, %s, user_id, 'delivered', %s, placed_at, ship_to from business.orders
                where tenant = %s limit 1 returning tenant, id, paid_cents)
                insert into business.order_lines (tenant, order_id, line, product_id, quantity, price_cents)
                select made.tenant, made.id, 1, l.product_id, 1, made.paid_cents from made
                join business.order_lines l on l.tenant = made.tenant limit 1""",
                (name, paid, tenant),
            )
        return name

    def person(self, role: str, number: int = 1, tenant: str = "acme") -> Person:
        """Somebody of the cast."""
        return self.world.cast.person(tenant, role, number)

    def hire(self, *roles: str, tenant: str = "acme") -> Person:
        """A newcomer with a registered key and a token."""
        name = f"per_new_{next(self._numbers)}"
        person = Person(
            tenant=tenant, id=name, roles=roles, token=self.token(name, roles, tenant), key=PrivateKey.generate()
        )
        self.register(person, person.key)
        return person

    def register(self, person: Person, key: PrivateKey) -> None:
        """Register a key to a person, by a governed call."""
        self.govern("register_key", {"person": person.id, "public_key": key.public.text}, "new_approver", person.tenant)

    def govern(self, tool: str, arguments: Mapping[str, Any], reason: str, tenant: str = "acme") -> Answer:
        """A governance call with the two approvals that it needs."""
        people = [self.person("security", 2, tenant), self.person("founder", 1, tenant)]
        answer = self.client.governed(self.person("security", 1, tenant), people, tool, arguments, reason)
        assert (answer.status, answer.document.get("status")) == (200, "executed"), answer.document
        return answer

    def token(self, person: str, roles: Sequence[str], tenant: str = "acme") -> str:
        """A fresh token of a person."""
        return self.world.cast.issuer.person(tenant, person, list(roles))

    def agent(self, level: int = 1, tenant: str = "acme", subject: str = "") -> Agent:
        """A new agent of a level of autonomy, registered for every tool of the business."""
        name = f"agent-new-{next(self._numbers)}"
        token = self.world.cast.issuer.agent(tenant, name, AGENT_TOOLS, subject=subject)
        if level != 1:
            self.govern("set_autonomy", {"agent": name, "action": "*", "level": level}, "new_agent", tenant)
        return Agent(tenant=tenant, id=name, level=level, token=token)

    def delegated(self, chain: Sequence[str], subject: str) -> str:
        """A token of an agent that acts for a subject of acme through delegates, outermost first."""
        act: dict[str, Any] | None = None
        for actor in reversed(chain):
            act = {"sub": actor} if act is None else {"sub": actor, "act": act}
        claims = {"tenant": "acme", "kind": "agent", "tools": AGENT_TOOLS, "act": act, "person": subject}
        return self.world.cast.issuer._mint(claims, subject, 600)

    def refund(
        self, token: str, order: str, cents: int, *, key: str = "", approvals: Sequence[str] = (), **members: Any
    ) -> Answer:
        """Ask for a refund."""
        arguments = {"order_id": order, "amount_cents": cents}
        return self.client.call(token, REFUND, arguments, reason=REASON, key=key, approvals=approvals, **members)

    def parked_refund(self, token: str | None = None, *, cents: int = 6_000, tenant: str = "acme") -> Parked:
        """A refund that waits for somebody of finance; an operator may not ask, so finance asks by default."""
        who = token or self.person("finance", 1, tenant).token
        parked = Parked(story=self, token=who, order=self.order(cents, tenant), cents=cents, key=secrets.token_hex(16))
        parked.answer = parked.present()
        assert parked.answer.status == 202, parked.answer.document
        return parked

    def effects(self, call: str) -> list[dict[str, Any]]:
        """The journal's lines about one call: the only witness of what the business really did."""
        journal = self.world.business.journal
        lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
        return [line for line in map(json.loads, lines) if line["effect_id"] == call]

    def effects_on(self, value: str) -> list[dict[str, Any]]:
        """The journal's lines that name a value among their arguments."""
        journal = self.world.business.journal
        lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
        return [line for line in map(json.loads, lines) if value in line["arguments"].values()]

    def entries(self, tenant: str = "acme", after: int = 0) -> list[dict[str, Any]]:
        """Every entry of a tenant's log after that one."""
        auditor = self.person("auditor", 1, tenant)
        found: list[dict[str, Any]] = []
        while page := self.client.get(f"/v1/audit/entries?after={after}", auditor.token).document["entries"]:
            found += page
            after = page[-1]["seq"]
        return found

    def size(self, tenant: str = "acme") -> int:
        """How many entries a tenant's log has."""
        return int(self.client.get(f"/v1/audit/checkpoint?tenant={tenant}").document["size"])

    def state(self, table: str, tenant: str = "acme", **where: str) -> list[dict[str, Any]]:
        """Rows of the business, as they really are."""
        answer = httpx2.get(
            f"{self.world.business.url}/state/{table}",
            params={"limit": "500", **where},
            headers={"Lockgate-Tenant": tenant},
            trust_env=False,
        )
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows


@dataclass(slots=True)
class Parked:
    """A refund that waits, with everything that its requester needs to present it again."""

    story: Story
    token: str
    order: str
    cents: int
    key: str
    answer: Answer = Answer(0, {}, {})  # noqa: RUF009 - frozen, and replaced at once

    @property
    def call(self) -> str:
        """The call id."""
        return self.answer.call

    @property
    def statement(self) -> dict[str, Any]:
        """The gateway's part of what an approver signs."""
        given: dict[str, Any] = self.answer.document["statement"]
        return given

    def present(self, *approvals: str) -> Answer:
        """The same call and key again."""
        return self.story.refund(self.token, self.order, self.cents, key=self.key, approvals=approvals)

    def approved_by(self, person: Person) -> str:
        """The id of that person's approval."""
        given = self.story.client.approve(person, self.answer)
        assert given.status == 201, given.document
        return str(given.document["approval"])


@pytest.fixture(scope="session")
def story(world: World, gateway: Gateway) -> Story:
    """The session's gateway with newcomers."""
    return Story(world, Client(gateway.url))


def eventually(holds: Callable[[], bool], seconds: float = WAIT_SECONDS) -> bool:
    """Whether it holds before the time is over; light entries and sweeps take a moment."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True
