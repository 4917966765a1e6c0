"""A parked call presented again waits for what it asks now; an approval that lost its ground opens no intent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from gateway.ledger import Answer, Intended, Look, Placed, State, Void
from gateway.storage.connections import Cursor, Urls, connect, transaction
from tests.world import acts

KEY = "key_0011223344556677"


def change(url: str, work: Callable[[Cursor], Any]) -> None:
    """What another transaction does meanwhile."""
    with connect(url) as connection, transaction(connection, [acts.ACME]) as cursor:
        work(cursor)


def admit(cursor: Cursor) -> None:
    """The approver of `acts.approve`, with key and role."""
    cursor.execute("insert into lockgate.person_keys values (%s, 'acme', 'per_ada', 'pub', 1, null)", (KEY,))
    cursor.execute("insert into lockgate.people values ('acme', 'per_ada', '{finance}', 1)")


def revoke(cursor: Cursor) -> None:
    cursor.execute("update lockgate.person_keys set revoked_seq = 9 where key_id = %s", (KEY,))


def demote(cursor: Cursor) -> None:
    cursor.execute("update lockgate.people set roles = '{support}' where person = 'per_ada'")


def nothing(cursor: Cursor) -> None:
    """The approver stays who they are."""


@pytest.mark.parametrize(
    ("meanwhile", "expected"), [(revoke, Void), (demote, Void), (nothing, Intended)], ids=["key", "role", "neither"]
)
def test_an_approval_must_still_hold_inside_the_intent(
    database: Urls, meanwhile: Callable[[Cursor], Any], expected: type[Answer]
) -> None:
    """
    A key revoked, or a role lost, after the approval was counted and before the intent: no intent, and an entry why.
    """

    async def story() -> Answer:
        async with acts.books(database.app) as ledger:
            row, approval = acts.call("parked"), uuid4()
            await ledger.commit(acts.park(row))
            change(database.app, admit)
            await ledger.commit(acts.approve(row, approval_id=approval))
            change(database.app, meanwhile)
            return await ledger.commit(acts.intend(row, approvals=[approval]))

    answer = asyncio.run(story())

    assert isinstance(answer, expected)
    assert answer.placed is not None
    kinds = acts.query(database.app, "select kind from lockgate.entries order by seq desc limit 1")
    assert kinds == [("INTENT" if expected is Intended else "REFUSED",)]


def test_a_parked_call_keeps_what_was_presented_last(database: Urls) -> None:
    """
    Parked again, the row has the newest request and entry, under the id, salt and fence of the first.
    """
    newer = b'{"tool":"issue_refund","version":2}'

    async def story() -> tuple[Any, list[Answer], UUID]:
        async with acts.books(database.app) as ledger:
            row = acts.call("parked")
            answers = [
                await ledger.commit(acts.park(row)),
                await ledger.commit(acts.park(replace(row, request=newer))),
                await ledger.commit(acts.park(replace(row, request=newer, call_id=uuid4()))),
            ]
            return (await ledger.look(Look(tenant=acts.ACME, claim=row.claim))).held, answers, row.call_id

    held, (first, second, stranger), call_id = asyncio.run(story())

    assert isinstance(first, Placed)
    assert isinstance(second, Placed)
    assert not isinstance(stranger, Placed)
    assert (held.row.call_id, held.state, held.fence) == (call_id, State.PARKED, 0)
    assert (held.row.request, held.parked_seq) == (newer, second.seq)
