"""A packet of one call: what it says of question, decision and proof is settled offline, and no lie in it passes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gateway.redaction import Redactor
from invariants import auditing, packet_checks, packets, ranges
from invariants.__main__ import main
from invariants.errors import Unreadable
from invariants.recheck import Outcome
from invariants.sources import Source
from policies import replay
from policies.questions import Question
from proofs import canonical
from proofs.errors import EvidenceError
from tests.world import evidence
from tests.world.bundles import bundle, contracts, refund
from tests.world.evidence import KEYS
from tool_registry.contracts import Label, ToolDigest

RULES = {"agent-registered": "permit"}
OTHER = "sha256:" + "0" * 64


@cache
def honest() -> dict[str, Any]:
    """The packet of a refund of 12.50 that an agent was permitted."""
    return evidence.packet(refund(1_250), RULES, certificate=evidence.certificate().digest)


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """The packet with another value in one place."""
    document = json.loads(json.dumps(honest()))
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    return document  # type: ignore[no-any-return]


def settled(document: Mapping[str, Any], *, is_whole: bool = True) -> dict[str, Outcome]:
    """What became of each step; `is_whole` with bundle, certificate and keys at hand."""
    more: dict[str, Any] = {}
    if is_whole:
        more = {
            "keys": KEYS,
            "certificate": evidence.signed(),
            "source": Source(files=bundle().files, digest=bundle().digest),
            "contract": contracts()["issue_refund"],
        }
    return {each.name: each.outcome for each in packet_checks.settle(packets.parse(document), **more)}


def test_honest_packet_is_confirmed_by_both_solvers() -> None:
    """
    Receipt, certificate and obligation are those of the call, and every claim about it holds.
    """
    found = settled(honest())

    assert set(found.values()) == {Outcome.CONFIRMED}
    assert {"receipt", "certificate", "obligation", "possible", "covered", "decided", "invariant refund-cap"} <= set(
        found
    )


def test_packet_alone_is_settled_by_the_second_solver() -> None:
    """
    With nothing else at hand cvc5 settles the text; what was not looked at is said to be so.
    """
    found = settled(honest(), is_whole=False)

    assert {name for name, outcome in found.items() if outcome is Outcome.SKIPPED} == {"certificate", "obligation"}
    assert {found[name] for name in ("receipt", "decided", "invariant refund-cap")} == {Outcome.CONFIRMED}


@pytest.mark.parametrize(
    "path",
    [
        ("payload", "question", "context", "arguments", "amount_cents"),
        ("payload", "question", "context", "facts", "order", "paid_cents"),
        ("receipt", "entry", "seq"),
        ("receipt", "checkpoint", "at_ms"),
    ],
)
def test_changed_question_or_entry_is_found(path: tuple[str, ...]) -> None:
    """
    The entry commits to the payload, and the log to the entry: neither can be changed.
    """
    assert settled(changed(*path, to=2))["receipt"] is Outcome.DIFFERS


def test_obligation_of_another_question_is_found() -> None:
    """
    A text that was written for a smaller refund holds, and is not the obligation of this call.
    """
    other = evidence.packet(refund(1), RULES)["ground"]

    found = settled({**honest(), "ground": other})

    assert found["obligation"] is Outcome.DIFFERS


def test_text_with_another_digest_is_not_even_asked() -> None:
    """
    The text is the one that the digest names, or nothing is said about its claims.
    """
    found = settled(changed("ground", "digest", to=OTHER), is_whole=False)

    assert found["claims"] is Outcome.DIFFERS
    assert "decided" not in found


@pytest.mark.parametrize(
    ("member", "value"),
    [("certificate", OTHER), ("bundle", OTHER), ("tool_digest", OTHER)],
)
def test_entry_that_names_another_certificate_bundle_or_contract_is_found(member: str, value: str) -> None:
    """
    A certificate proves nothing of a call that was decided under another one, and a bundle nothing of another's calls.
    """
    found = settled(
        evidence.packet(refund(1_250), RULES, **{"certificate": evidence.certificate().digest, member: value})
    )

    assert found["certificate"] is Outcome.DIFFERS
    assert found["receipt"] is Outcome.CONFIRMED
    assert (found["obligation"] is Outcome.DIFFERS) is (member != "certificate")


def test_decision_that_the_rules_do_not_give_is_found() -> None:
    """
    A gateway that records a permit by a rule that does not permit is found out by its own packet.
    """
    found = settled(evidence.packet(refund(1_250), {"people-read": "permit"}), is_whole=False)

    assert found["decided"] is Outcome.DIFFERS
    assert found["invariant refund-cap"] is Outcome.CONFIRMED


@pytest.mark.parametrize(
    "command",
    [
        '(set-option :regular-output-channel "{path}")',
        '(set-option :diagnostic-output-channel "{path}")',
        "(assert false)",
        "(exit)",
        "(reset)",
    ],
)
def test_text_of_a_stranger_commands_no_solver(tmp_path: Path, command: str) -> None:
    """
    A packet's text may only declare, define, assert and ask: a command that would open a file ends the reading.
    """
    written = tmp_path / "written"
    text = honest()["ground"]["text"]
    at = text.index("(check-sat-assuming ")
    evil = f"{text[:at]}{command.format(path=written)}\n{text[at:]}"
    digest = canonical.digest(evil.encode())

    found = settled({**honest(), "ground": {**honest()["ground"], "text": evil, "digest": digest}}, is_whole=False)

    assert not written.exists()
    assert Outcome.CONFIRMED not in {outcome for name, outcome in found.items() if name.startswith("invariant")} or (
        command == "(assert false)" and found["possible"] is Outcome.DIFFERS
    )


@pytest.mark.parametrize(
    "change",
    [
        {"lockgate_packet": 2},
        {"ground": {}},
        {"receipt": {}},
        {"payload": []},
        {"absent": None},
        {"more": 1},
    ],
)
def test_what_is_no_packet_is_not_read(change: dict[str, Any]) -> None:
    """
    Another form is refused before anything is looked at.
    """
    with pytest.raises(EvidenceError):
        packets.parse({**honest(), **change})


@pytest.mark.parametrize("claims", [[], [["decided", "", "unsat"]], [["decided", "", "unsat", ""]], "decided", [1]])
def test_claims_are_those_of_the_text(claims: Any) -> None:
    """
    There is one question in the text for each claim.
    """
    with pytest.raises(EvidenceError):
        packets.parse(changed("ground", "claims", to=claims))


def test_more_questions_than_claims_are_no_answers() -> None:
    """
    A question before the others would move every answer to another claim: then nothing is known.
    """
    text = honest()["ground"]["text"].replace("(check-sat-assuming (q0))", "(check-sat)\n(check-sat-assuming (q0))")
    ground = {**honest()["ground"], "text": text, "digest": canonical.digest(text.encode())}

    found = settled({**honest(), "ground": ground}, is_whole=False)

    assert {found[name] for name in ("possible", "decided", "invariant refund-cap")} == {Outcome.UNKNOWN}


def test_argument_that_looks_like_a_question_is_a_string() -> None:
    """
    What an agent writes stays inside a literal, also where it spells a command.
    """
    written = 'ord_1") (assert false) (check-sat-assuming (q0)) (echo "'
    asked = refund(1_250)
    arguments = {**asked.context["arguments"], "order_id": written}
    resource = replace(asked.resource, id=written)
    document = evidence.packet(
        replace(asked, resource=resource, context={**asked.context, "arguments": arguments}), RULES
    )

    found = settled(document, is_whole=False)

    assert {found[name] for name in ("possible", "covered", "decided")} == {Outcome.CONFIRMED}


def test_packet_without_obligation_confirms_nothing() -> None:
    """
    Where none could be written the answer is that nothing is known, also with the bundle at hand.
    """
    document = {**honest(), "ground": None, "absent": "hidden"}

    assert settled(document, is_whole=False)["claims"] is Outcome.UNKNOWN
    assert settled(document)["obligation"] is Outcome.DIFFERS


def hidden(*names: str) -> Question:
    """The refund as the log shows it where these arguments are personal."""
    contract = contracts()["issue_refund"]
    fields = tuple(replace(each, label=Label.PERSONAL) if each.name in names else each for each in contract.arguments)
    shown = Redactor(b"key").packet(
        replace(contract, arguments=fields, digest=ToolDigest(OTHER)),
        {"question": refund(1_250).document()},
        tenant="acme",
    )
    return replay.read(shown["question"])


def test_hidden_names_leave_the_claims_as_they_are() -> None:
    """
    A token stands for a name wherever the name stood, so what the rules compare comes out as it did.
    """
    asked = hidden("order_id")

    found = settled(evidence.packet(asked, RULES), is_whole=False)

    assert str(asked.resource.id).startswith("tok_")
    assert {found[name] for name in ("possible", "covered", "decided", "invariant refund-cap")} == {Outcome.CONFIRMED}


def test_hidden_number_leaves_no_obligation() -> None:
    """
    A token is no number: there is nothing exact to be shown of the question, and nothing is.
    """
    payload = {"question": hidden("amount_cents").document(), "decision": {"rules": []}}

    with pytest.raises(Unreadable, match="amount_cents"):
        packets.write(payload, {}, bundle().files, contracts()["issue_refund"])


def test_command_settles_a_packet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    `python -m invariants settle`: 0 for an honest packet, 1 for a lie, 3 for what is none.
    """
    files = evidence.written(tmp_path, evidence.signed())
    good, bad, none = (tmp_path / name for name in ("good.json", "bad.json", "none.json"))
    good.write_bytes(canonical.encode(honest()))
    bad.write_bytes(canonical.encode(changed("payload", "question", "context", "now", to=7)))
    none.write_text("[]")
    more = ["--bundle", str(files.bundle), "--certificate", str(files.certificate), "--keys", str(files.keys)]

    codes = [main(["settle", str(path), *more]) for path in (good, bad, none)]

    assert codes == [auditing.CONFIRMED, auditing.DIFFERS, auditing.BAD_INPUT]
    assert "confirmed: entry 1, call call_1" in capsys.readouterr().out


def test_command_says_how_far_facts_may_move(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    `python -m invariants robust` takes a packet or a question: 0 proved, 1 with the call that is not, 3 bad bounds.
    """
    path = tmp_path / "packet.json"
    path.write_bytes(canonical.encode(honest()))
    asked = ["robust", str(path), "--bundle", str(Path(ranges.__file__).parent.parent / "policies" / "base"), "--json"]

    codes = [main([*asked, "--fact", f"order.paid_cents={low}..9000"]) for low in (1_250, 1_249, 9_001)]

    told = capsys.readouterr().out
    assert codes == [auditing.CONFIRMED, auditing.DIFFERS, auditing.BAD_INPUT]
    assert '"paid_cents": 1249' in told


def test_recorded_is_what_the_rules_say_and_no_more() -> None:
    """
    After a refusal by Rego, or an error of a rule, Cedar's own answer is not recorded, and so not claimed.
    """
    denied = {"decision": {"rules": [{"engine": "rego", "id": "freeze", "effect": "deny"}]}}
    nothing: dict[str, Any] = {"decision": {"rules": []}}

    by_rego, by_nobody = packets.recorded(denied, {}), packets.recorded(nothing, {})

    assert by_rego == ranges.Recorded(permits=None, forbids=frozenset())
    assert by_nobody == replace(by_rego, permits=frozenset())
    assert packets.recorded(nothing, {"reason": "policy_error"}) is None
