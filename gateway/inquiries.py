"""What became of a call, for whoever may know: its state, its entries, what it waits for, its answer.

Agents see their own calls; people with a role see their tenant's. Another tenant's call and an unknown one are the same
404. A refused call has no row and is told from its entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from gateway import statements
from gateway.activation import Active, Policies
from gateway.admission import call_text
from gateway.answers import Answers, Reply, receipt
from gateway.approvals import approval_text
from gateway.clock import Clock, rfc3339
from gateway.errors import Conflict, NotFound
from gateway.identity import Principal, PrincipalKind
from gateway.ledger import FullRow, Placed, State
from gateway.redaction import Redactor
from gateway.storage.records import Records

POLL_SECONDS = 0.2  # Approvals arrive at the pace of people.
WAITING_MAX = 32  # Waiting reads the database; beyond so many at once the answer comes without waiting.
REMARKS_MAX = 20  # Of one principal on one call: a conversation; more of them would be a log of its own.
_TELLING = ("REFUSED", "READ", "DRY_RUN")
_MOVING = (State.PARKED, State.EXECUTING, State.IN_DOUBT)


class Inquiries:
    """Answers questions about calls."""

    def __init__(
        self, *, records: Records, policies: Policies, answers: Answers, redactor: Redactor, clock: Clock
    ) -> None:
        self._records = records
        self._policies = policies
        self._answers = answers
        self._redactor = redactor
        self._clock = clock
        self._waiting = 0

    async def call(self, principal: Principal, call_id: UUID, *, wait_seconds: int = 0) -> Reply:
        """200: everything about one call. With `wait_seconds`, when it moved or an approval came, or then anyway."""
        tenant = principal.tenant
        row = await self._records.call(tenant, call_id)
        if row is not None:
            _require_visible(principal, row.row.principal)
            row = await self._moved(row, wait_seconds) if wait_seconds else row
        placed = await self._records.entries_of(tenant, call_id, row)
        if not placed:
            raise NotFound("unknown_call", "no call of this tenant")
        entries = [orjson.loads(each.body) for each in placed]
        if row is None:
            # What was said of the call later, feedback, says neither whose it was nor what became of it.
            telling = [place for place, entry in enumerate(entries) if entry["kind"] in _TELLING] or [-1]
            told, entry = placed[telling[-1]], entries[telling[-1]]
            _require_visible(principal, str(entry.get("principal", "")))
            document = await self._without_row(tenant, call_id, told, entry, entries)
            return Reply(status=200, document=self._without_numbers(principal, document))
        return Reply(status=200, document=await self._document(principal, row, placed, entries))

    async def require_room(self, principal: Principal, call_id: UUID) -> None:
        """
        Raises `NotFound` as `call` does, and `Conflict` for who has said as much of the call as anybody may.

        Looked at and not held: remarks at the same instant may be a few more, and nothing rests on their number.
        """
        await self.call(principal, call_id)
        if await self._records.remarks(principal.tenant, call_id, principal.reference) >= REMARKS_MAX:
            raise Conflict("feedback_full", f"at most {REMARKS_MAX} remarks of one principal on one call")

    async def calls(self, principal: Principal, *, state: str | None, before_ms: int | None) -> Reply:
        """200: a page of calls, newest first; agents see their own."""
        own = principal.reference if principal.kind is PrincipalKind.AGENT or not principal.roles else None
        found = await self._records.calls(principal.tenant, state=state, principal=own, before_ms=before_ms)
        return Reply(status=200, document={"calls": [_summary(row) for row in found]})

    async def _moved(self, row: FullRow, wait_seconds: int) -> FullRow:
        tenant, call_id = row.row.tenant, row.row.call_id
        before = (row.state, len(await self._records.approvals(tenant, call_id)))
        until = self._clock.monotonic() + (wait_seconds if self._waiting < WAITING_MAX else 0)
        now, current = before, row
        self._waiting += 1
        try:
            while now == before and current.state in _MOVING and self._clock.monotonic() < until:
                await asyncio.sleep(POLL_SECONDS)
                current = await self._records.call(tenant, call_id) or current
                now = (current.state, len(await self._records.approvals(tenant, call_id)))
        finally:
            self._waiting -= 1
        return current

    async def _document(
        self, principal: Principal, row: FullRow, placed: Sequence[Placed], entries: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        active = self._policies.active(row.row.tenant)
        tool = active.tools.get(row.row.tool)
        arguments = orjson.loads(row.row.request)["arguments"]
        if row.row.principal != principal.reference:
            # Without the contract nobody knows who may see what.
            shown = tool and self._redactor.show(tool.contract, tool.contract.arguments, arguments, principal)
            arguments = shown or {}
        document: dict[str, Any] = {**_summary(row), "arguments": arguments}
        if row.answer is not None and row.state is not State.EXECUTING:
            answer = orjson.loads(row.answer)
            if tool is None:
                answer.pop("result", None)
                answer.pop("invariant_checks", None)
            document |= answer if tool is None else self._answers.shown(tool.contract, principal, answer)
        if row.state is State.PARKED:
            document = _to_sign(document, row, active)
        approvals = await self._records.approvals(row.row.tenant, row.row.call_id)
        document["approvals"] = [
            {
                "approval": approval_text(each.approval_id),
                "person": each.person,
                "verdict": each.verdict,
                "roles": list(each.roles),
                "not_after": rfc3339(each.not_after_ms),
            }
            for each in approvals
        ]
        document["entries"] = [
            {"seq": entry["seq"], "kind": entry["kind"], "at_ms": entry["at_ms"]} for entry in entries
        ]
        return {**document, "status": row.state.value, "receipt": receipt(placed[-1])}

    def _without_numbers(self, principal: Principal, document: dict[str, Any]) -> dict[str, Any]:
        """Of a tool that is gone nobody knows who may see what, so nothing that depends on it is shown."""
        tool = self._policies.active(principal.tenant).tools.get(str(document["tool"]))
        if tool is None:
            return {**document, "invariant_checks": []}
        return self._redactor.told(tool.contract, principal, document)

    async def _without_row(
        self, tenant: str, call_id: UUID, told: Placed, entry: dict[str, Any], entries: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """A refused call, a read or a dry run, from its entry."""
        packet = await self._records.payload(tenant, told.seq) or {}
        verdict = str(entry.get("verdict", ""))
        rules = [dict(zip(("engine", "id"), str(rule).split(":", 1), strict=False)) for rule in entry.get("rules", [])]
        return {
            "call": call_text(call_id),
            "status": _status_of(entry),
            "verdict": verdict,
            "tool": entry.get("tool", ""),
            "principal": entry.get("principal", ""),
            "reason": entry.get("reason", ""),
            "rules": packet.get("decision", {}).get("rules", rules),
            "invariant_checks": packet.get("checks", entry.get("checks", [])),
            "entry": told.seq,
            "entries": [{"seq": each["seq"], "kind": each["kind"], "at_ms": each["at_ms"]} for each in entries],
            "receipt": receipt(told),
        }


def _status_of(entry: Mapping[str, Any]) -> str:
    """The state where there is one. A light entry says what was decided and not what was shown."""
    match entry["kind"]:
        case "DRY_RUN":
            return "dry_run"
        case "READ" if entry.get("verdict") == "permit":
            return "read"
        case _:
            return str(entry.get("state", State.REFUSED.value))


def _to_sign(told: Mapping[str, Any], row: FullRow, active: Active) -> dict[str, Any]:
    """What was told of a parked call with the statement as it would be signed now, or that there is none to sign."""
    rest = {name: value for name, value in told.items() if name != "statement"}
    current = statements.current(row, active)
    return {**rest, "present_again": True} if current is None else {**rest, "statement": current}


def _require_visible(principal: Principal, requester: str) -> None:
    is_insider = principal.kind is PrincipalKind.PERSON and bool(principal.roles)
    if requester != principal.reference and not is_insider:
        raise NotFound("unknown_call", "no call of this tenant")


def _summary(row: FullRow) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "call": call_text(row.row.call_id),
        "status": row.state.value,
        "tool": row.row.tool,
        "principal": row.row.principal,
        "created_at": rfc3339(row.created_at_ms),
    }
    if row.row.correlation:
        summary["correlation_id"] = row.row.correlation
    if row.state is State.PARKED and row.expires_at_ms is not None:
        summary["expires_at"] = rfc3339(row.expires_at_ms)
    return summary
