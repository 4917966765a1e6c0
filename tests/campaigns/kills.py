"""P1 under random kills: clients write and retry, while gateways and database are killed at any moment.

Every kill is SIGKILL, or the immediate stop of the whole server, at a moment that knows nothing of what goes on. The
gateway is started again as whoever runs it would, the database by its keeper. In every second part two gateways share
the database. After some kills, and at the end, all clients rest, and the oracle compares journal, log and counters.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import psycopg

from deploy.demo.cast import TENANTS
from gateway.opening import DATABASE
from gateway.storage.connections import DatabaseUnavailable, connect
from tests.campaigns.tallies import Part, Tally
from tests.world.fleet import Fleet, fleet
from tests.world.ground import ground, wait_for
from tests.world.oracle import Findings
from tests.world.writers import Ids, Told, Writers

PARTS = 10
WRITES = 1_000
KILLS = ("gateway",) * 11 + ("both",) + ("backend",) * 3 + ("postmaster",) * 3 + ("immediate",) * 2
"""Of each part: 12 of a gateway, one of them with the database at once, and 8 of the database alone."""
SHORT = ("gateway", "backend", "both", "immediate")
CHECKED_EVERY = 7
DATABASE_SECONDS_MAX = 60.0


def run(part: Part) -> Iterable[Tally]:
    """One part on a world of its own."""
    chance = part.chance()
    kinds = list(SHORT if part.is_short else KILLS)
    chance.shuffle(kinds)
    with ground() as broken, fleet(broken, 2 if part.is_short or part.number % 2 else 1) as gateways:
        ids = Ids(broken.world)
        writers = Writers(gateways.url, [ids.write(chance) for _ in range(part.size(WRITES, 120))])
        killer = Killer(part, gateways, writers, chance)
        writers.release(0)
        writers.start()
        killer.kill(kinds)
        writers.release(None)
        writers.join()
        gateways.settled(*TENANTS)
        found = broken.oracle.reconcile(gateways.url(0))
    failures = [*killer.wrong, *writers.wrong, *found.wrong, *compare(writers.told, found)]
    executed = sum(told.status == "executed" for told in writers.told)
    figures = Counter(
        {
            "kills_of_a_gateway": sum(kind in ("gateway", "both") for kind in kinds),
            "kills_of_the_database": sum(kind != "gateway" for kind in kinds),
            "executed": executed,
            "refused_by_the_tool": len(writers.told) - executed,
            "requests": sum(told.asked for told in writers.told),
            "times_a_client_could_not_know": sum(told.unknown for told in writers.told),
        }
    )
    yield Tally(
        guarantee="P1",
        tried="writes of 8 retrying clients under random kills of gateway and database",
        times=len(writers.told),
        failures=tuple(dict.fromkeys(failures)),
        figures=figures,
    )


@dataclass(slots=True)
class Killer:
    """Kills, sees to it that everything comes back, and asks the oracle now and then."""

    part: Part
    gateways: Fleet
    writers: Writers
    chance: Random
    wrong: list[str] = field(default_factory=list)

    def kill(self, kinds: Sequence[str]) -> None:
        """One kill after another, spread over all the writes, each within the load."""
        share = len(self.writers.writes) // len(kinds)
        for number, kind in enumerate(kinds):
            self.writers.release((number + 2) * share)  # However slow this process is, the next kill meets writes.
            self.writers.until_begun(number * share + self.chance.randrange(share))
            time.sleep(self.chance.random() * 0.05)
            self._kill(kind)
            self.part.tell(f"kill {number + 1} of {len(kinds)}: {kind}, {self.writers.begun} writes begun")
            if number % CHECKED_EVERY == CHECKED_EVERY - 1:
                with self.writers.at_rest():
                    self.gateways.settled(*TENANTS)
                    self.wrong += self.gateways.wrong()

    def _kill(self, kind: str) -> None:
        place = self.chance.randrange(len(self.gateways.gateways))
        if kind in ("gateway", "both"):
            self.gateways.gateways[place].process.kill()
        if kind != "gateway":
            self._kill_database(kind)
        if kind in ("gateway", "both"):
            self.gateways.replace(place)
        if kind != "gateway":
            wait_for(self._is_back, "the database did not come back", DATABASE_SECONDS_MAX)

    def _kill_database(self, kind: str) -> None:
        cluster = self.gateways.ground.world.cluster
        wait_for(lambda: cluster.postmaster_id is not None, "the database is down", DATABASE_SECONDS_MAX)
        server = cluster.postmaster_id
        if server is None:
            raise AssertionError("the database is down, and nobody killed it")
        with suppress(ProcessLookupError):  # A backend that ended meanwhile.
            if kind == "backend":
                os.kill(self._writer() or server, signal.SIGKILL)
            else:
                # SIGQUIT is what `pg_ctl stop -m immediate` sends.
                os.kill(server, signal.SIGQUIT if kind == "immediate" else signal.SIGKILL)

    def _writer(self) -> int | None:
        """The server process of a gateway's writer; None when none is connected, or nobody can ask."""
        try:
            with connect(self.gateways.ground.world.cluster.urls(DATABASE).app) as connection:
                found = connection.execute(
                    "select pid from pg_stat_activity where application_name = 'lockgate-writer'"
                ).fetchall()
        except (DatabaseUnavailable, psycopg.OperationalError):
            return None
        return int(self.chance.choice(found)[0]) if found else None

    def _is_back(self) -> bool:
        try:
            connect(self.gateways.ground.world.cluster.urls(DATABASE).app).close()
        except DatabaseUnavailable:
            return False
        return True


def compare(told: Sequence[Told], found: Findings) -> list[str]:
    """What clients were told against log and journal: nothing lost, and nothing beside it."""
    wrong = []
    for each in told:
        story = found.stories.get(each.call)
        if story is None or story.closings[-1:] != [each.status]:
            wrong.append(f"lost {each.call}: the client was told `{each.status}`, the log has {story}")
    calls = Counter(each.call for each in told)
    wrong += [f"one call for {count} keys: {call}" for call, count in calls.items() if count > 1]
    wrong += [
        f"doubled {effect}: an effect of no key that was answered" for effect in found.effects if effect not in calls
    ]
    return wrong
