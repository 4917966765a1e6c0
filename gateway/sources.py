"""Where facts are read: the business's endpoints over HTTP, the gateway's own tables, or a function in process."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import orjson

from gateway.activation import Policies
from gateway.admission import Call, call_id_of
from gateway.clock import Clock, rfc3339
from gateway.connectors import HttpConnector
from gateway.errors import Denied, Unavailable
from gateway.facts import Reading
from gateway.ledger import LedgerUnavailable
from gateway.storage import bundles
from gateway.storage.acts import registered_keys
from gateway.storage.connections import Cursor
from gateway.storage.desk import Desk
from gateway.storage.records import Records
from gateway.tools import PreparedFact
from proofs.errors import EvidenceError
from proofs.keys import PrivateKey, PublicKey

Found = TypeVar("Found")
LocalFact = Callable[[Call], Awaitable[Reading]]

_WORD = re.compile(r"(kind|tool|call|principal|state|correlation):([A-Za-z0-9_./:-]{1,128})")
_SHOWN = ("call", "tool", "principal", "state")


class Sources:
    """Reads facts."""

    def __init__(
        self,
        http: HttpConnector,
        desk: Desk,
        policies: Policies,
        clock: Clock,
        local: Mapping[str, LocalFact],
    ) -> None:
        self._http = http
        self._desk = desk
        self._policies = policies
        self._clock = clock
        self._local = local

    async def read(self, call: Call, fact: PreparedFact) -> Reading | None:
        """See `gathering.FactReader`."""
        match fact.source.source:
            case "http" if call.tool.contract.connector.kind == "local":
                return await self._local[fact.source.name](call)
            case "http":
                return await self._over_http(call, fact)
            case _:
                return await self._own(call, fact)

    async def _over_http(self, call: Call, fact: PreparedFact) -> Reading | None:
        document = await self._http.fact(
            call.principal.tenant, call.tool.contract.connector, fact.source.method, fact.source.path, call.arguments
        )
        if document is None:
            return None
        at_ms, values = document.get("at_ms"), document.get("facts")
        if type(at_ms) is not int or not isinstance(values, dict):
            raise Denied("fact_missing", f"`{fact.source.name}` came without time stamp or facts")
        return Reading(at_ms=at_ms, values=values)

    async def _own(self, call: Call, fact: PreparedFact) -> Reading | None:
        tenant, name, arguments = call.principal.tenant, fact.source.name, call.arguments
        values: Mapping[str, Any] | None
        if name == "key":
            values = await self._key(tenant, arguments["public_key"])
        else:
            values = await self._uploaded(tenant, name, arguments["digest"])
        return None if values is None else Reading(at_ms=self._clock.now_ms(), values=values)

    async def _key(self, tenant: str, text: str) -> dict[str, Any]:
        """Raises `Denied` for what cannot be registered: before anybody signs for it, or anything of it is recorded."""
        try:
            key = PublicKey.from_text(text)
        except (EvidenceError, ValueError) as error:
            raise Denied("key_unusable", "not a point of large order in its one encoding") from error
        # A private key has the form of a public one. Whose it would be, if it were one, is found out.
        private = PrivateKey.from_text(text).public.key_id
        known = await self._ask(tenant, lambda cursor: registered_keys(cursor, tenant, [key.key_id, private]))
        if private in known:
            raise Denied("key_private", "this is the private half of a registered key: have that key revoked")
        if key.key_id in known:
            raise Denied("key_known", "the key is registered already, and a key belongs to one person, once")
        return {"key_id": key.key_id}

    async def _uploaded(self, tenant: str, name: str, digest: str) -> dict[str, Any] | None:
        newest = self._policies.newest(tenant)

        def work(cursor: Cursor) -> dict[str, Any] | None:
            uploaders = " ".join(bundles.uploaders(cursor, tenant, digest))
            if name == "tool":
                tool = bundles.tool(cursor, tenant, digest)
                return None if tool is None else {"verdict_passed": tool.verdict["passed"], "uploaders": uploaders}
            stored = bundles.bundle(cursor, tenant, digest)
            if stored is None:
                return None
            return {
                "verdict_passed": stored.verdict["passed"],
                "uploaders": uploaders,
                "revision": stored.verdict["revision"],
                "current_revision": newest,
            }

        return await self._ask(tenant, work)

    async def _ask(self, tenant: str, work: Callable[[Cursor], Found]) -> Found:
        try:
            return await self._desk.ask([tenant], work)
        except LedgerUnavailable as error:
            raise Unavailable("ledger_unavailable", "the ledger cannot be read") from error


class LedgerViews:
    """What read tools show of the tenant's own log."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def search(self, tenant: str, query: str) -> Mapping[str, Any]:
        """Entries that fit words of the form `member:value`. Raises `Denied` for other words."""
        wanted: dict[str, str] = {}
        for word in query.split():
            match = _WORD.fullmatch(word)
            if match is None:
                raise Denied(
                    "query_unfit", "expected words `kind:`, `tool:`, `call:`, `principal:` or `state:` with a value"
                )
            wanted[match[1]] = match[2]
        if "correlation" in wanted:
            correlation = wanted.pop("correlation")
            traced = await self._records.traced(tenant, correlation)
            found = [each for each in traced if wanted.items() <= each[0].items()][::-1]
        else:
            found = [(entry, "") for entry in await self._records.search(tenant, wanted)]
        return {"matched": len(found), "entries": [_shown(entry, name) for entry, name in found]}

    async def trace(self, tenant: str, correlation: str) -> Mapping[str, Any]:
        """Every entry that a correlation id runs through, in order; a call id traces its own call."""
        call_id = call_id_of(correlation)
        if call_id is None:
            found = await self._records.traced(tenant, correlation)
        else:
            row = await self._records.call(tenant, call_id)
            placed = await self._records.entries_of(tenant, call_id, row)
            found = [(orjson.loads(each.body), correlation) for each in placed]
        return {"correlation_id": correlation, "entries": [_shown(entry, name) for entry, name in found]}


def _shown(entry: Mapping[str, Any], correlation: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"seq": entry["seq"], "kind": entry["kind"], "at": rfc3339(entry["at_ms"])}
    shown |= {name: entry[name] for name in _SHOWN if name in entry}
    return shown if not correlation else {**shown, "correlation_id": correlation}
