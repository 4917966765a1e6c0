"""What an agent's own acts count for: the autonomy rules of the bundle in force, applied to what an entry records.

An entry carries its strikes to the ledger, which counts them and lowers the agent in the same transaction. Only the
principal that a verified token names is ever struck, by entries of its own calls: nobody lowers somebody else's agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from msgspec import Struct

from gateway.activation import Active, Policies
from gateway.admission import Call
from gateway.encoding import encode
from gateway.errors import Unavailable
from gateway.identity import Principal, PrincipalKind
from gateway.ledger import Budget, Draft, Level, Lowered, Strike
from policies import levels
from policies.autonomy import SURGES, AutonomyRule, Event

_AGENT = f"{PrincipalKind.AGENT.value}/"


class Counting(Struct, frozen=True, kw_only=True):
    """The rules that count what one agent does with one tool."""

    tenant: str
    agent: str
    tool: str
    """Empty where the attempt did not come as far as to name one."""
    rules: tuple[AutonomyRule, ...]
    reference: Mapping[str, Any]
    """The bundle that they are of, as entries name it."""

    def strikes(self, event: Event, reason: str = "") -> tuple[Strike, ...]:
        """What an entry about that event counts for."""
        return tuple(
            Strike(
                agent=self.agent,
                action=rule.action(self.tool),
                rule=rule.id,
                to=rule.to,
                times=rule.times,
                window_ms=rule.window_seconds * 1000,
                entry=partial(self._entry, rule),
            )
            for rule in self.rules
            if rule.event is event and (event is not Event.DENIED or reason in rule.reasons)
        )

    def surge(self, rule: AutonomyRule, since: int) -> Strike:
        """The strike of a call that makes a surge of what was counted since then."""
        return Strike(
            agent=self.agent,
            action=self.tool,
            rule=rule.id,
            to=rule.to,
            times=0,
            since=since,
            entry=partial(self._entry, rule),
        )

    def _entry(self, rule: AutonomyRule, lowered: Lowered) -> Draft:
        """LOWERED: which rule, by which entries, from where to where."""
        members = {
            **self.reference,
            "principal": f"{_AGENT}{self.agent}",
            "action": rule.action(self.tool),
            "rule": rule.id,
            "counts": rule.event.value,
            "within_seconds": rule.window_seconds,
            "events": list(lowered.events),
            "former": lowered.former,
            "level": lowered.level,
        }
        return Draft(tenant=self.tenant, kind="LOWERED", members=members)


def counting(active: Active, tenant: str, principal: str, tool: str) -> Counting | None:
    """The rules about what that principal does with that tool; None where there are none, and for people."""
    if not principal.startswith(_AGENT):
        return None
    agent = principal.removeprefix(_AGENT)
    rules = tuple(rule for rule in active.bundle.autonomy if rule.concerns(agent, tool))
    if not rules:
        return None
    return Counting(tenant=tenant, agent=agent, tool=tool, rules=rules, reference=active.reference)


def denied(active: Active, tenant: str, principal: str, tool: str, reason: str) -> tuple[Strike, ...]:
    """What a refusal counts for."""
    found = counting(active, tenant, principal, tool)
    return () if found is None else found.strikes(Event.DENIED, reason)


def at_the_door(policies: Policies, principal: Principal, tool: str, reason: str) -> tuple[Strike, ...]:
    """The same of a request that was refused before any other entry recorded it."""
    try:
        active = policies.active(principal.tenant)
    except Unavailable:
        return ()
    return denied(active, principal.tenant, principal.reference, tool, reason)


class Surge(NamedTuple):
    """One rule's counters for one call: of the window that it would run in, and of the one before."""

    rule: AutonomyRule
    amount: int
    key: bytes
    before: bytes

    def budget(self, reading: int, before: int) -> Budget | None:
        """What the call reserves; None when it would make a surge."""
        ceiling = self.rule.ceiling(before)
        if reading + self.amount > ceiling:
            return None
        # Soft: reached by others meanwhile, the call is decided anew, and finds the surge itself.
        return Budget(key=self.key, name=f"autonomy:{self.rule.id}", amount=self.amount, ceiling=ceiling, soft=True)


def surges(call: Call, found: Counting | None, *, since: int, now_ms: int) -> tuple[Surge, ...]:
    """The counters that a write of an agent goes by; after its level was set anew they are others, and at nothing."""
    if found is None or not call.tool.is_write:
        return ()
    counted = []
    for rule in found.rules:
        amount = rule.amount(call.arguments) if rule.event in SURGES else 0
        if amount > 0:
            window = rule.window(now_ms)
            key, before = (_key(found, rule, since, number) for number in (window, window - 1))
            counted.append(Surge(rule, amount, key, before))
    return tuple(counted)


def level_of(principal: Principal, seen: Level | None) -> int:
    """The level that a question carries: 0 for people, who are not subject to it."""
    if principal.kind is not PrincipalKind.AGENT:
        return 0
    return levels.NEW if seen is None else seen.level


def _key(found: Counting, rule: AutonomyRule, since: int, window: int) -> bytes:
    """Six members, where a limit's key has five: no counter of a tool is ever met."""
    place = [found.tenant, found.tool, f"autonomy:{rule.id}", found.agent, window, since]
    return sha256(encode(place)).digest()
