"""What is in force, from the rows that say so: at start, after an act here, and when another gateway changed it.

On a first start that is the base bundle, with a genesis entry. Rows are believed as far as they are signed: a bundle by
a key that the settings trust, a certificate by the log's own, for this bundle, and made by the engine, encoder and
solvers of this release. Without such a certificate the gateway starts and is not ready; `certificates` makes a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson

from gateway.activation import Active, Policies, proven_actions
from gateway.certificates import keep
from gateway.clock import Clock
from gateway.errors import Misconfigured, Unavailable
from gateway.ledger import SYSTEM, Append, Draft, Ledger
from gateway.logs import log
from gateway.publishing import Publishing
from gateway.storage import acts, bundles
from gateway.storage.bundles import Activation
from gateway.storage.connections import Cursor
from gateway.storage.desk import Desk
from gateway.tools import prepare
from invariants import certifying, checks
from policies import bundles as bundle_form
from policies.bundles import Bundle
from policies.decider import Decider
from policies.errors import PolicyFault
from policies.rego_answers import RegoEngine
from policies.schema import generate
from proofs import certificates
from proofs.certificates import Certificate
from proofs.errors import EvidenceError
from proofs.keys import KeyRing
from tool_registry.declarations import parse_registered
from tool_registry.registry import Registry

WATCH_SECONDS = 1.0
"""Between looks at what other gateways activated: the bound within which an activation reaches all of them."""
RETIRE_SECONDS = 900
"""A bundle that was replaced still answers for so long: far longer than any call decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootKeys:
    """What the genesis entry names: the approval keys with which a tenant can begin to govern itself."""

    persons: Mapping[str, Sequence[tuple[str, str]]]
    """By tenant: (person, public key)."""
    bundle_keys: KeyRing

    @staticmethod
    def read(path: Path) -> RootKeys:
        """Read `{"bundle_keys": [{…}], "persons": {TENANT: [{"person", "public_key"}]}}`. Raises `Misconfigured`."""
        try:
            document = orjson.loads(path.read_bytes())
            return RootKeys(
                persons={
                    tenant: [(each["person"], each["public_key"]) for each in persons]
                    for tenant, persons in document["persons"].items()
                },
                bundle_keys=KeyRing.parse(orjson.dumps({"keys": document["bundle_keys"]})),
            )
        except (OSError, ValueError, KeyError, TypeError, EvidenceError) as error:
            raise Misconfigured(f"root keys file `{path.name}` cannot be used: {error}") from error


class Restoring:
    """Builds active sets from rows."""

    def __init__(
        self,
        *,
        desk: Desk,
        ledger: Ledger,
        policies: Policies,
        publishing: Publishing,
        catalogue: Registry,
        rego: RegoEngine,
        keys: Callable[[], KeyRing],
        environment: str,
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._policies = policies
        self._publishing = publishing
        self._catalogue = catalogue
        self._rego = rego
        self._keys = keys
        self._environment = environment
        self._clock = clock
        self._tenants: tuple[str, ...] = (SYSTEM,)
        self._idle_since_ms: dict[str, int] = {}
        """When each loaded bundle was first found in force for nobody."""

    async def start(self, base: bytes, roots: RootKeys, tenants: Sequence[str]) -> None:
        """First start: genesis. Every start: each tenant's activation. Raises `Misconfigured`."""
        if await self._desk.ask([SYSTEM], lambda cursor: bundles.activation(cursor, SYSTEM)) is None:
            await self._genesis(base, roots)
        self._tenants = (SYSTEM, *tenants)
        for tenant in self._tenants:
            await self.reload(tenant)

    async def reload(self, tenant: str) -> None:
        """Put the tenant's newest activation into force, with the tools registered for it."""
        activation = await self._desk.ask([tenant], lambda cursor: bundles.activation(cursor, tenant))
        if activation is not None:
            active = await self._active(tenant, activation)
            is_quarantined = await self._desk.ask(
                [tenant], lambda cursor: bundles.has_incident(cursor, tenant, activation.digest)
            )
            self._policies.put(tenant, active, is_quarantined=is_quarantined)

    async def watch(self) -> None:
        """Notice what another gateway on this database activated, or quarantined. Runs until cancelled."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for tenant in self._tenants:
                try:
                    await self.catch_up(tenant)
                except Exception as error:  # noqa: BLE001 - the outermost loop of this task: what was in force stays
                    log().warning("watch_failed", tenant=tenant, error=error)
            try:
                await self.retire()
            except Exception as error:  # noqa: BLE001 - as above: what stays loaded harms nobody
                log().warning("watch_failed", tenant=SYSTEM, error=error)

    async def retire(self) -> None:
        """Drop the rules of bundles that are in force for nobody, once no call can be deciding under them."""
        now_ms = round(self._clock.monotonic() * 1000)
        in_force = {active.bundle_digest for active in self._policies.all().values()}
        idle = self._rego.loaded - in_force
        self._idle_since_ms = {digest: self._idle_since_ms.get(digest, now_ms) for digest in idle}
        for digest, since_ms in tuple(self._idle_since_ms.items()):
            if now_ms - since_ms >= RETIRE_SECONDS * 1000:
                del self._idle_since_ms[digest]
                await self._rego.drop(digest)

    async def catch_up(self, tenant: str) -> None:
        """Do what another gateway did to the rules of a tenant."""
        in_force = self._policies.all().get(tenant)

        def look(cursor: Cursor) -> tuple[Activation | None, bool]:
            activation = bundles.activation(cursor, tenant)
            return activation, in_force is not None and bundles.has_incident(cursor, tenant, in_force.bundle_digest)

        activation, is_quarantined = await self._desk.ask([tenant], look)
        if activation is not None and (in_force is None or in_force.revision != activation.revision):
            await self.reload(tenant)
        elif in_force is not None and is_quarantined:
            self._policies.put(tenant, in_force, is_quarantined=True)

    async def _genesis(self, base: bytes, roots: RootKeys) -> None:
        try:
            judged = await self._publishing.judge_bundle(base, SYSTEM, self._catalogue)
        except Unavailable as error:
            raise Misconfigured(f"base bundle: cannot be judged: {error.detail}") from error
        if judged.bundle is None or judged.certificate is None:
            findings = "; ".join(str(each.get("message", "")) for each in judged.findings[:3])
            raise Misconfigured(f"base bundle: refused at `{judged.stage}`: {findings}")
        certificate = judged.certificate
        persons = {tenant: [list(each) for each in listed] for tenant, listed in roots.persons.items()}
        entry = Draft(
            tenant=SYSTEM,
            kind="GENESIS",
            members={
                "bundle": judged.bundle.digest,
                "revision": judged.bundle.manifest.revision,
                "certificate": certificate.certificate.digest,
            },
            payload={
                "bundle_keys": roots.bundle_keys.document(),
                "persons": persons,
                "signed_certificate": certificate.document(),
            },
        )
        await self._ledger.commit(Append(entry=entry))
        await keep(self._desk, SYSTEM, certificate)
        for tenant in roots.persons:
            await self._desk.ask(
                [tenant], partial(acts.register_first_keys, tenant=tenant, persons=roots.persons[tenant])
            )
        # Last: a first start that ended before this line is a first start again.
        await self._desk.ask(
            [SYSTEM], partial(self._activate_base, bundle=judged.bundle, signed=certificate, base=base)
        )

    def _activate_base(
        self, cursor: Cursor, *, bundle: Bundle, signed: certificates.SignedCertificate, base: bytes
    ) -> None:
        verdict = {"passed": True, "stage": "passed", "digest": bundle.digest, "revision": bundle.manifest.revision}
        bundles.add_bundle(cursor, SYSTEM, bundle.digest, base, verdict)
        activation = Activation(
            revision=bundle.manifest.revision,
            digest=bundle.digest,
            certificate_digest=signed.certificate.digest,
            schema_digest=signed.certificate.schema,
            at_ms=self._clock.now_ms(),
        )
        acts.activate(cursor, SYSTEM, activation, 1)

    async def _active(self, tenant: str, activation: Activation) -> Active:
        stored, tools = await self._desk.ask([tenant, SYSTEM], lambda cursor: _read(cursor, tenant, activation))
        registry = self._catalogue
        for tool in tools:
            registry = registry.with_tool(parse_registered(tool.document))
        bundle = bundle_form.parse(stored.content)
        self._require_genuine(bundle, tenant, activation)
        schema = generate(registry.contracts.values())
        certificate = self._valid(
            await self._desk.ask([tenant, SYSTEM], lambda cursor: _kept(cursor, tenant, bundle.digest, schema.digest)),
            bundle,
            schema.digest,
            registry,
        )
        decider = Decider(bundle, registry.contracts.values(), self._rego)
        await decider.load()
        self._idle_since_ms.pop(bundle.digest, None)  # Back in force in a moment.
        compiled = checks.compile(bundle.invariants, schema.typed)
        return Active(
            tenant=tenant,
            revision=activation.revision,
            bundle=bundle,
            certificate=certificate,
            certificate_digest=certificate.digest if certificate else activation.certificate_digest,
            decider=decider,
            invariants=compiled,
            registry=registry,
            tools={name: prepare(contract, schema.typed) for name, contract in registry.contracts.items()},
            proven=proven_actions(certificate, schema, compiled),
        )

    def _require_genuine(self, bundle: Bundle, tenant: str, activation: Activation) -> None:
        """The row may say anything; content and signature may not. Raises `Misconfigured`."""
        if bundle.digest != activation.digest or bundle.manifest.tenant not in (tenant, SYSTEM):
            raise Misconfigured("an activation names a bundle of other content or of another tenant")
        # The key was trusted at the upload, which lies between these two.
        times = (int(bundle.manifest.created_at.timestamp() * 1000), activation.at_ms)
        if not any(self._is_signed(bundle, at_ms) for at_ms in times):
            raise Misconfigured("an activation names a bundle that no trusted key signed")

    def _is_signed(self, bundle: Bundle, at_ms: int) -> bool:
        try:
            bundle_form.verify(
                bundle, self._keys(), tenant=bundle.manifest.tenant, environment=self._environment, at_ms=at_ms
            )
        except PolicyFault:
            return False
        return True

    def _valid(self, kept: Sequence[bytes], bundle: Bundle, schema: str, registry: Registry) -> Certificate | None:
        for content in kept:
            try:
                signed = certificates.parse(orjson.loads(content))
                certificates.verify(signed, self._keys())
            except (EvidenceError, ValueError):
                continue
            found = signed.certificate
            made_for = (found.bundle, found.schema, found.tools, found.environment)
            in_force = (bundle.digest, schema, registry.digests, self._environment)
            if made_for == in_force and certifying.is_of_this_release(found):
                return found
        return None


def _read(cursor: Cursor, tenant: str, activation: Activation) -> tuple[bundles.StoredBundle, list[bundles.StoredTool]]:
    # A tenant that registered a tool of its own may still be under the base bundle of `system`.
    stored = bundles.bundle(cursor, tenant, activation.digest) or bundles.bundle(cursor, SYSTEM, activation.digest)
    if stored is None:
        raise Misconfigured("an activation names a bundle that is not stored")
    return stored, bundles.registered_tools(cursor, tenant)


def _kept(cursor: Cursor, tenant: str, digest: str, schema: str) -> list[bytes]:
    kept = bundles.certificates(cursor, tenant, digest, schema)
    return kept if tenant == SYSTEM else kept + bundles.certificates(cursor, SYSTEM, digest, schema)
