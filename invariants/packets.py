"""The form of action packets: one call as an auditor takes it away.

A packet holds the receipt of the call's entry, the payload that the entry commits to (question, facts, checks,
decision, approvals), and the ground obligation of that question (`ranges.ground`) with its digest, which any solver
settles offline (`packet_checks`). The obligation is written when somebody asks for the packet; that needs no solver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from invariants import jobs, obligations, ranges
from invariants.errors import Unreadable
from invariants.ranges import Recorded, Sheet
from invariants.solving.smtlib import Script
from policies import replay
from policies.schema import generate
from proofs import canonical, shapes
from proofs.errors import Misshapen
from tool_registry.contracts import Contract

FORM = 1
_TEXT_BYTES_MAX = 4 * 1024 * 1024  # The base bundle's largest has 11 KiB.
_CLAIMS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One call with its evidence. That any of it holds is not said by its existence."""

    receipt: Mapping[str, Any]
    payload: Mapping[str, Any]
    ground: Mapping[str, Any] | None
    """`digest`, `encoder`, `claims` and `text` of the obligation. None: none could be written."""
    absent: str
    """Why there is none; empty exactly where there is one."""

    @property
    def entry(self) -> Mapping[str, Any]:
        """The entry that commits to the payload."""
        return self.receipt["entry"]  # type: ignore[no-any-return]


def write(payload: Mapping[str, Any], entry: Mapping[str, Any], files: Mapping[str, str], contract: Contract) -> Sheet:
    """
    The ground obligation of a recorded call under the bundle's files. No solver is needed.

    Raises `InvariantError`, `PolicyFault` or `SchemaError` where it cannot be written: a hidden member may not fit.
    """
    question = replay.read(payload.get("question"))
    job = jobs.job(files, generate([contract]), [contract])
    return ranges.ground(job, question, recorded(payload, entry))


def document(receipt: Any, payload: Mapping[str, Any], sheet: Sheet | None, absent: str = "") -> dict[str, Any]:
    """The packet as JSON members."""
    written = None if sheet is None else ground(sheet)
    return {"lockgate_packet": FORM, "receipt": receipt, "payload": payload, "ground": written, "absent": absent}


def ground(sheet: Sheet) -> dict[str, Any]:
    """The obligation as JSON members."""
    return {
        "digest": sheet.digest,
        "encoder": obligations.ENCODER_VERSION,
        "claims": [[each.kind.value, each.subject, each.wanted.value] for each in sheet.claims],
        "text": sheet.text,
    }


def recorded(payload: Mapping[str, Any], entry: Mapping[str, Any]) -> Recorded | None:
    """What Cedar answered, as far as the rules that determined the decision say so. None after an error of a rule."""
    if entry.get("reason") == "policy_error":
        return None
    try:
        listed = {(each["engine"], each["effect"], each["id"]) for each in payload["decision"]["rules"]}
    except (KeyError, TypeError) as error:
        raise Unreadable("packet: a decision with its rules expected") from error
    permits = frozenset(name for engine, effect, name in listed if (engine, effect) == ("cedar", "permit"))
    forbids = frozenset(name for engine, effect, name in listed if (engine, effect) == ("cedar", "forbid"))
    # A refusal lists what refused: which permits were satisfied beside it is not recorded.
    return Recorded(permits=permits if permits or not listed else None, forbids=forbids)


def parse(given: Any) -> Packet:
    """Read a packet. Nothing of it is checked but its form. Raises `Misshapen`."""
    required = {"lockgate_packet", "receipt", "payload", "ground", "absent"}
    members = shapes.members(given, required=required, form="packet")
    if type(members["lockgate_packet"]) is not int or members["lockgate_packet"] != FORM:
        raise Misshapen("version", f"packet: expected form {FORM}")
    receipt, payload, beside = members["receipt"], members["payload"], members["ground"]
    if not isinstance(receipt, Mapping) or not isinstance(receipt.get("entry"), Mapping):
        raise Misshapen("form", "packet: member `receipt`: expected a receipt")
    if not isinstance(payload, Mapping):
        raise Misshapen("form", "packet: member `payload`: expected an object")
    if not isinstance(members["absent"], str) or (members["absent"] == "") is (beside is None):
        raise Misshapen("member", "member `absent`: expected a reason exactly where there is no obligation")
    if beside is not None:
        beside = shapes.members(beside, required={"digest", "encoder", "claims", "text"}, form="ground")
        shapes.text(beside, "digest", shapes.DIGEST)
        encoder = shapes.text(beside, "encoder", shapes.LABEL)
        _require_claims(beside["claims"], encoder, beside["text"])
    return Packet(receipt=receipt, payload=payload, ground=beside, absent=members["absent"])


def script_of(text: str, count: int) -> Script:
    """The script of a packet's text, which ends in so many questions. Raises `Misshapen`."""
    script = Script(text="", goals=tuple(f"q{place}" for place in range(count)))
    asked = script.questions()
    if not asked or not text.endswith(asked):
        raise Misshapen("member", "member `text`: expected a script that ends in one question for each claim")
    return replace(script, text=text.removesuffix(asked))


def _require_claims(claims: Any, encoder: str, text: Any) -> None:
    if not isinstance(text, str) or len(text) > _TEXT_BYTES_MAX or not text.isascii():
        raise Misshapen("member", f"member `text`: expected at most {_TEXT_BYTES_MAX} characters of ASCII")
    is_listed = isinstance(claims, list) and len(claims) <= _CLAIMS_MAX
    if not is_listed or not all(
        isinstance(each, list) and len(each) == 3 and all(isinstance(part, str) for part in each) for each in claims
    ):
        raise Misshapen("member", "member `claims`: expected kind, subject and wanted answer of each")
    script_of(text, len(claims))
    head, _, _ = text.partition("\n")
    # What stands beside the text is for readers; the text says it too, and its digest covers it.
    table = canonical.parse(head.removeprefix("; ").encode())
    if not isinstance(table, dict) or (table.get("claims"), table.get("encoder")) != (claims, encoder):
        raise Misshapen("member", "member `claims`: expected those of the text, by its encoder")
