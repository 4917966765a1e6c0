"""A bundle tried out without a gateway: validation, cases and proof, in that order, stopping at the first no."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One part of the rehearsal."""

    name: str
    status: str
    detail: Any


@dataclass(frozen=True, slots=True)
class Report:
    """What the rehearsal found."""

    steps: tuple[Step, ...]

    @property
    def is_good(self) -> bool:
        return all(step.status == "ok" for step in self.steps)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        steps = [{"name": step.name, "status": step.status, "detail": step.detail} for step in self.steps]
        return {"ok": self.is_good, "steps": steps}

    def rows(self) -> Iterator[tuple[str, str, Any]]:
        """For people."""
        for step in self.steps:
            yield step.name, step.status, step.detail


def rehearse(content: bytes, *, is_proved: bool) -> Report:
    """Validate, run the cases and, with `is_proved`, prove."""
    raise NotImplementedError
