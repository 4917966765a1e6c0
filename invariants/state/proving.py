"""Proofs over counters for a program that must stay alive: in a process of its own, bounded and killable.

No solver is loaded here. What the process did not answer is missing, with a reason, and never a yes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from invariants.errors import InvariantError
from invariants.jobs import ProofLimits
from invariants.processes import Queue, converse
from invariants.reports import Verdict
from tool_registry.contracts import Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterReport:
    """What was found out about the limits of some tools."""

    findings: tuple[dict[str, Any], ...]
    """In the form of `induction.CounterFinding.document`."""
    missing: str
    """Why findings are missing. Empty: every limit was looked at."""

    @property
    def failures(self) -> tuple[dict[str, Any], ...]:
        """What stands in the way of the tools."""
        return tuple(each for each in self.findings if each["verdict"] != Verdict.PROVED)

    @property
    def is_proved(self) -> bool:
        """Whether every limit of the tools can be kept."""
        return not self.missing and not self.failures


class CounterProver:
    """Starts the process, for one set of tools at a time."""

    def __init__(self, limits: ProofLimits | None = None) -> None:
        self._limits = limits or ProofLimits()
        self._queue = Queue()

    async def prove(self, contracts: Iterable[Contract]) -> CounterReport:
        """
        Prove that every limit of these tools is kept by reserving, committing and releasing.

        Raises `Busy` when too many wait already.
        """
        counted = tuple(contract for contract in contracts if contract.limits)
        if not counted:
            return CounterReport(findings=(), missing="")
        heard = _Heard()
        async with self._queue.turn():
            reason = await converse("count", counted, self._limits, heard.hear)
        return CounterReport(findings=tuple(heard.findings), missing=reason or ("" if heard.is_done else "worker_died"))


@dataclass(slots=True)
class _Heard:
    """What the process has said so far."""

    findings: list[dict[str, Any]] = field(default_factory=list)
    is_done: bool = False

    def hear(self, document: dict[str, Any]) -> None:
        """Take one line. Raises `InvariantError` for anything but a finding or the end."""
        if self.is_done or ("done" in document and document["done"] != len(self.findings)):
            raise InvariantError("the next finding expected")
        if "done" in document:
            self.is_done = True
        elif isinstance(document.get("verdict"), str):
            self.findings.append(document)
        else:
            raise InvariantError("a finding expected")
