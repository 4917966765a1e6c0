"""P2: one key, one effect, however often and from wherever it is sent, and whatever the tool does with it.

Each key is sent a hundred times at the same moment, over connections of their own, in every second part over two
gateways. Then the tool acts and gives no answer that proves it: each such outcome is told as unknown, its key is
blocked, and reconciliation finds the one effect. Last, messages are delivered ten times each, as queues do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from deploy.demo.cast import TENANTS
from deploy.demo.client import Answer, Client
from tests.campaigns.tallies import Part, Tally
from tests.world.crowd import Ask, rush
from tests.world.fleet import Fleet, fleet
from tests.world.ground import RATE_EXCEEDED, ground, insist
from tests.world.writers import Ids

PARTS = 5
KEYS = 200
SENT = 100
MODES = ("reset_after", "half_answer", "garbage_200", "error_500_after", "hang_after", "hang_before")
LATE_SECONDS = 4
"""Above the tool's deadline of three."""
DOUBTS = 20
"""Of each mode, in each part: all at once."""
TWINS = 3
"""How often each of them is sent."""
MESSAGES = 20
DELIVERED = 10
TENANT = TENANTS[0]


def run(part: Part) -> Iterable[Tally]:
    """One part on a world of its own."""
    with ground() as broken, fleet(broken, 2 if part.is_short or part.number % 2 else 1) as gateways:
        keys = Keys(gateways, Ids(broken.world), part.chance())
        yield _tally("one key sent 100 times at once", *_at_once(part, keys, part.size(KEYS, 5)))
        yield _tally("a tool acts, and its answer is lost, cut, garbage, 500 or late", *_doubts(part, keys))
        yield _tally("a message delivered 10 times", *_delivered(keys, part.size(MESSAGES, 3)))
        gateways.settled(TENANT)
        wrong = gateways.wrong()
        yield Tally(
            guarantee="P2", tried="journal, log and counters compared after all of it", times=1, failures=tuple(wrong)
        )


@dataclass(slots=True)
class Keys:
    """Asks, each under a new key, for a small refund of an order."""

    gateways: Fleet
    ids: Ids
    chance: Random
    counted: set[str] = field(default_factory=set)

    def ask(self) -> Ask:
        return self.ids.refund(self.chance).ask

    def send(self, asks: Sequence[Ask]) -> list[Answer]:
        """All at the same moment, spread over the gateways."""
        return rush("", [replace(ask, url=self.gateways.url(number)) for number, ask in enumerate(asks)])

    def final(self, ask: Ask) -> Answer:
        """The same key until its state is final."""

        def again(client: Client) -> Answer:
            return client.call(ask.token, ask.tool, ask.arguments, reason=ask.reason, key=ask.key)

        return insist(Client(self.gateways.url(0)), again)

    def new_effects(self) -> Counter[str]:
        """What the journal holds beyond what was looked at before."""
        effects = self.gateways.ground.oracle.effects()
        new = Counter({effect: count for effect, count in effects.items() if effect not in self.counted})
        self.counted |= set(new)
        return new


Found = tuple[int, list[str], dict[str, float]]


def _tally(tried: str, times: int, wrong: Sequence[str], figures: dict[str, float]) -> Tally:
    return Tally(guarantee="P2", tried=tried, times=times, failures=tuple(wrong), figures=figures)


def _at_once(part: Part, keys: Keys, count: int) -> Found:
    wrong: list[str] = []
    statuses: Counter[str] = Counter()
    for number in range(count):
        ask = keys.ask()
        told = keys.send([ask] * SENT)
        final = keys.final(ask)
        statuses.update(f"answers_of_{answer.status}" for answer in told)
        results = [answer.document["result"] for answer in told if answer.status == 200]
        wrong += [f"{ask.key}: {each}" for each in _unexpected(told, {200, 409, RATE_EXCEEDED})]
        if results != [final.document.get("result")] * len(results):
            wrong.append(f"{ask.key}: {len(results)} answers of 200, not all of them {final.call}")
        if (effects := keys.new_effects()) != {final.call: 1}:
            wrong.append(f"{ask.key}: effects {dict(effects)}")
        if number % 50 == 49:
            part.tell(f"{number + 1} keys")
    return count, wrong, {"requests": count * SENT, **statuses}


def _doubts(part: Part, keys: Keys) -> Found:
    """Every outcome that the gateway cannot know is 504 for who sent it first, and 409 for the others."""
    wrong: list[str] = []
    reconciled: Counter[str] = Counter()
    count = part.size(DOUBTS, 2)
    for mode in MODES:
        asks = [keys.ask() for _ in range(count)]
        keys.gateways.ground.fault("issue_refund", mode, count=count, seconds=LATE_SECONDS)
        told = keys.send([ask for ask in asks for _ in range(TWINS)])
        keys.gateways.ground.business_is_well()
        finals = [keys.final(ask) for ask in asks]
        effects = keys.new_effects()
        # A twin that comes after the sweeper has found out is given the answer.
        wrong += [f"{mode}: {each}" for each in _unexpected(told, {504, 409, 200, RATE_EXCEEDED})]
        for place, (ask, final) in enumerate(zip(asks, finals, strict=True)):
            mine = told[place * TWINS : (place + 1) * TWINS]
            if not {504, RATE_EXCEEDED} & {answer.status for answer in mine}:
                wrong.append(f"{mode} {ask.key}: nobody was told that the outcome is unknown")
            if {answer.call for answer in mine if answer.status == 200} - {final.call}:
                wrong.append(f"{mode} {ask.key}: answered as another call")
            if (final.status, effects[final.call]) != (200, 1):
                wrong.append(f"{mode} {ask.key}: ended with {final.status} and {effects[final.call]} effects")
        reconciled[f"{mode}"] += len(asks)
        part.tell(f"{mode}: {count} outcomes in doubt")
    return count * len(MODES), wrong, dict(reconciled)


def _delivered(keys: Keys, count: int) -> Found:
    """Ten deliveries of each message, one after the other and side by side with those of other messages."""
    asks = [keys.ask() for _ in range(count)]
    rounds = [keys.send(keys.chance.sample(asks, len(asks))) for _ in range(DELIVERED)]
    wrong = [each for told in rounds for each in _unexpected(told, {200, RATE_EXCEEDED})]
    calls = {keys.final(ask).call for ask in asks}
    if (effects := keys.new_effects()) != dict.fromkeys(calls, 1):
        wrong.append(f"{count} messages, {sum(effects.values())} effects of {len(effects)} calls")
    return count, wrong, {"deliveries": count * DELIVERED}


def _unexpected(told: Iterable[Answer], statuses: set[int]) -> Iterator[str]:
    for answer in told:
        if answer.status not in statuses:
            yield f"answered {answer.status} {answer.reason}"
