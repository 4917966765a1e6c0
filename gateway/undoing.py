"""Undo: a call of its own to the undo tool, from the state that was recorded before the first one ran.

The new call takes the whole line: its principal is whoever asks for it, its facts are fresh, its approvals its own.
Whoever asks is shown its arguments whole, so it takes nothing of the first call that is hidden from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from gateway.activation import Policies
from gateway.admission import parse
from gateway.answers import Reply
from gateway.encoding import encode
from gateway.errors import BadRequest, Conflict, Denied, NotFound
from gateway.identity import Principal
from gateway.inquiries import Inquiries
from gateway.ledger import FullRow, State
from gateway.pipeline import Pipeline
from gateway.redaction import HIDDEN_IN_RECORDS, Redactor
from gateway.requests import Incoming
from gateway.storage.records import Records
from gateway.tools import referenced
from tool_registry.contracts import Contract
from tool_registry.soundness import is_reference, source_of

UNDO_REASON = "undo"
_BODY = {"reason_code", "approvals"}


class Undoing:
    """Builds undo calls."""

    def __init__(
        self, pipeline: Pipeline, inquiries: Inquiries, records: Records, policies: Policies, redactor: Redactor
    ) -> None:
        self._pipeline = pipeline
        self._inquiries = inquiries
        self._records = records
        self._policies = policies
        self._redactor = redactor

    async def undo(self, incoming: Incoming, principal: Principal, call_id: UUID) -> Reply:
        """
        The answer of the undo call.

        Raises as a call does, `NotFound`, `Conflict` (`not_undoable`) and `Denied` (`undo_hidden`).
        """
        given = parse(await incoming.body() or b"{}")
        await self._inquiries.call(principal, call_id)  # 404 for what the principal may not see
        row = await self._records.call(principal.tenant, call_id)
        if row is None or row.state is not State.EXECUTED:
            raise Conflict("not_undoable", "only an executed call can be undone")
        tools = self._policies.active(principal.tenant).tools
        contract = tools[row.row.tool].contract
        if contract.undo is None or contract.undo.tool not in tools:
            raise Conflict("not_undoable", "the tool declares no undo")
        incoming.tool = contract.undo.tool  # From here on a refusal is one of a call to that tool.
        if not set(given) <= _BODY:
            raise BadRequest("unknown_member", "expected only reason_code and approvals", status=422)
        taken = [str(each) for each in contract.undo.arguments.values() if is_reference(each)]
        if not all(self._is_seen(principal, row, contract, each) for each in taken):
            raise Denied("undo_hidden", "the undo takes a value of the call that is not shown to you")
        reasons = tools[contract.undo.tool].contract.reason_codes
        body = {
            "tool": contract.undo.tool,
            "arguments": await self._arguments(row, contract.undo.arguments),
            "reason_code": given.get("reason_code", UNDO_REASON if UNDO_REASON in reasons else reasons[0]),
            "approvals": given.get("approvals", []),
        }

        async def built() -> bytes:
            return encode(body)

        return await self._pipeline.call(Incoming(headers=incoming.headers, body=built))

    def _is_seen(self, principal: Principal, row: FullRow, contract: Contract, reference: str) -> bool:
        """Whether whoever asks may see, now, what the undo takes from there. Their own arguments they wrote."""
        source = source_of(contract, reference)
        if source is None:
            return False
        if reference.startswith("arguments.") and row.row.principal == principal.reference:
            return True
        if reference.startswith("facts.") and source.label in HIDDEN_IN_RECORDS:
            return False  # What was recorded before is a token, and no value to put back.
        return source.label in self._redactor.visible(contract, principal)

    async def _arguments(self, row: FullRow, wanted: Mapping[str, Any]) -> dict[str, Any]:
        packet = await self._records.payload(row.row.tenant, row.intent_seq or 0)
        if packet is None:
            raise NotFound("record_erased", "the state before has been erased")
        known = {
            "arguments": orjson.loads(row.row.request)["arguments"],
            "facts": packet["question"]["context"]["facts"],
            "result": orjson.loads(row.answer or b"{}").get("result", {}),
        }
        try:
            return referenced(wanted, known)
        except KeyError as error:
            raise Conflict("not_undoable", "the result that the undo needs is kept no longer") from error
