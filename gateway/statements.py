"""Statements: what an approver of a parked call would sign now, whatever was said when the call was parked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.activation import Active
from gateway.approvals import commitment
from gateway.clock import rfc3339
from gateway.ledger import FullRow


def current(row: FullRow, active: Active) -> Mapping[str, Any] | None:
    """
    All of the statement about a parked call, as it would be signed now, that is not the approver's own to say.

    None when the tool is another one than at the call's last presentation: an approval binds the tool's digest as part
    of the call, so the requester presents the call again first.
    """
    tool = active.tools.get(row.row.tool)
    if tool is None or orjson.loads(row.row.request).get("tool_digest") != tool.contract.digest:
        return None
    return {
        "call": commitment(hashlib.sha256(row.row.request).digest(), row.row.call_salt),
        "tool": tool.contract.digest,
        "bundle": active.bundle_digest,
        "requester": row.row.principal,
        "not_after": rfc3339(row.expires_at_ms or 0),
    }
