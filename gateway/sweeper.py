"""The sweeper: nothing that was intended is forgotten.

It takes over open intents whose lease is over, asks the tool what became of outcomes in doubt, and ends parked calls
whose time has passed. It settles through the same `Settlement` as the pipeline does. What a tool cannot say stays in
doubt until a person settles it (`settle_unknown`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from gateway.activation import Policies
from gateway.admission import call_text
from gateway.clock import Clock
from gateway.connectors import Dispatch, Outcome
from gateway.errors import Fault
from gateway.execution import Connect
from gateway.ledger import FullRow, LedgerUnavailable, State
from gateway.logs import log
from gateway.metrics import Metrics
from gateway.parking import Parking
from gateway.settlement import OpenIntent, Settlement
from gateway.storage import sweeping
from gateway.storage.connections import Connection
from gateway.storage.desk import Desk
from gateway.storage.records import Records

BATCH = 50  # Calls per round; a round is short, so a crash repeats little.


class Sweeper:
    """Runs in the gateway's loop; any number of gateways may each run one."""

    def __init__(
        self,
        *,
        desk: Desk,
        records: Records,
        policies: Policies,
        settlement: Settlement,
        parking: Parking,
        connect: Connect,
        clock: Clock,
        metrics: Metrics,
        tenants: Sequence[str],
        lease_ms: int,
    ) -> None:
        self._desk = desk
        self._records = records
        self._policies = policies
        self._settlement = settlement
        self._parking = parking
        self._connect = connect
        self._clock = clock
        self._metrics = metrics
        self._tenants = tenants
        self._lease_ms = lease_ms

    async def run(self, every_seconds: float) -> None:
        """Sweep until cancelled. A round that fails is logged, and tried again."""
        while True:
            try:
                await self.sweep()
            except (LedgerUnavailable, Fault) as error:
                log().warning("sweep_failed", error=error)
            await asyncio.sleep(every_seconds)

    async def sweep(self) -> None:
        """One round."""
        found = await asyncio.to_thread(self._find)
        self._metrics.open_intents.set(len(found[0]) + len(found[1]))
        for row in found[0]:
            await self._reconcile(row, State.EXECUTING)
        for row in found[1]:
            await self._reconcile(row, State.IN_DOUBT)
        for row in found[2]:
            await self._parking.close(row, State.EXPIRED, by=row.row.principal, reason="expired")

    async def settle_by_person(self, tenant: str, call_id: UUID, finding: Outcome) -> State | None:
        """A person's finding about an outcome in doubt. The state afterwards; None when there is no such call."""
        row = await self._records.call(tenant, call_id)
        if row is None or row.intent_seq is None:
            return None
        if row.state is not State.IN_DOUBT:
            return row.state
        settled = await self._settlement.settle(await self._opened(row, State.IN_DOUBT), finding)
        return settled.state if settled else None

    def _find(self) -> tuple[tuple[FullRow, ...], tuple[FullRow, ...], tuple[FullRow, ...]]:
        def work(connection: Connection) -> Any:
            return (
                sweeping.take_over(connection, self._tenants, lease_ms=self._lease_ms, limit=BATCH),
                sweeping.in_doubt(connection, self._tenants, limit=BATCH),
                sweeping.overdue(connection, self._tenants, limit=BATCH),
            )

        found: tuple[tuple[FullRow, ...], tuple[FullRow, ...], tuple[FullRow, ...]] = self._desk.borrow(work)
        return found

    async def _reconcile(self, row: FullRow, state: State) -> None:
        intent = await self._opened(row, state)
        outcome = await self._find_out(intent)
        if outcome is None:
            if state is State.IN_DOUBT:
                return
            outcome = Outcome(state=State.IN_DOUBT, reason="lease_over")
        settled = await self._settlement.settle(intent, outcome)
        if settled is not None:
            self._metrics.reconciled(settled.state.value)
            log().info("call_reconciled", call=call_text(row.row.call_id), state=settled.state.value)

    async def _find_out(self, intent: OpenIntent) -> Outcome | None:
        """What the tool itself says; None while that proves nothing."""
        contract = intent.tool.contract
        dispatch = Dispatch(
            tenant=intent.tenant,
            tool=intent.tool,
            canonical=intent.canonical,
            effect_id=call_text(intent.call_id),
            fence=intent.fence,
            deadline_at_ms=self._clock.now_ms() + contract.deadline_ms,
            correlation=intent.correlation or call_text(intent.call_id),
        )
        connector = self._connect(contract.connector)
        outcome = await connector.status(dispatch)
        if outcome is not None and outcome.state is State.NOT_DONE and not contract.is_fenced:
            # The first dispatch may still be under way: only a fenced tool is bound to refuse it when it arrives.
            outcome = None
        if (
            outcome is None
            and contract.status_path is None
            and contract.is_idempotent
            and contract.connector.kind == "http"
        ):
            again = await connector.execute(dispatch)
            outcome = again if again.state in (State.EXECUTED, State.FAILED) else None
        return outcome

    async def _opened(self, row: FullRow, state: State) -> OpenIntent:
        tenant = row.row.tenant
        packet = await self._records.payload(tenant, row.intent_seq or 0) or {}
        placed = await self._records.entry(tenant, row.intent_seq or 0)
        entry: dict[str, Any] = orjson.loads(placed.body) if placed else {}
        decision = packet.get("decision", {})
        return OpenIntent(
            tenant=tenant,
            claim=row.row.claim,
            call_id=row.row.call_id,
            fence=row.fence,
            tool=self._policies.active(tenant).tools[row.row.tool],
            canonical=row.row.request,
            correlation=row.row.correlation,
            subject={name: entry[name] for name in _SUBJECT if name in entry},
            reference={name: entry[name] for name in _REFERENCE if name in entry},
            decision={
                "decision": {
                    name: decision[name] for name in ("rules", "obligations", "bundle", "revision") if name in decision
                },
                "invariant_checks": packet.get("checks", []),
            },
            intent_seq=row.intent_seq or 0,
            budgets=row.budgets,
            in_flight=row.in_flight,
            expected=(state,),
        )


_SUBJECT = ("call", "call_digest", "tool", "tool_digest", "principal")
_REFERENCE = ("bundle", "revision", "certificate")
