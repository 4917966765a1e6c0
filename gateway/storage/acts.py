"""What the governance family changes in the gateway's own tables, inside the settle transaction.

Each act takes a cursor and the place of its OUTCOME entry, and returns the tool's result; `ActRefused` is a definite
refusal, after which nothing of it remains. The head of the tenant is locked: two acts never meet.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from gateway.ledger import ActRefused
from gateway.storage import bundles, token_places
from gateway.storage.bundles import Activation
from gateway.storage.connections import Cursor
from proofs.keys import PublicKey

_ERASED = b'{"arguments":{}}'
"""What stands where a canonical call stood."""


def activate(cursor: Cursor, tenant: str, activation: Activation, seq: int) -> None:
    """Put a revision into force, newer than every one before it."""
    current = bundles.activation(cursor, tenant)
    if current is not None and activation.revision <= current.revision:
        raise ActRefused("stale_revision")
    bundles.activate(cursor, tenant, activation, seq)


def register_key(cursor: Cursor, tenant: str, person: str, key_id: str, public_key: str, seq: int) -> None:
    """Register an approver's key. A key belongs to one person, once."""
    try:
        cursor.execute(
            """insert into lockgate.person_keys (key_id, tenant, person, public_key, registered_seq)
            values (%s, %s, %s, %s, %s)""",
            (key_id, tenant, person, public_key, seq),
        )
    except psycopg.errors.UniqueViolation as error:
        raise ActRefused("key_known") from error


def register_first_keys(cursor: Cursor, *, tenant: str, persons: Sequence[tuple[str, str]]) -> None:
    """Register the keys, as (person, public key), that the genesis entry names. Done again, nothing changes."""
    for person, public_key in persons:
        key = PublicKey.from_text(public_key)
        cursor.execute(
            """insert into lockgate.person_keys (key_id, tenant, person, public_key, registered_seq)
            values (%s, %s, %s, %s, 0) on conflict (key_id) do nothing""",
            (key.key_id, tenant, person, key.text),
        )


def registered_keys(cursor: Cursor, tenant: str, key_ids: Sequence[str]) -> set[str]:
    """Those of the keys that are, or were, registered to somebody of the tenant."""
    cursor.execute(
        "select key_id from lockgate.person_keys where tenant = %s and key_id = any(%s)", (tenant, list(key_ids))
    )
    return {row[0] for row in cursor.fetchall()}


def revoke_key(cursor: Cursor, tenant: str, key_id: str, seq: int) -> str:
    """Revoke a key and return whose it was."""
    cursor.execute(
        """update lockgate.person_keys set revoked_seq = %s
        where tenant = %s and key_id = %s and revoked_seq is null returning person""",
        (seq, tenant, key_id),
    )
    row = cursor.fetchone()
    if row is None:
        raise ActRefused("key_unknown")
    return str(row[0])


def set_autonomy(cursor: Cursor, tenant: str, agent: str, action: str, level: int, seq: int) -> None:
    """Set the level of an agent for an action, or for every action without a level of its own."""
    cursor.execute(
        """insert into lockgate.autonomy (tenant, agent, action, level, seq) values (%s, %s, %s, %s, %s)
        on conflict (tenant, agent, action) do update set level = excluded.level, seq = excluded.seq""",
        (tenant, agent, action, level, seq),
    )


def engage_kill(cursor: Cursor, tenant: str, scope: str, target: str, reason: str, seq: int) -> None:
    """Engage a switch; engaged again, it stays so."""
    cursor.execute(
        """insert into lockgate.kills (tenant, scope, target, engaged, reason, seq) values (%s, %s, %s, true, %s, %s)
        on conflict (tenant, scope, target) do update
        set engaged = true, reason = excluded.reason, seq = excluded.seq""",
        (tenant, scope, target, reason, seq),
    )


def release_kill(cursor: Cursor, tenant: str, scope: str, target: str, seq: int) -> None:
    """Release an engaged switch."""
    cursor.execute(
        """update lockgate.kills set engaged = false, seq = %s
        where tenant = %s and scope = %s and target = %s and engaged""",
        (seq, tenant, scope, target),
    )
    if cursor.rowcount != 1:
        raise ActRefused("not_engaged")


def erase_subject(cursor: Cursor, tenant: str, subject: str) -> int:
    """
    Destroy the payloads of every closed call about a subject, with their salts, and arguments and answers of its row.

    The chain still verifies, and its key still knows the request by its digest. A call that is open keeps what it
    needs to be closed. No token leads to the subject any more. Returns how many payloads there were.
    """
    cursor.execute(
        """select p.seq, e.call_id from lockgate.payloads p
        join lockgate.entries e on e.tenant = p.tenant and e.seq = p.seq
        left join lockgate.calls c on c.call_id = e.call_id
        where p.tenant = %s and p.subject = %s
        and (c.state is null or c.state in ('executed', 'failed', 'rejected', 'cancelled', 'expired'))""",
        (tenant, subject),
    )
    found = cursor.fetchall()
    calls = list({call for _, call in found})
    # What stands beside the verdicts, the feedback and the confirming reads of those calls.
    cursor.execute(
        """select seq from lockgate.entries
        where tenant = %s and call_id = any(%s) and kind not in ('INTENT', 'OUTCOME')""",
        (tenant, calls),
    )
    entries = list({seq for seq, *_ in [*found, *cursor.fetchall()]})
    cursor.execute(
        "update lockgate.calls set answer = null, request = %s where tenant = %s and call_id = any(%s)",
        (_ERASED, tenant, calls),
    )
    cursor.execute(
        """update lockgate.payloads set salt = null, body = null
        where tenant = %s and seq = any(%s) and body is not null""",
        (tenant, entries),
    )
    erased = cursor.rowcount
    token_places.erase(cursor, tenant, subject)
    return erased
