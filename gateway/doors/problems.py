"""Faults as RFC 9457 problem documents, in one place. They never echo what the client sent."""

from __future__ import annotations

from typing import Any

from gateway.errors import Fault

TYPES = "urn:lockgate:problem:"  # An identifier (RFC 9457 §3.1.1); docs/errors.md has a paragraph per reason.


def document(fault: Fault) -> dict[str, Any]:
    """The problem document of a fault."""
    problem: dict[str, Any] = {
        "type": TYPES + fault.reason,
        "title": fault.title,
        "status": fault.status,
        "reason": fault.reason,
    }
    if fault.detail:
        problem["detail"] = fault.detail
    return {**problem, **fault.members}
