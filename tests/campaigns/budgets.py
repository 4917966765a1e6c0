"""P9: budgets hold exactly. Sixty-four clients at once want what is there for ten, again and again, on two gateways.

Each round has an order of its own, paid exactly so much that ten of its refunds fit. In some rounds a gateway is killed
while they are under way, and its clients ask again under their keys until they know. At the end of each part the
tenant's budget of the day, which all of its rounds have spent from, is brought to where ten more refunds fit, and 64
clients want them. Journal, log and counters are compared when all of it is settled.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import psycopg

from deploy.demo.cast import TENANTS
from deploy.demo.world import World
from tests.campaigns.tallies import Part, Tally
from tests.world.crowd import Ask
from tests.world.fleet import Fleet, fleet
from tests.world.ground import ground
from tests.world.raw_calls import BROKEN, Line, Told, encoded

PARTS = 5
ROUNDS = 200
KILLS = 10
CLIENTS = 64
FIT = 10
CENTS = 2_450
"""Of one refund, about: the rounds of a part spend nearly all of the tenant's day."""
DAY_CENTS = 5_000_000
"""What `issue_refund` lets a tenant give back in a day."""
ROUTINE_CENTS = 5_000
"""The most that needs nobody's approval."""
PEOPLE = 16
"""Who ask: each principal has its own rate for the tool."""
GATEWAYS = 2
FINAL_SECONDS_MAX = 60
UNSETTLED = (BROKEN, 409, 429, 503, 504)
TENANT = TENANTS[0]


@dataclass(slots=True)
class Round:
    """One order and what its clients were told."""

    order: str
    cents: int
    kills: bool
    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def executed(self) -> int:
        return self.statuses["executed"]


def run(part: Part) -> Iterable[Tally]:
    """One part on a world of its own."""
    chance = part.chance()
    with ground() as field, fleet(field, GATEWAYS) as gateways:
        people = _people(field.world)
        rounds = _orders(field.world, chance, part.size(ROUNDS, 2), part.size(KILLS, 1))
        began = datetime.now(UTC).date()
        for number, each in enumerate(rounds):
            asyncio.run(_round(each, gateways, people, chance))
            if number % 20 == 0:
                part.tell(f"round {number + 1} of {len(rounds)}: {dict(each.statuses)}")
        gateways.settled(*TENANTS)
        found = field.oracle.journal()
        day = None if part.is_short else _day(field.world, gateways, people, sum(_amount(line) for line in found))
        gateways.settled(*TENANTS)
        findings = field.oracle.reconcile(gateways.url(0), chains=(TENANT,))
        spent = _by_order(field.oracle.journal())
    yield _of_rounds(rounds, spent, findings.wrong)
    if day is not None and datetime.now(UTC).date() == began:
        yield _of_day(day, sum(map(sum, spent.values())))


def _of_rounds(rounds: Sequence[Round], spent: dict[str, list[int]], wrong: Sequence[str]) -> Tally:
    failures = list(wrong)
    for each in rounds:
        amounts = spent[each.order]
        if len(amounts) > FIT or set(amounts) - {each.cents}:
            failures.append(f"{each.order}: {len(amounts)} effects where {FIT} fit, {each}")
        if len(amounts) != each.executed:
            failures.append(f"{each.order}: {len(amounts)} effects, {each.executed} told so, {each}")
        if not each.kills and each.statuses != Counter(executed=FIT, refused=CLIENTS - FIT):
            failures.append(f"{each.order}: a round without a kill: {each}")
    killed = [each for each in rounds if each.kills]
    return Tally(
        guarantee="P9",
        tried="rounds of 64 clients for what fits ten times, on two gateways",
        times=len(rounds),
        failures=tuple(failures),
        figures={
            "units_overspent": sum(max(0, len(spent[each.order]) - FIT) for each in rounds),
            "kills": len(killed),
            "rounds_with_a_kill_in_which_all_ten_were_given": sum(each.executed == FIT for each in killed),
        },
    )


def _of_day(day: Round, cents: int) -> Tally:
    failures = []
    if cents > DAY_CENTS:
        failures.append(f"{cents} cents in a day of {DAY_CENTS}")
    if day.statuses != Counter(executed=FIT, refused=CLIENTS - FIT):
        failures.append(f"at the end of the day: {day}")
    return Tally(
        guarantee="P9",
        tried="days whose budget is spent to the last cent by all rounds together",
        times=1,
        failures=tuple(failures),
        figures={"cents_overspent": max(0, cents - DAY_CENTS)},
    )


async def _round(each: Round, gateways: Fleet, people: Sequence[str], chance: Random) -> None:
    """All clients at once, and perhaps a kill in the middle."""
    asks = [_refund(each.order, each.cents, people[number % PEOPLE], chance) for number in range(CLIENTS)]
    clients = [asyncio.create_task(_insist(gateways, number, ask)) for number, ask in enumerate(asks)]
    if each.kills:
        await asyncio.sleep(chance.random() * 0.4)
        place = chance.randrange(GATEWAYS)
        gateways.gateways[place].process.kill()
        await asyncio.to_thread(gateways.replace, place)
    each.statuses.update(await asyncio.gather(*clients))


async def _insist(gateways: Fleet, number: int, ask: Ask) -> str:
    """Ask until the answer is final, as a careful client does; what it is."""
    until = asyncio.get_running_loop().time() + FINAL_SECONDS_MAX
    told = Told(BROKEN, {}, 0.0)
    with Line() as line:
        while asyncio.get_running_loop().time() < until:
            told = await line.ask(gateways.url(number), encoded(ask))
            if told.status not in UNSETTLED:
                break
            await asyncio.sleep(0.1)
    if told.status == 200:
        return str(told.document["status"])
    return "refused" if told.reason in ("invariant_violated", "budget_exceeded") else f"{told.status} {told.reason}"


def _day(world: World, gateways: Fleet, people: Sequence[str], spent: int) -> Round:
    """Spend what is left of the day but for ten refunds, then want 64 of them."""
    last = FIT * ROUTINE_CENTS
    chance, order = Random(0), "ord_90000000"
    _stock(world, [(order, 2 * DAY_CENTS)])
    left = DAY_CENTS - last - spent
    parts = [ROUTINE_CENTS] * (left // ROUTINE_CENTS) + [left % ROUTINE_CENTS] * (left % ROUTINE_CENTS > 0)
    filled = asyncio.run(_all(gateways, [_refund(order, cents, people[0], chance) for cents in parts]))
    day = Round(order, ROUTINE_CENTS, kills=False)
    asks = [_refund(order, ROUTINE_CENTS, people[number % PEOPLE], chance) for number in range(CLIENTS)]
    day.statuses.update(asyncio.run(_all(gateways, asks)))
    if set(filled) - {"executed"}:
        day.statuses.update(filled)
    return day


async def _all(gateways: Fleet, asks: Sequence[Ask]) -> list[str]:
    return list(await asyncio.gather(*(_insist(gateways, number, ask) for number, ask in enumerate(asks))))


def _refund(order: str, cents: int, token: str, chance: Random) -> Ask:
    return Ask(
        token=token,
        tool="issue_refund",
        arguments={"order_id": order, "amount_cents": cents},
        reason="damaged_item",
        key=f"{chance.getrandbits(128):032x}",
    )


def _people(world: World) -> list[str]:
    return [world.cast.issuer.person(TENANT, f"per_finance_{number}", ["finance"]) for number in range(PEOPLE)]


def _orders(world: World, chance: Random, count: int, kills: int) -> list[Round]:
    """An order for each round, with room for ten refunds and not for eleven."""
    killed = set(chance.sample(range(count), kills))
    rounds = [
        Round(f"ord_8{number:07}", CENTS + chance.randint(-50, 50), kills=number in killed) for number in range(count)
    ]
    _stock(world, [(each.order, FIT * each.cents + chance.randrange(each.cents)) for each in rounds])
    return rounds


def _stock(world: World, orders: Sequence[tuple[str, int]]) -> None:
    with psycopg.connect(world.cluster.url("backoffice", "backoffice")) as connection:
        connection.execute("set search_path to business")
        connection.cursor().executemany(
            "insert into orders (tenant, id, user_id, status, paid_cents, placed_at, ship_to)"
            " select %s, %s, min(id), 'delivered', %s, now(), 'a' from users where tenant = %s",
            [(TENANT, order, paid, TENANT) for order, paid in orders],
        )


def _amount(line: dict[str, object]) -> int:
    arguments = line["arguments"]
    return int(arguments["amount_cents"]) if isinstance(arguments, dict) else 0


def _by_order(journal: Iterable[dict[str, object]]) -> dict[str, list[int]]:
    spent: dict[str, list[int]] = defaultdict(list)
    for line in journal:
        arguments = line["arguments"]
        if isinstance(arguments, dict):
            spent[str(arguments["order_id"])].append(_amount(line))
    return spent
