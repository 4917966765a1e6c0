"""A gateway as `gateway.app` wires it, over the model instead of PostgreSQL, that can die at any await.

Pipeline, claims, gathering, engines (Cedar), approvals, settlement and sweeper are the real ones. Replaced are the
store (`model`), the outside (`business`), tokens (the header names the principal), and Rego (the reference in Python).
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from uuid import UUID

import orjson

from gateway.activation import Active, Policies
from gateway.answers import Answers, Reply
from gateway.approving import Approving
from gateway.capacity import Capacity
from gateway.confirming import Confirming
from gateway.errors import Fault, Unavailable
from gateway.execution import Execution
from gateway.gathering import Gather
from gateway.governance import Governance
from gateway.identity import Principal, PrincipalKind
from gateway.killpoints import Stages
from gateway.ledger import SYSTEM, Act, Answer, ApprovalRow, FullRow, LedgerUnavailable, Look, Placed, Seen
from gateway.lights import Lights
from gateway.metrics import Metrics
from gateway.parking import Parking
from gateway.pipeline import Parts, Pipeline
from gateway.redaction import Redactor
from gateway.refusals import Refusals
from gateway.replays import Replays
from gateway.requests import Incoming
from gateway.settlement import Settlement
from gateway.storage.persons import Signer
from gateway.storage.sweeping import Unsettled
from gateway.sweeper import Sweeper
from gateway.tokens import NOTHING, Resolved
from gateway.tools import prepare
from invariants import checks
from policies.decider import Decider
from policies.errors import EngineUnavailable
from policies.rego_answers import MISSHAPEN, RegoAnswer
from proofs.approvals import Verdict
from proofs.keys import PrivateKey
from tests.simulation.business import Business
from tests.simulation.clockwork import VirtualClock, VirtualLoop
from tests.simulation.model import Model, full, placed
from tests.world.bundles import bundle, contracts
from tests.world.rego_reference import Reference
from tool_registry.registry import Registry

TENANTS = ("acme", "globex")
ENVIRONMENT = "dev"
FAR_SECONDS = 4_000_000_000
LEASE_GRACE_MS = 2000
SWEEP_SECONDS = 0.5
PARKED_MS = 600_000
UNHELPFUL = "revoke_push_tokens"
"""In simulations a tool that is neither idempotent nor fenced and has no status query: its doubts stay doubts."""

_WITHIN: ContextVar[Gateway | None] = ContextVar("within", default=None)


def principals(tenant: str) -> dict[str, Principal]:
    """Who asks: an agent for each level, and persons of some roles."""
    tools = frozenset(contracts())
    people = [("finance", n) for n in (1, 2, 3)] + [("safety", 1), ("founder", 1), ("operator", 1)]
    found = [_agent(tenant, f"agent-{level}", tools) for level in range(4)]
    found += [_person(tenant, f"per_{role}_{n}", (role,)) for role, n in people]
    return {each.reference: each for each in found}


def key_of(tenant: str, person: str) -> PrivateKey:
    """The person's approval key."""
    return PrivateKey.from_seed(uuid.uuid5(uuid.NAMESPACE_OID, f"{tenant}/{person}").bytes * 2)


@cache
def _active_parts() -> tuple[Any, ...]:
    """What decides, compiled once for every gateway: only its Rego engine differs."""
    unhelpful = replace(contracts()[UNHELPFUL], status_path=None, is_idempotent=False, is_fenced=False)
    registry = Registry([*(each for each in contracts().values() if each.name != UNHELPFUL), unhelpful])
    decided = bundle(tenant=SYSTEM)
    decider = Decider(decided, registry.contracts.values(), Reference())
    compiled = checks.compile(decided.invariants, decider.schema.typed)
    tools = {name: prepare(contract, decider.schema.typed) for name, contract in registry.contracts.items()}
    return decided, registry, compiled, tools


class FaultyRego(Reference):
    """The reference, which is now and then gone, or says something that is no answer."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._gateway = gateway

    async def decide(self, name: str, projection: bytes) -> RegoAnswer:
        """An answer, an error or nothing."""
        if self._gateway.fails("engine"):
            if self._gateway.chance.random() < 0.5:
                raise EngineUnavailable("rego: gone")
            return MISSHAPEN
        return await super().decide(name, projection)


class Identity:
    """Believes the header."""

    def __init__(self, known: Mapping[str, Mapping[str, Principal]]) -> None:
        self._known = known

    def identify(self, authorization: bytes | None) -> Principal:
        """The principal that is named."""
        tenant, _, reference = (authorization or b"").decode().partition(" ")
        return self._known[tenant][reference]


@dataclass(slots=True)
class Books:
    """The model behind a wire on which answers, and requests, are lost."""

    gateway: Gateway
    model: Model

    async def commit(self, act: Act) -> Answer:
        """As the sequencer: durable, refused, or not known."""
        await self._way("ledger")
        answer = self.model.commit(act)
        await self._back()
        return answer

    async def look(self, look: Look) -> Seen:
        """As the lookups."""
        await self._way("ledger")
        return self.model.look(look)

    async def _way(self, what: str) -> None:
        await asyncio.sleep(self.gateway.chance.random() * 0.003)
        if self.gateway.fails(what):
            await asyncio.sleep(self.gateway.chance.choice((0.0, 1.7)))
            raise LedgerUnavailable("the database does not answer", is_known=True)

    async def _back(self) -> None:
        if self.gateway.fails("ledger"):
            # Committed, and nobody knows: the answer is lost, or comes after the process was paused for a while.
            if self.gateway.chance.random() < 0.5:
                raise LedgerUnavailable("the commit cannot be read back", is_known=False)
            await asyncio.sleep(self.gateway.chance.random() * 15)


@dataclass(slots=True)
class Reads:
    """Records, roles, keys and the sweeper's finds, over the model."""

    gateway: Gateway
    model: Model

    async def call(self, tenant: str, call_id: UUID) -> FullRow | None:
        """A stored call."""
        self._reach()
        stored = self.model.by_id.get(call_id)
        return full(stored) if stored is not None and stored.row.tenant == tenant else None

    async def entry(self, tenant: str, seq: int) -> Placed | None:
        """An entry."""
        self._reach()
        found = self.model.entry(tenant, seq)
        return None if found is None else placed(found)

    async def payload(self, tenant: str, seq: int) -> dict[str, Any] | None:
        """What stands beside an entry."""
        self._reach()
        found = self.model.entry(tenant, seq)
        payload = None if found is None else found.draft.payload
        return None if payload is None else orjson.loads(orjson.dumps(payload))

    async def approvals(self, tenant: str, call_id: UUID) -> list[ApprovalRow]:
        """Verdicts on a call."""
        self._reach()
        return [row for row in self.model.approvals.values() if (row.tenant, row.call_id) == (tenant, call_id)]

    async def note(self, principal: Principal) -> None:
        """As the role book: the roles of the newest token."""
        if principal.kind is PrincipalKind.PERSON:
            self.model.roles[principal.tenant, principal.id] = principal.roles

    async def signer(self, tenant: str, person: str, key_id: str) -> Signer:
        """As `People`: a registered key, and the roles of the newest token."""
        public = self.model.keys.get((tenant, person, key_id))
        return Signer(public=public, roles=self.model.roles.get((tenant, person), ()))

    async def find(self, tenants: Sequence[str], *, lease_ms: int, limit: int, after: Sequence[bytes]) -> Unsettled:
        """As `Sweeping`."""
        await asyncio.sleep(0)
        self._reach()
        return Unsettled(
            now_ms=self.model.now_ms(),
            taken=self.model.take_over(tenants, lease_ms=lease_ms, limit=limit),
            doubtful=self.model.in_doubt(tenants, limit=limit, after=after),
            overdue=self.model.overdue(tenants, limit=limit),
        )

    async def is_stopped(self, tenants: Sequence[str], switches: Sequence[tuple[str, str, str]]) -> bool:
        """As `Sweeping`."""
        return not self.model.kills.isdisjoint(switches)

    async def hold(self, row: FullRow, *, lease_ms: int) -> FullRow | None:
        """As `Sweeping`."""
        await asyncio.sleep(self.gateway.chance.random() * 0.003)
        return self.model.hold(row, lease_ms=lease_ms)

    async def forget(self, tenants: Sequence[str], *, limit: int) -> int:
        """Episodes are shorter than any answer is kept."""
        return 0

    def _reach(self) -> None:
        if self.gateway.fails("ledger"):
            raise LedgerUnavailable("the database cannot be read", is_known=True)


class NoRates:
    """Everybody is within the rate: rates have tests of their own."""

    async def take(self, principal: Principal) -> None:
        """Counts nothing."""

    async def take_tool(self, principal: Principal, tool: str, calls_per_minute: int) -> None:
        """Counts nothing."""


class SeededRandomness:
    """Ids from the seed."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def bytes(self, count: int) -> bytes:
        """So many bytes."""
        return self._chance.randbytes(count)

    def uuid(self) -> UUID:
        """An id."""
        return UUID(bytes=self._chance.randbytes(16), version=4)


@dataclass(slots=True)
class Gateway:
    """One process: everything that runs within it dies with it."""

    loop: VirtualLoop
    model: Model
    business: Business
    chance: random.Random
    faults: Mapping[str, float]
    """Rate of faults by what fails: `ledger`, `engine`."""
    skew_ms: int = 0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    incidents: int = 0
    injected: int = 0
    pipeline: Pipeline = field(init=False)
    approving: Approving = field(init=False)
    sweeper: Sweeper = field(init=False)

    def __post_init__(self) -> None:
        _assemble(self)

    def fails(self, what: str) -> bool:
        """Whether something that is about to be used fails now."""
        is_failing = self.chance.random() < self.faults.get(what, 0.0)
        self.injected += is_failing
        return is_failing

    def run(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run something within this process."""
        token: Token[Gateway | None] = _WITHIN.set(self)
        try:
            return self.loop.create_task(_awaited(work))
        finally:
            _WITHIN.reset(token)

    def kill(self) -> None:
        """SIGKILL: whatever was awaited is never answered."""
        for task in tuple(self.tasks):
            task.cancel()

    async def call(self, headers: Mapping[str, str], body: bytes) -> Reply | Fault:
        """A request and its answer, as the door would tell it."""

        async def read() -> bytes:
            return body

        try:
            return await self.pipeline.call(Incoming(headers=headers, body=read))
        except Fault as fault:
            return fault
        except LedgerUnavailable as unavailable:
            # As the door does with what it did not foresee.
            return Unavailable("internal", str(unavailable))

    async def approve(self, principal: Principal, call_id: UUID, document: Mapping[str, Any]) -> Reply | Fault:
        """A signed yes."""
        try:
            return await self.approving.give(principal, call_id, document, Verdict.APPROVE)
        except Fault as fault:
            return fault
        except LedgerUnavailable as unavailable:
            return Unavailable("internal", str(unavailable))

    async def cancel(self, principal: Principal, call_id: UUID) -> Reply | Fault:
        """The requester takes it back."""
        try:
            return await self.approving.cancel(principal, call_id)
        except Fault as fault:
            return fault
        except LedgerUnavailable as unavailable:
            return Unavailable("internal", str(unavailable))


def keep_tasks(loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
    """A task factory: a task belongs to the gateway within which it was made."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **more)
    within = _WITHIN.get()
    if within is not None:
        within.tasks.add(task)
        task.add_done_callback(within.tasks.discard)
    return task


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


def _agent(tenant: str, name: str, tools: frozenset[str]) -> Principal:
    return Principal(
        tenant=tenant, kind=PrincipalKind.AGENT, id=name, subject=None, subject_person=None, delegates=(), roles=(),
        tools=tools, issued_at=0, expires_at=FAR_SECONDS,
    )  # fmt: skip


def _person(tenant: str, name: str, roles: tuple[str, ...]) -> Principal:
    return Principal(
        tenant=tenant, kind=PrincipalKind.PERSON, id=name, subject=None, subject_person=None, delegates=(),
        roles=roles, tools=frozenset(), issued_at=0, expires_at=FAR_SECONDS,
    )  # fmt: skip


class NoTokens:
    """No tool here turns tokens into values."""

    async def resolve(self, *_: Any) -> Resolved:
        return NOTHING


def _assemble(gateway: Gateway) -> None:
    """The wiring of `gateway.app`, over the model."""
    clock, randomness = VirtualClock(gateway.loop, gateway.skew_ms), SeededRandomness(gateway.chance)
    books: Any = Books(gateway, gateway.model)
    reads: Any = Reads(gateway, gateway.model)
    redactor = Redactor(b"simulated")
    metrics, answers = Metrics(), Answers(redactor)
    refusals = Refusals(books, redactor)
    policies = _policies(gateway, clock)
    settlement = Settlement(books, redactor)
    parking = Parking(
        refusals=refusals, records=reads, answers=answers, clock=clock, parked_ms=PARKED_MS, per_principal_max=1000
    )
    everything: Any = gateway.business

    def connect(_: Any) -> Any:
        return everything

    no_tokens: Any = NoTokens()
    gateway.sweeper = Sweeper(
        sweeping=reads, records=reads, policies=policies, settlement=settlement, parking=parking, connect=connect,
        tokens=no_tokens, clock=clock, metrics=metrics, tenants=TENANTS, lease_ms=LEASE_GRACE_MS,
    )  # fmt: skip
    gateway.approving = Approving(
        records=reads, people=reads, refusals=refusals, parking=parking, policies=policies, redactor=redactor,
        randomness=randomness, clock=clock, environment=ENVIRONMENT,
    )  # fmt: skip
    identity: Any = Identity({tenant: principals(tenant) for tenant in TENANTS})
    no_rates: Any = NoRates()
    gateway.pipeline = Pipeline(
        Parts(
            environment=ENVIRONMENT,
            keep_ms=30 * 24 * 3600 * 1000,
            clock=clock,
            randomness=randomness,
            identity=identity,
            roles=reads,
            rates=no_rates,
            capacity=Capacity(clock, in_all=512, per_tenant=512),
            policies=policies,
            gather=Gather(
                facts=everything, ledger=books, tokens=no_tokens, clock=clock, wall=clock, environment=ENVIRONMENT
            ),
            ledger=books,
            refusals=refusals,
            parking=parking,
            replays=Replays(reads, answers),
            execution=Execution(connect, books, clock, lease_grace_ms=LEASE_GRACE_MS),
            settlement=settlement,
            governance=Governance(policies, _nothing, clock),
            confirming=Confirming(connect, books, redactor),
            answers=answers,
            tokens=no_tokens,
            lights=Lights(books, clock),
            stages=Stages("", metrics.stage),
            looks=Stages("", metrics.stage),
        )
    )


def _policies(gateway: Gateway, clock: VirtualClock) -> Policies:
    decided, registry, compiled, tools = _active_parts()

    async def incident(active: Active, kind: str) -> None:
        gateway.incidents += 1

    rego = FaultyRego(gateway)
    decider = Decider(decided, registry.contracts.values(), rego)
    vars(rego)["_bundles"][decided.digest] = decided.rego
    policies = Policies(clock.now_ms, incident)
    active = Active(
        tenant=SYSTEM,
        revision=1,
        bundle=decided,
        certificate=None,
        certificate_digest="sha256:" + "0" * 64,
        decider=decider,
        invariants=compiled,
        registry=registry,
        tools=tools,
        proven=frozenset(registry.contracts),  # That the base bundle is proved has tests of its own.
    )
    policies.put(SYSTEM, active, is_quarantined=False)
    return policies


async def _nothing(tenant: str) -> None:
    """Nobody activates anything in a simulation."""
