"""Autonomy rules: what lowers how far an agent may go alone. A document of the bundle, `autonomy.json`.

A rule counts one kind of event of an agent's own calls and lowers the agent to a level, for the action that the events
are of or for all of its actions. Nothing here raises one: persons do that (`set_autonomy`). Rules of two forms:

*event*  so many denials, rejections, unknown, failed or contradicted effects within so many seconds
*surge*  calls, or an argument summed over them, in one window beyond so many times those of the window before it;
         of one action, and since its level was last set

A bundle without the document has no rules, and nothing is lowered under it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from policies.errors import PolicyFault
from policies.levels import EVERY
from policies.schema import CedarSchema, LongType, RecordType
from proofs import shapes

FILE = "autonomy.json"
RULES_MAX = 64
TIMES_MAX = 200  # The entries counted are named in the entry that lowers; more of them nobody reads.
WINDOW_SECONDS_MAX = 31 * 24 * 3600
AMOUNT_MAX = 2**53 - 1
FACTOR_MAX = 1000
LEVEL_MAX = 2
"""The highest level that a rule may lower to: above L3 there is nobody."""

REASONS = frozenset(
    {
        *("policy_denied", "not_permitted", "invariant_violated", "question_unfit", "fact_missing", "budget_exceeded"),
        *("approval_mismatch", "approval_expired", "approval_void", "approval_used", "edit_not_allowed"),
        *("key_reused", "contract_violated", "reason_code_unknown", "unknown_member", "unknown_tool", "malformed_json"),
        *("outside_profile", "rate_exceeded", "too_many_parked", "undo_hidden"),
    }
)
"""Refusals that an agent brings upon itself. That the gateway, a source or a switch said no counts against nobody."""

TOOLLESS = frozenset({"malformed_json", "outside_profile", "unknown_tool", "rate_exceeded"})
"""Of those, the ones that are told before a tool is known, or of any request: they count for the agent alone."""

_ID = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_SENTENCE = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@unique
class Event(StrEnum):
    """What a rule counts."""

    DENIED = "denied"
    """A call was refused for one of the rule's reasons."""
    REJECTED = "rejected"
    """An approver said no to a call."""
    IN_DOUBT = "in_doubt"
    """A tool gave no definite answer."""
    FAILED = "failed"
    """A tool refused definitely."""
    CONTRADICTED = "contradicted"
    """The read that confirms an effect knows nothing of it, or shows something else."""
    CALLS = "calls"
    """A write was about to run: counted against the window before."""
    AMOUNT = "amount"
    """The same, summed over an argument."""


SURGES = frozenset({Event.CALLS, Event.AMOUNT})


@dataclass(frozen=True, slots=True, kw_only=True)
class AutonomyRule:
    """One rule. `times` belongs to the events, `at_least`, `factor` and `argument` to a surge; else 0 and empty."""

    id: str
    sentence: str
    event: Event
    tools: frozenset[str]
    """`*` alone: every tool."""
    agents: frozenset[str]
    window_seconds: int
    is_of_agent: bool
    """Counts over all of the agent's actions and lowers them all; else each action by itself."""
    to: int
    reasons: frozenset[str] = frozenset()
    times: int = 0
    at_least: int = 0
    """No surge up to here, whatever the window before."""
    factor: int = 0
    argument: str = ""

    def concerns(self, agent: str, tool: str) -> bool:
        """Whether events of the agent with that tool count. Events of no tool count for all of an agent's actions."""
        is_of_tool = tool in self.tools or (EVERY in self.tools and (tool != "" or self.is_of_agent))
        return is_of_tool and (EVERY in self.agents or agent in self.agents)

    def action(self, tool: str) -> str:
        """What is counted together, and lowered."""
        return EVERY if self.is_of_agent else tool

    def window(self, now_ms: int) -> int:
        """The number of the window of a surge, from the beginning of 1970 on: all gateways begin it together."""
        return now_ms // (self.window_seconds * 1000)

    def amount(self, arguments: Mapping[str, Any]) -> int:
        """What one call adds to a surge."""
        if self.event is Event.CALLS:
            return 1
        value = arguments.get(self.argument, 0)
        return max(value, 0) if type(value) is int else 0

    def ceiling(self, before: int) -> int:
        """The most of a window that is no surge, after a window with `before`."""
        return min(max(self.at_least, self.factor * before), AMOUNT_MAX)

    def document(self) -> dict[str, Any]:
        """The rule as it is written."""
        document: dict[str, Any] = {
            "id": self.id,
            "sentence": self.sentence,
            "counts": self.event.value,
            "tools": sorted(self.tools),
            "agents": sorted(self.agents),
            "within_seconds": self.window_seconds,
            "lowers": "agent" if self.is_of_agent else "action",
            "to": self.to,
        }
        if self.event in SURGES:
            document |= {"at_least": self.at_least, "factor": self.factor}
        else:
            document["times"] = self.times
        if self.event is Event.DENIED:
            document["reasons"] = sorted(self.reasons)
        if self.event is Event.AMOUNT:
            document["argument"] = self.argument
        return document


def read_rules(document: Any) -> tuple[AutonomyRule, ...]:
    """The rules of the document's member `rules`. Raises `PolicyFault`, or `EvidenceError` for a misshapen one."""
    if not isinstance(document, list) or len(document) > RULES_MAX:
        raise PolicyFault(f"{FILE}: member `rules`: expected a list of at most {RULES_MAX}")
    rules = tuple(_rule(each) for each in document)
    if len({rule.id for rule in rules}) < len(rules):
        raise PolicyFault(f"{FILE}: two rules have one id")
    return rules


def faults(rules: tuple[AutonomyRule, ...], schema: CedarSchema) -> Iterator[str]:
    """What the rules say that the tools do not know, and what of it no gateway could count."""
    actions = schema.typed.actions
    for rule in rules:
        if not rule.concerns(min(rule.agents), ""):
            for reason in sorted(rule.reasons & TOOLLESS):
                yield f"rule `{rule.id}`: `{reason}` is of no tool: it needs `tools` `*` and `lowers` `agent`"
        for tool in sorted(rule.tools - {EVERY}):
            action = actions.get(tool)
            if action is None:
                yield f"rule `{rule.id}`: no tool is called `{tool}`"
            elif "write" not in action.groups and rule.event is not Event.DENIED:
                yield f"rule `{rule.id}`: `{tool}` is a read, and has no effect to count"
            elif rule.argument and not _is_integer(action.context, rule.argument):
                yield f"rule `{rule.id}`: `{tool}` has no integer argument `{rule.argument}`"


def _is_integer(context: RecordType, argument: str) -> bool:
    arguments = context.attribute("arguments")
    if arguments is None or not isinstance(arguments.type, RecordType):
        return False
    found = arguments.type.attribute(argument)
    return found is not None and isinstance(found.type, LongType)


def _rule(document: Any) -> AutonomyRule:
    common = {"id", "sentence", "counts", "tools", "agents", "within_seconds", "lowers", "to"}
    event = _event(document)
    own = {"at_least", "factor"} if event in SURGES else {"times"}
    own |= {Event.DENIED: {"reasons"}, Event.AMOUNT: {"argument"}}.get(event, set())
    members = shapes.members(document, required=common | own, form="autonomy rule")
    tools = _names(members, "tools")
    if event in SURGES and EVERY in tools:
        raise PolicyFault(f"{FILE}: a surge names its tools: each of their writes is counted")
    if members["lowers"] not in (("action",) if event in SURGES else ("action", "agent")):
        raise PolicyFault(f"{FILE}: expected `lowers` action or agent, of a surge action")
    reasons = frozenset(shapes.texts(members, "reasons")) if event is Event.DENIED else frozenset()
    if not reasons <= REASONS or (event is Event.DENIED and not reasons):
        raise PolicyFault(f"{FILE}: `reasons` are some of: {', '.join(sorted(REASONS))}")
    return AutonomyRule(
        id=shapes.text(members, "id", _ID),
        sentence=shapes.text(members, "sentence", _SENTENCE),
        event=event,
        tools=tools,
        agents=_names(members, "agents"),
        window_seconds=_within(members, "within_seconds", 1, WINDOW_SECONDS_MAX),
        is_of_agent=members["lowers"] == "agent",
        to=_within(members, "to", 0, LEVEL_MAX),
        reasons=reasons,
        times=_within(members, "times", 1, TIMES_MAX) if "times" in own else 0,
        at_least=_within(members, "at_least", 1, AMOUNT_MAX) if event in SURGES else 0,
        factor=_within(members, "factor", 1, FACTOR_MAX) if event in SURGES else 0,
        argument=shapes.text(members, "argument", _ARGUMENT) if event is Event.AMOUNT else "",
    )


def _event(document: Any) -> Event:
    try:
        return Event(document["counts"])
    except (KeyError, TypeError, ValueError) as error:
        raise PolicyFault(f"{FILE}: expected `counts`, one of: {', '.join(Event)}") from error


def _names(members: Mapping[str, Any], name: str) -> frozenset[str]:
    names = frozenset(shapes.texts(members, name))
    if not names or (EVERY in names and len(names) > 1):
        raise PolicyFault(f"{FILE}: expected `{name}` as a list of names, or `*` alone")
    if not all(each == EVERY or shapes.NAME.fullmatch(each) for each in names):
        raise PolicyFault(f"{FILE}: `{name}` are plain names")
    return names


def _within(members: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = shapes.natural(members, name)
    if not least <= value <= most:
        raise PolicyFault(f"{FILE}: expected `{name}` within {least} to {most}")
    return value
