"""What was looked at in a bundle, step by step, as a person and as a machine reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from admin import questions, solving
from admin.errors import Found


@unique
class Status(StrEnum):
    """What came of one step."""

    OK = "ok"
    REMARK = "remark"
    """Told, and not in the way of publishing."""
    UNKNOWN = "unknown"
    """Nobody found out. The gate refuses that as it refuses a no."""
    BAD = "bad"
    UNFIT = "unfit"
    """So wrong that nothing can be asked of it."""


_CODES = {
    Status.OK: Found.YES,
    Status.REMARK: Found.YES,
    Status.UNKNOWN: Found.UNKNOWN,
    Status.BAD: Found.NO,
    Status.UNFIT: Found.BAD_INPUT,
}
_VERDICTS = {Found.YES: "good", Found.NO: "refused", Found.UNKNOWN: "unknown", Found.BAD_INPUT: "unfit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing looked at."""

    name: str
    status: Status
    details: tuple[str, ...]
    """What was found, a sentence each."""
    counter_example: Mapping[str, Any] | None = None
    """The call that the bundle would allow."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found."""

    digest: str
    steps: tuple[Step, ...]

    @property
    def code(self) -> Found:
        """What the shell sees."""
        return solving.worst([_CODES[step.status] for step in self.steps])

    @property
    def verdict(self) -> str:
        """In one word."""
        return _VERDICTS[self.code]

    @property
    def headline(self) -> str:
        """The verdict, and which steps it comes from."""
        told = {step.name: None for step in self.steps if _CODES[step.status] is not Found.YES}
        remarks = sum(step.status is Status.REMARK for step in self.steps)
        parts = [f"see {', '.join(told)}" if told else "nothing stands in the way"]
        if remarks:
            parts.append(f"{remarks} remark{'s' if remarks > 1 else ''}")
        return f"{self.verdict.upper()}: {', '.join(parts)}"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.code is Found.YES,
            "verdict": self.verdict,
            "bundle": self.digest,
            "steps": [
                {
                    "name": step.name,
                    "ok": _CODES[step.status] is Found.YES,
                    "status": step.status.value,
                    "details": list(step.details),
                }
                | ({"counter_example": dict(step.counter_example)} if step.counter_example else {})
                for step in self.steps
            ],
        }

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """For people."""
        for step in self.steps:
            for number, detail in enumerate(step.details):
                yield ("", "", detail) if number else (step.name, step.status.value, detail)
            if step.counter_example is not None:
                yield "", "", questions.sentence(step.counter_example)
