"""Approvers' keys: which public key is registered to which person, and the key ring that outsiders verify with.

A key that had its turn at the log stays in the ring, for the checkpoints of its sizes and no others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import orjson

from gateway.errors import Unavailable
from gateway.ledger import SYSTEM, LedgerUnavailable
from gateway.storage.connections import Cursor
from gateway.storage.desk import Desk
from gateway.storage.signers import Signers
from proofs.keys import KeyRing, PublicKey, TrustedKey


class Signer(NamedTuple):
    """A person who signs, at this moment."""

    public: str | None
    """The key's text, if it is registered to that person and not revoked."""
    roles: tuple[str, ...]


class People:
    """Reads registered keys."""

    def __init__(self, desk: Desk, bundle_keys: KeyRing, signers: Signers) -> None:
        self._desk = desk
        self._bundle_keys = bundle_keys
        self._signers = signers

    async def signer(self, tenant: str, person: str, key_id: str) -> Signer:
        """What a person who signs with that key has now: the key, and the roles of the newest token seen anywhere."""

        def work(cursor: Cursor) -> Signer:
            cursor.execute(
                """select k.public_key, p.roles from lockgate.people p left join lockgate.person_keys k
                on k.tenant = p.tenant and k.person = p.person and k.key_id = %s and k.revoked_seq is null
                where p.tenant = %s and p.person = %s""",
                (key_id, tenant, person),
            )
            row = cursor.fetchone()
            return Signer(public=None, roles=()) if row is None else Signer(public=row[0], roles=tuple(row[1]))

        try:
            return await self._desk.ask([tenant], work)
        except LedgerUnavailable as error:
            raise Unavailable("ledger_unavailable", "the keys cannot be read") from error

    async def ring(self, tenants: Sequence[str]) -> KeyRing:
        """The log's keys, those of bundles, and every key ever registered, also revoked: old approvals still verify."""

        def work(cursor: Cursor) -> tuple[list[_Turn], list[tuple[str, str, str, bytes | None]]]:
            cursor.execute("select tenant, seq, public_key from lockgate.log_keys order by tenant, seq")
            turns = [_Turn(tenant, seq, PublicKey.from_text(public)) for tenant, seq, public in cursor.fetchall()]
            cursor.execute(
                """select k.tenant, k.person, k.public_key, e.body from lockgate.person_keys k
                left join lockgate.entries e on e.tenant = k.tenant and e.seq = k.revoked_seq
                order by k.tenant, k.person, k.key_id"""
            )
            return turns, list(cursor.fetchall())

        turns, rows = await self._desk.ask(list(tenants), work)
        registered = tuple(
            TrustedKey(
                public=PublicKey.from_text(public),
                purposes=frozenset({"approval"}),
                tenant=tenant,
                person=f"person/{person}",
                # Exclusive: what was recorded in the very batch of the revocation is still told apart by `seq`.
                not_after_ms=None if revocation is None else orjson.loads(revocation)["at_ms"] + 1,
            )
            for tenant, person, public, revocation in rows
        )
        return KeyRing(
            (*_log_lines(turns, tenants, self._signers.current.public), *self._bundle_keys.keys, *registered)
        )


class _Turn(NamedTuple):
    """A key that signs a chain's checkpoints above the size `seq`, up to the next turn."""

    tenant: str
    seq: int
    key: PublicKey


def _log_lines(turns: Sequence[_Turn], tenants: Sequence[str], current: PublicKey) -> Iterator[TrustedKey]:
    """One line while there was one key; else a line for each turn on each chain, and certificates by any of them."""
    if not turns:
        yield TrustedKey(public=current, purposes=frozenset({"checkpoint", "certificate"}))
        return
    signing = frozenset({"checkpoint"})
    for tenant, of_tenant in groupby(turns, lambda turn: turn.tenant):
        for turn, after in pairwise([*of_tenant, None]):
            if turn is not None:
                until = after.seq if after else None
                yield TrustedKey(
                    public=turn.key, purposes=signing, tenant=tenant, size_min=turn.seq + 1, size_max=until
                )
    newest = next((turn.key for turn in reversed(turns) if turn.tenant == SYSTEM), current)
    for tenant in tenants:
        if all(turn.tenant != tenant for turn in turns):  # Begun since the exchange, or not yet.
            yield TrustedKey(public=newest, purposes=signing, tenant=tenant)
    for public in {turn.key.key_id: turn.key for turn in turns}.values():
        yield TrustedKey(public=public, purposes=frozenset({"certificate"}))
