"""Approvers' keys: which public key is registered to which person, and the key ring that outsiders verify with."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.errors import Unavailable
from gateway.ledger import LedgerUnavailable
from gateway.storage.connections import Cursor
from gateway.storage.desk import Desk
from proofs.keys import KeyRing, PublicKey, TrustedKey


class People:
    """Reads registered keys."""

    def __init__(self, desk: Desk, own: KeyRing) -> None:
        self._desk = desk
        self._own = own

    async def key(self, tenant: str, person: str, key_id: str) -> str | None:
        """The public key text, if it is registered to that person and not revoked now."""

        def work(cursor: Cursor) -> str | None:
            cursor.execute(
                """select public_key from lockgate.person_keys
                where tenant = %s and person = %s and key_id = %s and revoked_seq is null""",
                (tenant, person, key_id),
            )
            row = cursor.fetchone()
            return None if row is None else str(row[0])

        try:
            return await self._desk.ask([tenant], work)
        except LedgerUnavailable as error:
            raise Unavailable("ledger_unavailable", "the keys cannot be read") from error

    async def ring(self, tenants: Sequence[str]) -> KeyRing:
        """The gateway's own keys and every key ever registered, also revoked ones: old approvals still verify."""

        def work(cursor: Cursor) -> list[tuple[str, str, str, bytes | None]]:
            cursor.execute(
                """select k.tenant, k.person, k.public_key, e.body from lockgate.person_keys k
                left join lockgate.entries e on e.tenant = k.tenant and e.seq = k.revoked_seq
                order by k.tenant, k.person, k.key_id"""
            )
            return list(cursor.fetchall())

        registered = tuple(
            TrustedKey(
                public=PublicKey.from_text(public),
                purposes=frozenset({"approval"}),
                tenant=tenant,
                person=f"person/{person}",
                # Exclusive: what was recorded in the very batch of the revocation is still told apart by `seq`.
                not_after_ms=None if revocation is None else orjson.loads(revocation)["at_ms"] + 1,
            )
            for tenant, person, public, revocation in await self._desk.ask(list(tenants), work)
        )
        return KeyRing((*self._own.keys, *registered))
