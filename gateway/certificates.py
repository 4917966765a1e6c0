"""Certificates of what is in force: made anew where none is valid, and once more with the mutation score of the bundle.

A new certificate is named by the log, in an entry PROVED or MEASURED, before it is stored and put into force. Until one
is, calls are refused as `invariant_unproven`. Which of those that are stored is valid `restoring` finds out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, repeat

import orjson

from gateway.activation import Active, Policies
from gateway.ledger import Append, Draft, Ledger
from gateway.logs import log
from gateway.publishing import Publishing
from gateway.storage import bundles
from gateway.storage.desk import Desk
from proofs.certificates import Certificate, SignedCertificate

LOOK_SECONDS = 1.0
"""Between looks at what is in force."""
PROVE_PAUSES_SECONDS = (5.0, 20.0, 60.0, 300.0)  # A proof takes a core for seconds; the last pause repeats.


class Certificates:
    """Has what is in force proved and measured. `reload` puts a tenant's rules into force with what was kept."""

    def __init__(
        self,
        *,
        desk: Desk,
        ledger: Ledger,
        policies: Policies,
        publishing: Publishing,
        reload: Callable[[str], Awaitable[None]],
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._policies = policies
        self._publishing = publishing
        self._reload = reload

    async def keep_proved(self) -> None:
        """
        Prove whatever is or comes into force without a valid certificate. Runs until cancelled.

        An activation and a registration that two gateways let through at the same moment leave such a pair.
        """
        while True:
            await self.prove_again()
            await asyncio.sleep(LOOK_SECONDS)

    async def prove_again(self) -> None:
        """
        Prove what is in force without a valid certificate; calls are refused until this is done.

        What fails, or is not proved because a worker was killed, is tried again, ever more rarely.
        """
        for pause in chain(PROVE_PAUSES_SECONDS, repeat(PROVE_PAUSES_SECONDS[-1])):
            unproved = [tenant for tenant, active in self._policies.all().items() if active.certificate is None]
            if not unproved:
                return
            for tenant in unproved:
                try:
                    await self._prove(tenant, self._policies.all()[tenant])
                except Exception as error:  # noqa: BLE001 - the outermost loop of this task: without it nothing is proved
                    log().error("proving_failed", tenant=tenant, error=error)
            if any(active.certificate is None for active in self._policies.all().values()):
                await asyncio.sleep(pause)

    async def measure(self) -> None:
        """
        Measure what the proofs and cases of each bundle in force would notice, and say so in a new certificate.

        Once for each bundle over each set of tools, one at a time, beside everything else. Runs until cancelled.
        """
        tried: set[tuple[str, str]] = set()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for tenant, active in tuple(self._policies.all().items()):
                wanted = (active.bundle_digest, active.schema.digest)
                if active.certificate is None or active.certificate.mutation is not None or wanted in tried:
                    continue
                tried.add(wanted)
                try:
                    await self._measure(tenant, active, active.certificate)
                except Exception as error:  # noqa: BLE001 - the outermost loop of this task: it stays unmeasured
                    log().warning("measuring_failed", tenant=tenant, error=error)

    async def _prove(self, tenant: str, active: Active) -> None:
        log().warning("proving_again", tenant=tenant, revision=active.revision)
        judged = await self._publishing.judge_content(active.bundle, tenant, active.registry.contracts.values())
        if judged.certificate is None:
            log().error("not_proved", tenant=tenant, stage=judged.stage)
            return
        await self._renew("PROVED", tenant, active.revision, judged.certificate)

    async def _measure(self, tenant: str, active: Active, certificate: Certificate) -> None:
        contracts = active.registry.contracts.values()
        signed = await self._publishing.measure(active.bundle, certificate, contracts)
        await self._renew("MEASURED", tenant, active.revision, signed)
        log().info("measured", tenant=tenant, revision=active.revision, certificate=signed.certificate.digest)

    async def _renew(self, kind: str, tenant: str, revision: int, signed: SignedCertificate) -> None:
        # Durable before it is stored: what entries name from now on stands in the log before them.
        await self._ledger.commit(Append(entry=_certified(kind, tenant, revision, signed)))
        await keep(self._desk, tenant, signed)
        await self._reload(tenant)


async def keep(desk: Desk, tenant: str, signed: SignedCertificate) -> None:
    """Store a signed certificate of a tenant by its digest. That the log names it is the caller's to see to."""
    certificate = signed.certificate
    content = orjson.dumps(signed.document(), option=orjson.OPT_SORT_KEYS)
    await desk.ask(
        [tenant],
        lambda cursor: bundles.add_certificate(
            cursor, tenant, certificate.digest, certificate.bundle, certificate.schema, content
        ),
    )


def _certified(kind: str, tenant: str, revision: int, signed: SignedCertificate) -> Draft:
    """
    A new certificate of what is in force.

    PROVED: the former had become void. MEASURED: the same was proved, and the mutation score is in it.
    """
    certificate = signed.certificate
    members = {"bundle": certificate.bundle, "revision": revision, "certificate": certificate.digest}
    return Draft(tenant=tenant, kind=kind, members=members, payload={"signed_certificate": signed.document()})
