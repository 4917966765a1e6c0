"""The wiring: every part is constructed here, once, and passed to what needs it.

Nothing else in the package reaches for a clock, a key, a connection or a setting.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import FastAPI

from gateway import documents
from gateway.activation import SYSTEM, Active, Policies
from gateway.answers import Answers
from gateway.approving import Approving
from gateway.auditing import Auditing
from gateway.cataloguing import Cataloguing
from gateway.clock import Clock, SystemClock
from gateway.connectors import Dispatch, HttpConnector, LocalConnector, by_kind
from gateway.doors.front import ASGI, CallDoor, front
from gateway.doors.routes import Inside, Routes
from gateway.errors import Misconfigured
from gateway.execution import Execution
from gateway.gathering import Gather
from gateway.governance import Governance, LedgerConnector
from gateway.identity import Identity, read_issuers
from gateway.inquiries import Inquiries
from gateway.killpoints import Stages
from gateway.ledger import Append, Draft, Ledger
from gateway.lights import Lights
from gateway.logs import log
from gateway.metrics import Metrics
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
from gateway.storage import connections, journal, migrations, startup
from gateway.storage.books import Books
from gateway.storage.cluster import Cluster
from gateway.storage.connections import Urls
from gateway.storage.desk import Desk
from gateway.storage.lookups import Lookups
from gateway.storage.records import Records
from gateway.storage.sequencer import Sequencer
from gateway.storage.writer import Pen, Writer
from gateway.sweeper import Sweeper
from gateway.undoing import Undoing
from gateway.uploads import Uploads
from invariants.supervisor import Prover
from policies.rego import RegoWorker
from proofs.keys import KeyRing, PrivateKey, TrustedKey
from tool_registry.registry import Registry, load_catalogue

DATABASE = "lockgate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a test or the bench puts in the place of the outside world; nothing else is ever replaced."""

    clock: Clock = field(default_factory=SystemClock)
    randomness: Randomness = field(default_factory=SystemRandomness)
    tools: Mapping[str, Callable[[Dispatch], Awaitable[Mapping[str, Any]]]] = field(default_factory=dict)
    facts: Mapping[str, LocalFact] = field(default_factory=dict)
    catalogue: Registry | None = None


@asynccontextmanager
async def gateway(settings: Settings, outside: Outside | None = None) -> AsyncIterator[ASGI]:
    """
    A running gateway as an ASGI app; leaving the block drains and closes everything.

    Raises `Misconfigured`, `UnsafeDatabase`, `LogSetBack` and `ClusterFailed`: each names what to do.
    """
    outside = outside or Outside()
    async with AsyncExitStack() as stack:
        urls = await asyncio.to_thread(_database, settings, stack)
        keys = _Keys.of(settings)
        ledger = await _ledger(settings, urls, keys, outside, stack)
        yield await _assembled(settings, outside, urls, keys, ledger, stack)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """The gateway's own secrets, made on first start, readable by nobody else."""

    signer: PrivateKey
    redaction: bytes

    @staticmethod
    def of(settings: Settings) -> _Keys:
        folder = settings.data / "keys"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log_key, redaction_key = folder / "log.key", folder / "redaction.key"
        if not log_key.exists():
            PrivateKey.generate().save(log_key)
        if not redaction_key.exists():
            PrivateKey.from_seed(secrets.token_bytes(32)).save(redaction_key)
        return _Keys(signer=PrivateKey.load(log_key), redaction=PrivateKey.load(redaction_key).text.encode("ascii"))

    def ring(self, bundle_keys: KeyRing) -> KeyRing:
        purposes = frozenset({"checkpoint", "certificate"})
        return KeyRing((TrustedKey(public=self.signer.public, purposes=purposes), *bundle_keys.keys))


def _database(settings: Settings, stack: AsyncExitStack) -> Urls:
    """The database, migrated and found safe: a server of the operator's, or a cluster of our own."""
    if settings.database_url is None:
        cluster = Cluster.start(settings.data)
        stack.callback(cluster.stop)
        cluster.create_database(DATABASE)
        urls = cluster.urls(DATABASE)
    else:
        if settings.auditor_url is None:
            raise Misconfigured(
                "LOCKGATE_AUDITOR_URL is needed beside LOCKGATE_DATABASE_URL: the start-up check uses it"
            )
        migrator = settings.migrator_url.get_secret_value() if settings.migrator_url else ""
        urls = Urls(
            migrator=migrator,
            app=settings.database_url.get_secret_value(),
            auditor=settings.auditor_url.get_secret_value(),
        )
    if urls.migrator:
        migrations.upgrade(urls.migrator)
    startup.require(urls.app, urls.auditor)
    with connections.connect(urls.app) as connection:
        journal.compare(connection, settings.data / "checkpoints")
    return urls


async def _ledger(settings: Settings, urls: Urls, keys: _Keys, outside: Outside, stack: AsyncExitStack) -> Ledger:
    notes = journal.Journal(settings.data / "checkpoints")
    notes.start()
    stack.callback(notes.stop)
    pen = Pen(environment=settings.environment, signer=keys.signer, random_bytes=outside.randomness.bytes)

    connect = partial(connections.connect, urls.app, writer=True)
    writer = Writer(connect, pen)
    sequencer = Sequencer(writer, on_checkpoints=notes.note)
    return await stack.enter_async_context(Books(sequencer, Lookups(connect)))


async def _assembled(
    settings: Settings, outside: Outside, urls: Urls, keys: _Keys, ledger: Ledger, stack: AsyncExitStack
) -> ASGI:
    clock, environment = outside.clock, settings.environment
    issuers = read_issuers(settings.issuers)
    tenants = sorted({tenant for issuer in issuers for tenant in issuer.tenants} - {SYSTEM})
    roots = RootKeys.read(settings.root_keys)
    ring = keys.ring(roots.bundle_keys)
    metrics = Metrics()
    desk = Desk(urls.app)
    stack.callback(desk.close)
    records = Records(desk, environment)
    rego = RegoWorker()
    await rego.start()
    stack.push_async_callback(rego.close)

    async def incident(active: Active, kind: str) -> None:
        metrics.incident("engines_contradict_checks")
        log().error("bundle_quarantined", tenant=active.tenant, revision=active.revision)
        members = {"bundle": active.bundle_digest, "revision": active.revision, "reason": kind.replace(" ", "_")}
        await ledger.commit(Append(entry=Draft(tenant=active.tenant, kind="INCIDENT", members=members)))

    policies = Policies(clock.now_ms, incident)
    publishing = Publishing(
        prover=Prover(), signer=keys.signer, bundle_keys=roots.bundle_keys, environment=environment, clock=clock
    )
    restoring = Restoring(
        desk=desk,
        ledger=ledger,
        policies=policies,
        publishing=publishing,
        catalogue=outside.catalogue or load_catalogue(),
        rego=rego,
        log_keys=ring,
        environment=environment,
        clock=clock,
    )
    await restoring.start(settings.base_bundle.read_bytes(), roots, tenants)

    redactor = Redactor(keys.redaction)
    answers = Answers(redactor)
    lights = Lights(ledger, clock)
    stack.push_async_callback(lights.drain)
    refusals = Refusals(ledger, redactor)
    parking = Parking(
        refusals=refusals,
        records=records,
        answers=answers,
        clock=clock,
        parked_ms=settings.parked_seconds * 1000,
        per_principal_max=settings.parked_per_principal_max,
    )
    settlement = Settlement(ledger, redactor)
    http = HttpConnector(settings.origins, tuple(settings.dev_loopback_origins))
    stack.push_async_callback(http.close)

    async def reconcile(tenant: str, call_id: Any, finding: Any) -> Any:
        return await sweeper.settle_by_person(tenant, call_id, finding)

    views = LedgerConnector(LedgerViews(records), reconcile)
    connect = by_kind(http, views, LocalConnector(outside.tools))
    sweeper = Sweeper(
        desk=desk,
        records=records,
        policies=policies,
        settlement=settlement,
        parking=parking,
        connect=connect,
        clock=clock,
        metrics=metrics,
        tenants=(*tenants, SYSTEM),
        lease_ms=settings.lease_grace_ms,
    )
    rates = Rates(settings.requests_per_minute)
    governance = Governance(policies, restoring.reload, clock)
    pipeline = Pipeline(
        Parts(
            environment=environment,
            keep_ms=settings.keep_seconds * 1000,
            clock=clock,
            randomness=outside.randomness,
            identity=Identity(issuers, clock),
            roles=RoleBook(desk),
            rates=rates,
            policies=policies,
            gather=Gather(
                facts=Sources(http, desk, policies, clock, outside.facts),
                ledger=ledger,
                clock=clock,
                environment=environment,
            ),
            ledger=ledger,
            refusals=refusals,
            parking=parking,
            replays=Replays(records, answers),
            execution=Execution(connect, clock, lease_grace_ms=settings.lease_grace_ms),
            settlement=settlement,
            governance=governance,
            answers=answers,
            lights=lights,
            stages=Stages(settings.test_crash, metrics.stage),
            looks=Stages("", metrics.stage),
        )
    )
    people = People(desk, ring)
    inquiries = Inquiries(records=records, policies=policies, answers=answers, redactor=redactor, clock=clock)
    approving = Approving(
        records=records,
        people=people,
        refusals=refusals,
        parking=parking,
        policies=policies,
        redactor=redactor,
        randomness=outside.randomness,
        clock=clock,
        environment=environment,
    )
    inside = Inside(
        settings=settings,
        pipeline=pipeline,
        policies=policies,
        rates=rates,
        inquiries=inquiries,
        approving=approving,
        undoing=Undoing(pipeline, inquiries, records, policies),
        auditing=Auditing(records, people, tenants=(*tenants, SYSTEM), environment=environment),
        cataloguing=Cataloguing(policies),
        uploads=Uploads(publishing, policies, desk, refusals),
        refusals=refusals,
        redactor=redactor,
        lights=lights,
        metrics=metrics,
    )
    door = CallDoor(pipeline, lights, metrics, settings)
    for job in (sweeper.run(settings.sweep_seconds), restoring.prove_again()):
        stack.push_async_callback(_cancel, asyncio.create_task(job))
    return front(door, _app(door, inside, policies))


def _app(door: CallDoor, inside: Inside, policies: Policies) -> FastAPI:
    app = FastAPI(title="Lockgate", docs_url=None, redoc_url=None, openapi_url=None)
    app.router.routes.append(documents.call_route(door))
    app.include_router(Routes(inside).router())
    app.openapi = lambda: documents.openapi(app, policies)  # type: ignore[method-assign]
    return app


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
