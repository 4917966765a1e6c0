"""Tools as a client may see them: filtered by what it may ask for, with JSON Schemas of what goes in and comes out."""

from __future__ import annotations

from typing import Any

from gateway.activation import Policies
from gateway.answers import Reply
from gateway.errors import NotFound
from gateway.identity import Principal, PrincipalKind
from tool_registry import schemas
from tool_registry.contracts import Contract


class Cataloguing:
    """Lists tools."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def tools(self, principal: Principal) -> Reply:
        """200: the tools of the tenant; an agent sees those of its registration."""
        contracts = [tool.contract for _, tool in sorted(self._policies.active(principal.tenant).tools.items())]
        return Reply(
            status=200, document={"tools": [_summary(each) for each in contracts if _is_shown(each, principal)]}
        )

    def tool(self, principal: Principal, name: str) -> Reply:
        """200: one tool, whole."""
        tool = self._policies.active(principal.tenant).tools.get(name)
        if tool is None or not _is_shown(tool.contract, principal):
            raise NotFound("unknown_tool", "GET /v1/tools lists the tools of this tenant")
        contract = tool.contract
        return Reply(
            status=200,
            document={
                **_summary(contract),
                "arguments": schemas.of_arguments(contract),
                "result": schemas.of_result(contract),
                "reason_codes": list(contract.reason_codes),
                "risk": contract.risk,
                "undo": contract.undo.tool if contract.undo else None,
                "deadline_ms": contract.deadline_ms,
            },
        )


def _is_shown(contract: Contract, principal: Principal) -> bool:
    return principal.kind is PrincipalKind.PERSON or contract.name in principal.tools


def _summary(contract: Contract) -> dict[str, Any]:
    return {
        "name": contract.name,
        "title": contract.title,
        "version": contract.version,
        "digest": contract.digest,
        "family": contract.family.value,
        "effect": contract.effect.value,
        "approver": contract.approver,
    }
