"""Episodes: some clients, two gateways that die, a store, tools, engines and clocks that fail, all from one seed.

At the end of each episode everything gets well, every key is presented until its answer is final, and what the
clients were told, what the business did and what the ledger holds must be one story.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from gateway.admission import call_id_of, call_text
from gateway.answers import Reply
from gateway.errors import Fault
from gateway.identity import Principal
from gateway.ledger import State
from proofs import approvals
from proofs.approvals import Statement
from tests.simulation.business import Business
from tests.simulation.clockwork import START_MS, VirtualClock, VirtualLoop
from tests.simulation.gateways import SWEEP_SECONDS, TENANTS, UNHELPFUL, Gateway, keep_tasks, key_of, principals
from tests.simulation.model import Model, Stored

CLIENTS = 6
GATEWAYS = 2
WELL_SECONDS = 90.0
"""Longer than every lease, deadline and pause together."""
PASSING = (409, 503, 504)
"""Statuses after which a careful client presents the same call again."""
STATUSES = frozenset({200, 201, 202, 400, 403, 404, 409, 422, 429, 503, 504})
DEAD = "dead"


@dataclass(slots=True)
class Told:
    """What was ever said about one key."""

    tenant: str
    principal: Principal
    tool: str
    body: dict[str, Any]
    headers: dict[str, str]
    results: set[str] = field(default_factory=set)
    """Every final answer with status `executed`, by its content."""
    call: str = ""
    last: int = 0


@dataclass(slots=True)
class Report:
    """What an episode tried, and what was wrong."""

    seed: str
    calls: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    kills: int = 0
    faults: int = 0
    effects: int = 0
    wrong: list[str] = field(default_factory=list)


class Episode:
    """One world from one seed."""

    def __init__(self, seed: str, *, calls: int) -> None:
        self.report = Report(seed)
        self._calls = calls
        self._chance = random.Random(seed)
        self._loop = VirtualLoop()
        self._loop.set_task_factory(keep_tasks)
        self._model = Model(VirtualClock(self._loop).now_ms)
        self._rates = {"ledger": self._draw(0.03), "engine": self._draw(0.02)}
        behind = self._chance.choice((0, 0, 0, 800))
        self._business = Business(
            random.Random(f"{seed}/business"),
            now_ms=VirtualClock(self._loop, -behind).now_ms,
            has_intent=self._has_intent,
            fault_rate=self._draw(0.12),
        )
        self._gateways: list[Gateway] = []
        self._told: dict[tuple[str, str, str], Told] = {}
        self._is_well = False

    def run(self) -> Report:
        """Play it, and compare."""
        try:
            self._loop.run_until_complete(self._play())
            self.report.wrong += self._business.wrong
            self.report.wrong += self._compared()
        except Exception as error:  # noqa: BLE001 - whatever it is, the seed has to be told
            self.report.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            self._loop.close()
        self.report.effects = sum(self._business.effects.values())
        self.report.faults += sum(gateway.injected for gateway in self._gateways)
        return self.report

    def _draw(self, rate: float) -> float:
        """A rate of faults for this whole episode: none, the usual, or a storm."""
        return self._chance.choice((0.0, rate, rate, rate * 5))

    # -- the world ----------------------------------------------------------------------------------------------------

    async def _play(self) -> None:
        for tenant in TENANTS:
            for principal in principals(tenant).values():
                if principal.id.startswith("per_"):
                    public = key_of(tenant, principal.id).public
                    self._model.keys[tenant, principal.id, public.key_id] = public.text
                    self._model.roles[tenant, principal.id] = principal.roles
            for level in range(4):
                self._model.set_autonomy(tenant, f"agent-{level}", "*", level)
        self._gateways = [self._gateway(number) for number in range(GATEWAYS)]
        trouble = self._loop.create_task(self._trouble())
        clients = [self._client(random.Random(f"{self.report.seed}/{number}"), number) for number in range(CLIENTS)]
        await asyncio.gather(*clients)
        trouble.cancel()
        await self._get_well()
        for gateway in self._gateways:
            gateway.kill()
        await asyncio.sleep(0)

    def _gateway(self, number: int) -> Gateway:
        chance = random.Random(f"{self.report.seed}/gateway/{number}/{self.report.kills}")
        # A wrong clock must cost nobody anything but refusals.
        skew_ms = 0 if self._is_well else chance.choice((0, 0, 0, 0, -3000, 3000, -3_600_000, 3_600_000))
        rates = {} if self._is_well else self._rates
        gateway = Gateway(self._loop, self._model, self._business, chance, rates, skew_ms)
        gateway.run(gateway.sweeper.run(SWEEP_SECONDS))
        return gateway

    async def _trouble(self) -> None:
        """Kills, switches, levels, lost roles and keys, until everybody has had enough."""
        chance = random.Random(f"{self.report.seed}/trouble")
        while True:
            await asyncio.sleep(chance.expovariate(1 / 4))
            tenant = chance.choice(TENANTS)
            match chance.randrange(6):
                case 0 | 1:
                    self._kill(chance.randrange(GATEWAYS))
                case 2:
                    switch = chance.choice(
                        ((tenant, "tool", "issue_refund"), (tenant, "agent", "agent-3"), ("system", "everything", "*"))
                    )
                    self._model.kills.add(switch)
                    self._loop.call_later(chance.random() * 3, self._model.kills.discard, switch)
                case 3:
                    agent = f"agent-{chance.randrange(4)}"
                    self._model.set_autonomy(tenant, agent, chance.choice(("*", "issue_refund")), chance.randrange(4))
                case 4:
                    person = (tenant, f"per_finance_{chance.randint(1, 3)}")
                    self._model.roles[person] = chance.choice(((), ("finance",), ("finance",)))
                case _:
                    self._business.fault_rate = self._draw(0.12)

    def _kill(self, number: int) -> None:
        self.report.kills += 1
        self.report.faults += self._gateways[number].injected
        self._gateways[number].kill()
        self._gateways[number] = self._gateway(number)

    async def _get_well(self) -> None:
        """Nothing fails from here on; what was left behind is found out, and every key becomes final."""
        self._is_well = True
        self._business.fault_rate = 0.0
        self._model.kills.clear()
        for number in range(GATEWAYS):
            self._kill(number)
        await asyncio.sleep(WELL_SECONDS)
        for key, told in sorted(self._told.items()):
            answer = await self._present(told, self._gateways[0])
            if told.last not in (200, 202, 403, 409, 422):
                self.report.wrong.append(f"{key}: still {told.last} `{_reason(answer)}` when everything is well")

    # -- clients ------------------------------------------------------------------------------------------------------

    async def _client(self, chance: random.Random, number: int) -> None:
        for place in range(self._calls // CLIENTS):
            told = self._request(chance, place, f"c{number}-{place}")
            answer: Any = None
            for _ in range(chance.randint(1, 8)):
                answer = await self._present(told, chance.choice(self._gateways))
                if told.last == 202 and chance.random() < 0.7:
                    await self._approvers(chance, told, answer)
                elif told.last not in PASSING and chance.random() < 0.8:
                    break
                await asyncio.sleep(chance.choice((0.0, 0.02, 2.0)) * chance.random())

    def _request(self, chance: random.Random, place: int, key: str) -> Told:
        """A new write, or one that was seen before, perhaps with another payload."""
        known = list(self._told.values())
        if known and chance.random() < 0.1:
            told = chance.choice(known)
            if chance.random() < 0.3:
                return self._other_payload(chance, told)
            return told
        tenant = chance.choice(TENANTS)
        principal = chance.choice(list(principals(tenant).values()))
        tool, arguments, reason = _write(chance, place)
        headers = {"authorization": f"{tenant} {principal.reference}", "idempotency-key": key}
        told = Told(tenant, principal, tool, {"tool": tool, "arguments": arguments, "reason_code": reason}, headers)
        self._told[tenant, principal.reference, key] = told
        return told

    def _other_payload(self, chance: random.Random, told: Told) -> Told:
        """The same key for something else: it must never be executed in the place of the first."""
        if told.tool != "issue_refund":
            return told
        arguments = {**told.body["arguments"], "amount_cents": chance.randint(1, 400)}
        return Told(told.tenant, told.principal, told.tool, {**told.body, "arguments": arguments}, told.headers)

    async def _present(self, told: Told, gateway: Gateway) -> Any:
        """Send the call once; keep what was said, and hold it against what the business saw of it meanwhile."""
        self.report.calls += 1
        task = gateway.run(gateway.call(told.headers, orjson.dumps(told.body)))
        before = Counter(self._business.dispatched)
        try:
            answer = await task
        except asyncio.CancelledError:
            # The connection broke: the process is gone.
            told.last = 0
            return DEAD
        status, document = _read(answer)
        self.report.answers[status] += 1
        told.last = status
        if status not in STATUSES:
            self.report.wrong.append(f"{told.headers['idempotency-key']}: answered {status} `{_reason(answer)}`")
        call = str(document.get("call", ""))
        if call and status in (403, 404, 422, 429) and self._business.dispatched[call] != before[call]:
            was_executed = self._is_swept(call)
            if not was_executed:
                self.report.wrong.append(f"{call}: sent to the tool, and answered {status} `{_reason(answer)}`")
        if status == 200 and document.get("status") == "executed":
            told.call = call
            told.results.add(f"{call} {orjson.dumps(document.get('result'), option=orjson.OPT_SORT_KEYS).decode()}")
            if self._business.effects[call] != 1:
                self.report.wrong.append(f"{call}: told as executed, with {self._business.effects[call]} effects")
        return answer

    async def _approvers(self, chance: random.Random, told: Told, answer: Any) -> None:
        """Some persons look at the parked call; the requester presents what they gave."""
        _, document = _read(answer)
        ids = set(told.body.get("approvals", ()))
        people = [each for each in principals(told.tenant).values() if each.id.startswith("per_")]
        for _ in range(chance.randint(1, 3)):
            person, gateway = chance.choice(people), chance.choice(self._gateways)
            signed = _signed(chance, told.tenant, person, document["statement"])
            call_id = call_id_of(document["call"])
            assert call_id is not None
            try:
                given = await gateway.run(gateway.approve(person, call_id, signed))
            except asyncio.CancelledError:
                continue
            status, said = _read(given)
            self.report.answers[status] += 1
            self.report.calls += 1
            if status == 201:
                ids.add(said["approval"])
        if ids:
            told.body["approvals"] = sorted(ids)

    # -- the oracle ---------------------------------------------------------------------------------------------------

    def _has_intent(self, tenant: str, effect: str) -> bool:
        call_id = call_id_of(effect)
        stored = self._model.by_id.get(call_id) if call_id else None
        if stored is None or stored.row.tenant != tenant or stored.intent_seq is None:
            return False
        entry = self._model.entry(tenant, stored.intent_seq)
        return entry is not None and entry.draft.kind == "INTENT" and entry.draft.call_id == call_id

    def _is_swept(self, call: str) -> bool:
        """Whether somebody else, who had taken the call over, may have sent it meanwhile."""
        call_id = call_id_of(call)
        stored = self._model.by_id.get(call_id) if call_id else None
        return stored is not None and stored.fence > 1

    def _compared(self) -> Iterator[str]:
        for stored in self._model.by_id.values():
            yield from self._compare(stored)
        stored_calls = {call_text(call_id) for call_id in self._model.by_id}
        for effect in self._business.effects:
            if effect not in stored_calls:
                yield f"{effect}: an effect of no call"
        for key, told in self._told.items():
            if len(told.results) > 1:
                yield f"{key}: told two things about one key: {sorted(told.results)}"
        yield from self._counters()
        if any(gateway.incidents for gateway in self._gateways):
            yield "engines contradicted the checks"

    def _compare(self, stored: Stored) -> Iterator[str]:
        call, state = call_text(stored.row.call_id), stored.state
        kinds = Counter(entry.draft.kind for entry in self._entries(stored.row.tenant, stored.row.call_id))
        executed = [
            entry
            for entry in self._entries(stored.row.tenant, stored.row.call_id)
            if entry.draft.kind in ("OUTCOME", "RECONCILED") and entry.draft.members["state"] == "executed"
        ]
        effects = self._business.effects[call]
        if state is State.EXECUTING:
            yield f"{call}: still executing when everything is well"
        if state is State.IN_DOUBT and stored.row.tool != UNHELPFUL:
            yield f"{call}: in doubt, though its tool can say what became of it"
        if state is State.EXECUTED and (effects, len(executed)) != (1, 1):
            yield f"{call}: executed, with {effects} effects and {len(executed)} outcomes that say so"
        if state not in (State.EXECUTED, State.IN_DOUBT) and effects:
            yield f"{call}: {state.value}, with {effects} effects"
        if effects and not kinds["INTENT"]:
            yield f"{call}: an effect without an intent"
        if state is State.EXECUTED:
            yield from self._approved(stored)

    def _approved(self, stored: Stored) -> Iterator[str]:
        """What is irreversible at R2 had a yes of somebody else, for this very call."""
        arguments = orjson.loads(stored.row.request)["arguments"]
        if stored.row.tool == "issue_refund" and arguments["amount_cents"] > 5000:
            given = [approval for approval, call_id in self._model.used.items() if call_id == stored.row.call_id]
            rows = [self._model.approvals[approval] for approval in given]
            persons = {row.person for row in rows if f"person/{row.person}" != stored.row.principal}
            if not persons:
                yield f"{call_text(stored.row.call_id)}: {arguments['amount_cents']} cents without a second person"
            if any(row.call_id != stored.row.call_id for row in rows):
                yield f"{call_text(stored.row.call_id)}: ran on an approval for another call"

    def _entries(self, tenant: str, call_id: UUID) -> list[Any]:
        if not hasattr(self, "_index"):
            index: dict[UUID, list[Any]] = {}
            for chain in self._model.chains.values():
                for entry in chain:
                    if entry.draft.call_id is not None:
                        index.setdefault(entry.draft.call_id, []).append(entry)
            self._index = index
        return self._index.get(call_id, [])

    def _counters(self) -> Iterator[str]:
        reserved: Counter[bytes] = Counter()
        spent: Counter[bytes] = Counter()
        for stored in self._model.calls.values():
            for budget in stored.budgets:
                if stored.state in (State.EXECUTING, State.IN_DOUBT):
                    reserved[budget.key] += budget.amount
                elif stored.state is State.EXECUTED:
                    spent[budget.key] += budget.amount
        for key, counter in self._model.budgets.items():
            if (counter.reserved, counter.spent) != (reserved[key], spent[key]):
                yield f"a counter holds {counter}, its calls {reserved[key]} and {spent[key]}"


def _write(chance: random.Random, place: int) -> tuple[str, dict[str, Any], str]:
    match chance.randrange(8):
        case 0:
            return UNHELPFUL, {"user_id": f"usr_{chance.randrange(5)}"}, "account_takeover_suspected"
        case 1:
            arguments = {"user_id": f"usr_{chance.randrange(5)}", "duration_days": chance.choice((1, 30, 31))}
            return "ban_user", arguments, "spam"
        case _:
            amount = chance.choice((1, 700, 4999, 5000, 5001, 12_000, 49_000, 50_001, 61_000))
            # All clients are at the same few orders at about the same time, and then go on to others.
            order = f"ord_{place // 4 + chance.randrange(2)}"
            return "issue_refund", {"order_id": order, "amount_cents": amount}, "damaged_item"


def _signed(chance: random.Random, tenant: str, person: Principal, asked: dict[str, Any]) -> dict[str, Any]:
    """The statement as this person signs it; now and then for something else than was asked."""
    key = key_of(tenant, person.id)
    members = {
        **asked,
        "approver": person.reference,
        "key": key.public.key_id,
        "verdict": "approve",
        "shown": "",
        "reason": "looks right",
        "nonce": chance.randbytes(16).hex(),
    }
    if chance.random() < 0.05:
        members["call"] = "sha256:" + chance.randbytes(32).hex()
    statement: Statement = approvals.parse(members)
    signature = approvals.sign(statement, key=key, environment="dev", tenant=tenant)
    return {"statement": members, "signature": signature}


def _read(answer: Any) -> tuple[int, dict[str, Any]]:
    match answer:
        case Reply(status=status, content=None, document=document):
            return status, dict(document)
        case Reply(status=status, content=content):
            return status, orjson.loads(content)
        case Fault(status=status, members=members):
            return status, dict(members)
        case _:
            raise AssertionError(f"no answer: {answer!r}")


def _reason(answer: Any) -> str:
    return answer.reason if isinstance(answer, Fault) else ""


__all__ = ["START_MS", "Episode", "Report"]
