"""What waits for persons, as an approver can take it in: grouped by who asks and for which tool, each group capped.

One principal that floods the approvers fills its own groups and hides nobody else's. People with a role see their
tenant's calls, everybody else their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from gateway.activation import Policies
from gateway.admission import call_text
from gateway.answers import Reply
from gateway.clock import rfc3339
from gateway.identity import Principal, PrincipalKind
from gateway.ledger import FullRow
from gateway.redaction import Redactor
from gateway.storage.desk import Desk
from gateway.storage.waiting import Group, waiting
from gateway.tools import PreparedTool
from tool_registry.contracts import Contract, Kind

GROUPS_MAX = 200  # The longest waiting come first; beyond so many it is no longer a list for a person.
SHOWN_MAX = 5  # Calls of one group; `GET /v1/calls?state=parked` has them all.
_AMOUNT = "_cents"  # Money in minor units: units come last in a name.


class WaitingRoom:
    """Shows what waits."""

    def __init__(self, *, desk: Desk, policies: Policies, redactor: Redactor) -> None:
        self._desk = desk
        self._policies = policies
        self._redactor = redactor

    async def groups(self, principal: Principal) -> Reply:
        """200: the groups, the longest waiting first, with how many calls and groups there are in all."""
        tools = self._policies.active(principal.tenant).tools
        amounts = [(name, amount) for name, tool in tools.items() for amount in self._amounts(tool.contract, principal)]
        own = principal.reference if principal.kind is PrincipalKind.AGENT or not principal.roles else None
        look = partial(
            waiting,
            tenant=principal.tenant,
            principal=own,
            amounts=amounts,
            groups_max=GROUPS_MAX,
            shown_max=SHOWN_MAX,
        )
        found = await self._desk.ask([principal.tenant], look)
        document = {
            "calls": found.calls,
            "groups_in_all": found.groups,
            "groups": [self._group(each, tools.get(each.tool), principal) for each in found.first],
        }
        return Reply(status=200, document=document)

    def _group(self, group: Group, tool: PreparedTool | None, viewer: Principal) -> dict[str, Any]:
        return {
            "principal": group.principal,
            "tool": group.tool,
            "calls": group.calls,
            "oldest_at": rfc3339(group.oldest_ms),
            "newest_at": rfc3339(group.newest_ms),
            "first_expires_at": rfc3339(group.expires_ms),
            **({"totals": dict(group.totals)} if group.totals else {}),
            "oldest": [self._call(each, tool, viewer) for each in group.shown],
        }

    def _call(self, row: FullRow, tool: PreparedTool | None, viewer: Principal) -> dict[str, Any]:
        arguments: Mapping[str, Any] = orjson.loads(row.row.request)["arguments"]
        if row.row.principal != viewer.reference:
            # Of a tool that is gone nobody knows who may see what.
            shown = tool and self._redactor.show(tool.contract, tool.contract.arguments, arguments, viewer)
            arguments = shown or {}
        told = orjson.loads(row.answer or b"{}")
        return {
            "call": call_text(row.row.call_id),
            "arguments": arguments,
            "needs": told.get("needs", []),
            "created_at": rfc3339(row.created_at_ms),
            "expires_at": rfc3339(row.expires_at_ms or 0),
        }

    def _amounts(self, contract: Contract, viewer: Principal) -> list[str]:
        """The arguments whose sum says something, and says it to this reader."""
        visible = self._redactor.visible(contract, viewer)
        return [
            each.name
            for each in contract.arguments
            if each.kind is Kind.INTEGER and each.name.endswith(_AMOUNT) and each.label in visible
        ]
