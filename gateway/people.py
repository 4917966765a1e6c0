"""Approvers' keys: which public key is registered to which person, and the key ring that outsiders verify with.

A key that had its turn at the log stays in the ring, for the checkpoints of its sizes and no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import groupby, pairwise

import orjson

from gateway.errors import Unavailable
from gateway.ledger import SYSTEM, LedgerUnavailable
from gateway.storage import persons, signers
from gateway.storage.connections import Cursor
from gateway.storage.desk import Desk
from gateway.storage.persons import KeysMark, Registered, Signer
from gateway.storage.signers import Signers, Turn
from proofs.keys import KeyRing, PublicKey, TrustedKey

_public = lru_cache(maxsize=2**16)(PublicKey.from_text)
"""Whether a key is a point of the curve takes a tenth of a millisecond to say, and does not change."""


class People:
    """Reads registered keys."""

    def __init__(self, desk: Desk, bundle_keys: KeyRing, held: Signers) -> None:
        self._desk = desk
        self._bundle_keys = bundle_keys
        self._signers = held

    async def signer(self, tenant: str, person: str, key_id: str) -> Signer:
        """What a person who signs with that key has now: the key, and the roles of the newest token seen anywhere."""
        try:
            return await self._desk.ask([tenant], partial(persons.signer, tenant=tenant, person=person, key_id=key_id))
        except LedgerUnavailable as error:
            raise Unavailable("ledger_unavailable", "the keys cannot be read") from error

    async def mark(self, tenants: Sequence[str]) -> KeysMark:
        """By which two keys files are told apart without reading the keys."""
        return await self._desk.ask(tenants, persons.keys_mark)

    async def keys_file(self, tenants: Sequence[str]) -> bytes:
        """The log's keys, those of bundles, and every key ever registered, also revoked: old approvals still verify."""

        def work(cursor: Cursor) -> tuple[list[Turn], list[Registered]]:
            return signers.turns(cursor), persons.registered(cursor)

        turns, keys = await self._desk.ask(tenants, work)
        return await asyncio.to_thread(lambda: orjson.dumps(self._ring(tenants, turns, keys).document()))

    def _ring(self, tenants: Sequence[str], turns: Sequence[Turn], keys: Sequence[Registered]) -> KeyRing:
        registered = tuple(
            TrustedKey(
                public=_public(key.public),
                purposes=frozenset({"approval"}),
                tenant=key.tenant,
                person=f"person/{key.person}",
                # Exclusive: what was recorded in the very batch of the revocation is still told apart by `seq`.
                not_after_ms=None if key.revoked_ms is None else key.revoked_ms + 1,
            )
            for key in keys
        )
        return KeyRing(
            (*_log_lines(turns, tenants, self._signers.current.public), *self._bundle_keys.keys, *registered)
        )


def _log_lines(turns: Sequence[Turn], tenants: Sequence[str], current: PublicKey) -> Iterator[TrustedKey]:
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
