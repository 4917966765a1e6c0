"""Losses that a log declares: after an older database was put back, which of its former entries are gone.

A LOST entry carries, in `lost`, the newest checkpoint that was kept of the former history. It stands where that history
is cut: the entries from its own number up to the checkpoint's size were in the log once and are not any more. Declared
is not excused: whoever holds a checkpoint of what was lost is told so, and told that it is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proofs import checkpoints
from proofs.checkpoints import Checkpoint
from proofs.errors import EvidenceError, VerificationError
from proofs.findings import Report
from proofs.keys import KeyRing

KIND = "LOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One declaration."""

    entry: int
    """The LOST entry, and the first number that was lost."""
    checkpoint: Checkpoint
    """The newest one kept of the history that is gone."""

    def covers(self, kept: Checkpoint) -> bool:
        """Whether this kept checkpoint speaks of entries that were declared lost here."""
        return self.entry <= kept.size <= self.checkpoint.size

    @property
    def sentence(self) -> str:
        """What is gone, for people."""
        return (
            f"entries {self.entry} to {self.checkpoint.size} of a former history are lost, as entry {self.entry} says"
        )

    def document(self) -> dict[str, int]:
        """The declaration as JSON members."""
        return {"entry": self.entry, "lost_from": self.entry, "lost_to": self.checkpoint.size}


def members(lost: Checkpoint) -> dict[str, Any]:
    """The members of a LOST entry."""
    return {"lost": lost.document()}


def read(entry: Mapping[str, Any], ring: KeyRing, report: Report) -> Loss | None:
    """The declaration of an entry, if it is a LOST one that holds; what is wrong with it is reported."""
    if entry["kind"] != KIND:
        return None
    try:
        lost = checkpoints.parse(entry.get("lost"))
        if (lost.tenant, lost.environment) != (entry["tenant"], entry["environment"]) or lost.size < entry["seq"]:
            raise VerificationError("loss_mismatch", "does not name a later checkpoint of this log")
        checkpoints.verify(lost, ring)
    except VerificationError as error:
        report(error.reason if error.reason == "loss_mismatch" else "loss_forged", f"declares a loss: {error}")
    except EvidenceError as error:
        report("loss_misshapen", f"declares a loss: {error}")
    else:
        return Loss(entry=entry["seq"], checkpoint=lost)
    return None
