"""The sweeper: nothing that was intended is forgotten.

It takes over open intents whose lease is over, asks the tool what became of outcomes in doubt, ends parked calls whose
time has passed, and drops answers that are kept no longer. It settles through the same `Settlement` as the pipeline
does. What a tool cannot say stays in doubt until a person settles it (`settle_unknown`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any
from uuid import UUID

import orjson
from msgspec.structs import replace

from gateway.activation import Policies
from gateway.admission import call_text
from gateway.autonomy import counting
from gateway.clock import Clock
from gateway.connectors import Dispatch, Outcome
from gateway.errors import BadRequest, Unavailable
from gateway.execution import Connect
from gateway.governance import switches
from gateway.ledger import SYSTEM, FullRow, State
from gateway.logs import log
from gateway.metrics import Metrics
from gateway.parking import Parking
from gateway.settlement import OpenIntent, Settlement
from gateway.storage.records import Records
from gateway.storage.sweeping import Rota, Sweeping
from gateway.tokens import NOTHING, Resolved, Tokens
from tool_registry.contracts import Contract

BATCH = 50  # Calls per round; a round is short, so a crash repeats little.


class Sweeper:
    """Runs in the gateway's loop; any number of gateways may each run one."""

    def __init__(  # noqa: PLR0913 - `app` alone makes one
        self,
        *,
        sweeping: Sweeping,
        records: Records,
        policies: Policies,
        settlement: Settlement,
        parking: Parking,
        connect: Connect,
        tokens: Tokens,
        clock: Clock,
        metrics: Metrics,
        tenants: Sequence[str],
        lease_ms: int,
    ) -> None:
        self._sweeping = sweeping
        self._records = records
        self._policies = policies
        self._settlement = settlement
        self._parking = parking
        self._connect = connect
        self._tokens = tokens
        self._clock = clock
        self._metrics = metrics
        self._tenants = tenants
        self._lease_ms = lease_ms
        self._rota = Rota()

    async def run(self, every_seconds: float) -> None:
        """Sweep until cancelled. A round that fails is logged, and tried again."""
        while True:
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - the outermost loop of this task: without it nothing is swept
                log().warning("sweep_failed", error=error)
            await asyncio.sleep(every_seconds)

    async def sweep(self) -> None:
        """One round."""
        after = self._rota.after()
        found = await self._sweeping.find(self._tenants, lease_ms=self._lease_ms, limit=BATCH, after=after)
        # Those that stay in doubt must not keep the others from being asked about: the next round begins behind them.
        self._rota.note(found.doubtful)
        self._metrics.open_intents.set(len(found.taken) + len(found.doubtful))
        work: list[Awaitable[Any]] = [self._reconcile(row, is_late=True) for row in found.taken]
        work += [self._reconcile(row, is_late=_is_over(row, found.now_ms)) for row in found.doubtful]
        work += [self._expire(row) for row in found.overdue]
        work.append(self._sweeping.forget(self._tenants, limit=BATCH))
        # At once: a tool that does not answer holds up nobody else's call.
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException):
                log().warning("sweep_failed", error=result)

    async def settle_by_person(self, tenant: str, call_id: UUID, finding: Outcome) -> State | None:
        """
        A person's finding about an outcome in doubt. The state afterwards; None when there is no such call.

        That the tool did nothing is believed only when nothing that was sent to it can act any more.
        """
        row = await self._records.call(tenant, call_id)
        if row is None or row.intent_seq is None:
            return None
        if row.state is not State.IN_DOUBT:
            return row.state
        if finding.state is not State.EXECUTED:
            # INVARIANT: a sweeper that sends the call again holds it first; then this settlement is too late.
            held = await self._sweeping.hold(row, lease_ms=self._lease_ms)
            if held is None:
                return State.IN_DOUBT
            row = held
        settled = await self._settlement.settle(await self._opened(row), finding)
        return settled.state if settled else State.IN_DOUBT

    async def _expire(self, row: FullRow) -> None:
        await self._parking.close(row, State.EXPIRED, by=row.row.principal, reason="expired")

    async def _reconcile(self, row: FullRow, *, is_late: bool) -> None:
        intent, outcome = await self._find_out(await self._opened(row), row, is_late=is_late)
        if outcome is None:
            if row.state is State.IN_DOUBT:
                return
            outcome = Outcome(state=State.IN_DOUBT, reason="lease_over")
        settled = await self._settlement.settle(intent, outcome)
        if settled is not None:
            self._metrics.reconciled(settled.state.value)
            log().info("call_reconciled", call=call_text(row.row.call_id), state=settled.state.value)

    async def _find_out(self, intent: OpenIntent, row: FullRow, *, is_late: bool) -> tuple[OpenIntent, Outcome | None]:
        """
        What is known now, None while nothing proves anything, and the intent as it is held by then.

        `is_late`: nothing that was sent before can act any more.
        """
        contract = intent.tool.contract
        if contract.connector.kind == "http" and _tool_digest(row) != contract.digest:
            # Another version of the tool may be reached elsewhere, and knows nothing of what this one did.
            return intent, None
        outcome = await self._ask(intent, row, is_late=is_late)
        if outcome is None and is_late and _is_repeatable(contract):
            return await self._repeat(intent, row)
        return intent, outcome

    async def _ask(self, intent: OpenIntent, row: FullRow, *, is_late: bool) -> Outcome | None:
        """What the tool itself says; None while that proves nothing."""
        contract = intent.tool.contract
        # Above the fence that left the doubt, so that a fenced tool refuses it from now on.
        fence = row.fence + 1 if row.state is State.IN_DOUBT else row.fence
        outcome = await self._connect(contract.connector).status(self._dispatch(intent, fence))
        if outcome is not None and outcome.state is State.NOT_DONE:
            # The first dispatch may still be under way: only a fenced tool is bound to refuse it when it arrives, and
            # only once its deadline has passed.
            return outcome if contract.is_fenced and is_late else None
        return outcome

    async def _repeat(self, intent: OpenIntent, row: FullRow) -> tuple[OpenIntent, Outcome | None]:
        """
        Send the call again, to a tool that declares that it will not act twice.

        Under a fence and a lease of its own, so that a person's "it did nothing" waits until this dispatch cannot act
        either.
        """
        contract = intent.tool.contract
        resolved = await self._resolved(intent)
        # A lease for what will not be sent would keep a person from settling it, for as long as the switch stands.
        if resolved is None or await self._is_stopped(row, contract):
            return intent, None
        started = self._clock.monotonic()
        held = await self._sweeping.hold(row, lease_ms=contract.deadline_ms + self._lease_ms)
        if held is None:
            return intent, None
        intent = replace(intent, fence=held.fence)
        if await self._is_stopped(row, contract):
            return intent, None  # Asked again, and last: whoever engages a switch before this line is obeyed.
        if self._clock.monotonic() - started > self._lease_ms / 1000:
            return intent, None  # The process was paused: the dispatch could outlive the lease.
        again = await self._connect(contract.connector).execute(self._dispatch(intent, held.fence, resolved))
        # A refusal now says nothing of what the first dispatch did.
        return intent, again if again.state is State.EXECUTED else None

    async def _resolved(self, intent: OpenIntent) -> Resolved | None:
        """What the call's tokens stand for now; None where one stands for nothing any more: a person finds out."""
        arguments, tools = orjson.loads(intent.canonical)["arguments"], self._policies.active(intent.tenant).tools
        try:
            return await self._tokens.resolve(intent.tenant, intent.tool, arguments, tools)
        except (BadRequest, Unavailable):
            return None

    def _dispatch(self, intent: OpenIntent, fence: int, resolved: Resolved = NOTHING) -> Dispatch:
        return Dispatch(
            tenant=intent.tenant,
            tool=intent.tool,
            canonical=intent.canonical,
            effect_id=call_text(intent.call_id),
            fence=fence,
            deadline_at_ms=self._clock.now_ms() + intent.tool.contract.deadline_ms,
            correlation=intent.correlation or call_text(intent.call_id),
            resolved=resolved,
        )

    async def _is_stopped(self, row: FullRow, contract: Contract) -> bool:
        """Whether a kill switch stands against dispatching the call again."""
        stopping = switches(row.row.tenant, row.row.principal, contract)
        return await self._sweeping.is_stopped([row.row.tenant, SYSTEM], stopping)

    async def _opened(self, row: FullRow) -> OpenIntent:
        tenant = row.row.tenant
        packet = await self._records.payload(tenant, row.intent_seq or 0) or {}
        placed = await self._records.entry(tenant, row.intent_seq or 0)
        entry: dict[str, Any] = orjson.loads(placed.body) if placed else {}
        decision = packet.get("decision", {})
        tool = self._policies.active(tenant).tools[row.row.tool]
        return OpenIntent(
            tenant=tenant,
            claim=row.row.claim,
            call_id=row.row.call_id,
            fence=row.fence,
            tool=tool,
            canonical=row.row.request,
            correlation=row.row.correlation,
            subject={name: entry[name] for name in _SUBJECT if name in entry},
            reference={
                **{name: entry[name] for name in _REFERENCE if name in entry},
                # The entry that left the doubt, which nothing else would name any more.
                **({} if row.outcome_seq is None else {"after": row.outcome_seq}),
            },
            decision={
                "decision": {
                    name: decision[name] for name in ("rules", "obligations", "bundle", "revision") if name in decision
                },
                "invariant_checks": packet.get("checks", []),
            },
            about=tool.subject(orjson.loads(row.row.request)["arguments"]),
            intent_seq=row.intent_seq or 0,
            budgets=row.budgets,
            in_flight=row.in_flight,
            expected=(row.state,),
            counting=counting(self._policies.active(tenant), tenant, row.row.principal, row.row.tool),
        )


def _is_repeatable(contract: Contract) -> bool:
    """Whether the call may be sent again: only where nobody can be asked, and the tool promises not to act twice."""
    return contract.status_path is None and contract.is_idempotent and contract.connector.kind == "http"


def _is_over(row: FullRow, now_ms: int) -> bool:
    """Whether no dispatch of the call can act any more. Without a lease nobody knows yet."""
    return row.lease_until_ms is not None and row.lease_until_ms <= now_ms


def _tool_digest(row: FullRow) -> str:
    """Of the contract that the call was decided and dispatched under."""
    return str(orjson.loads(row.row.request)["tool_digest"])


_SUBJECT = ("call", "call_digest", "tool", "tool_digest", "principal")
_REFERENCE = ("bundle", "revision", "certificate")
