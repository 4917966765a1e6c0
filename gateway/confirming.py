"""Confirming reads: after an effect, the read that a contract names for it looks whether the world agrees.

The look is an entry of its own (CONFIRMED or UNCONFIRMED), beside the call's path: nobody waits for it, and it changes
nothing about what was settled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.admission import call_text
from gateway.attempts import Attempt
from gateway.autonomy import counting
from gateway.clearance import Clearance
from gateway.errors import NotFound, Unavailable
from gateway.execution import Connect
from gateway.ledger import Append, Draft, Ledger, LedgerUnavailable, Settled, State, Strike
from gateway.logs import log
from gateway.redaction import Redactor
from gateway.tools import PreparedTool, referenced
from policies.autonomy import Event
from tool_registry.shapes import ContractViolation

RUNNING_MAX = 64  # Confirming is a courtesy: under load it is left out, counted in the log, and never queued.


class Confirming:
    """Reads back what effects did."""

    def __init__(self, connect: Connect, ledger: Ledger, redactor: Redactor) -> None:
        self._connect = connect
        self._ledger = ledger
        self._redactor = redactor
        self._running: set[asyncio.Task[None]] = set()

    def later(self, cleared: Clearance, settled: Settled) -> None:
        """Confirm an executed call soon, where its contract names a read; facts are those that it was decided on."""
        attempt = cleared.attempt
        confirm = attempt.call.tool.contract.confirm
        read = attempt.active.tools.get(confirm.tool) if confirm else None
        if confirm is None or read is None or settled.state is not State.EXECUTED:
            return
        if len(self._running) >= RUNNING_MAX:
            log().info("confirmation_skipped", call=attempt.text)
            return
        known = {
            "arguments": attempt.call.arguments,
            "facts": {name: reading.values for name, reading in cleared.gathered.facts.items()},
            "result": orjson.loads(settled.answer).get("result", {}),
        }
        wanted = referenced(confirm.arguments, known), referenced(confirm.expects or {}, known)
        task = asyncio.get_running_loop().create_task(self._confirm(attempt, read, *wanted))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Wait for what is under way; used before the ledger closes."""
        await asyncio.gather(*self._running)

    async def _confirm(
        self, attempt: Attempt, read: PreparedTool, arguments: Mapping[str, Any], expected: Mapping[str, Any]
    ) -> None:
        tenant, contract = attempt.call.principal.tenant, read.contract
        payload: dict[str, Any] | None = None
        is_contradicted = False
        try:
            found = await self._connect(contract.connector).view(tenant, read, arguments)
            read.result.check(found)
            payload = {"result": self._redactor.record(contract.result, found, tenant=tenant)}
            is_contradicted = any(found.get(member) != value for member, value in expected.items())
        except NotFound:
            # The source answers, and knows nothing of what the effect is said to have been done to.
            is_contradicted = True
        except (Unavailable, ContractViolation) as error:
            log().warning("confirmation_failed", call=attempt.text, error=error)
        if is_contradicted:
            log().warning("effect_contradicted", call=attempt.text)
        entry = Draft(
            tenant=tenant,
            kind="UNCONFIRMED" if payload is None or is_contradicted else "CONFIRMED",
            call_id=attempt.call_id,
            correlation=attempt.call.correlation,
            members={
                "call": call_text(attempt.call_id),
                "tool": contract.name,
                "tool_digest": contract.digest,
                **({"reason": "contradicted"} if is_contradicted else {}),
            },
            payload=payload,
            subject=attempt.call.tool.subject(attempt.call.arguments),
            strikes=_strikes(attempt) if is_contradicted else (),
        )
        try:
            await self._ledger.commit(Append(entry=entry))
        except LedgerUnavailable:
            log().warning("light_entry_lost", tenant=tenant, kind=entry.kind)


def _strikes(attempt: Attempt) -> tuple[Strike, ...]:
    principal, tool = attempt.call.principal, attempt.call.tool.contract.name
    rules = counting(attempt.active, principal.tenant, principal.reference, tool)
    return () if rules is None else rules.strikes(Event.CONTRADICTED)
