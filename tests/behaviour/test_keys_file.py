"""The keys file: whoever asks for it pays nothing, so asking costs the gateway next to nothing; and it is never old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import orjson
import pytest

from gateway.keys_file import LOOK_SECONDS, KeysFile
from gateway.ledger import Append, LedgerUnavailable
from gateway.people import People
from gateway.storage import acts as registering
from gateway.storage.connections import Cursor, Urls
from gateway.storage.desk import Desk, Found
from gateway.storage.signers import Signers
from proofs.keys import KeyRing, PrivateKey
from tests.world import acts
from tests.world.hand_clock import HandClock

TENANTS = (acts.ACME, acts.GLOBEX)
ASKERS = 100


class CountedDesk(Desk):
    """A desk that knows how often it was asked."""

    asked = 0

    async def ask(
        self, tenants: Sequence[str], work: Callable[[Cursor], Found], *, patience_seconds: float | None = None
    ) -> Found:
        self.asked += 1
        return await super().ask(tenants, work, patience_seconds=patience_seconds)


class Story:
    """A keys file, its clock, and the tables behind it."""

    def __init__(self, desk: CountedDesk) -> None:
        self.desk = desk
        self.clock = HandClock()
        people = People(desk, KeyRing(()), Signers(acts.SIGNER))
        self._file = KeysFile(people, self.clock, tenants=TENANTS)

    async def crowd(self) -> list[bytes]:
        """What everybody is told who asks at once."""
        return await asyncio.gather(*(self._file.content() for _ in range(ASKERS)))

    async def later(self) -> bytes:
        """What one is told after the time of a look."""
        self.clock.now += LOOK_SECONDS
        return await self._file.content()

    async def registers(self, person: str, tenant: str = acts.ACME, seq: int = 1) -> str:
        """The id of a key that is somebody's from now on."""
        key = PrivateKey.generate().public
        await self.desk.ask(
            [tenant], lambda cursor: registering.register_key(cursor, tenant, person, key.key_id, key.text, seq)
        )
        return key.key_id


def told(database: Urls, ask: Callable[[Story], Awaitable[Found]]) -> Found:
    """What a story over this database comes to."""

    async def story() -> Found:
        with _desk(database) as desk:
            return await ask(Story(desk))

    return asyncio.run(story())


@contextmanager
def _desk(database: Urls) -> Iterator[CountedDesk]:
    desk = CountedDesk(database.app)
    yield desk
    desk.close()


def persons(content: bytes) -> dict[str, int | None]:
    """Until when each person's key is good."""
    lines = orjson.loads(content)["keys"]
    return {line["person"]: line.get("not_after_ms") for line in lines if "person" in line}


def test_a_crowd_is_answered_by_one_look(database: Urls) -> None:
    """
    However many ask at once, and again within the time of a look, the tables are read once; when nothing changed,
    the same bytes are answered and the keys are not read again.
    """

    async def ask(story: Story) -> tuple[int, int, bool]:
        await story.registers("per_ada")
        before = story.desk.asked
        first = [*await story.crowd(), *await story.crowd()]
        looked = story.desk.asked - before
        last = await story.later()
        return looked, story.desk.asked - before, all(each is last for each in first)

    looked, in_all, is_same = told(database, ask)

    assert looked == 2  # The mark, and the keys.
    assert in_all == 3
    assert is_same


def test_a_key_that_comes_or_goes_is_in_the_next_file(database: Urls) -> None:
    """
    What is registered in any tenant, at whatever place of its log, and what is revoked is there at the next look.
    """

    async def ask(story: Story) -> list[bytes]:
        await story.registers("per_ada", seq=40)
        files = [await story.later()]
        await story.registers("per_eve", acts.GLOBEX, seq=2)
        files.append(await story.later())
        async with acts.books(database.app) as ledger:
            revoked = await ledger.commit(Append(entry=acts.entry("OUTCOME", acts.call("revoke"))))
        key_id = orjson.loads(files[0])["keys"][-1]["key_id"]
        await story.desk.ask([acts.ACME], lambda cursor: registering.revoke_key(cursor, acts.ACME, key_id, revoked.seq))
        return [*files, await story.later()]

    one, two, last = map(persons, told(database, ask))

    assert one == {"person/per_ada": None}
    assert two == {"person/per_ada": None, "person/per_eve": None}
    assert last["person/per_ada"] is not None
    assert last["person/per_eve"] is None


def test_a_database_that_is_away_keeps_nobody_waiting_in_line(database: Urls) -> None:
    """
    All who ask hear of it together, and the next look finds it again.
    """

    async def ask(story: Story) -> tuple[int, dict[str, int | None]]:
        await story.registers("per_ada")
        there, story.desk._conninfo = story.desk._conninfo, "postgresql://nobody@127.0.0.1:1/none"
        story.desk.close()
        before = story.desk.asked
        for _ in range(2):
            with pytest.raises(LedgerUnavailable):
                await story.crowd()
        asked = story.desk.asked - before
        story.desk._conninfo = there
        return asked, persons(await story.later())

    asked, found = told(database, ask)

    assert asked == 1
    assert found == {"person/per_ada": None}
