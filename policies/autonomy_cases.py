"""Cases of autonomy rules: what an agent did, one event after another, and the level that it must be left at.

They are replayed on a model of the ledger that counts as the ledger does: on `levels.Standing`, with one sequence
number for each event and a clock that only the case moves. Each rule is the reason for a lowering in one case at least.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from policies.autonomy import FILE, SURGES, TOOLLESS, AutonomyRule, Event
from policies.errors import PolicyFault
from policies.levels import EVERY, Change, Standing
from proofs import shapes

CASES_MAX = 500
EVENTS_MAX = 5000  # Of one case, those that a `times` stands for among them.
SECONDS_MAX = 400 * 24 * 3600

_CALL = "call"
_EVENTS = frozenset({_CALL, *(event.value for event in Event if event not in SURGES)})
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_WORD = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """The same thing, so many times."""

    event: str
    """An `Event`, or `call`: a write that is about to run."""
    tool: str
    reason: str
    times: int
    every_seconds: int
    """Before each of them."""
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AutonomyCase:
    """What happened, and what must have come of it."""

    name: str
    agent: str
    level: int
    """Set by persons for every action, before anything happened."""
    events: tuple[Happening, ...]
    action: str
    expected_level: int
    expected_rules: tuple[str, ...]
    """Those that lowered, in their order, for whatever action."""


def read_cases(document: Any) -> tuple[AutonomyCase, ...]:
    """The document's member `cases`. Raises `PolicyFault`, or `EvidenceError` for a misshapen one."""
    if not isinstance(document, list) or len(document) > CASES_MAX:
        raise PolicyFault(f"{FILE}: member `cases`: expected a list of at most {CASES_MAX}")
    cases = tuple(_case(each) for each in document)
    if len({case.name for case in cases}) < len(cases):
        raise PolicyFault(f"{FILE}: two cases have one name")
    return cases


def failures(rules: tuple[AutonomyRule, ...], cases: tuple[AutonomyCase, ...]) -> Iterator[str]:
    """Why the cases fail, and which rules lowered in none of them."""
    seen: set[str] = set()
    for case in cases:
        standing = replay(rules, case)
        current, lowered = standing.current(case.action), tuple(each.rule for each in standing.lowerings)
        seen.update(lowered)
        if (current.level, lowered) != (case.expected_level, case.expected_rules):
            yield (
                f"case `{case.name}`: expected L{case.expected_level} by {list(case.expected_rules)}, "
                f"came to L{current.level} by {list(lowered)}"
            )
    for rule in rules:
        if rule.id not in seen:
            yield f"rule `{rule.id}`: lowered in no case"


def replay(rules: tuple[AutonomyRule, ...], case: AutonomyCase) -> Standing:
    """Where the agent stands after everything has happened."""
    ledger = _Ledger(rules, case)
    for happening in case.events:
        for _ in range(happening.times):
            ledger.happens(happening)
    return ledger.standing


@dataclass(slots=True)
class _Ledger:
    rules: tuple[AutonomyRule, ...]
    case: AutonomyCase
    now_ms: int = 0
    lowerings: list[Change] = field(default_factory=list)
    strikes: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    """(rule, action) -> times at which it counted."""
    sums: dict[tuple[str, str, int], int] = field(default_factory=lambda: defaultdict(int))
    """(rule, action, window) -> what was added."""

    @property
    def standing(self) -> Standing:
        return Standing(sets={EVERY: Change(action=EVERY, level=self.case.level, seq=0)}, lowerings=self.lowerings)

    def happens(self, what: Happening) -> None:
        self.now_ms += what.every_seconds * 1000
        # Whatever the case says, no gateway knows the tool of such a refusal.
        tool = "" if what.reason in TOOLLESS else what.tool
        for rule in self.rules:
            if rule.concerns(self.case.agent, tool):
                action = rule.action(tool)
                is_reached = self._surges(rule, action, what) or self._counts(rule, action, what)
                if is_reached and self.standing.current(action).level > rule.to:
                    change = Change(action=action, level=rule.to, seq=len(self.lowerings) + 1, rule=rule.id)
                    self.lowerings.append(change)

    def _counts(self, rule: AutonomyRule, action: str, what: Happening) -> bool:
        if what.event != rule.event.value or (rule.reasons and what.reason not in rule.reasons):
            return False
        strikes = self.strikes[rule.id, action]
        if self.standing.current(action).level > rule.to:
            strikes.append(self.now_ms)
        return sum(at > self.now_ms - rule.window_seconds * 1000 for at in strikes) >= rule.times

    def _surges(self, rule: AutonomyRule, action: str, what: Happening) -> bool:
        if rule.event not in SURGES or what.event != _CALL:
            return False
        window = rule.window(self.now_ms)
        self.sums[rule.id, action, window] += rule.amount(what.arguments)
        return self.sums[rule.id, action, window] > rule.ceiling(self.sums[rule.id, action, window - 1])


def _case(document: Any) -> AutonomyCase:
    members = shapes.members(
        document, required={"name", "events", "expect"}, optional={"agent", "level"}, form="autonomy case"
    )
    expect = shapes.members(members["expect"], required={"action", "level", "rules"}, form="expect")
    events = tuple(_happening(each) for each in shapes.listed(members, "events"))
    if sum(each.times for each in events) > EVENTS_MAX:
        raise PolicyFault(f"{FILE}: a case has more than {EVENTS_MAX} events")
    level = shapes.natural(members, "level") if "level" in members else 3
    return AutonomyCase(
        name=shapes.text(members, "name", _NAME),
        agent=shapes.text(members, "agent", shapes.NAME) if "agent" in members else "agent-1",
        level=level,
        events=events,
        action=shapes.text(expect, "action", _WORD),
        expected_level=shapes.natural(expect, "level"),
        expected_rules=shapes.texts(expect, "rules"),
    )


def _happening(document: Any) -> Happening:
    members = shapes.members(
        document,
        required={"event", "tool"},
        optional={"reason", "times", "every_seconds", "arguments"},
        form="event",
    )
    event = shapes.text(members, "event", _WORD)
    times = shapes.natural(members, "times") if "times" in members else 1
    every_seconds = shapes.natural(members, "every_seconds") if "every_seconds" in members else 0
    if event not in _EVENTS or times > EVENTS_MAX or every_seconds > SECONDS_MAX:
        raise PolicyFault(f"{FILE}: expected `event` one of {', '.join(sorted(_EVENTS))}, `times`, `every_seconds`")
    return Happening(
        event=event,
        tool=shapes.text(members, "tool", _WORD),
        reason=shapes.text(members, "reason", _WORD) if "reason" in members else "",
        times=times,
        every_seconds=every_seconds,
        arguments=shapes.mapping(members, "arguments") if "arguments" in members else {},
    )
