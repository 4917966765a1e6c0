"""Approved requests and signed verdicts with one thing changed: none of them may run, or count."""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from deploy.demo.cast import Person
from deploy.demo.client import signed
from proofs import signatures
from proofs.keys import PrivateKey

ORDER = 2**252 + 27742317777372353535851937790883648493  # of the group of Ed25519 (RFC 8032 §5.1)
DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """A parked call with everything that its requester and its approver send."""

    token: str
    body: Mapping[str, Any]
    """As presented with its approvals."""
    key: str
    call: str
    statement: Mapping[str, Any]
    """The gateway's part."""
    approver: Person
    other: Person
    """Another approver, of the same role."""
    strangers: Sequence[str]
    """Tokens of others who may ask for the same: another agent, one with a subject, a person, another tenant's."""
    foreign_approval: str
    """Given for another call of the same requester."""
    foreign_call: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request to `path`."""

    path: str
    token: str
    body: bytes
    headers: Mapping[str, str]


Request = Callable[[Approved, Random], Sent]
Verdict = Callable[[Approved, Random], Sent]


def presented(
    given: Approved, body: Any = None, *, key: str = "", token: str = "", headers: Mapping[str, str] | None = None
) -> Sent:
    """The request as it would run, but for what is given otherwise."""
    content = body if isinstance(body, bytes) else json.dumps(given.body if body is None else body).encode()
    sent = {"Idempotency-Key": key or given.key, "Content-Type": "application/json", **(headers or {})}
    return Sent(path="/v1/calls", token=token or given.token, body=content, headers=sent)


def handed_in(given: Approved, document: Any, *, token: str = "") -> Sent:
    """A verdict."""
    path = f"/v1/calls/{given.call}/approvals"
    headers = {"Content-Type": "application/json"}
    return Sent(path=path, token=token or given.approver.token, body=json.dumps(document).encode(), headers=headers)


# Requests ---------------------------------------------------------------------------------------------------------


def _with(given: Approved, **members: Any) -> dict[str, Any]:
    return {**given.body, **members}


def _arguments(given: Approved, **members: Any) -> dict[str, Any]:
    return _with(given, arguments={**given.body["arguments"], **members})


def _one(given: Approved, chance: Random, kind: type) -> tuple[str, Any]:
    found = [(name, value) for name, value in given.body["arguments"].items() if type(value) is kind]
    return chance.choice(found)


def _another_number(given: Approved, chance: Random) -> Sent:
    name, value = _one(given, chance, int)
    return presented(given, _arguments(given, **{name: value + chance.choice([-1, 1, 7, 10_000])}))


def _another_spelling(given: Approved, chance: Random) -> Sent:
    _, value = _one(given, chance, int)
    forms = ["{}.0", '"{}"', "{}e0", "0{}", "+{}", "-{}", "{}0", "{}.00", " {}.", "0x{}", "[{}]"]
    raw = json.dumps(given.body)
    return presented(given, raw.replace(f": {value}", ": " + chance.choice(forms).format(value), 1).encode())


def _another_text(given: Approved, chance: Random) -> Sent:
    name, value = _one(given, chance, str)
    at = chance.randrange(len(value) + 1)
    added = chance.choice(
        ["\u200b", "\u202e", "\u0301", "\u00ad", " ", "\n", "\u0000", "x", "\u0430", "\uff11", "\ufeff"]
    )
    return presented(given, _arguments(given, **{name: value[:at] + added + value[at:]}))


def _another_character(given: Approved, chance: Random) -> Sent:
    name, value = _one(given, chance, str)
    at = chance.randrange(len(value))
    return presented(given, _arguments(given, **{name: _flipped(value, at)}))


def _another_case(given: Approved, chance: Random) -> Sent:
    name, value = _one(given, chance, str)
    return presented(given, _arguments(given, **{name: value.upper() if value != value.upper() else value.lower()}))


def _a_member_more(given: Approved, chance: Random) -> Sent:
    name = chance.choice(["tenant", "environment", "principal", "version", "requester", "dry_run", "Amount_cents"])
    if chance.random() < 0.5:
        return presented(given, _with(given, **{name: "acme"}))
    return presented(given, _arguments(given, **{name: "acme"}))


def _a_member_less(given: Approved, chance: Random) -> Sent:
    arguments = dict(given.body["arguments"])
    del arguments[chance.choice(sorted(arguments))]
    return presented(given, _with(given, arguments=arguments))


def _a_member_twice(given: Approved, chance: Random) -> Sent:
    name, value = chance.choice(sorted(given.body["arguments"].items()))
    raw = json.dumps(given.body)
    return presented(given, raw.replace(f'"{name}":', f'"{name}": {json.dumps(value)}, "{name}":', 1).encode())


def _another_tool(given: Approved, chance: Random) -> Sent:
    tool = str(given.body["tool"])
    names = [
        "pay_supplier",
        "issue_refund",
        "toggle_feature_flag",
        "get_order",
        tool.upper(),
        tool + " ",
        tool + "\u200b",
    ]
    return presented(given, _with(given, tool=chance.choice([each for each in names if each != tool])))


def _another_reason(given: Approved, chance: Random) -> Sent:
    codes = ["duplicate_charge", "experiment", "goodwill", "", "Damaged_item", "roll_out", "late_delivery"]
    return presented(
        given, _with(given, reason_code=chance.choice([c for c in codes if c != given.body["reason_code"]]))
    )


def _another_key(given: Approved, chance: Random) -> Sent:
    at = chance.randrange(len(given.key))
    forms = [_flipped(given.key, at), given.key + "0", given.key[:-1], given.key.upper() + "A", secrets.token_hex(8)]
    return presented(given, key=chance.choice(forms))


def _a_correlation(given: Approved, chance: Random) -> Sent:
    return presented(given, headers={"X-Correlation-Id": f"inc-{chance.randrange(10**6)}"})


def _another_requester(given: Approved, chance: Random) -> Sent:
    return presented(given, token=chance.choice(given.strangers))


def _another_approval(given: Approved, chance: Random) -> Sent:
    approval = str(given.body["approvals"][0])
    at = chance.randrange(5, len(approval))
    forms = [given.foreign_approval, _flipped(approval, at), approval.upper(), approval[:-1], "appr_" + "0" * 32]
    first = chance.choice(forms)
    more = [approval] if chance.random() < 0.3 and first == given.foreign_approval else []
    return presented(given, _with(given, approvals=[first, *more]))


def _an_edit(given: Approved, chance: Random) -> Sent:
    return presented(given, _with(given, edits=chance.choice([given.call, given.foreign_call])))


REQUESTS: Mapping[str, Request] = {
    "another number": _another_number,
    "another spelling of a number": _another_spelling,
    "a character more in a text": _another_text,
    "another character in a text": _another_character,
    "another case of a text": _another_case,
    "a member more": _a_member_more,
    "a member less": _a_member_less,
    "a member twice": _a_member_twice,
    "another tool": _another_tool,
    "another reason code": _another_reason,
    "another key": _another_key,
    "a correlation id": _a_correlation,
    "another requester or tenant": _another_requester,
    "another approval": _another_approval,
    "an edit": _an_edit,
}


# Verdicts ---------------------------------------------------------------------------------------------------------


def _good(given: Approved, **changed: Any) -> dict[str, Any]:
    return signed(given.approver, {**given.statement, **changed}, "dev")


def _a_member_changed_after(given: Approved, chance: Random) -> Sent:
    document = _good(given)
    name = chance.choice(sorted(document["statement"]))
    value = document["statement"][name]
    others: dict[str, Any] = {
        "shown": DIGEST,
        "reason": "because",
        "verdict": "reject",
        "not_after": "2026-01-01T00:00:00Z",
    }
    changed = others.get(name) or _flipped(value, chance.randrange(7 if ":" in value else 0, len(value)))
    return handed_in(given, {**document, "statement": {**document["statement"], name: changed}})


def _a_member_signed_otherwise(given: Approved, chance: Random) -> Sent:
    changes = [
        {"call": DIGEST},
        {"tool": DIGEST},
        {"bundle": DIGEST},
        {"requester": "agent/agent-somebody"},
        {"not_after": "2099-01-01T00:00:00Z"},
        {"not_after": "2020-01-01T00:00:00Z"},
    ]
    return handed_in(given, _good(given, **chance.choice(changes)))


def _another_form_of_statement(given: Approved, chance: Random) -> Sent:
    document = _good(given)
    statement, left_out = dict(document["statement"]), chance.choice(sorted(document["statement"]))
    forms: list[Any] = [
        {**statement, "extra": "1"},
        {name: value for name, value in statement.items() if name != left_out},
        {**statement, "nonce": 7},
        {**statement, "verdict": "APPROVE"},
        {**statement, "reason": "e\u0301"},
        {**statement, "nonce": statement["nonce"] + "\u200b"},
        [statement],
        json.dumps(statement),
    ]
    return handed_in(given, {**document, "statement": chance.choice(forms)})


def _a_bit_of_the_signature(given: Approved, chance: Random) -> Sent:
    document = _good(given)
    raw = bytearray(_raw(document["signature"]))
    bit = chance.randrange(len(raw) * 8)
    raw[bit // 8] ^= 1 << bit % 8
    return handed_in(given, {**document, "signature": _text(bytes(raw))})


def _another_signature(given: Approved, chance: Random) -> Sent:
    document = _good(given)
    raw = _raw(document["signature"])
    scalar = int.from_bytes(raw[32:], "little") + ORDER
    forms = [
        "",
        _text(bytes(64)),
        _text(raw[:63]),
        _text(raw + b"\x00"),
        _text(raw[32:] + raw[:32]),
        # The same point under a greater scalar: one who does not look at its range takes it for good.
        _text(raw[:32] + scalar.to_bytes(32, "little")),
        signed(given.other, given.statement, "dev")["signature"],
        _good(given)["signature"],
    ]
    return handed_in(given, {**document, "signature": chance.choice(forms)})


def _another_context(given: Approved, chance: Random) -> Sent:
    document = _good(given)
    purpose, environment, tenant = chance.choice(
        [
            ("bundle", "dev", "acme"),
            ("checkpoint", "dev", "acme"),
            ("certificate", "dev", "acme"),
            ("approval", "prod", "acme"),
            ("approval", "dev", "globex"),
            ("approval", "dev", "system"),
        ]
    )
    context = signatures.context(purpose, environment, tenant)
    return handed_in(
        given, {**document, "signature": signatures.sign(given.approver.key, context, document["statement"])}
    )


def _another_canonical_form(given: Approved, chance: Random) -> Sent:
    document = _good(given)
    statement = document["statement"]
    context = signatures.context("approval", "dev", "acme")
    forms = [
        json.dumps(statement, sort_keys=True),
        json.dumps(dict(sorted(statement.items(), reverse=True)), separators=(",", ":")),
        json.dumps(statement, indent=1, sort_keys=True),
        json.dumps(statement, separators=(",", ":"), sort_keys=True) + "\n",
    ]
    joint = chance.choice([b"\x00", b"", b"\x00\x00"])
    is_plain = joint == b"\x00"
    form = chance.choice(forms) if is_plain else json.dumps(statement, separators=(",", ":"), sort_keys=True)
    return handed_in(given, {**document, "signature": _text(given.approver.key.sign(context + joint + form.encode()))})


def _another_signer(given: Approved, chance: Random) -> Sent:
    stranger = PrivateKey.generate()
    unknown = Person(
        tenant="acme", id=given.approver.id, roles=given.approver.roles, token=given.approver.token, key=stranger
    )
    borrowed = Person(
        tenant="acme", id=given.approver.id, roles=given.approver.roles, token=given.approver.token, key=given.other.key
    )
    if chance.random() < 0.3:
        return handed_in(given, _good(given), token=given.other.token)
    return handed_in(given, signed(chance.choice([unknown, borrowed]), given.statement, "dev"))


def _the_other_verdict(given: Approved, chance: Random) -> Sent:
    return handed_in(given, signed(given.approver, given.statement, "dev", verdict="reject"))


VERDICTS: Mapping[str, Verdict] = {
    "a member of the statement changed": _a_member_changed_after,
    "a member of the statement signed otherwise": _a_member_signed_otherwise,
    "another form of the statement": _another_form_of_statement,
    "a bit of the signature": _a_bit_of_the_signature,
    "another signature": _another_signature,
    "another purpose, environment or tenant": _another_context,
    "another canonical form": _another_canonical_form,
    "another signer": _another_signer,
    "the other verdict": _the_other_verdict,
}


def _flipped(text: str, at: int) -> str:
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


def _raw(signature: str) -> bytes:
    return urlsafe_b64decode(signature + "==")


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
