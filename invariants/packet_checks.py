"""Check an action packet offline: `python -m invariants settle PACKET`. In order:

1. receipt      the entry is in the signed log, where keys are given, and the payload is the one that it commits to
2. certificate  where it is at hand: the entry names it, and it proves every obligation, for this contract of the tool
3. obligation   where the bundle is at hand: written anew from rules, invariants, contract and question, it is the same
4. claims       each is settled by cvc5 from the text; where the obligation was written anew, by z3 too

Exit codes are those of `recheck`. Solvers are loaded here: for offline commands only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from invariants import jobs, obligations, packets
from invariants.errors import InvariantError
from invariants.packets import Packet
from invariants.ranges import Kind, Sheet
from invariants.recheck import Outcome, Step
from invariants.solving import cvc5_backend, z3_backend
from invariants.sources import Source
from policies.errors import PolicyFault
from policies.schema import SchemaError
from proofs import base64url, canonical, certificates, commitments, receipts
from proofs.certificates import Key, SignedCertificate
from proofs.errors import EvidenceError, VerificationError
from proofs.keys import KeyRing
from tool_registry.contracts import Contract


def settle(
    packet: Packet,
    *,
    keys: KeyRing | None = None,
    certificate: SignedCertificate | None = None,
    source: Source | None = None,
    contract: Contract | None = None,
) -> tuple[Step, ...]:
    """Take a packet through all steps. `contract` is the tool's, needed where `source` is given."""
    steps = [_receipt(packet, keys), _certificate(packet, certificate, keys)]
    sheet = None
    if source is None or contract is None:
        steps.append(Step(name="obligation", outcome=Outcome.SKIPPED, detail="not written anew: no --bundle was given"))
    else:
        sheet, step = _written(packet, source, contract)
        steps.append(step)
    if packet.ground is None:
        steps.append(Step(name="claims", outcome=Outcome.UNKNOWN, detail=f"no obligation: {packet.absent}"))
        return tuple(steps)
    return (*steps, *_claims(packet.ground, sheet))


def _receipt(packet: Packet, keys: KeyRing | None) -> Step:
    seq = packet.entry.get("seq")
    try:
        payload = canonical.encode(dict(packet.payload))
        if keys is not None:
            receipts.verify(dict(packet.receipt), keys, payload=payload)
            detail = f"entry {seq} is in the signed log and commits to this payload"
            return Step(name="receipt", outcome=Outcome.CONFIRMED, detail=detail)
        commitment, salt = packet.entry.get("payload"), packet.receipt.get("payload_salt")
        opening = base64url.decode(salt, length=commitments.SALT_BYTES) if isinstance(salt, str) else b""
    except EvidenceError as error:
        return Step(name="receipt", outcome=Outcome.DIFFERS, detail=str(error))
    if not isinstance(commitment, str) or not commitments.opens(commitment, "payload", opening, payload):
        return Step(name="receipt", outcome=Outcome.DIFFERS, detail=f"entry {seq} does not commit to this payload")
    detail = f"entry {seq} commits to this payload; that it is in the log was not checked: no --keys were given"
    return Step(name="receipt", outcome=Outcome.CONFIRMED, detail=detail)


def _certificate(packet: Packet, signed: SignedCertificate | None, keys: KeyRing | None) -> Step:
    name = "certificate"
    if signed is None:
        return Step(name=name, outcome=Outcome.SKIPPED, detail="not looked at: no --certificate was given")
    certificate, entry = signed.certificate, packet.entry
    try:
        if keys is not None:
            certificates.verify(signed, keys)
        certificates.require_proved(certificate)
    except VerificationError as error:
        return Step(name=name, outcome=Outcome.DIFFERS, detail=str(error))
    action = str(entry.get("tool"))
    proved = {each.key for each in certificate.obligations}
    for is_good, cause in (
        (entry.get("certificate") == certificate.digest, "the entry names another certificate"),
        (entry.get("bundle") == certificate.bundle, "it is for another bundle than the entry names"),
        (certificate.tools.get(action) == entry.get("tool_digest"), "it is for another contract of the tool"),
        (_wanted(packet, action) <= proved, "it does not speak of every invariant of the call"),
    ):
        if not is_good:
            return Step(name=name, outcome=Outcome.DIFFERS, detail=cause)
    return Step(name=name, outcome=Outcome.CONFIRMED, detail=f"covers `{action}` under the bundle of the entry")


def _wanted(packet: Packet, action: str) -> set[Key]:
    """The universal obligations that the call rests on."""
    question = packet.payload.get("question")
    principal = question.get("principal") if isinstance(question, Mapping) else None
    kind = str(principal.get("type")) if isinstance(principal, Mapping) else ""
    claims = packet.ground["claims"] if packet.ground is not None else ()
    named = {("invariant", subject, action, kind) for claim, subject, _ in claims if claim == Kind.INVARIANT}
    return {*named, ("never_errs", "", action, kind)}


def _written(packet: Packet, source: Source, contract: Contract) -> tuple[Sheet | None, Step]:
    name, entry = "obligation", packet.entry
    if source.digest is not None and source.digest != entry.get("bundle"):
        return None, Step(name=name, outcome=Outcome.DIFFERS, detail="the entry names another bundle")
    if contract.digest != entry.get("tool_digest"):
        return None, Step(name=name, outcome=Outcome.DIFFERS, detail="the entry names another contract of the tool")
    if packet.ground is not None and packet.ground["encoder"] != obligations.ENCODER_VERSION:
        cause = f"made with `{packet.ground['encoder']}`, installed is `{obligations.ENCODER_VERSION}`"
        return None, Step(name=name, outcome=Outcome.UNKNOWN, detail=cause)
    try:
        sheet = packets.write(packet.payload, entry, source.files, contract)
    except (InvariantError, PolicyFault, SchemaError) as error:
        outcome = Outcome.UNKNOWN if packet.ground is None else Outcome.DIFFERS
        return None, Step(name=name, outcome=outcome, detail=f"none can be written: {error}")
    if packet.ground is None or packet.ground != packets.ground(sheet):
        return sheet, Step(name=name, outcome=Outcome.DIFFERS, detail=f"written anew it is {sheet.digest}")
    return sheet, Step(name=name, outcome=Outcome.CONFIRMED, detail=sheet.digest)


def _claims(ground: Mapping[str, Any], sheet: Sheet | None) -> Iterator[Step]:
    digest = f"sha256:{sha256(ground['text'].encode()).hexdigest()}"
    if digest != ground["digest"]:
        yield Step(name="claims", outcome=Outcome.DIFFERS, detail=f"the text has another digest: {digest}")
        return
    if sheet is not None and sheet.text != ground["text"]:
        sheet = None  # Said above; what follows is about the text that the packet has.
    answers = _answers(ground["text"], len(ground["claims"]), sheet)
    for place, (kind, subject, wanted) in enumerate(ground["claims"]):
        given = {name: listed[place] for name, listed in answers.items()}
        if "unknown" in given.values():
            outcome = Outcome.UNKNOWN
        else:
            outcome = Outcome.CONFIRMED if set(given.values()) == {wanted} else Outcome.DIFFERS
        said = ", ".join(f"{name} {answer}" for name, answer in given.items())
        yield Step(name=f"{kind} {subject}".strip(), outcome=outcome, detail=said)


def _answers(text: str, count: int, sheet: Sheet | None) -> Mapping[str, Sequence[str]]:
    limits = jobs.ProofLimits()
    found = cvc5_backend.settle_goals(packets.script_of(text, count), limits.resources)
    # A text that asks for more than its claims has its answers in other places: none of them counts.
    answers: dict[str, Sequence[str]] = {"cvc5": found if len(found) == count else ("unknown",) * count}
    if sheet is not None:
        solver = z3_backend.Solver(sheet.given, limits.resources, [claim.goal for claim in sheet.claims])
        answers["z3"] = [solver.settle(place) for place in range(len(sheet.claims))]
    return answers
