"""The end of the demonstration: calls, entries and effects, counted by three parties who do not ask each other.

The gateway tells its calls, the exported log its entries, the business its journal and its rows. They are compared call
by call, by id; the table shows the counts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.demo.stage import LOGS, Stage, Unexpected, require_answer
from tool_registry.contracts import Family
from tool_registry.registry import load_catalogue

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what it counts, by whom, and whether the ids are the same."""

    what: str
    calls: int
    entries: Sequence[Entry]
    effects: int
    agrees: bool

    def row(self) -> tuple[str, int, str, int, str]:
        """The line as the table shows it."""
        kinds = Counter(str(entry["kind"]) for entry in self.entries)
        entries = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"
        return self.what, self.calls, entries, self.effects, "yes" if self.agrees else "NO"


def reckon(stage: Stage) -> None:
    """Raises `Unexpected` that names the lines where the parties differ."""
    stage.telling.scene("The reckoning: calls, entries and effects")
    books = _Books.read(stage)
    lines = [*(books.executed(tool) for tool in books.tools()), books.governed(), *books.without_effect()]
    columns = ("", "calls (gateway)", "entries (exported log)", "effects (business)", "agree")
    stage.telling.table(columns, [line.row() for line in lines])
    wrong = [line.what for line in lines if not line.agrees]
    if wrong:
        raise Unexpected(f"calls, entries and effects differ in: {', '.join(wrong)}")


def entries_of(export: Path) -> Iterable[Entry]:
    """The entries of an export, in order."""
    for line in export.read_bytes().splitlines():
        document = json.loads(line)
        if "entry" in document:
            yield document["entry"]


@dataclass(frozen=True, slots=True)
class _Books:
    """What each party says, of all tenants."""

    executed_calls: Mapping[str, str]
    """Call -> tool, as the gateway lists them."""
    other_calls: Mapping[str, str]
    """Call -> state: what is listed and was not executed, and what was refused."""
    entries: Sequence[Entry]
    journal: Sequence[Mapping[str, Any]]
    rows: frozenset[str]
    """Effects that the business's database has applied."""
    told: Mapping[str, frozenset[str]]
    """What the callers themselves were answered: `executed`, `read` or `refused` -> calls."""

    @classmethod
    def read(cls, stage: Stage) -> _Books:
        told = {
            "executed": frozenset(a.call for a in stage.answers if a.status == 200 and "receipt" in a.document),
            "read": frozenset(a.call for a in stage.answers if a.status == 200 and "receipt" not in a.document),
            "refused": frozenset(a.call for a in stage.answers if a.status == 403),
        }
        listed = _listed(stage)
        reader = stage.person("auditor").token
        refused = {
            call: str(stage.client.get(f"/v1/calls/{call}", reader).document["status"]) for call in told["refused"]
        }
        others = {each["call"]: each["status"] for each in listed if each["status"] != "executed"}
        return cls(
            executed_calls={each["call"]: each["tool"] for each in listed if each["status"] == "executed"},
            # A refused call burns no key: the same call may have been executed later.
            other_calls=others | {call: state for call, state in refused.items() if state == "refused"},
            entries=[entry for tenant in LOGS for entry in entries_of(stage.folder / f"{tenant}.jsonl")],
            journal=stage.journal(),
            rows=frozenset(row["effect_id"] for row in stage.rows("effects", state="applied")),
            told=told,
        )

    def tools(self) -> list[str]:
        """The business's tools that anybody says were executed."""
        named = set(self.executed_calls.values()) | {line["tool"] for line in self.journal}
        return sorted(named - _governance())

    def executed(self, tool: str) -> Line:
        """A tool of the business: an intent, an outcome and exactly one effect for each call."""
        calls = {call for call, name in self.executed_calls.items() if name == tool}
        intents = [entry for entry in self._of("INTENT") if entry["tool"] == tool]
        outcomes = [entry for entry in self._of("OUTCOME", "RECONCILED") if entry["tool"] == tool]
        effects = [line["effect_id"] for line in self.journal if line["tool"] == tool]
        parties = (
            {entry["effect"] for entry in intents},
            {entry["effect"] for entry in outcomes if entry["state"] == "executed"},
            set(effects),
        )
        agrees = all(party == calls for party in parties) and len(effects) == len(calls)
        agrees = agrees and calls <= self.rows and calls <= self.told["executed"]
        return Line(f"{tool}, executed", len(calls), [*intents, *outcomes], len(effects), agrees)

    def governed(self) -> Line:
        """Acts of governance: their effect is in the gateway's own tables, none is in the business."""
        calls = {call for call, tool in self.executed_calls.items() if tool in _governance()}
        entries = [entry for entry in self._of("INTENT", "OUTCOME") if entry["tool"] in _governance()]
        effects = calls & self._effects()
        agrees = not effects and all(
            calls == {entry["call"] for entry in entries if entry["kind"] == kind} for kind in ("INTENT", "OUTCOME")
        )
        return Line("governance, executed", len(calls), entries, len(effects), agrees)

    def without_effect(self) -> Iterable[Line]:
        """What was refused, withdrawn or only read has its entry, and no effect."""
        for state, kind in (("refused", "REFUSED"), ("cancelled", "CANCELLED")):
            calls = {call for call, found in self.other_calls.items() if found == state}
            yield self._quiet(state, calls, self.told.get(state, frozenset(calls)), kind)
        yield self._quiet("read", set(self.told["read"]), self.told["read"], "READ")
        rest = {call for call, state in self.other_calls.items() if state not in ("refused", "cancelled")}
        if rest:
            yield Line("neither settled nor closed", len(rest), (), len(rest & self._effects()), agrees=False)

    def _quiet(self, what: str, calls: set[str], told: frozenset[str], kind: str) -> Line:
        entries = self._of(kind)
        logged = {entry["call"] for entry in entries}
        # Refused once and executed later is one call with both: it stands in the lines above.
        effects = (logged - self.executed_calls.keys()) & self._effects()
        agrees = logged == told and calls == told - self.executed_calls.keys() and not effects
        return Line(what, len(logged), entries, len(effects), agrees)

    def _of(self, *kinds: str) -> list[Entry]:
        return [entry for entry in self.entries if entry["kind"] in kinds]

    def _effects(self) -> set[str]:
        return {line["effect_id"] for line in self.journal}


def _listed(stage: Stage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for tenant in LOGS:
        auditor = stage.world.cast.person(tenant, "auditor")
        found += require_answer(stage.client.get("/v1/calls", auditor.token), 200).document["calls"]
    return found


def _governance() -> frozenset[str]:
    contracts = load_catalogue().contracts.items()
    return frozenset(name for name, contract in contracts if contract.family is Family.GOVERNANCE)
