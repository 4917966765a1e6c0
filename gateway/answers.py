"""Answer: what a caller takes away, redacted by the rights of this moment and carrying a receipt.

The ledger keeps answers whole; every one that leaves, first time or replayed, passes `Redactor.show` here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from msgspec import Struct, field

from gateway.activation import Active
from gateway.admission import Call, call_text
from gateway.approvals import commitment
from gateway.clearance import Clearance, Refusal, Ruling, Wanting
from gateway.clock import rfc3339
from gateway.identity import Principal
from gateway.ledger import CallRow, Placed, Settled
from gateway.redaction import Redactor
from proofs import receipts
from tool_registry.contracts import Contract


class Reply(Struct, frozen=True, kw_only=True):
    """An answer other than a fault: status, JSON document, and headers beyond the usual."""

    status: int
    document: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    """The document encoded already, where the ledger had it so; `document` then says no more than which call it is."""


def receipt(placed: Placed) -> orjson.Fragment:
    """The receipt of an entry: its bytes, its path, the signed checkpoint of its batch."""
    return orjson.Fragment(_receipt(placed))


def _receipt(placed: Placed) -> bytes:
    checkpoint = orjson.dumps(placed.checkpoint, option=orjson.OPT_SORT_KEYS)
    return receipts.issue_bytes(placed.body, placed.path, checkpoint, payload_salt=placed.salt)


class Answers:
    """Builds answers."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def settled(self, call: Call, text: str, settled: Settled, result: Mapping[str, Any] | None) -> Reply:
        """
        200: executed, or definitely refused by the tool (`failed`).

        `result` is what the tool answered; None where that is not known here, as with an act of governance.
        """
        contract = call.tool.contract
        shown = result is not None and self._redactor.show(contract, contract.result, result, call.principal) is result
        if not shown or not self._redactor.sees_all(contract, call.principal):
            return self.kept(contract, call.principal, settled.answer, settled.placed)
        # Nothing is hidden from this caller: what the ledger keeps is the answer, and the receipt is its last member.
        content = b'%b,"receipt":%b}' % (settled.answer[:-1], _receipt(settled.placed))
        return Reply(status=200, document={"call": text}, content=content)

    def kept(
        self, contract: Contract, viewer: Principal, answer: bytes, placed: Placed, *, replayed: bool = False
    ) -> Reply:
        """A stored answer for whoever reads it now."""
        document = self.shown(contract, viewer, orjson.loads(answer))
        headers = {"Idempotency-Replayed": "true"} if replayed else {}
        return Reply(status=200, document={**document, "receipt": receipt(placed)}, headers=headers)

    def shown(self, contract: Contract, viewer: Principal, document: dict[str, Any]) -> dict[str, Any]:
        """A stored document with its result and its checks redacted for the viewer."""
        if isinstance(document.get("result"), dict):
            document["result"] = self._redactor.show(contract, contract.result, document["result"], viewer)
        return self._redactor.told(contract, viewer, document)

    def read(self, cleared: Clearance, result: Mapping[str, Any]) -> Reply:
        """200: what a read tool shows."""
        call = cleared.attempt.call
        document = {
            "call": cleared.attempt.text,
            "status": "executed",
            "result": self._redactor.show(call.tool.contract, call.tool.contract.result, result, call.principal),
            **decided(cleared.ruling, cleared.attempt.active),
        }
        return Reply(status=200, document=self._redactor.told(call.tool.contract, call.principal, document))

    def dry_run(self, call: Call, cleared: Clearance | Wanting | Refusal, active: Active) -> Reply:
        """200: what would have become of the call. Nothing was reserved, nothing runs."""
        document: dict[str, Any] = {"status": "dry_run"}
        match cleared:
            case Clearance(ruling=ruling):
                document |= {"verdict": "permit", **decided(ruling, active)}
            case Wanting(ruling=ruling):
                document |= {"verdict": "needs_approval", "needs": cleared.document(), **ruling.refused_document()}
            case Refusal(ruling=ruling, reason=reason):
                document |= {"verdict": "deny", "reason": reason, **ruling.refused_document()}
        document = self._redactor.told(call.tool.contract, call.principal, document)
        return Reply(status=200, document=document, headers={"Preference-Applied": "dry-run"})

    def parked_body(self, row: CallRow, call: Call, active: Active, wanting: Wanting, expires_at_ms: int) -> bytes:
        """The 202 of a parked call, with all of the statement that is not the approver's own to say."""
        document = {
            "call": call_text(row.call_id),
            "status": "parked",
            "needs": wanting.document(),
            "persons": wanting.needs.persons,
            "statement": {
                "call": commitment(call.digest, row.call_salt),
                "tool": call.tool.contract.digest,
                "bundle": active.bundle_digest,
                "requester": call.principal.reference,
                "not_after": rfc3339(expires_at_ms),
            },
            "expires_at": rfc3339(expires_at_ms),
            **wanting.ruling.refused_document(),
        }
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)

    def parked(self, call: Call, body: bytes, placed: Placed | None) -> Reply:
        """202: the same call and key again, with approvals, runs all stages on fresh facts."""
        document = self._redactor.told(call.tool.contract, call.principal, orjson.loads(body))
        if placed is not None:
            document |= {"entry": placed.seq, "receipt": receipt(placed)}
        return Reply(status=202, document=document, headers={"Location": f"/v1/calls/{document['call']}"})


def decided(ruling: Ruling, active: Active) -> dict[str, Any]:
    """`decision` and `invariant_checks` as an answer shows them."""
    return {
        "decision": {
            "rules": ruling.rules,
            "obligations": ruling.obligations,
            "bundle": active.bundle_digest,
            "revision": active.revision,
        },
        "invariant_checks": ruling.invariant_checks,
    }
