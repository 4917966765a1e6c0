"""What an auditor takes away to check offline: bundles, certificates and declarations by digest, and packets of calls.

Contents are handed out byte for byte as they were stored. A packet's ground obligation is written when it is asked for,
in a thread of its own, from the bundle and the contract that the entry names: no call waits for it, and no solver runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from gateway.activation import Policies
from gateway.answers import Reply, receipt
from gateway.errors import NotFound
from gateway.ledger import SYSTEM, Placed
from gateway.storage import bundles
from gateway.storage.connections import Cursor
from gateway.storage.desk import Desk
from gateway.storage.records import Records
from invariants import packets
from invariants.errors import InvariantError
from policies import bundles as bundle_form
from policies.errors import PolicyFault
from policies.schema import SchemaError
from tool_registry.contracts import Contract
from tool_registry.declarations import parse_registered

_TELLING = ("REFUSED", "PARKED", "INTENT")  # Later in this list is more worth knowing of one call.


class Evidence:
    """Hands out what was stored, to whoever may read the log of the tenant."""

    def __init__(self, *, records: Records, desk: Desk, policies: Policies) -> None:
        self._records = records
        self._desk = desk
        self._policies = policies
        # Beside calls and not instead of them: one obligation is written at a time.
        self._turn = asyncio.Semaphore(1)

    async def bundle(self, tenant: str, digest: str) -> bytes:
        """A bundle of the tenant's or of `system`, as it was uploaded."""
        found = await self._desk.ask([tenant, SYSTEM], lambda cursor: _bundle(cursor, tenant, digest))
        if found is None:
            raise NotFound("unknown_bundle", "GET /v1/bundles lists the bundles of this tenant")
        return found

    async def certificate(self, tenant: str, digest: str) -> bytes:
        """A signed certificate of the tenant's or of `system`."""
        found = await self._desk.ask(
            [tenant, SYSTEM],
            lambda cursor: bundles.certificate(cursor, tenant, digest) or bundles.certificate(cursor, SYSTEM, digest),
        )
        if found is None:
            raise NotFound("unknown_certificate", "entries name certificates by their digest")
        return found

    async def declaration(self, tenant: str, digest: str) -> bytes:
        """The declaration of a tool that was uploaded at run time, by the digest of its contract."""
        found = await self._desk.ask([tenant], lambda cursor: bundles.tool(cursor, tenant, digest))
        if found is None:
            raise NotFound("unknown_declaration", "not uploaded here; contracts of the catalogue come with the release")
        return found.document

    async def packet(self, tenant: str, call_id: UUID) -> Reply:
        """200: the action packet of a call's newest decision, with its receipt and its ground obligation."""
        row = await self._records.call(tenant, call_id)
        placed = await self._records.entries_of(tenant, call_id, row)
        told = [(each, entry) for each in placed if (entry := orjson.loads(each.body))["kind"] in _TELLING]
        if not told:
            raise NotFound("unknown_call", "no call of this tenant that was decided and recorded")
        chosen, entry = max(told, key=lambda each: (_TELLING.index(each[1]["kind"]), each[0].seq))
        payload = await self._records.payload(tenant, chosen.seq)
        if payload is None or "question" not in payload:
            raise NotFound("unknown_packet", "the entry has no packet, or it was erased")
        return Reply(status=200, document=await self._packet(tenant, chosen, entry, payload))

    async def _packet(
        self, tenant: str, placed: Placed, entry: Mapping[str, Any], payload: Mapping[str, Any]
    ) -> dict[str, Any]:
        contract = await self._contract(tenant, str(entry.get("tool")), str(entry.get("tool_digest")))
        raw = await self._desk.ask([tenant, SYSTEM], lambda cursor: _bundle(cursor, tenant, str(entry.get("bundle"))))
        absent, sheet = "the contract or the bundle of the entry is not stored", None
        if contract is not None and raw is not None:
            try:
                files = bundle_form.parse(raw).files
                async with self._turn:
                    sheet = await asyncio.to_thread(packets.write, payload, entry, files, contract)
                absent = ""
            except (InvariantError, PolicyFault, SchemaError) as error:
                # A member that the log hides behind a token may not fit its type: then the question is not the call's.
                absent = str(error)
        return packets.document(receipt(placed), payload, sheet, absent)

    async def _contract(self, tenant: str, name: str, digest: str) -> Contract | None:
        """The tool's as it was then: the one in force, or one that was registered and has been replaced."""
        known = self._policies.active(tenant).registry.get(name)
        if known is not None and known.digest == digest:
            return known
        stored = await self._desk.ask([tenant], lambda cursor: bundles.tool(cursor, tenant, digest))
        return None if stored is None else parse_registered(stored.document)


def _bundle(cursor: Cursor, tenant: str, digest: str) -> bytes | None:
    stored = bundles.bundle(cursor, tenant, digest) or bundles.bundle(cursor, SYSTEM, digest)
    return None if stored is None else stored.content
