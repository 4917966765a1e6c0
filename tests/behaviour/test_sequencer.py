"""The ledger under many hands: batches, claims, budgets, approvals, switches, fences."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from gateway.ledger import (
    Act,
    ActRefused,
    Answer,
    Append,
    Draft,
    Exceeded,
    Held,
    Intended,
    Killed,
    Late,
    LedgerUnavailable,
    Level,
    Look,
    Moved,
    Placed,
    Settled,
    Stale,
    State,
    Used,
)
from gateway.storage import sweeping
from gateway.storage.books import Books
from gateway.storage.connections import Urls, connect
from gateway.storage.sequencer import Sequencer
from gateway.storage.writer import Writer
from proofs import canonical, checkpoints, tree
from tests.world import acts
from tests.world.acts import ACME, GLOBEX

ROUNDS = 20
DEADLOCK_SECONDS_MAX = 2
"""Of a round; the longest that two who waited for each other might take (I02)."""


async def _gather(*awaited: Awaitable[Any]) -> list[Any]:
    return list(await asyncio.gather(*awaited))


async def _two_gateways(
    url: str, rounds: Sequence[Sequence[Act]], *, seconds_max: float | None = None
) -> list[list[Answer]]:
    """Send each round at once, its acts dealt in turn to two writers on two connections; `seconds_max` is a round's."""
    answers = []
    async with AsyncExitStack() as stack:
        pair: list[Books] = [await stack.enter_async_context(acts.books(url)) for _ in range(2)]
        for one_round in rounds:
            async with asyncio.timeout(seconds_max):
                answers.append(await _gather(*(pair[index % 2].commit(act) for index, act in enumerate(one_round))))
    return answers


def _kinds(answers: Sequence[Answer]) -> Counter[type]:
    return Counter(type(answer) for answer in answers)


def test_spends_never_exceed_the_ceiling(database: Urls) -> None:
    """
    I01: 64 parallel spends against a cap for exactly 10, over two gateways: exactly 10 succeed, every round.
    """
    rounds = [
        [acts.intend(acts.call(f"{number}/{i}"), budgets=[acts.budget(5, 50, name=f"cap{number}")]) for i in range(64)]
        for number in range(ROUNDS)
    ]

    answers = asyncio.run(_two_gateways(database.app, rounds))

    assert [_kinds(each) for each in answers] == [{Intended: 10, Exceeded: 54}] * ROUNDS
    assert {acts.counter(database.app, f"cap{number}") for number in range(ROUNDS)} == {(50, 0)}
    assert acts.verified(database.app).is_good


def test_two_budgets_in_either_order_hold_both(database: Urls) -> None:
    """
    I02: 64 parallel spends over two budgets, half of them in the opposite order, over two gateways: nobody waits for
    another longer than two seconds, the tighter one is used up exactly, and both hold the same, every round.
    """
    rounds = []
    for number in range(ROUNDS):
        budgets = [acts.budget(5, 50, name=f"user{number}"), acts.budget(5, 60, name=f"tenant{number}")]
        rounds.append(
            [
                acts.intend(acts.call(f"{number}/{i}"), budgets=budgets if i // 2 % 2 else budgets[::-1])
                for i in range(64)
            ]
        )

    answers = asyncio.run(_two_gateways(database.app, rounds, seconds_max=DEADLOCK_SECONDS_MAX))

    assert [_kinds(each) for each in answers] == [{Intended: 10, Exceeded: 54}] * ROUNDS
    assert {
        acts.counter(database.app, f"{name}{number}") for number in range(ROUNDS) for name in ("user", "tenant")
    } == {(50, 0)}


def test_amounts_in_flight_never_exceed_the_fact(database: Urls) -> None:
    """
    64 parallel refunds of one order over two gateways never exceed what was paid.
    """
    rounds = [
        [acts.intend(acts.call(f"{number}/{i}"), in_flight=[acts.flight(5, 52, name=f"{number}")]) for i in range(64)]
        for number in range(ROUNDS)
    ]

    answers = asyncio.run(_two_gateways(database.app, rounds))

    assert [_kinds(each) for each in answers] == [{Intended: 10, Exceeded: 54}] * ROUNDS


def test_one_key_is_claimed_once(database: Urls) -> None:
    """
    F13: 100 parallel calls with one key over two gateways give one intent; the others are told who holds it.
    """
    rounds = [[acts.intend(acts.call(f"one key {number}")) for _ in range(100)] for number in range(ROUNDS)]

    answers = asyncio.run(_two_gateways(database.app, rounds))

    assert [_kinds(each) for each in answers] == [{Intended: 1, Held: 99}] * ROUNDS
    assert acts.verified(database.app).size == ROUNDS


def test_one_approval_is_used_once(database: Urls) -> None:
    """
    E02: 100 parallel uses of one approval over two gateways give one intent and 99 refusals, every round.
    """
    approvals = [uuid4() for _ in range(ROUNDS)]
    rounds = [
        [acts.intend(acts.call(f"{number}/{i}"), approvals=[approval]) for i in range(100)]
        for number, approval in enumerate(approvals)
    ]

    answers = asyncio.run(_two_gateways(database.app, rounds))

    assert [_kinds(each) for each in answers] == [{Intended: 1, Used: 99}] * ROUNDS


def test_parallel_writers_share_one_chain(database: Urls) -> None:
    """
    G10: 64 writers on two gateways and two tenants leave chains without gap or fork, and an auditor agrees.
    """

    async def write(ledger: Books, writer: int) -> None:
        for number in range(12):
            row = acts.call(f"{writer}/{number}", tenant=(ACME, GLOBEX)[writer % 4 // 2])
            await ledger.commit(acts.intend(row))
            await ledger.commit(acts.settle(row))

    async def story() -> None:
        async with acts.books(database.app) as one, acts.books(database.app) as other:
            await _gather(*(write((one, other)[writer % 2], writer) for writer in range(64)))

    asyncio.run(story())

    for tenant in (ACME, GLOBEX):
        verdict = acts.verified(database.app, tenant)
        assert verdict.findings == ()
        assert (verdict.size, verdict.effects, verdict.unresolved) == (768, 384, 0)


def test_an_entry_can_be_checked_against_its_checkpoint(database: Urls) -> None:
    """
    What an act is answered proves that its entry stands on the log: path, root and signature agree.
    """

    async def story() -> list[Placed]:
        async with acts.books(database.app) as ledger:
            drafts = [Draft(tenant=ACME, kind="NOTE", members={"number": number}) for number in range(40)]
            return await _gather(*(ledger.commit(Append(entry=draft)) for draft in drafts))

    placed = asyncio.run(story())

    for one in placed:
        checkpoint = checkpoints.parse(one.checkpoint)
        checkpoints.verify(checkpoint, acts.KEYS)
        leaf = tree.leaf_hash(one.body)
        assert tree.verify_inclusion(leaf, one.seq - 1, checkpoint.size, one.path, checkpoint.root)
    assert sorted(one.seq for one in placed) == list(range(1, 41))


def test_settlement_moves_what_was_reserved(database: Urls) -> None:
    """
    Executed spends the reservation, failed and not done release it, and in doubt keeps it.
    """

    async def story() -> None:
        async with acts.books(database.app) as ledger:
            for state in (State.EXECUTED, State.FAILED, State.NOT_DONE, State.IN_DOUBT):
                row = acts.call(state.value)
                counted = [acts.budget(7, 100, name=state.value)]
                await ledger.commit(
                    acts.intend(row, budgets=counted, in_flight=[acts.flight(7, 100, name=state.value)])
                )
                await ledger.commit(acts.settle(row, state))

    asyncio.run(story())

    assert acts.counter(database.app, "executed") == (0, 7)
    assert acts.counter(database.app, "failed") == (0, 0)
    assert acts.counter(database.app, "not_done") == (0, 0)
    assert acts.counter(database.app, "in_doubt") == (7, 0)
    holds = acts.query(database.app, "select state, settled_at is null from lockgate.holds order by state, settled_at")
    assert holds == [("released", False), ("released", False), ("reserved", True), ("settled", False)]


def test_spend_in_doubt_stays_reserved_until_reconciled(database: Urls) -> None:
    """
    I06: an outcome in doubt blocks its share of the cap; the reconciliation frees it, once.
    """

    async def story() -> list[Answer]:
        async with acts.books(database.app) as ledger:
            doubtful, blocked = acts.call("doubtful"), acts.call("blocked")
            counted, held = [acts.budget(6, 10)], [acts.flight(6, 10)]
            reconcile = acts.settle(doubtful, State.NOT_DONE, expected=(State.IN_DOUBT,))
            return [
                await ledger.commit(acts.intend(doubtful, budgets=counted, in_flight=held)),
                await ledger.commit(acts.settle(doubtful, State.IN_DOUBT)),
                await ledger.commit(acts.intend(blocked, budgets=counted)),
                await ledger.commit(acts.intend(blocked, in_flight=held)),
                await ledger.commit(reconcile),
                await ledger.commit(reconcile),
                await ledger.commit(acts.intend(blocked, budgets=counted, in_flight=held)),
            ]

    answers = asyncio.run(story())

    assert [type(each) for each in answers] == [Intended, Settled, Exceeded, Exceeded, Settled, Moved, Intended]
    assert acts.counter(database.app) == (6, 0)


def test_call_that_was_not_done_tries_again_under_the_next_fence(database: Urls) -> None:
    """
    After `not_done` the same key, request and call may intend anew, with the approval it consumed; others are held.
    """
    approval = uuid4()

    async def story() -> list[Answer]:
        async with acts.books(database.app) as ledger:
            row = acts.call("again")
            intend = acts.intend(row, approvals=[approval], budgets=[acts.budget(3, 3)], in_flight=[acts.flight(3, 3)])
            return [
                await ledger.commit(intend),
                await ledger.commit(acts.settle(row, State.NOT_DONE)),
                await ledger.commit(acts.intend(acts.call("again", digest="other", call_id=row.call_id))),
                await ledger.commit(acts.intend(acts.call("again"))),
                await ledger.commit(intend),
                await ledger.commit(acts.settle(row, fence=2)),
                await ledger.commit(intend),
            ]

    first, _, other, stranger, second, settled, replay = asyncio.run(story())

    assert (first.fence, second.fence) == (1, 2)
    assert isinstance(other, Held)
    assert isinstance(stranger, Held)
    assert isinstance(settled, Settled)
    assert (replay.state, replay.status, replay.answer) == (State.EXECUTED, 200, b'{"status":"executed"}')
    assert acts.counter(database.app) == (0, 3)


def test_settled_amount_counts_until_the_fact_is_newer(database: Urls) -> None:
    """
    What settled after the fact's time stamp is still in flight; what settled before is inside the fact.
    """

    async def story() -> list[Answer]:
        async with acts.books(database.app) as ledger:
            row = acts.call("first")
            opened = await ledger.commit(acts.intend(row, in_flight=[acts.flight(8, 10)]))
            closed = await ledger.commit(acts.settle(row))
            before, after = opened.placed.at_ms - 1000, closed.placed.at_ms + 1000
            seen = await ledger.look(Look(tenant=ACME, in_flight=((acts.key("flight/order"), before),)))
            assert seen.in_flight == (8,)
            return [
                await ledger.commit(acts.intend(acts.call("old"), in_flight=[acts.flight(8, 10, since_ms=before)])),
                await ledger.commit(acts.intend(acts.call("new"), in_flight=[acts.flight(8, 10, since_ms=after)])),
            ]

    assert [type(each) for each in asyncio.run(story())] == [Exceeded, Intended]


def test_soft_ceiling_asks_for_a_new_decision(database: Urls) -> None:
    """
    A soft ceiling that others have passed meanwhile is no refusal: nothing is written, the call is decided again.
    """

    async def story() -> list[Answer]:
        async with acts.books(database.app) as ledger:
            return [
                await ledger.commit(acts.intend(acts.call("a"), budgets=[acts.budget(6, 10, soft=True)])),
                await ledger.commit(acts.intend(acts.call("b"), budgets=[acts.budget(6, 10, soft=True)])),
                await ledger.commit(acts.intend(acts.call("b"), budgets=[acts.budget(6, None, soft=True)])),
            ]

    assert [type(each) for each in asyncio.run(story())] == [Intended, Moved, Intended]
    assert acts.counter(database.app) == (12, 0)


def test_refusal_is_recorded_and_burns_no_key(database: Urls) -> None:
    """
    A refused intent leaves its entry in the same batch and no claim: the key may be decided afresh.
    """

    async def story() -> list[Answer]:
        async with acts.books(database.app) as ledger:
            return [
                await ledger.commit(acts.intend(acts.call("k"), budgets=[acts.budget(6, 5)])),
                await ledger.commit(acts.intend(acts.call("k"), budgets=[acts.budget(5, 5)])),
            ]

    refused, intended = asyncio.run(story())

    assert canonical.parse(refused.placed.body)["kind"] == "REFUSED"
    assert isinstance(intended, Intended)


def test_engaged_switch_stops_the_next_intent(database: Urls) -> None:
    """
    A switch engaged by a governance act stops every later intent that names it, until it is released.
    """
    switch = ("system", "everything", "*")

    def turn(state: bool) -> Act:
        row = acts.call(f"switch {state}", tenant="system")

        def act(cursor: Any, seq: int) -> dict[str, Any]:
            cursor.execute(
                "insert into lockgate.kills values ('system', 'everything', '*', %s, 'drill', %s)"
                " on conflict (tenant, scope, target) do update set engaged = excluded.engaged, seq = excluded.seq",
                (state, seq),
            )
            return {}

        finished = (State.EXECUTED, 200, b"{}", acts.entry("OUTCOME", row, state="executed"))
        return replace(acts.settle(row), act=act, finish=lambda _: finished)

    async def story() -> list[Answer]:
        async with acts.books(database.app) as ledger:
            answers = []
            for state in (True, False):
                row = acts.call(f"switch {state}", tenant="system")
                await ledger.commit(acts.intend(row))
                act = replace(turn(state), call_id=row.call_id)
                answers.append(await ledger.commit(act))
                answers.append(await ledger.commit(acts.intend(acts.call(f"{state}"), kills=[switch])))
            return answers

    assert [type(each) for each in asyncio.run(story())] == [Settled, Killed, Settled, Intended]


def test_failing_act_fails_alone(database: Urls) -> None:
    """
    A governance act that raises, or breaks in the database, or is refused, leaves nothing and harms no neighbour.
    """

    def breaks(cursor: Any, seq: int) -> dict[str, Any]:
        cursor.execute("insert into lockgate.autonomy values ('acme', 'triage-7', '*', 1, %s)", (seq,))
        cursor.execute("select 1/0")
        return {}

    def raises(cursor: Any, seq: int) -> dict[str, Any]:
        raise RuntimeError("defect")

    def refuses(cursor: Any, seq: int) -> dict[str, Any]:
        cursor.execute("insert into lockgate.autonomy values ('acme', 'triage-7', '*', 1, %s)", (seq,))
        raise ActRefused("revision_stale")

    async def story() -> list[Any]:
        async with acts.books(database.app) as ledger:
            sent: list[Act] = []
            for name, act in (("breaks", breaks), ("raises", raises), ("refuses", refuses)):
                row = acts.call(name)
                await ledger.commit(acts.intend(row))
                failed = (State.FAILED, 200, b"{}", acts.entry("OUTCOME", row, state="failed"))
                sent.append(replace(acts.settle(row), act=act, finish=lambda _, failed=failed: failed))
            sent.append(acts.intend(acts.call("neighbour")))
            sent.append(Append(entry=Draft(tenant=ACME, kind="NOTE", members={"ratio": 0.5})))
            sent.append(Append(entry=Draft(tenant=ACME, kind="NOTE", members={}, correlation="a\0b")))
            return list(await asyncio.gather(*(ledger.commit(act) for act in sent), return_exceptions=True))

    breaking, raising, refused, neighbour, floating, nul = asyncio.run(story())

    for failed in (breaking, raising, floating, nul):
        assert isinstance(failed, LedgerUnavailable)
        assert failed.is_known
    assert refused.state is State.FAILED
    assert isinstance(neighbour, Intended)
    assert acts.query(database.app, "select * from lockgate.autonomy") == []
    assert acts.verified(database.app).findings == ()


def test_first_committed_end_of_a_parked_call_wins(database: Urls) -> None:
    """
    E09: approval, rejection and intent race; after one has ended the call, the others are told how it stands.
    """

    async def story() -> tuple[list[Answer], list[Answer]]:
        async with acts.books(database.app) as ledger:
            row = acts.call("parked")
            close = acts.close(row)
            first = [
                await ledger.commit(acts.park(row)),
                await ledger.commit(acts.park(acts.call("parked"))),
                await ledger.commit(acts.approve(row)),
                await ledger.commit(close),
            ]
            late = await _gather(
                ledger.commit(acts.approve(row)),
                ledger.commit(close),
                ledger.commit(replace(close, tenant=GLOBEX, entry=replace(close.entry, tenant=GLOBEX))),
                ledger.commit(acts.intend(row)),
            )
            return first, late

    first, (approved, closed, foreign, intended) = asyncio.run(story())

    assert [type(each) for each in first] == [Placed, Held, Placed, Placed]
    assert (approved, closed) == (Stale(state=State.CANCELLED), Stale(state=State.CANCELLED))
    assert foreign == Stale(state=State.REFUSED)
    assert intended.state is State.CANCELLED


def test_look_sees_calls_approvals_and_levels_of_its_tenant(database: Urls) -> None:
    """
    One look gives the stored call, its approvals with keys and roles, and the agent's level; other tenants see none.
    """

    async def story() -> tuple[Any, Any]:
        async with acts.books(database.app) as ledger:
            row, approval = acts.call("parked"), uuid4()
            await ledger.commit(acts.park(row))
            await ledger.commit(acts.approve(row, approval_id=approval))
            with connect(database.app) as connection, connection.cursor() as cursor:
                cursor.execute("select set_config('app.tenants', '{acme}', false)")
                cursor.execute(
                    "insert into lockgate.person_keys values (%s,'acme','per_ada','pub',1,null)",
                    ("key_0011223344556677",),
                )
                cursor.execute("insert into lockgate.people values ('acme','per_ada','{finance,founder}',1)")
                cursor.execute(
                    "insert into lockgate.autonomy values ('acme','a','*',1,1),('acme','a','issue_refund',3,1)"
                )
            await ledger.commit(acts.intend(row, approvals=[approval], budgets=[acts.budget(4, 9)]))
            look = Look(
                tenant=ACME,
                claim=row.claim,
                budgets=(acts.key("budget/daily"), acts.key("budget/none")),
                approvals=(approval, uuid4()),
                autonomy=("a", "issue_refund"),
            )
            return await _gather(ledger.look(look), ledger.look(replace(look, tenant=GLOBEX))), (row, approval)

    (seen, foreign), (row, approval) = asyncio.run(story())

    assert seen.held.row == row
    assert (seen.held.state, seen.held.fence, seen.held.intent_seq) == (State.EXECUTING, 1, 3)
    assert seen.held.budgets == (acts.budget(4, 9),)
    assert seen.budgets == (4, 0)
    found, missing = seen.approvals
    assert missing is None
    assert (found.used_by, found.key_public, found.roles_now) == (row.call_id, "pub", ("finance", "founder"))
    assert (found.row.approval_id, found.row.roles, found.row.not_after_ms) == (approval, ("finance",), acts.FAR_MS)
    assert seen.autonomy == Level(level=3, since=1)
    assert (foreign.held, foreign.approvals, foreign.autonomy) == (None, (None, None), None)


def test_sweeper_settles_an_abandoned_intent_exactly_once(database: Urls) -> None:
    """
    I04: after a crash between reserve and settle the sweeper settles what was reserved, once; the old worker is late.
    """

    async def story() -> list[Answer]:
        async with acts.books(database.app) as ledger:
            row = acts.call("abandoned")
            await ledger.commit(
                acts.intend(row, lease_ms=0, budgets=[acts.budget(4, 9)], in_flight=[acts.flight(4, 9)])
            )
            await asyncio.sleep(0.01)
            with connect(database.app) as connection:
                swept = sweeping.take_over(connection, [ACME, GLOBEX], lease_ms=60_000, limit=10)
                again = sweeping.take_over(connection, [ACME, GLOBEX], lease_ms=60_000, limit=10)
            assert [(each.row, each.fence, each.budgets) for each in swept] == [(row, 2, (acts.budget(4, 9),))]
            assert again == ()
            return await _gather(
                ledger.commit(acts.settle(row, fence=1)),
                ledger.commit(acts.settle(row, State.NOT_DONE, fence=2)),
                ledger.commit(acts.settle(row, fence=1, is_late_recorded=False)),
                ledger.commit(acts.settle(row, State.NOT_DONE, fence=2)),
            )

    late, settled, silent, repeated = asyncio.run(story())

    assert isinstance(late, Late)
    assert canonical.parse(late.placed.body)["kind"] == "LATE"
    assert settled.state is State.NOT_DONE
    assert silent == Late(placed=None, state=State.NOT_DONE)
    assert repeated == Moved(name="not_done")
    assert acts.counter(database.app) == (0, 0)


def test_sweeper_finds_expired_and_doubtful_calls(database: Urls) -> None:
    """
    Parked calls whose time has passed and outcomes in doubt are listed; others are not.
    """

    async def story() -> None:
        async with acts.books(database.app) as ledger:
            await ledger.commit(acts.park(acts.call("waiting")))
            await ledger.commit(acts.park(acts.call("expired"), expires_at_ms=1_000))
            row = acts.call("doubtful")
            await ledger.commit(acts.intend(row))
            await ledger.commit(acts.settle(row, State.IN_DOUBT))

    asyncio.run(story())

    with connect(database.app) as connection:
        overdue = sweeping.overdue(connection, [ACME], limit=10)
        doubtful = sweeping.in_doubt(connection, [ACME], limit=10)
    assert [each.row.claim for each in overdue] == [acts.key("acme/expired")]
    assert [(each.row.claim, each.status) for each in doubtful] == [(acts.key("acme/doubtful"), 504)]


def test_full_ledger_refuses_at_once(database: Urls) -> None:
    """
    Beyond its bound the queue answers that nothing happened, without waiting.
    """

    async def story() -> list[Any]:
        sequencer = Sequencer(Writer(acts.writing(database.app), acts.pen()), waiting_max=10)
        sending = [asyncio.create_task(sequencer.commit(acts.intend(acts.call(f"{i}")))) for i in range(12)]
        await asyncio.sleep(0)
        sequencer.start()
        answers = await asyncio.gather(*sending, return_exceptions=True)
        await asyncio.to_thread(sequencer.stop)
        return list(answers)

    answers = asyncio.run(story())

    assert _kinds(answers) == {Intended: 10, LedgerUnavailable: 2}
    with pytest.raises(LedgerUnavailable, match="10 requests are waiting"):
        raise answers[-1]


def test_an_edit_and_what_it_edits_never_both_go_on(database: Urls) -> None:
    """
    The edited call ends in the transaction that opens or parks its edit; the first committed state wins.
    """

    async def story() -> list[Answer]:
        async with acts.books(database.app) as ledger:
            first, second = acts.call("first"), acts.call("second")
            await ledger.commit(acts.park(first))
            await ledger.commit(acts.park(second))
            return [
                await ledger.commit(replace(acts.intend(acts.call("edit")), ends=acts.close(first))),
                await ledger.commit(acts.intend(first)),
                await ledger.commit(replace(acts.park(acts.call("again")), ends=acts.close(first))),
                await ledger.commit(acts.intend(second)),
                await ledger.commit(replace(acts.intend(acts.call("late")), ends=acts.close(second))),
                await ledger.commit(replace(acts.park(acts.call("later")), ends=acts.close(second))),
            ]

    answers = asyncio.run(story())

    assert [type(each) for each in answers] == [Intended, Held, Stale, Intended, Stale, Stale]
    assert answers[1].state is State.CANCELLED
    assert acts.verified(database.app).is_good
