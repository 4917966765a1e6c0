"""One call on its way through the gates, with the identity that the ledger knows it by."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from msgspec import Struct

from gateway.activation import Active
from gateway.admission import Call, call_text
from gateway.approvals import Presented, commitment
from gateway.encoding import encode
from gateway.identity import Principal
from gateway.ledger import CallRow, Close, FullRow


class Attempt(Struct, frozen=True, kw_only=True):
    """A call that holds its claim. A second attempt at a parked or undone call keeps id and salt of the first."""

    call: Call
    active: Active
    call_id: UUID
    call_salt: bytes
    text: str
    """The call id as clients see it."""
    named: Mapping[str, Any]
    """The members by which every entry names the call (see `subject`)."""
    held: FullRow | None
    editors: tuple[str, ...]
    """Persons and agents whose earlier version of this call was edited into it."""
    ends: Close | None
    """The version that this call edits: it ends when this one is intended or parked, in the same transaction."""
    keep_until_ms: int

    @property
    def presented(self) -> Presented | None:
        """What presented approvals are measured against; None for a call that was never parked."""
        if self.held is None:
            return None
        return Presented(
            call_id=self.call_id, call_salt=self.call_salt, editors=self.editors, bundle=self.active.bundle_digest
        )

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
            requester=_requester(call.principal, self.editors) if self.editors else _alone(call.principal),
            keep_until_ms=self.keep_until_ms,
        )


def begin(
    call: Call,
    active: Active,
    *,
    call_id: UUID,
    call_salt: bytes,
    held: FullRow | None = None,
    editors: tuple[str, ...] = (),
    ends: Close | None = None,
    keep_until_ms: int = 0,
) -> Attempt:
    """An attempt at a call, under the id and salt that the ledger has for it or will have."""
    text = call_text(call_id)
    return Attempt(
        call=call,
        active=active,
        call_id=call_id,
        call_salt=call_salt,
        text=text,
        named=subject(call, text, call_salt),
        held=held,
        editors=editors,
        ends=ends,
        keep_until_ms=keep_until_ms,
    )


def subject(call: Call, text: str, call_salt: bytes) -> dict[str, Any]:
    """Who asked for what: the members that every entry about a call shares."""
    contract = call.tool.contract
    return {
        "call": text,
        "call_digest": commitment(call.digest, call_salt),
        "tool": contract.name,
        "tool_digest": contract.digest,
        "principal": call.principal.reference,
    }


def _requester(principal: Principal, editors: tuple[str, ...]) -> bytes:
    """Who may not approve, as the ledger keeps it."""
    return encode({**principal.document(), "editors": list(editors)})


@lru_cache(maxsize=4096)  # Verified tokens are remembered too; nearly every call is nobody's edit.
def _alone(principal: Principal) -> bytes:
    return _requester(principal, ())
