"""Agents as people see them: how far each may go alone with what, since when and why, and what counts against it now.

An agent exists in a tenant once a level was set or anything counted there; before that, as in any other tenant, there
is nothing to show. An agent sees itself, people with a role see their tenant's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.activation import Active, Policies
from gateway.answers import Reply
from gateway.clock import Clock, rfc3339
from gateway.errors import Denied, NotFound
from gateway.identity import Principal, PrincipalKind
from gateway.storage import standings
from gateway.storage.connections import Cursor
from gateway.storage.desk import Desk
from gateway.storage.standings import Count
from policies.autonomy import SURGES
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

        active, now_ms = self._policies.active(tenant), self._clock.now_ms()

        def work(cursor: Cursor) -> dict[str, Any] | None:
            standing = standings.read(cursor, tenant, [agent])[agent]
            if not (standing.sets or standing.lowerings or is_itself or standings.is_struck(cursor, tenant, agent)):
                return None
            counts = list(_counts(active, agent, standing, now_ms))
            counted = [_counted(*each) for each in standings.strikes(cursor, tenant, agent, counts)]
            return {**_shown(agent, standing), "counted": counted}

        document = await self._desk.ask([tenant], work)
        if document is None:
            raise NotFound("unknown_agent", "no such agent in this tenant")
        return Reply(status=200, document=document)


def _counts(active: Active, agent: str, standing: Standing, now_ms: int) -> Iterator[Count]:
    """What the rules in force count of the agent, where they could still lower it."""
    for rule in active.bundle.autonomy:
        for action in sorted({rule.action(tool) for tool in active.tools if rule.concerns(agent, tool)}):
            if rule.event not in SURGES and standing.current(action).level > rule.to:
                yield Count(
                    rule=rule,
                    action=action,
                    since=standing.since(action),
                    after_ms=now_ms - rule.window_seconds * 1000,
                )


def _counted(count: Count, strikes: int, newest: int) -> dict[str, Any]:
    return {
        "rule": count.rule.id,
        "action": count.action,
        "count": strikes,
        "times": count.rule.times,
        "within_seconds": count.rule.window_seconds,
        "to": count.rule.to,
        "newest": newest,
    }


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
