"""G01 to G04: what is changed, removed, moved, added, cut or rewritten in a log is found offline, in its place."""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proofs import approvals, canonical, chain, checkpoints, commitments, export, verify
from proofs.__main__ import main
from proofs.checkpoints import Checkpoint
from proofs.export import Header, Record
from proofs.keys import KeyRing, PrivateKey, TrustedKey
from proofs.verify import Verdict

LOG_KEY = PrivateKey.from_seed(b"log key of the tampering tests!!")
PERSON_KEY = PrivateKey.from_seed(b"person's key of these tests!!!!!")
KEYS = KeyRing(
    (
        TrustedKey(public=LOG_KEY.public, purposes=frozenset({"checkpoint"})),
        TrustedKey(public=PERSON_KEY.public, purposes=frozenset({"approval"}), tenant="acme", person="person/finley"),
    )
)
DIGEST = "sha256:" + "ab" * 32
START_MS = 1_790_000_000_000


@dataclass(frozen=True)
class Log:
    """An export and everything that went into it."""

    lines: tuple[bytes, ...]
    """Header first."""
    checkpoints: tuple[Checkpoint, ...]

    @property
    def raw(self) -> bytes:
        """The whole file."""
        return b"".join(self.lines)

    def line_of(self, seq: int) -> int:
        """Index into `lines` of the entry `seq`."""
        found = [
            at for at, line in enumerate(self.lines) if line.startswith(b'{"entry"') and b'"seq":%d,' % seq in line
        ]
        assert len(found) == 1
        return found[0]


def log(
    batches: Sequence[int] = (1, 3, 1, 2, 5, 1, 1, 4), *, altered: Mapping[int, Mapping[str, Any]] | None = None
) -> Log:
    """
    A log of calls, each an INTENT with an approved packet and its OUTCOME, in batches of these sizes.

    `altered` holds, by `seq`, members that the log's own writer would write differently.
    """
    head = chain.Head(tenant="acme")
    items: list[Record | Checkpoint] = []
    signed = []
    for size in batches:
        drafts = [draft(seq) for seq in range(head.size + 1, head.size + size + 1)]
        sealed = chain.seal(
            head,
            [{**members, **(altered or {}).get(seq, {})} for seq, members, _ in drafts],
            environment="dev",
            at_ms=START_MS + head.size,
            signer=LOG_KEY,
        )
        for link, (_, _, payload) in zip(sealed.entries, drafts, strict=True):
            items.append(Record(body=link.body, salt=salt(link.seq) if payload else None, payload=payload))
        items.append(sealed.checkpoint)
        signed.append(sealed.checkpoint)
        head = sealed.head
    header = Header(tenant="acme", environment="dev", size=head.size, checkpoints=len(signed))
    return Log(tuple(export.write(header, items)), tuple(signed))


def draft(seq: int) -> tuple[int, dict[str, Any], bytes | None]:
    """Clear members and payload of an entry: odd ones intend, even ones settle."""
    members: dict[str, Any] = {
        "tenant": "acme",
        "call": f"call_{(seq + 1) // 2:032x}",
        "call_digest": DIGEST,
        "effect": f"call_{(seq + 1) // 2:032x}",
        "tool": "issue_refund",
        "principal": "agent/triage-7",
    }
    if seq % 2 == 0:
        return seq, {**members, "kind": "OUTCOME", "state": "executed"}, None
    payload = canonical.encode({"approvals": [approval(nonce=f"{seq:022d}")], "question": {"amount_cents": 1250}})
    return seq, {**members, "kind": "INTENT", "payload": commitments.commit("payload", salt(seq), payload)}, payload


def approval(**changed: str) -> dict[str, Any]:
    """A signed yes, as an action packet carries it."""
    statement = approvals.parse(
        {
            "call": DIGEST,
            "tool": DIGEST,
            "bundle": DIGEST,
            "requester": "agent/triage-7",
            "approver": "person/finley",
            "key": PERSON_KEY.key_id,
            "verdict": "approve",
            "shown": "",
            "reason": "Für den Kunden, \u2028 wie besprochen",
            "not_after": "2026-12-01T00:00:00Z",
            "nonce": "0" * 22,
            **changed,
        }
    )
    signature = approvals.sign(statement, key=PERSON_KEY, environment="dev", tenant="acme")
    return {"statement": statement.document(), "signature": signature}


def salt(seq: int) -> bytes:
    return seq.to_bytes(commitments.SALT_BYTES, "big")


def check(raw: bytes | Sequence[bytes], kept: Sequence[Checkpoint] = ()) -> Verdict:
    """What the verifier says of these bytes or lines."""
    return verify.check(io.BytesIO(raw if isinstance(raw, bytes) else b"".join(raw)), KEYS, kept)


def flipped(raw: bytes, bit: int) -> bytes:
    """These bytes with one bit the other way round."""
    return raw[: bit // 8] + bytes([raw[bit // 8] ^ 1 << bit % 8]) + raw[bit // 8 + 1 :]


def test_untouched_export_is_good() -> None:
    """
    An export as written holds, and the verdict counts what was checked.
    """
    written = log()

    verdict = check(written.raw, written.checkpoints)

    assert verdict.is_good, verdict.findings
    assert (verdict.size, verdict.checkpoints, verdict.approvals, verdict.effects) == (18, 8, 9, 9)
    assert verdict.root == written.checkpoints[-1].root.hex()


def test_any_flipped_bit_is_blamed_on_its_own_record() -> None:
    """
    G01: a flipped bit of an export is found, and the line and entry named are the ones that it is in.
    """
    written = log()
    ends = list(itertools.accumulate(len(line) for line in written.lines))
    seqs = {written.line_of(seq) + 1: seq for seq in range(1, 19)}

    for bit in random.Random(7).sample(range(8 * len(written.raw)), 1500):
        first = check(flipped(written.raw, bit)).findings[0]

        line = next(number for number, end in enumerate(ends, start=1) if bit // 8 < end)
        assert first.line == line, f"bit {bit} of line {line}: {first.message}"
        assert first.seq == seqs.get(line, first.seq), f"bit {bit} of line {line}: {first.message}"


def test_no_bit_can_be_changed_unseen() -> None:
    """
    G01: in an export of two entries every single bit counts.
    """
    raw = log((1, 1)).raw

    unseen = [bit for bit in range(8 * len(raw)) if check(flipped(raw, bit)).is_good]

    assert unseen == []


@pytest.mark.parametrize("seq", [1, 9, 18], ids=["first", "middle", "last"])
def test_deleted_entry_is_missed(seq: int) -> None:
    """
    G02: without one entry the export is bad, and that entry is the one named.
    """
    written = log()
    at = written.line_of(seq)

    first = check(written.lines[:at] + written.lines[at + 1 :]).findings[0]

    assert (first.seq, first.line, first.reason) == (seq, at + 1, "entry_missing")


@pytest.mark.parametrize("seq", [1, 9, 17], ids=["first", "middle", "last"])
def test_swapped_entries_are_found(seq: int) -> None:
    """
    G02: two neighbours in the wrong order are found at the first of them.
    """
    written = log((18,))
    at = written.line_of(seq)
    lines = [*written.lines[:at], written.lines[at + 1], written.lines[at], *written.lines[at + 2 :]]

    first = check(lines).findings[0]

    assert (first.seq, first.line) == (seq, at + 1)


@pytest.mark.parametrize("seq", [1, 9, 18], ids=["first", "middle", "last"])
def test_duplicated_entry_is_found(seq: int) -> None:
    """
    G02: an entry that stands twice is found at its second place.
    """
    written = log()
    at = written.line_of(seq)

    first = check(written.lines[: at + 1] + written.lines[at:]).findings[0]

    assert (first.line, first.reason) == (at + 2, "entry_repeated")


@pytest.mark.parametrize("seq", [1, 9, 18, 19], ids=["first", "middle", "last", "behind"])
def test_inserted_entry_is_found(seq: int) -> None:
    """
    G02: a forged entry that takes the number of another, with a fitting link, is found where it stands or one behind.
    """
    written = log()
    at = written.line_of(seq) if seq < 19 else len(written.lines)
    place = export.parse_line(written.lines[written.line_of(min(seq, 18))])
    assert isinstance(place, export.Read)
    forged = export.entry_line(
        Record(body=canonical.encode({**place.entry, "seq": seq, "kind": "NOTE", "payload": None}))
    )

    first = check([*written.lines[:at], forged, *written.lines[at:]]).findings[0]

    assert first.line in (at + 1, at + 2)


@pytest.mark.parametrize("at", range(27))
def test_every_line_is_missed(at: int) -> None:
    """
    G02: no line of an export, header and checkpoints included, can be taken out.
    """
    lines = log().lines

    verdict = check(lines[:at] + lines[at + 1 :])

    assert not verdict.is_good


@pytest.mark.parametrize("cut", [1, 4, 5, 17])
def test_truncation_shows_against_a_later_checkpoint(cut: int) -> None:
    """
    G03: an export whose last entries are gone, header and all, is good by itself and bad against a later checkpoint.
    """
    written = log([1] * 18)
    keep = 18 - cut
    header = export.header_line(Header(tenant="acme", environment="dev", size=keep, checkpoints=keep))
    lines = [header, *written.lines[1 : 1 + 2 * keep]]

    alone, compared = check(lines), check(lines, [written.checkpoints[-1]])

    assert alone.is_good
    assert [(each.seq, each.reason) for each in compared.findings] == [(keep + 1, "truncated")]


def test_truncation_without_a_new_header_shows_by_itself() -> None:
    """
    G03: entries cut behind the header's back are missed without any other checkpoint.
    """
    written = log([1] * 18)

    first = check(written.lines[:-6]).findings[0]

    assert (first.seq, first.reason) == (16, "size_differs")


def test_log_rewritten_with_the_stolen_key_shows_against_an_earlier_checkpoint() -> None:
    """
    G04: a log written anew from entry 8 on, and signed with the right key, contradicts what was kept before.
    """
    written, rewritten = log(), log(altered={8: {"state": "failed"}})

    alone, compared = check(rewritten.raw), check(rewritten.raw, written.checkpoints)

    assert alone.is_good
    assert [(each.seq, each.reason) for each in compared.findings] == [(8, "forked")]


def test_two_heads_of_one_size_show_each_other() -> None:
    """
    G05: of two histories of one size, each shown to another auditor, each is good alone and forked beside the other's
    checkpoint; both heads are signed by the log's key, so whoever holds them has evidence against it.
    """
    shown, withheld = log(), log(altered={18: {"state": "failed"}})
    heads = [each.checkpoints[-1] for each in (shown, withheld)]

    verdicts = [check(shown.raw, [heads[1]]), check(withheld.raw, [heads[0]])]

    assert check(shown.raw, [heads[0]]).is_good
    assert check(withheld.raw, [heads[1]]).is_good
    assert heads[0].size == heads[1].size
    assert [[each.reason for each in verdict.findings] for verdict in verdicts] == [["forked"]] * 2
    for head in heads:
        checkpoints.verify(head, KEYS)


def test_relinked_chain_shows_without_any_kept_checkpoint() -> None:
    """
    G04: who changes an entry and links all later ones anew, but cannot sign, is found in the batch of that entry.
    """
    written, rewritten = log(), log(altered={8: {"state": "failed"}})
    lines = [
        theirs if theirs.startswith(b'{"entry"') else ours
        for ours, theirs in zip(written.lines, rewritten.lines, strict=True)
    ]

    first = check(lines).findings[0]

    assert (first.seq, first.reason) == (8, "rewritten")


@pytest.mark.parametrize(
    ("altered", "seq", "reason"),
    [
        ({1: {"kind": "NOTE"}}, 2, "intent_missing"),
        ({4: {"call": "call_" + "9" * 32}}, 4, "intent_missing"),
        ({4: {"effect": f"call_{1:032x}"}}, 4, "intent_missing"),
        ({3: {"call": f"call_{1:032x}", "effect": f"call_{1:032x}"}}, 3, "effect_twice"),
        ({3: {"effect": f"call_{1:032x}"}}, 3, "effect_shared"),
        ({4: {"effect": None}}, 4, "member_missing"),
        ({5: {"payload": "sha256:" + "00" * 32}}, 5, "payload_changed"),
        ({5: {"call_digest": "sha256:" + "00" * 32}}, 5, "approval_mismatch"),
        ({5: {"tool_digest": "sha256:" + "00" * 32}}, 5, "approval_mismatch"),
        ({5: {"bundle": "sha256:" + "00" * 32}}, 5, "approval_mismatch"),
        ({5: {"kind": "REJECTED"}, 6: {"kind": "NOTE"}}, 5, "approval_mismatch"),
        ({2: {"kind": "outcome"}}, 2, "member"),
    ],
)
def test_well_signed_log_that_breaks_its_own_rules_is_bad(
    altered: Mapping[int, Mapping[str, Any]], seq: int, reason: str
) -> None:
    """
    What the log's own key signed is still bad where effects lack intents, happen twice, or approvals do not fit.
    """
    first = check(log(altered=altered).raw).findings[0]

    assert (first.seq, first.reason) == (seq, reason)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"requester": "person/finley"}, "approval_mismatch"),
        ({"verdict": "reject"}, "approval_mismatch"),
        ({"not_after": "2020-01-01T00:00:00Z"}, "approval_expired"),
        ({"approver": "person/robin"}, "approval_untrusted"),
    ],
)
def test_approval_that_does_not_count_is_found(changed: Mapping[str, str], reason: str) -> None:
    """
    An intent that rests on a refusal, the requester's own word, a late one, or another person's key is bad.
    """
    lines = single_intent(approval(**changed))

    assert [each.reason for each in check(lines).findings] == [reason]


def test_approval_signed_over_other_words_is_found() -> None:
    """
    A signature that was made over another statement does not carry this one.
    """
    lines = single_intent({**approval(), "signature": approval(reason="another")["signature"]})

    assert [each.reason for each in check(lines).findings] == ["approval_forged"]


def test_approval_used_by_two_calls_is_found() -> None:
    """
    An approval serves one call: the second call that rests on it is bad, retries of the first are not.
    """
    once = approval()

    again = check(single_intent(once, once, calls=("call_a", "call_a")))
    other = check(single_intent(once, once, calls=("call_a", "call_b")))

    assert again.is_good
    assert [(each.seq, each.reason) for each in other.findings] == [(2, "approval_reused")]


def single_intent(*given: dict[str, Any], calls: Sequence[str] = ("call_a",)) -> list[bytes]:
    """A small log: per approval an INTENT that rests on it."""
    payloads = [canonical.encode({"approvals": [each]}) for each in given]
    drafts = [
        {
            "tenant": "acme",
            "kind": "INTENT",
            "call": call,
            "effect": call,
            "payload": commitments.commit("payload", salt(1), payload),
        }
        for call, payload in zip(calls, payloads, strict=True)
    ]
    head = chain.Head(tenant="acme")
    sealed = chain.seal(head, drafts, environment="dev", at_ms=START_MS, signer=LOG_KEY)
    records = [
        Record(body=link.body, salt=salt(1), payload=payload)
        for link, payload in zip(sealed.entries, payloads, strict=True)
    ]
    header = Header(tenant="acme", environment="dev", size=len(records), checkpoints=1)
    return list(export.write(header, [*records, sealed.checkpoint]))


def test_erased_payloads_leave_the_log_good() -> None:
    """
    G13: destroying payload and salt breaks nothing; the verdict says how many are gone.
    """
    written = log()
    at = written.line_of(5)
    read = export.parse_line(written.lines[at])
    assert isinstance(read, export.Read)
    erased = export.entry_line(Record(body=read.record.body))

    verdict = check([*written.lines[:at], erased, *written.lines[at + 1 :]])

    assert verdict.is_good
    assert (verdict.payloads, verdict.erased) == (8, 1)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (TrustedKey(public=PERSON_KEY.public, purposes=frozenset({"checkpoint"})), "is not in the keys file"),
        (TrustedKey(public=LOG_KEY.public, purposes=frozenset({"bundle"})), "purpose `checkpoint`"),
        (TrustedKey(public=LOG_KEY.public, purposes=frozenset({"checkpoint"}), tenant="other"), "tenant `acme`"),
        (
            TrustedKey(public=LOG_KEY.public, purposes=frozenset({"checkpoint"}), not_before_ms=START_MS + 1),
            "not valid at",
        ),
        (TrustedKey(public=LOG_KEY.public, purposes=frozenset({"checkpoint"}), not_after_ms=START_MS), "not valid at"),
    ],
)
def test_key_that_is_not_trusted_for_it_signs_nothing(key: TrustedKey, words: str) -> None:
    """
    G06: a checkpoint by an unknown key, or one trusted for something else or another time, is bad and says why.
    """
    verdict = verify.check(io.BytesIO(log((1,)).raw), KeyRing((key, KEYS.keys[1])))

    assert verdict.findings[0].reason == "key_untrusted"
    assert words in verdict.findings[0].message


def test_kept_checkpoint_that_nobody_signed_is_no_evidence() -> None:
    """
    A kept checkpoint with a wrong signature is refused as input: it says nothing about any log.
    """
    written, other = log(), log((2,))
    forged = checkpoints.parse({**written.checkpoints[-1].document(), "signature": other.checkpoints[0].signature})

    with pytest.raises(verify.VerificationError, match="not signed so"):
        check(written.raw, [forged])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with an export, a keys file and kept checkpoints."""
    written = log()
    (tmp_path / "export.jsonl").write_bytes(written.raw)
    (tmp_path / "keys.json").write_bytes(canonical.encode(KEYS.document()))
    kept = b"".join(canonical.encode(each.document()) + b"\n" for each in written.checkpoints)
    (tmp_path / "kept.jsonl").write_bytes(kept)
    return tmp_path


def run(files: Path, *more: str) -> int:
    """Exit status of `python -m proofs verify` over these files."""
    return main(["verify", str(files / "export.jsonl"), "--keys", str(files / "keys.json"), *more])


def test_command_line_accepts_a_good_export(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A good export exits with 0 and says what was checked.
    """
    status = run(files, "--checkpoint", str(files / "kept.jsonl"))

    assert status == 0
    assert capsys.readouterr().out.startswith("good: 18 entries of tenant `acme` in `dev`, 8 signed checkpoints")


def test_command_line_names_the_first_bad_entry(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    G01: a changed export exits with 1, and the output names entry, line and cause.
    """
    raw = (files / "export.jsonl").read_bytes()
    (files / "export.jsonl").write_bytes(raw.replace(b'"state":"executed"', b'"state":"ExecuteD"', 1))

    status = run(files, "--json")

    assert status == 1
    answer = json.loads(capsys.readouterr().out)
    assert not answer["good"]
    assert (answer["first"]["seq"], answer["first"]["line"]) == (2, 4)
    assert answer["first"]["message"].startswith("entry 2 (line 4): ")


@pytest.mark.parametrize("broken", ["keys.json", "kept.jsonl"])
def test_command_line_tells_bad_input_from_bad_evidence(files: Path, broken: str) -> None:
    """
    Keys or kept checkpoints that cannot be used exit with 3: nothing was found out about the export.
    """
    (files / broken).write_bytes(b'{"keys": 1.5}')

    status = run(files, "--checkpoint", str(files / "kept.jsonl"))

    assert status == 3


def test_command_line_says_when_a_file_is_missing(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A missing export exits with 3 and names the file.
    """
    (files / "export.jsonl").unlink()

    status = run(files)

    assert status == 3
    assert "export.jsonl" in capsys.readouterr().err
