"""Persons of a tenant: the roles that their newest token gave them, and the keys that they sign approvals with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from gateway.storage.connections import Cursor


class Signer(NamedTuple):
    """A person who signs, at this moment."""

    public: str | None
    """The key's text, if it is registered to that person and not revoked."""
    roles: tuple[str, ...]


class Registered(NamedTuple):
    """A key that is, or was, somebody's."""

    tenant: str
    person: str
    public: str
    revoked_ms: int | None
    """The time of the entry that revoked it."""


class KeysMark(NamedTuple):
    """Differs whenever a key was registered or revoked, or one of the log had its turn: no row of them is ever lost."""

    registered: int
    revoked: int
    turns: int


def note_roles(cursor: Cursor, tenant: str, person: str, roles: Sequence[str], issued_at: int) -> None:
    """Take the roles of a verified token, unless those of a newer one stand."""
    # Two tokens of one second: the one presented last counts, because it may be the one that takes a role away.
    cursor.execute(
        """insert into lockgate.people (tenant, person, roles, token_iat) values (%s, %s, %s, %s)
        on conflict (tenant, person) do update set roles = excluded.roles, token_iat = excluded.token_iat
        where lockgate.people.token_iat <= excluded.token_iat""",
        (tenant, person, list(roles), issued_at),
    )


def signer(cursor: Cursor, tenant: str, person: str, key_id: str) -> Signer:
    """What a person who signs with that key has now; nothing, where no token of theirs was ever seen."""
    cursor.execute(
        """select k.public_key, p.roles from lockgate.people p left join lockgate.person_keys k
        on k.tenant = p.tenant and k.person = p.person and k.key_id = %s and k.revoked_seq is null
        where p.tenant = %s and p.person = %s""",
        (key_id, tenant, person),
    )
    row = cursor.fetchone()
    return Signer(public=None, roles=()) if row is None else Signer(public=row[0], roles=tuple(row[1]))


def registered(cursor: Cursor) -> list[Registered]:
    """Every key ever registered, also revoked, of the tenants that the transaction may read."""
    cursor.execute(
        """select k.tenant, k.person, k.public_key, e.body from lockgate.person_keys k
        left join lockgate.entries e on e.tenant = k.tenant and e.seq = k.revoked_seq
        order by k.tenant, k.person, k.key_id"""
    )
    return [
        Registered(tenant, person, public, None if revocation is None else orjson.loads(revocation)["at_ms"])
        for tenant, person, public, revocation in cursor.fetchall()
    ]


def keys_mark(cursor: Cursor) -> KeysMark:
    """The mark over the keys of the tenants that the transaction may read."""
    cursor.execute(
        """select count(*), count(revoked_seq), (select count(*) from lockgate.log_keys) from lockgate.person_keys"""
    )
    return KeysMark(*cursor.fetchone() or (0, 0, 0))
