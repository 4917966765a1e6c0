"""Execute: the only place from which an effect leaves the gateway.

The dispatch carries the effect id (the call id, the same in each attempt), the fence of its intent and an absolute
deadline. A pause between the lease check and the first byte can only be closed by the tool: a fenced tool refuses a
lower fence and a past deadline.

Kill switches were read in the transaction of the intent. A call that waited since then asks for them again just before
it is sent, so that one that is engaged reaches it within a second also when this process was slow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.admission import Call
from gateway.clearance import Clearance
from gateway.clock import Clock
from gateway.connectors import Dispatch, Outcome, ToolConnector
from gateway.errors import Unavailable
from gateway.governance import kill_switches
from gateway.ledger import Intended, Ledger, LedgerUnavailable, Look, State
from tool_registry.contracts import Connector
from tool_registry.shapes import ContractViolation

KILLED = "killed"
FRESH_SECONDS = 0.4
"""So long a look at the kill switches holds. It begins when the intent is sent to the ledger, before they are read."""

Connect = Callable[[Connector], ToolConnector]


class Execution:
    """Dispatches cleared calls."""

    def __init__(self, connect: Connect, ledger: Ledger, clock: Clock, *, lease_grace_ms: int) -> None:
        self._connect = connect
        self._ledger = ledger
        self._clock = clock
        self._lease_grace_ms = lease_grace_ms

    def lease_ms(self, clearance: Clearance) -> int:
        """How long the intent belongs to this process: the tool's deadline, and time to settle."""
        return clearance.attempt.call.tool.contract.deadline_ms + self._lease_grace_ms

    async def run(self, clearance: Clearance, intent: Intended, *, intended_at: float) -> Outcome:
        """Cause the effect once. `intended_at` is the monotonic time just before the intent was sent to the ledger."""
        call = clearance.attempt.call
        contract = call.tool.contract
        if self._clock.monotonic() - intended_at > FRESH_SECONDS:
            stopped = await self._stopped(call)
            if stopped:
                return Outcome(state=State.NOT_DONE, reason=stopped)
        if self._clock.monotonic() - intended_at > self._lease_grace_ms / 1000:
            # The process was paused: the sweeper of another may hold this intent by now. Nothing was sent.
            return Outcome(state=State.NOT_DONE, reason="lease_over")
        dispatch = Dispatch(
            tenant=call.principal.tenant,
            tool=call.tool,
            canonical=call.canonical,
            effect_id=clearance.attempt.text,
            fence=intent.fence,
            deadline_at_ms=self._clock.now_ms() + contract.deadline_ms,
            correlation=call.correlation or clearance.attempt.text,
            resolved=clearance.gathered.resolved,
        )
        return await self._connect(contract.connector).execute(dispatch)

    async def _stopped(self, call: Call) -> str:
        """Why the call is not sent now; empty: no switch stands against it. Doubt refuses: nothing was sent yet."""
        switches = kill_switches(call)
        if not switches:
            return ""
        try:
            seen = await self._ledger.look(Look(tenant=call.principal.tenant, kills=switches))
        except LedgerUnavailable:
            return "ledger_unavailable"
        return KILLED if seen.is_stopped else ""

    async def view(self, clearance: Clearance) -> Mapping[str, Any]:
        """What a read tool shows. Raises `Unavailable`."""
        call = clearance.attempt.call
        view = await self._connect(call.tool.contract.connector).view(call.principal.tenant, call.tool, call.arguments)
        try:
            call.tool.result.check(view)
        except ContractViolation as error:
            raise Unavailable("source_unreachable", "the view came in another shape than declared") from error
        return view
