"""One call on its way through the gates, with the identity that the ledger knows it by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from gateway.activation import Active
from gateway.admission import Call, call_text
from gateway.approvals import Presented
from gateway.encoding import encode
from gateway.ledger import CallRow, Close, FullRow


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A call that holds its claim. A second attempt at a parked or undone call keeps id and salt of the first."""

    call: Call
    active: Active
    call_id: UUID
    call_salt: bytes
    held: FullRow | None
    editors: tuple[str, ...]
    """Persons and agents whose earlier version of this call was edited into it."""
    ends: Close | None = None
    """The version that this call edits: it ends when this one is intended or parked, in the same transaction."""
    keep_until_ms: int

    @cached_property
    def text(self) -> str:
        """The call id as clients see it."""
        return call_text(self.call_id)

    @property
    def presented(self) -> Presented | None:
        """What presented approvals are measured against; None for a call that was never parked."""
        if self.held is None:
            return None
        return Presented(
            call_id=self.call_id, call_salt=self.call_salt, editors=self.editors, bundle=self.active.bundle_digest
        )

    def requester(self) -> dict[str, Any]:
        """Who may not approve, as the ledger keeps it."""
        return {**self.call.principal.document(), "editors": list(self.editors)}

    def row(self) -> CallRow:
        """The call as the ledger keeps it."""
        call = self.call
        return CallRow(
            claim=call.claim,
            tenant=call.principal.tenant,
            call_id=self.call_id,
            principal=call.principal.reference,
            tool=call.tool.contract.name,
            request_digest=call.request_digest,
            request=call.canonical,
            call_salt=self.call_salt,
            correlation=call.correlation,
            requester=encode(self.requester()),
            keep_until_ms=self.keep_until_ms,
        )
