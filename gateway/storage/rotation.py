"""The exchange of the log's key: one transaction that names the next key on every chain, signed by the one before it.

1. lock    the heads of all chains; one that would begin meanwhile waits for that of `system`
2. seal    a KEY entry on each chain, under a checkpoint by the key that is leaving
3. write   entries, checkpoints, heads that name the new signer, and the keys that had their turn
4. commit  from here on every writer on this database meets the new signer in the heads that it locks

The new key is in a file before 1, so whoever meets its name finds it. A crash before 4 leaves a file that nothing
names, and the next exchange takes it up; after 4, files of keys that had their turn, which the next call of
`signers.retire` sets aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.ledger import SYSTEM
from gateway.storage import connections, packed, statements, writing
from gateway.storage.connections import Connection
from gateway.storage.link import Link, rows
from gateway.storage.sealing import Pen, Standing, seal
from gateway.storage.writer import IN_THE_WAY, standings
from proofs.checkpoints import Checkpoint
from proofs.keys import PrivateKey

_ADD_TURN = """
insert into lockgate.log_keys (tenant, seq, key_id, public_key) values (%s, %s, %s, %s)
on conflict (tenant, seq) do nothing
"""


class InTheWay(Exception):
    """Another writer was there first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What an exchange did."""

    checkpoints: tuple[Checkpoint, ...]
    """The last ones that the former key signed, one for each chain."""
    spent: frozenset[str]
    """Ids of the keys that sign no chain any more."""


def turns(connection: Connection, tenants: Sequence[str]) -> frozenset[str]:
    """The ids of the keys that sign these chains, or did."""
    with connections.transaction(connection, tenants) as cursor:
        named = cursor.execute("select key_id from lockgate.log_keys").fetchall()
        signing = cursor.execute("select signer from lockgate.heads where signer is not null").fetchall()
    return frozenset(key_id for (key_id,) in (*named, *signing))


def spent(connection: Connection, tenants: Sequence[str]) -> frozenset[str]:
    """The ids of the keys that had their turn and sign none of these chains any more."""
    with connections.transaction(connection, tenants) as cursor:
        signing = cursor.execute("select signer from lockgate.heads where signer is not null").fetchall()
    return turns(connection, tenants) - {key_id for (key_id,) in signing}


def rotate(connection: Connection, pen: Pen, tenants: Sequence[str], key: PrivateKey) -> Rotated:
    """
    Hand the chains of these tenants over to `key`. `connection` is a writer's.

    Raises `InTheWay` when another writer held a head for too long, and `SignerMissing`: nothing has happened. Any other
    fault may hide that it has; `spent` shows.
    """
    link = Link(connection)
    admitted = sorted({*tenants, SYSTEM})
    heads = (statements.LOCK_HEADS, [packed.texts(admitted)])
    try:
        # Twice: what began while the first waited shows in the second, and nothing more begins behind the lock of
        # `system`.
        _, _, locked, now = link.run((statements.BEGIN, ()), heads, heads, (statements.NOW, ()), admitting=admitted)
        begun = {tenant: each for tenant, each in standings(locked).items() if each.head.size}
        now_ms = packed.long(rows(now)[0][0])
        sealings = {tenant: seal(pen, each, [], now_ms, hands_to=key) for tenant, each in begun.items()}
        if sealings:
            link.run(writing.entries_alone(list(sealings.values())))
        with connection.cursor() as cursor:
            cursor.execute("update lockgate.heads set signer = %s where size = 0", (key.key_id,))
            cursor.executemany(_ADD_TURN, [turn for each in begun.values() for turn in _turns(pen, each, key)])
        link.run((statements.COMMIT, ()))
    except IN_THE_WAY as error:
        raise InTheWay("the log was busy: nothing was exchanged, try again") from error
    finally:
        link.rollback()
    return Rotated(
        checkpoints=tuple(each.sealed.checkpoint for each in sealings.values()), spent=spent(connection, admitted)
    )


def _turns(pen: Pen, standing: Standing, key: PrivateKey) -> list[tuple[str, int, str, str]]:
    """Whose turn it was, if nobody noted that before, and whose turn it is."""
    signer = pen.signers.current if standing.signer is None else pen.signers.find(standing.signer)
    turns = ((0, signer.public), (standing.head.size + 1, key.public))
    return [(standing.head.tenant, seq, public.key_id, public.text) for seq, public in turns]
