"""A parked call presented again waits for what it asks now; an approval that lost its ground opens no intent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from gateway.activation import Active
from gateway.ledger import Answer, FullRow, Intended, Look, Placed, State, Used, Void
from gateway.statements import current
from gateway.storage.connections import Cursor, Urls, connect, transaction
from tests.world import acts
from tests.world.stories import Story

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


def publish(cursor: Cursor) -> None:
    """Another gateway puts newer rules into force."""
    cursor.execute("insert into lockgate.activations values ('acme', 2, 'sha256:b', 'sha256:c', 'sha256:s', 9, 1)")


@pytest.mark.parametrize(
    ("meanwhile", "lasts_ms", "reason"),
    [
        (revoke, acts.FAR_MS, "approval_void"),
        (demote, acts.FAR_MS, "approval_void"),
        (nothing, 1, "approval_expired"),
        (publish, acts.FAR_MS, "approval_stale"),
        (nothing, acts.FAR_MS, ""),
    ],
    ids=["key", "role", "time", "rules", "none of them"],
)
def test_an_approval_must_still_hold_inside_the_intent(
    database: Urls, meanwhile: Callable[[Cursor], Any], lasts_ms: int, reason: str
) -> None:
    """
    E03, E06, E07: key, role, time or rules gone between counting and intending: no intent, and an entry why.
    """

    async def story() -> Answer:
        async with acts.books(database.app) as ledger:
            row, approval = acts.call("parked"), uuid4()
            await ledger.commit(acts.park(row))
            change(database.app, admit)
            await ledger.commit(acts.approve(row, approval_id=approval, not_after_ms=lasts_ms))
            change(database.app, meanwhile)
            return await ledger.commit(replace(acts.intend(row, approvals=[approval]), revision=1))

    answer = asyncio.run(story())

    assert isinstance(answer, Void if reason else Intended)
    assert isinstance(answer, Intended | Void)
    assert answer.placed is not None
    assert not isinstance(answer, Void) or answer.reason == reason
    kinds = acts.query(database.app, "select kind from lockgate.entries order by seq desc limit 1")
    assert kinds == [("REFUSED" if reason else "INTENT",)]


def test_an_approval_that_was_used_in_time_serves_the_next_attempt_of_its_call(database: Urls) -> None:
    """
    E03: consumed before it expired, an approval still serves the same call after `not_done`, and no other call.
    """

    async def story() -> list[Answer]:
        async with acts.books(database.app) as ledger:
            row, other, approval = acts.call("parked"), acts.call("other"), uuid4()
            await ledger.commit(acts.park(row))
            change(database.app, admit)
            soon = round(time.time() * 1000) + 1500
            await ledger.commit(acts.approve(row, approval_id=approval, not_after_ms=soon))
            answers = [await ledger.commit(acts.intend(row, approvals=[approval]))]
            await ledger.commit(acts.settle(row, State.NOT_DONE))
            await asyncio.sleep(max(0.0, soon / 1000 - time.time() + 0.05))
            answers.append(await ledger.commit(acts.intend(row, approvals=[approval])))
            answers.append(await ledger.commit(acts.intend(other, approvals=[approval])))
            return answers

    assert [type(answer) for answer in asyncio.run(story())] == [Intended, Intended, Used]


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
                await ledger.commit(acts.park(acts.call("parked", request=newer, call_id=row.call_id))),
                await ledger.commit(acts.park(acts.call("parked", request=newer))),
            ]
            return (await ledger.look(Look(tenant=acts.ACME, claim=row.claim))).held, answers, row.call_id

    held, (first, second, stranger), call_id = asyncio.run(story())

    assert isinstance(first, Placed)
    assert isinstance(second, Placed)
    assert not isinstance(stranger, Placed)
    assert (held.row.call_id, held.state, held.fence) == (call_id, State.PARKED, 0)
    assert (held.row.request, held.parked_seq) == (newer, second.seq)


def test_another_correlation_is_another_statement_that_can_be_approved(story: Story) -> None:
    """
    Presented again under a correlation id the call has another digest: the 202 and GET say so, and the approval serves.
    """
    finance, approver = story.person("finance", 1), story.person("finance", 2)
    order, key, named = story.order(6_000), "parked-under-two-names", {"X-Correlation-Id": "inc-204"}
    first = story.refund(finance.token, order, 6_000, key=key)

    second = story.refund(finance.token, order, 6_000, key=key, headers=named)
    again = story.refund(finance.token, order, 6_000, key=key, headers=named)
    found = story.client.get(f"/v1/calls/{first.call}", approver.token)
    late = story.client.approve(approver, first)
    given = story.client.approve(approver, found)
    approvals = [str(given.document.get("approval"))]
    done = story.refund(finance.token, order, 6_000, key=key, headers=named, approvals=approvals)

    assert (first.status, second.status, again.status, second.call) == (202, 202, 202, first.call)
    assert second.document["entry"] > first.document["entry"]
    assert "entry" not in again.document
    assert second.document["expires_at"] == first.document["expires_at"]
    assert second.document["statement"]["call"] != first.document["statement"]["call"]
    assert found.document["statement"] == again.document["statement"] == second.document["statement"]
    assert (late.status, late.reason) == (403, "approval_mismatch")
    assert given.status == 201, given.document
    assert (done.status, done.document["status"]) == (200, "executed")
    assert len(story.effects(first.call)) == 1


def test_a_parked_call_does_not_become_an_edit_later(story: Story) -> None:
    """
    E10: whoever approves a call is not told that it will end another one; so it cannot, with an approval or without.
    """
    finance, other = story.person("finance", 1), story.hire("finance")
    edited = story.parked_refund(other.token)
    order, key = story.order(6_000), "parked-then-an-edit"
    first = story.refund(finance.token, order, 6_000, key=key)
    approval = str(story.client.approve(story.person("finance", 2), first).document["approval"])

    answers = [
        story.refund(finance.token, order, 6_000, key=key, edits=edited.call, approvals=approvals)
        for approvals in ([], [approval])
    ]
    waits = story.client.get(f"/v1/calls/{edited.call}", finance.token).document["status"]
    done = story.refund(finance.token, order, 6_000, key=key, approvals=[approval])

    assert first.status == 202
    assert [(answer.status, answer.reason) for answer in answers] == [(403, "edit_not_allowed")] * 2
    assert waits == "parked"
    assert done.document["status"] == "executed"


def parked_row(tool_digest: str) -> FullRow:
    """A parked call, last presented to a tool of that digest."""
    return FullRow(
        row=acts.call("parked", request=json.dumps({"tool_digest": tool_digest}).encode()),
        state=State.PARKED,
        fence=0,
        status=None,
        answer=None,
        intent_seq=None,
        outcome_seq=None,
        parked_seq=1,
        lease_until_ms=None,
        expires_at_ms=acts.FAR_MS,
        created_at_ms=0,
    )


@pytest.mark.parametrize(("digest", "is_signable"), [("sha256:one", True), ("sha256:two", False)])
def test_a_call_to_a_tool_of_another_version_is_presented_again_first(digest: str, is_signable: bool) -> None:
    """
    An approval binds the tool's digest as part of the call: a statement of the former version is not offered.
    """
    tool = SimpleNamespace(contract=SimpleNamespace(digest="sha256:one"))
    active = cast(Active, SimpleNamespace(tools={"issue_refund": tool}, bundle_digest="sha256:bundle"))

    offered = current(parked_row(digest), active)
    without_tool = current(parked_row(digest), cast(Active, SimpleNamespace(tools={})))

    assert (offered is not None) == is_signable
    assert without_tool is None
