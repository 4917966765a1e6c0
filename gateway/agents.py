"""Agents as people see them: how far each may go alone with what, since when and why, and what counts against it now.

An agent exists in a tenant once a level was set or anything counted there; before that, as in any other tenant, there
is nothing to show. An agent sees itself, people with a role see their tenant's.
"""

from __future__ import annotations

from typing import Any

from gateway.activation import Policies
from gateway.answers import Reply
from gateway.clock import Clock, rfc3339
from gateway.errors import Denied, NotFound
from gateway.identity import Principal, PrincipalKind
from gateway.storage import standings
from gateway.storage.connections import Cursor
from gateway.storage.desk import Desk
from policies.levels import Standing
from proofs.shapes import NAME


class Agents:
    """Answers questions about agents."""

    def __init__(self, desk: Desk, policies: Policies, clock: Clock) -> None:
        self._desk = desk
        self._policies = policies
        self._clock = clock

    async def all(self, principal: Principal, after: str) -> Reply:
        """200: a page of the tenant's agents, by name, each with its levels."""
        tenant = _people(principal)

        def work(cursor: Cursor) -> list[dict[str, Any]]:
            names = standings.known(cursor, tenant, after)
            found = standings.read(cursor, tenant, names)
            return [_shown(name, found[name]) for name in names]

        return Reply(status=200, document={"agents": await self._desk.ask([tenant], work)})

    async def one(self, principal: Principal, agent: str) -> Reply:
        """200: one agent, with what counts against it by each rule that could still lower it."""
        is_itself = principal.kind is PrincipalKind.AGENT and principal.id == agent
        if principal.kind is PrincipalKind.AGENT and not is_itself:
            raise NotFound("unknown_agent", "no such agent in this tenant")
        tenant = principal.tenant if is_itself else _people(principal)
        if not NAME.fullmatch(agent):
            raise NotFound("unknown_agent", "no such agent in this tenant")

        def work(cursor: Cursor) -> tuple[Standing, list[tuple[str, str, int, int]]]:
            return standings.read(cursor, tenant, [agent])[agent], standings.strikes(cursor, tenant, agent)

        standing, strikes = await self._desk.ask([tenant], work)
        if not (standing.sets or standing.lowerings or strikes or is_itself):
            raise NotFound("unknown_agent", "no such agent in this tenant")
        document = {**_shown(agent, standing), "counted": self._counted(tenant, standing, strikes)}
        return Reply(status=200, document=document)

    def _counted(
        self, tenant: str, standing: Standing, strikes: list[tuple[str, str, int, int]]
    ) -> list[dict[str, Any]]:
        now_ms, counted = self._clock.now_ms(), []
        for rule in self._policies.active(tenant).bundle.autonomy:
            after_ms = now_ms - rule.window_seconds * 1000
            for action in sorted({action for name, action, _, _ in strikes if name == rule.id}):
                since = standing.since(action)
                entries = [
                    seq
                    for name, what, seq, at_ms in strikes
                    if (name, what) == (rule.id, action) and seq > since and at_ms > after_ms
                ]
                if entries and standing.current(action).level > rule.to:
                    counted.append(
                        {
                            "rule": rule.id,
                            "action": action,
                            "count": len(entries),
                            "times": rule.times,
                            "within_seconds": rule.window_seconds,
                            "to": rule.to,
                            "newest": entries[-1],
                        }
                    )
        return counted


def _people(principal: Principal) -> str:
    """The tenant of a person with a role."""
    if principal.kind is not PrincipalKind.PERSON:
        raise Denied("people_only", "an agent sees itself: GET /v1/agents/{agent}")
    if not principal.roles:
        raise Denied("role_missing", "expected any role of the tenant")
    return principal.tenant


def _shown(agent: str, standing: Standing) -> dict[str, Any]:
    """`*` is what every action has that is not named."""
    actions = []
    for action in standing.actions():
        current = standing.own(action)
        shown: dict[str, Any] = {"action": action, "level": current.level, "by": "rule" if current.rule else "persons"}
        if current.rule:
            shown["rule"] = current.rule
        if current.seq:
            shown |= {"entry": current.seq, "since": rfc3339(current.at_ms)}
        else:
            shown["by"] = "default"
        actions.append(shown)
    return {"agent": agent, "actions": actions}
