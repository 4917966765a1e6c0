"""The wiring: every part is constructed here, once, and passed to what needs it.

Nothing else in the package reaches for a clock, a key, a connection or a setting.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from gateway import autonomy, documents, opening, words
from gateway.activation import Active, Policies
from gateway.agents import Agents
from gateway.answers import Answers
from gateway.approving import Approving
from gateway.auditing import Auditing
from gateway.capacity import Capacity
from gateway.cataloguing import Cataloguing
from gateway.certificates import Certificates
from gateway.clock import Clock, LogClock, SystemClock
from gateway.confirming import Confirming
from gateway.connectors import Dispatch, HttpConnector, LocalConnector, Outcome, by_kind
from gateway.doors.batches import Batches
from gateway.doors.front import ASGI, CallDoor, front
from gateway.doors.routes import Inside, Routes, unrouted
from gateway.errors import Misconfigured
from gateway.evidence import Evidence
from gateway.execution import Connect, Execution
from gateway.explaining import Explaining
from gateway.gathering import Gather
from gateway.governance import Governance, LedgerConnector
from gateway.identity import Identity
from gateway.inquiries import Inquiries
from gateway.issuer_keys import Issuers
from gateway.keys_file import KeysFile
from gateway.killpoints import Stages
from gateway.ledger import SYSTEM, Append, Draft, State
from gateway.lights import Lights
from gateway.logs import log
from gateway.metrics import Metrics
from gateway.names import Names
from gateway.parking import Parking
from gateway.people import People
from gateway.pipeline import Parts, Pipeline
from gateway.publishing import Publishing
from gateway.randomness import Randomness, SystemRandomness
from gateway.rates import Rates
from gateway.redaction import Redactor
from gateway.refusals import Refusals
from gateway.replays import Replays
from gateway.restoring import Restoring, RootKeys
from gateway.roles import RoleBook
from gateway.settings import Settings
from gateway.settlement import Settlement
from gateway.sources import LedgerViews, LocalFact, Sources
from gateway.storage import connections, kept_checkpoints, signers
from gateway.storage.books import Books
from gateway.storage.connections import Urls
from gateway.storage.desk import Desk
from gateway.storage.lookups import Lookups
from gateway.storage.rations import Rations
from gateway.storage.records import Records
from gateway.storage.revisions import Revisions, RevisionsUnreadable
from gateway.storage.sealing import Pen
from gateway.storage.sequencer import Sequencer
from gateway.storage.signers import Signers
from gateway.storage.sweeping import Sweeping
from gateway.storage.writer import Writer
from gateway.sweeper import Sweeper
from gateway.tokens import Tokens
from gateway.tools import PreparedTool
from gateway.undoing import Undoing
from gateway.uploads import Uploads
from gateway.waiting import WaitingRoom
from invariants.explanations.explainer import Explainer
from invariants.state.proving import CounterProver
from invariants.supervisor import Prover
from policies.rego import RegoWorker
from policies.rego_answers import RegoEngine
from policies.rego_shadow import ShadowedRego
from proofs.checkpoints import Checkpoint
from proofs.keys import KeyRing, PrivateKey, TrustedKey
from tool_registry.registry import Registry, load_catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a test or the bench puts in the place of the outside world; nothing else is ever replaced."""

    clock: Clock = field(default_factory=SystemClock)
    randomness: Randomness = field(default_factory=SystemRandomness)
    tools: Mapping[str, Callable[[Dispatch], Awaitable[Mapping[str, Any]]]] = field(default_factory=dict)
    facts: Mapping[str, LocalFact] = field(default_factory=dict)
    catalogue: Registry | None = None


@asynccontextmanager
async def gateway(
    settings: Settings, outside: Outside | None = None, *, ending: asyncio.Event | None = None
) -> AsyncIterator[ASGI]:
    """
    A running gateway as an ASGI app; leaving the block drains and closes everything. Not ready once `ending` is set.

    Raises `Misconfigured`, `UnsafeDatabase`, `LogSetBack`, `LogOfAnother`, `DatabaseOfAnother` and `ClusterFailed`:
    each names what to do.
    """
    outside = outside or Outside()
    async with AsyncExitStack() as stack:
        urls = await asyncio.to_thread(opening.database, settings, stack)
        newest_ms = await asyncio.to_thread(opening.require_ours, settings, urls)
        keys = await asyncio.to_thread(_Keys.of, settings, urls)
        clock = LogClock(outside.clock)
        clock.observe(newest_ms)
        ledger = await _ledger(settings, urls, keys, outside, clock, stack)
        yield await _assembled(settings, outside, clock, urls, keys, ledger, ending or asyncio.Event(), stack)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """The gateway's own secrets, made on first start, readable by nobody else."""

    signers: Signers
    redaction: bytes = field(repr=False)

    @staticmethod
    def of(settings: Settings, urls: Urls) -> _Keys:
        """The keys on the disk. A lost log key is made anew only for an empty log; else raises `LogOfAnother`."""
        folder = settings.data / "keys"
        with connections.connect(urls.app) as connection:
            held = signers.open_keys(folder, connection, SYSTEM)
        redaction_key = folder / "redaction.key"
        if not redaction_key.exists():
            PrivateKey.from_seed(secrets.token_bytes(32)).save(redaction_key)
        return _Keys(signers=held, redaction=signers.load(redaction_key).text.encode("ascii"))

    def ring(self, bundle_keys: KeyRing) -> KeyRing:
        """What this gateway believes: bundles by these keys, certificates by any key of the log, also former ones."""
        certifying = frozenset({"certificate"})
        own = tuple(TrustedKey(public=public, purposes=certifying) for public in self.signers.publics())
        return KeyRing((*own, *bundle_keys.keys))


async def _ledger(
    settings: Settings, urls: Urls, keys: _Keys, outside: Outside, clock: LogClock, stack: AsyncExitStack
) -> Books:
    notes = kept_checkpoints.KeptCheckpoints(settings.data / "checkpoints")
    notes.start()
    stack.callback(notes.stop)
    pen = Pen(environment=settings.environment, signers=keys.signers, random_bytes=outside.randomness.bytes)

    connect = partial(connections.connect, urls.app, writer=True)
    writer = Writer(connect, pen)

    def note(committed: Sequence[Checkpoint]) -> None:
        notes.note(committed)
        clock.observe(max((checkpoint.at_ms for checkpoint in committed), default=0))

    sequencer = Sequencer(writer, on_checkpoints=note)
    return await stack.enter_async_context(Books(sequencer, Lookups(connect)))


async def _assembled(
    settings: Settings,
    outside: Outside,
    clock: LogClock,
    urls: Urls,
    keys: _Keys,
    ledger: Books,
    ending: asyncio.Event,
    stack: AsyncExitStack,
) -> ASGI:
    roots = RootKeys.read(settings.root_keys)
    issuers = Issuers(settings.issuers, outside.clock)
    desk = Desk(urls.app)
    stack.callback(desk.close)
    names = Names(words.load(), outside.clock) if settings.name_detector else None
    redactor = Redactor(keys.redaction, names)
    shared = _Shared(
        settings=settings,
        outside=outside,
        clock=clock,
        ledger=ledger,
        desk=desk,
        records=Records(desk, settings.environment),
        ring=partial(keys.ring, roots.bundle_keys),
        people=People(desk, roots.bundle_keys, keys.signers),
        issuers=issuers,
        tenants=tuple(sorted(issuers.tenants - {SYSTEM})),
        metrics=Metrics(),
        redactor=redactor,
        answers=Answers(redactor),
        refusals=Refusals(ledger, redactor),
        lights=Lights(ledger, clock),
        rates=_rates(settings, urls, clock, stack),
        capacity=Capacity(
            outside.clock, in_all=settings.calls_in_flight_max, per_tenant=settings.tenant_calls_in_flight_max
        ),
        ending=ending,
    )
    shared.metrics.capacity.set_function(lambda: shared.capacity.size)
    stack.push_async_callback(shared.lights.drain)
    policies, publishing, restoring = await _policies(shared, keys.signers, roots, stack)
    certificates = Certificates(
        desk=desk.patiently(), ledger=ledger, policies=policies, publishing=publishing, reload=restoring.reload
    )
    hands = _hands(shared, policies, stack)
    pipeline = _pipeline(shared, policies, restoring, hands, stack)
    background = [
        shared.capacity.watch(),
        hands.sweeper.run(settings.sweep_seconds),
        restoring.watch(),
        certificates.keep_proved(),
    ]
    if settings.measure_strength:
        background.append(certificates.measure())
    for job in background:
        stack.push_async_callback(_cancel, asyncio.create_task(job))
    return _doors(shared, policies, publishing, pipeline, hands)


def _rates(settings: Settings, urls: Urls, clock: Clock, stack: AsyncExitStack) -> Rates:
    """Rates, counted in the database for all gateways on it."""
    rations = Rations(partial(connections.connect, urls.app, writer=True))
    rations.start()
    stack.push_async_callback(asyncio.to_thread, rations.stop)
    return Rates(
        rations.ask,
        clock,
        per_principal=settings.requests_per_minute,
        per_tenant=settings.tenant_requests_per_minute,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What more than one part of the wiring needs."""

    settings: Settings
    outside: Outside
    clock: Clock
    ledger: Books
    desk: Desk
    records: Records
    ring: Callable[[], KeyRing]
    people: People
    issuers: Issuers
    tenants: tuple[str, ...]
    metrics: Metrics
    redactor: Redactor
    answers: Answers
    refusals: Refusals
    lights: Lights
    rates: Rates
    capacity: Capacity
    ending: asyncio.Event

    @property
    def environment(self) -> str:
        return self.settings.environment


async def _policies(
    shared: _Shared, held: Signers, roots: RootKeys, stack: AsyncExitStack
) -> tuple[Policies, Publishing, Restoring]:
    """What decides: engines, the prover behind uploads, and what was in force when the last process ended."""

    async def incident(active: Active, kind: str) -> None:
        shared.metrics.incident(kind.replace(" ", "_"))
        log().error("bundle_quarantined", tenant=active.tenant, revision=active.revision, cause=kind)
        members = {"bundle": active.bundle_digest, "revision": active.revision, "reason": kind}
        await shared.ledger.commit(Append(entry=Draft(tenant=active.tenant, kind="INCIDENT", members=members)))

    try:
        revisions = Revisions(shared.settings.data / "revisions")
    except RevisionsUnreadable as error:
        raise Misconfigured(str(error)) from error
    policies = Policies(shared.clock.now_ms, incident, revisions)
    rego = _rego(shared.settings, policies)
    await rego.start()
    stack.push_async_callback(rego.close)
    publishing = Publishing(
        prover=Prover(),
        counters=CounterProver(),
        signer=lambda: held.current,
        bundle_keys=roots.bundle_keys,
        environment=shared.environment,
        clock=shared.clock,
        opa=None if shared.settings.opa_url is None else rego,
    )
    restoring = Restoring(
        desk=shared.desk.patiently(),
        ledger=shared.ledger,
        policies=policies,
        publishing=publishing,
        catalogue=shared.outside.catalogue or load_catalogue(),
        rego=rego,
        keys=shared.ring,
        environment=shared.environment,
        clock=shared.clock,
    )
    await restoring.start(_base_bundle(shared.settings), roots, shared.tenants)
    return policies, publishing, restoring


def _rego(settings: Settings, policies: Policies) -> RegoEngine:
    """The worker process, the OPA server that the settings name, or both."""
    if settings.opa_url is None:
        if settings.rego_shadow:
            raise Misconfigured("LOCKGATE_REGO_SHADOW needs LOCKGATE_OPA_URL: a worker alone has nobody to differ from")
        return RegoWorker()
    from policies.opa import OpaServer  # noqa: PLC0415 - with an HTTP stack of its own, which no other gateway needs

    def tell(trouble: str | None) -> None:
        if trouble is None:
            log().info("engine_recovered")
        else:
            log().error("engine_lost", cause=trouble)

    token = settings.opa_token.get_secret_value() if settings.opa_token else None
    try:
        server = OpaServer(settings.opa_url, token, on_change=tell)
    except ValueError as error:
        raise Misconfigured(f"LOCKGATE_OPA_URL: {error}") from error
    if not settings.rego_shadow:
        return server
    return ShadowedRego(server, RegoWorker(), partial(policies.quarantine_bundle, kind="Rego engines differ"))


def _base_bundle(settings: Settings) -> bytes:
    try:
        return settings.base_bundle.read_bytes()
    except OSError as error:
        raise Misconfigured(f"base bundle: `{settings.base_bundle.name}` cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hands:
    """What reaches tools and makes their outcomes durable, for the pipeline and the sweeper alike."""

    http: HttpConnector
    connect: Connect
    tokens: Tokens
    settlement: Settlement
    parking: Parking
    sweeper: Sweeper


def _hands(shared: _Shared, policies: Policies, stack: AsyncExitStack) -> _Hands:
    settings = shared.settings
    http = HttpConnector(settings.origins, tuple(settings.dev_loopback_origins))
    stack.push_async_callback(http.close)
    settlement = Settlement(shared.ledger, shared.redactor)
    parking = Parking(
        refusals=shared.refusals,
        records=shared.records,
        answers=shared.answers,
        clock=shared.clock,
        parked_ms=settings.parked_seconds * 1000,
        per_principal_max=settings.parked_per_principal_max,
    )

    async def reconcile(tenant: str, call_id: UUID, finding: Outcome) -> State | None:
        return await sweeper.settle_by_person(tenant, call_id, finding)

    own = LedgerConnector(LedgerViews(shared.records), reconcile)
    connect = by_kind(http, own, LocalConnector(shared.outside.tools))

    async def view(tenant: str, tool: PreparedTool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return await connect(tool.contract.connector).view(tenant, tool, arguments)

    tokens = Tokens(desk=shared.desk, redactor=shared.redactor, clock=shared.clock, view=view)
    sweeper = Sweeper(
        sweeping=Sweeping(shared.desk),
        records=shared.records,
        policies=policies,
        settlement=settlement,
        parking=parking,
        connect=connect,
        tokens=tokens,
        clock=shared.clock,
        metrics=shared.metrics,
        tenants=(*shared.tenants, SYSTEM),
        lease_ms=settings.lease_grace_ms,
    )
    return _Hands(http=http, connect=connect, tokens=tokens, settlement=settlement, parking=parking, sweeper=sweeper)


def _pipeline(
    shared: _Shared, policies: Policies, restoring: Restoring, hands: _Hands, stack: AsyncExitStack
) -> Pipeline:
    """The line that calls take."""
    settings, clock, ledger = shared.settings, shared.clock, shared.ledger
    confirming = Confirming(hands.connect, ledger, shared.redactor)
    stack.push_async_callback(confirming.drain)
    sources = Sources(hands.http, shared.desk, policies, shared.outside.clock, shared.outside.facts)
    return Pipeline(
        Parts(
            environment=shared.environment,
            keep_ms=settings.keep_seconds * 1000,
            clock=clock,
            randomness=shared.outside.randomness,
            identity=Identity(shared.issuers, clock),
            roles=RoleBook(shared.desk),
            rates=shared.rates,
            capacity=shared.capacity,
            policies=policies,
            gather=Gather(
                facts=sources,
                ledger=ledger,
                tokens=hands.tokens,
                clock=clock,
                wall=shared.outside.clock,
                environment=shared.environment,
            ),
            ledger=ledger,
            refusals=shared.refusals,
            parking=hands.parking,
            replays=Replays(shared.records, shared.answers),
            execution=Execution(hands.connect, ledger, clock, lease_grace_ms=settings.lease_grace_ms),
            settlement=hands.settlement,
            governance=Governance(policies, restoring.reload, clock),
            confirming=confirming,
            answers=shared.answers,
            tokens=hands.tokens,
            lights=shared.lights,
            stages=Stages(settings.test_crash, shared.metrics.stage),
            looks=Stages("", shared.metrics.stage),
        )
    )


def _doors(shared: _Shared, policies: Policies, publishing: Publishing, pipeline: Pipeline, hands: _Hands) -> ASGI:
    """HTTP: the call door in front, every other route behind it."""
    records, clock = shared.records, shared.clock
    everybody = (*shared.tenants, SYSTEM)
    inquiries = Inquiries(
        records=records, policies=policies, answers=shared.answers, redactor=shared.redactor, clock=clock
    )
    approving = _approving(shared, policies, hands)
    door = CallDoor(
        pipeline, shared.lights, shared.metrics, shared.settings, counts=partial(autonomy.at_the_door, policies)
    )
    inside = Inside(
        settings=shared.settings,
        pipeline=pipeline,
        policies=policies,
        inquiries=inquiries,
        explaining=Explaining(
            inquiries=inquiries,
            records=records,
            policies=policies,
            redactor=shared.redactor,
            explainer=Explainer(),
            rates=shared.rates,
        ),
        approving=approving,
        batches=Batches(
            calls=door,
            pipeline=pipeline,
            approving=approving,
            lights=shared.lights,
            metrics=shared.metrics,
            clock=clock,
        ),
        waiting=WaitingRoom(desk=shared.desk, policies=policies, redactor=shared.redactor),
        undoing=Undoing(pipeline, inquiries, records, policies, shared.redactor),
        auditing=Auditing(
            records,
            KeysFile(shared.people, clock, tenants=everybody),
            shared.ledger,
            tenants=everybody,
            environment=shared.environment,
        ),
        cataloguing=Cataloguing(policies),
        agents=Agents(shared.desk, policies, clock),
        evidence=Evidence(records=records, desk=shared.desk, policies=policies),
        uploads=Uploads(publishing, policies, shared.desk, shared.refusals, hands.http.admits),
        refusals=shared.refusals,
        redactor=shared.redactor,
        lights=shared.lights,
        metrics=shared.metrics,
        capacity=shared.capacity,
        ending=shared.ending,
    )
    return front(door, _app(door, inside, policies))


def _approving(shared: _Shared, policies: Policies, hands: _Hands) -> Approving:
    return Approving(
        records=shared.records,
        people=shared.people,
        refusals=shared.refusals,
        parking=hands.parking,
        policies=policies,
        redactor=shared.redactor,
        randomness=shared.outside.randomness,
        clock=shared.clock,
        environment=shared.environment,
    )


def _app(door: CallDoor, inside: Inside, policies: Policies) -> FastAPI:
    app = FastAPI(title="Lockgate", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_exception_handler(HTTPException, unrouted)
    app.router.routes.append(documents.call_route(door))
    app.include_router(Routes(inside, documents.Description(app, policies).content).router())
    app.openapi = partial(documents.openapi, app, policies)  # type: ignore[method-assign]
    return app


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
