"""Uploads: bundles and tool declarations stored by digest, judged, and recorded. Nothing comes into force here."""

from __future__ import annotations

from typing import Any

import orjson

from gateway import entries
from gateway.activation import Policies
from gateway.answers import Reply, receipt
from gateway.errors import BadRequest
from gateway.identity import Principal
from gateway.publishing import Admits, Judged, Publishing
from gateway.refusals import Refusals
from gateway.storage import bundles
from gateway.storage.bundles import StoredTool
from gateway.storage.connections import Cursor
from gateway.storage.desk import Desk
from proofs.certificates import SignedCertificate


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

    async def bundle(self, principal: Principal, raw: bytes) -> Reply:
        """201: stored, with the verdict that publishing takes as a fact. Raises `BadRequest` (422) with what failed."""
        tenant = principal.tenant
        active = self._policies.active(tenant)
        judged = await self._publishing.judge_bundle(raw, tenant, active.registry)
        verdict = judged.document()

        if judged.bundle is not None and judged.certificate is not None:
            digest, certificate = judged.bundle.digest, judged.certificate

            def keep(cursor: Cursor) -> None:
                bundles.add_bundle(cursor, tenant, digest, raw, verdict)
                _keep_certificate(cursor, tenant, digest, certificate)

            await self._desk.ask([tenant], keep)
        return await self._answer(principal, "BUNDLE", judged, verdict)

    async def tool(self, principal: Principal, raw: bytes) -> Reply:
        """201: stored, and the active bundle proved over the tools that there would be. Raises `BadRequest` (422)."""
        tenant = principal.tenant
        active = self._policies.active(tenant)
        judged = await self._publishing.judge_tool(raw, tenant, active.bundle, active.registry, self._admits)
        verdict = {**judged.document(), "over": [active.bundle_digest, active.registry.digest]}
        if judged.contract is not None and judged.certificate is not None:
            contract, certificate = judged.contract, judged.certificate
            verdict["schema"] = certificate.certificate.schema

            def keep(cursor: Cursor) -> None:
                stored = StoredTool(digest=contract.digest, name=contract.name, document=raw, verdict=verdict, seq=None)
                bundles.add_tool(cursor, tenant, stored)
                _keep_certificate(cursor, tenant, active.bundle_digest, certificate)

            await self._desk.ask([tenant], keep)
        return await self._answer(principal, "TOOL", judged, verdict)

    async def bundles(self, principal: Principal) -> Reply:
        """200: what was uploaded, published, activated; and what is in force."""
        tenant = principal.tenant
        found = await self._desk.ask([tenant], lambda cursor: bundles.bundles(cursor, tenant))
        active = self._policies.active(tenant)
        in_force = {**active.reference(), "tenant": active.tenant, "is_proved": active.certificate is not None}
        return Reply(status=200, document={"in_force": in_force, "bundles": found})

    async def _answer(self, principal: Principal, kind: str, judged: Judged, verdict: dict[str, Any]) -> Reply:
        entry = entries.uploaded(kind, principal.reference, principal.tenant, verdict)
        placed = await self._refusals.append(entry)
        document = {**verdict, "entry": placed.seq}
        if not judged.passed:
            # A wrong upload is refused with what is wrong, down to the call that it would have allowed.
            raise BadRequest(f"{kind.lower()}_refused", f"refused at `{judged.stage}`", status=422, members=document)
        return Reply(status=201, document={**document, "receipt": receipt(placed)})


def _keep_certificate(cursor: Cursor, tenant: str, bundle: str, signed: SignedCertificate) -> None:
    certificate = signed.certificate
    content = orjson.dumps(signed.document(), option=orjson.OPT_SORT_KEYS)
    bundles.add_certificate(cursor, tenant, certificate.digest, bundle, certificate.schema, content)
