"""The rules that entries about effects keep: no outcome without its intent, and no effect twice.

An INTENT is durable before its effect. OUTCOME and RECONCILED say what became of it, LATE what came after somebody
else had said so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proofs.findings import Report

_CLOSING = frozenset({"OUTCOME", "RECONCILED", "LATE"})


@dataclass(slots=True)
class _Effect:
    call: str
    intents: list[int] = field(default_factory=list)
    executed: int | None = None
    """`seq` of the entry that says so."""


class Effects:
    """What the entries so far say about effects."""

    def __init__(self) -> None:
        self._effects: dict[str, _Effect] = {}

    @property
    def executed(self) -> int:
        """Number of effects that took place."""
        return sum(effect.executed is not None for effect in self._effects.values())

    @property
    def open(self) -> int:
        """Number of effects intended of which none says that they took place: refused by the tool, or unknown."""
        return len(self._effects) - self.executed

    def add(self, seq: int, entry: Mapping[str, Any], report: Report) -> None:
        """Take the next entry and report what it breaks."""
        kind = entry.get("kind")
        if kind != "INTENT" and kind not in _CLOSING:
            return
        call, id = entry.get("call"), entry.get("effect")
        if not isinstance(call, str) or not isinstance(id, str):
            report("member_missing", f"{kind}: expected members `call` and `effect` as text")
        elif kind == "INTENT":
            self._intend(seq, call, id, report)
        else:
            self._close(seq, entry, self._effects.get(id), report)

    def _intend(self, seq: int, call: str, id: str, report: Report) -> None:
        effect = self._effects.setdefault(id, _Effect(call))
        if effect.call != call:
            report("effect_shared", f"INTENT: entry {effect.intents[0]} intends the same effect for another call")
        elif effect.executed is not None:
            report("effect_twice", f"INTENT: entry {effect.executed} says that this effect has taken place")
        effect.intents.append(seq)

    def _close(self, seq: int, entry: Mapping[str, Any], effect: _Effect | None, report: Report) -> None:
        kind = entry["kind"]
        if effect is None or effect.call != entry["call"]:
            report("intent_missing", f"{kind}: no INTENT of this call and effect comes before it")
            return
        if entry.get("intent", effect.intents[-1]) not in effect.intents:
            report("intent_missing", f"{kind}: the entry that `intent` names is no INTENT of this effect")
        if entry.get("state") != "executed" or kind == "LATE":
            return
        if effect.executed is not None:
            report("effect_twice", f"{kind}: entry {effect.executed} says already that this effect has taken place")
        else:
            effect.executed = seq
