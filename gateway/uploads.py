"""Uploads: bundles and tool declarations stored by digest, judged, and recorded. Nothing comes into force here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from gateway import entries
from gateway.activation import Policies
from gateway.answers import Reply, receipt
from gateway.errors import BadRequest, Unavailable
from gateway.identity import Principal
from gateway.ledger import Placed
from gateway.publishing import RETRY_SECONDS, Admits, Judged, Publishing
from gateway.refusals import Refusals
from gateway.storage import bundles
from gateway.storage.bundles import StoredTool
from gateway.storage.connections import Cursor
from gateway.storage.desk import Desk
from proofs.certificates import SignedCertificate

UPLOADS_MAX = 4  # Each has a policy worker of its own while its cases run, and their proofs wait for one another.
OF_A_TENANT_MAX = 2  # Publishing is what mends a bad bundle: no tenant's uploads keep another from it.


class Uploads:
    """Takes uploads."""

    def __init__(
        self, publishing: Publishing, policies: Policies, desk: Desk, refusals: Refusals, admits: Admits
    ) -> None:
        self._publishing = publishing
        self._policies = policies
        self._desk = desk
        self._refusals = refusals
        self._admits = admits
        self._judging: Counter[str] = Counter()
        """How many uploads of each tenant."""

    async def bundle(self, principal: Principal, raw: bytes) -> Reply:
        """201: stored, with the verdict that publishing takes as a fact. Raises `BadRequest` (422) with what failed."""
        tenant = principal.tenant
        active = self._policies.active(tenant)
        with self._room(tenant):
            judged = await self._publishing.judge_bundle(raw, tenant, active.registry)
        verdict = judged.document()
        placed = await self._recorded(principal, "BUNDLE", verdict, judged.certificate)
        if judged.bundle is None or judged.certificate is None:
            raise _refused("bundle_refused", judged, verdict, placed)
        digest, certificate = judged.bundle.digest, judged.certificate

        def keep(cursor: Cursor) -> None:
            bundles.add_bundle(cursor, tenant, digest, raw, verdict)
            _keep_certificate(cursor, tenant, digest, certificate)

        await self._desk.ask([tenant], keep)
        return _stored(verdict, placed)

    async def tool(self, principal: Principal, raw: bytes) -> Reply:
        """201: stored, and the active bundle proved over the tools that there would be. Raises `BadRequest` (422)."""
        tenant = principal.tenant
        active = self._policies.active(tenant)
        with self._room(tenant):
            judged = await self._publishing.judge_tool(raw, tenant, active.bundle, active.registry, self._admits)
        verdict = {**judged.document(), "over": [active.bundle_digest, active.registry.digest]}
        if judged.certificate is not None:
            verdict["schema"] = judged.certificate.certificate.schema
        placed = await self._recorded(principal, "TOOL", verdict, judged.certificate)
        if judged.contract is None or judged.certificate is None:
            raise _refused("tool_refused", judged, verdict, placed)
        contract, certificate = judged.contract, judged.certificate

        def keep(cursor: Cursor) -> None:
            stored = StoredTool(digest=contract.digest, name=contract.name, document=raw, verdict=verdict, seq=None)
            bundles.add_tool(cursor, tenant, stored)
            _keep_certificate(cursor, tenant, active.bundle_digest, certificate)

        await self._desk.ask([tenant], keep)
        return _stored(verdict, placed)

    async def bundles(self, principal: Principal) -> Reply:
        """200: what was uploaded, published, activated; and what is in force."""
        tenant = principal.tenant
        found = await self._desk.ask([tenant], lambda cursor: bundles.bundles(cursor, tenant))
        active = self._policies.active(tenant)
        in_force = {**active.reference, "tenant": active.tenant, "is_proved": active.certificate is not None}
        return Reply(status=200, document={"in_force": in_force, "bundles": found})

    @contextmanager
    def _room(self, tenant: str) -> Iterator[None]:
        """Raises `Unavailable` (`overloaded`) for one more than may be judged at once, of the tenant or in all."""
        if self._judging[tenant] >= OF_A_TENANT_MAX or self._judging.total() >= UPLOADS_MAX:
            raise Unavailable("overloaded", "too many uploads are being judged", retry_after_seconds=RETRY_SECONDS)
        self._judging[tenant] += 1
        try:
            yield
        finally:
            self._judging[tenant] -= 1

    async def _recorded(
        self, principal: Principal, kind: str, verdict: dict[str, Any], signed: SignedCertificate | None
    ) -> Placed:
        """The entry of the upload. Durable before anything is stored: what is in the tables has a record."""
        entry = entries.uploaded(kind, principal.reference, principal.tenant, verdict, signed)
        return await self._refusals.append(entry)


def _refused(reason: str, judged: Judged, verdict: dict[str, Any], placed: Placed) -> BadRequest:
    """A wrong upload is refused with what is wrong, down to the call that it would have allowed."""
    document = {**verdict, "entry": placed.seq}
    return BadRequest(reason, f"refused at `{judged.stage}`", status=422, members=document)


def _stored(verdict: dict[str, Any], placed: Placed) -> Reply:
    return Reply(status=201, document={**verdict, "entry": placed.seq, "receipt": receipt(placed)})


def _keep_certificate(cursor: Cursor, tenant: str, bundle: str, signed: SignedCertificate) -> None:
    certificate = signed.certificate
    content = orjson.dumps(signed.document(), option=orjson.OPT_SORT_KEYS)
    bundles.add_certificate(cursor, tenant, certificate.digest, bundle, certificate.schema, content)
