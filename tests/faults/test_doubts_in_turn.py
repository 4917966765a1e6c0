"""What if one tenant leaves hundreds of outcomes in doubt: those of the others are asked about all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.ledger import FullRow, State
from gateway.storage import sweeping
from gateway.storage.connections import Urls, connect
from tests.world import acts
from tests.world.acts import ACME, GLOBEX

MANY = 300
PAGE = 50


def test_the_doubts_of_one_tenant_do_not_put_off_those_of_another(database: Urls) -> None:
    """
    Acme has 300 outcomes in doubt that nobody can explain, all of them older: the one of globex is asked about in
    every round, and each of acme's within so many rounds as they fill.
    """
    _leave_in_doubt(database.app, ACME, MANY)
    _leave_in_doubt(database.app, GLOBEX, 1)

    rounds = _rounds(database.app, 7)

    assert [[row.row.tenant for row in page].count(GLOBEX) for page in rounds] == [1] * 7
    assert {len(page) for page in rounds} == {PAGE}
    assert len({row.row.claim for page in rounds for row in page if row.row.tenant == ACME}) == MANY


def test_of_more_tenants_than_a_round_takes_each_has_its_turn(database: Urls) -> None:
    """
    Where more tenants have doubts than a round takes calls, those whom the last round left out come first in the next.
    """
    tenants = [f"crowd-{number}" for number in range(5)]
    for tenant in tenants:
        _leave_in_doubt(database.app, tenant, 3)

    rounds = _rounds(database.app, 15, tenants=tenants, limit=2)

    asked = [row.row.tenant for page in rounds for row in page]
    assert sorted(asked) == sorted(tenants * 6)
    assert all(len(set(asked[at : at + 5])) == 5 for at in range(0, 30, 5))


def _leave_in_doubt(url: str, tenant: str, count: int) -> None:
    async def story() -> None:
        async with acts.books(url) as ledger:
            rows = [acts.call(f"doubt-{number}", tenant=tenant) for number in range(count)]
            await asyncio.gather(*(ledger.commit(acts.intend(row)) for row in rows))
            await asyncio.gather(*(ledger.commit(acts.settle(row, State.IN_DOUBT)) for row in rows))

    asyncio.run(story())


def _rounds(
    url: str, count: int, *, tenants: Sequence[str] = (ACME, GLOBEX), limit: int = PAGE
) -> list[tuple[FullRow, ...]]:
    """What a sweeper asks about in so many rounds, none of which settles anything."""
    rota, pages = sweeping.Rota(), []
    with connect(url) as connection:
        for _ in range(count):
            pages.append(sweeping.in_doubt(connection, tenants, limit=limit, after=rota.after()))
            rota.note(pages[-1])
    return pages
