"""D06: a certificate that says anything else than the solvers do is refused: by its signature, or by a re-check."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from invariants import auditing, certifying
from invariants.__main__ import main
from invariants.recheck import Outcome, Recheck, recheck
from invariants.sources import Source
from invariants.supervisor import Prover
from policies.bundles import Bundle
from proofs import canonical, certificates
from proofs.__main__ import main as verifier
from proofs.certificates import Certificate, SignedCertificate, Verdict
from proofs.errors import EvidenceError, VerificationError
from tests.attacks.bundle_edits import POLICIES, mistyped, without
from tests.world import evidence
from tests.world.bundles import bundle, cedar_schema, contracts
from tests.world.evidence import KEYS, STRANGER

OTHER = "sha256:" + "0" * 64
WEAKENED = mistyped(POLICIES, "refund-within-paid", "amount_cents >", "amount_cents * 0 >")


def checked(signed: SignedCertificate, of: Bundle | None = None) -> Recheck:
    """The certificate re-checked against a bundle over the catalogue."""
    certain = of or bundle()
    source = Source(files=certain.files, digest=certain.digest)
    return asyncio.run(recheck(signed, source, tuple(contracts().values()), KEYS))


def step(found: Recheck, name: str) -> Outcome:
    """What became of one step."""
    return next(each.outcome for each in found.steps if each.name == name)


@cache
def document() -> dict[str, Any]:
    """The signed certificate of the base bundle."""
    return evidence.signed().document()


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every leaf of a document, of long lists only both ends."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list) and value:
        for place in sorted({0, len(value) - 1}):
            yield from places(value[place], (*path, place))
    else:
        yield path


def flipped(path: tuple[str | int, ...]) -> dict[str, Any]:
    """The signed certificate with another value of the same type at one place."""
    changed: Any = json.loads(json.dumps(document()))
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    old = inner[path[-1]]
    inner[path[-1]] = old + 1 if type(old) is int else old[:-1] + ("0" if old[-1:] != "0" else "1") if old else "0"
    return changed  # type: ignore[no-any-return]


def test_no_member_can_be_changed_unseen() -> None:
    """
    Whatever member of a signed certificate is changed, it is misshapen or not signed so.
    """
    unseen = []

    for path in places(document()):
        try:
            certificates.verify(certificates.parse(flipped(path)), KEYS)
        except EvidenceError:
            continue
        unseen.append(path)

    assert unseen == []


@pytest.mark.parametrize("name", ["lockgate_certificate", *Certificate.__slots__, "key_id", "signature"])
def test_no_member_may_be_missing(name: str) -> None:
    """
    A certificate without one of its members is no certificate.
    """
    lacking = {key: value for key, value in document().items() if key != name}

    with pytest.raises(EvidenceError, match=r"is missing|expected form 2"):
        certificates.parse(lacking)


def first(name: str, **members: Any) -> list[dict[str, Any]]:
    """The first obligation or premise of the certificate with other members, alone."""
    return [{**document()[name][0], **members}]


@pytest.mark.parametrize(
    "change",
    [
        lambda: {"lockgate_certificate": 1},
        lambda: {"solvers": {"z3": "5.4.0"}},
        lambda: {"unmeasured": ""},
        lambda: {"mutation": dict.fromkeys(("mutants", "equivalent", "caught", "by_proof", "by_cases"), 1)},
        lambda: {"tools": {"issue refund": OTHER}},
        lambda: {"obligations": first("obligations") * 2},
        lambda: {"obligations": first("obligations", answers={"z3": "sat"})},
        lambda: {"obligations": first("obligations", answers={"z3": "sat", "cvc5": "unsat"})},
        lambda: {"obligations": first("obligations", answers={"z3": "unknown", "cvc5": "unknown"})},
        lambda: {"vacuity": first("vacuity", premise="perhaps")},
        lambda: {"unknown": 1},
    ],
)
def test_what_is_not_of_the_form_is_not_read(change: Callable[[], dict[str, Any]]) -> None:
    """
    Another form, a score without survivors, a thing named twice, proved where solvers differ or gave up: refused.
    """
    with pytest.raises(EvidenceError):
        certificates.parse({**document(), **change()})


def test_score_that_does_not_add_up_is_not_read() -> None:
    """
    Each mutant is equivalent, caught, or named as a survivor.
    """
    counts = {"mutants": 3, "equivalent": 1, "caught": 1, "by_proof": 1, "by_cases": 0}
    unmeasured = {"unmeasured": ""}

    certificates.parse({**document(), **unmeasured, "mutation": {**counts, "survivors": ["refund-cap 3"]}})
    with pytest.raises(EvidenceError, match="sum"):
        certificates.parse({**document(), **unmeasured, "mutation": {**counts, "survivors": []}})


def test_honest_certificate_is_confirmed() -> None:
    """
    Every obligation is written anew and settled anew by both solvers, and is as the certificate says.
    """
    found = checked(evidence.signed())

    assert (found.outcome, found.differences) == (Outcome.CONFIRMED, ())
    certain = evidence.certificate()
    assert found.confirmed == len(certain.obligations) + len(certain.vacuity) > 400


def test_mutation_score_is_not_taken_for_confirmed() -> None:
    """
    A re-check does not measure the strength again, and says so.
    """
    score = certificates.Mutation(mutants=1, equivalent=0, caught=1, by_proof=1, by_cases=0, survivors=())

    found = checked(evidence.signed(replace(evidence.certificate(), mutation=score, unmeasured="")))

    assert (found.outcome, step(found, "mutation")) == (Outcome.CONFIRMED, Outcome.SKIPPED)


def test_stranger_signs_no_certificate() -> None:
    """
    Signed by a key that nobody trusts, it is refused although every obligation of it holds.
    """
    found = checked(evidence.signed(signer=STRANGER))

    assert found.outcome is Outcome.DIFFERS
    assert step(found, "signature") is Outcome.DIFFERS


def test_certificate_of_another_bundle_says_nothing_about_this_one() -> None:
    """
    A bundle with one rule less is another bundle: the re-check stops there, and so does the stand-alone verifier.
    """
    other = bundle(policies=without(POLICIES, "refund-founder"))

    found = checked(evidence.signed(), other)

    assert {each.name for each in found.steps if each.outcome is Outcome.DIFFERS} == {"bundle", "policies"}
    assert found.confirmed == 0
    with pytest.raises(VerificationError, match="other policies"):
        certificates.require_bundle(evidence.certificate(), canonical.parse(other.raw))


def test_removed_obligation_is_missed() -> None:
    """
    A certificate that leaves an obligation out is refused, well signed as it may be.
    """
    certain = evidence.certificate()
    removed = next(each for each in certain.obligations if each.subject == "refund-cap")
    kept = tuple(each for each in certain.obligations if each is not removed)

    found = checked(evidence.signed(replace(certain, obligations=kept)))

    assert step(found, "obligations") is Outcome.DIFFERS
    assert [(each.about.key, each.cause) for each in found.differences] == [(removed.key, "the certificate lacks it")]


def test_added_obligation_is_found() -> None:
    """
    What the bundle has no invariant for cannot be claimed.
    """
    certain = evidence.certificate()
    added = replace(certain.obligations[-1], subject="never-wrong")

    found = checked(evidence.signed(replace(certain, obligations=(*certain.obligations, added))))

    assert [each.about.key for each in found.differences] == [added.key]


def test_altered_digest_is_found() -> None:
    """
    An obligation whose text is another one is named.
    """
    certain = evidence.certificate()
    altered = replace(certain.obligations[7], digest=OTHER)
    listed = (*certain.obligations[:7], altered, *certain.obligations[8:])

    found = checked(evidence.signed(replace(certain, obligations=listed)))

    assert [(each.about.key, each.cause) for each in found.differences] == [(altered.key, "its text is another one")]


@pytest.mark.parametrize("member", ["obligations", "vacuity"])
def test_resource_of_another_type_is_found(member: str) -> None:
    """
    The type of request that an obligation is said to be about is the one that it is written for.
    """
    certain = evidence.certificate()
    first, *others = getattr(certain, member)

    found = checked(evidence.signed(replace(certain, **{member: (replace(first, resource="Nothing"), *others)})))

    assert found.outcome is Outcome.DIFFERS
    assert step(found, "obligations") is Outcome.DIFFERS


def test_certificate_without_its_assumptions_is_found() -> None:
    """
    The ledger of assumptions is the encoder's: a shorter one would promise more than was shown.
    """
    found = checked(evidence.signed(replace(evidence.certificate(), assumptions=())))

    assert step(found, "assumptions") is Outcome.DIFFERS


def test_forged_claim_about_a_weakened_bundle_is_refuted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Signed with the gateway's own key, claiming proved what is not: refuted, with a call that the rules would allow.
    """
    weak = bundle(policies=WEAKENED)
    report = asyncio.run(Prover().prove(weak.files, cedar_schema(), contracts().values()))
    honest = evidence.certified(report, weak)
    lies = tuple(
        replace(each, verdict=Verdict.PROVED, answers=dict.fromkeys(each.answers, certificates.Answer.UNSATISFIABLE))
        if each.verdict is not Verdict.PROVED
        else each
        for each in honest.obligations
    )
    forged = evidence.signed(replace(honest, obligations=lies))
    files = evidence.written(tmp_path, forged, weak)

    code = main(["recheck", str(files.certificate), "--bundle", str(files.bundle), "--keys", str(files.keys), "--json"])

    told = json.loads(capsys.readouterr().out)
    refuted = [each for each in told["differences"] if each["subject"] == "refund-cap"]
    assert honest.unproved
    assert (code, told["outcome"]) == (auditing.DIFFERS, "differs")
    assert refuted
    assert all(each["counter_example"]["action"] == "issue_refund" for each in refuted)


def test_certificate_of_another_encoder_is_neither_confirmed_nor_refused() -> None:
    """
    Another encoder writes other texts: the answer is that nothing is known, and what to install.
    """
    found = checked(evidence.signed(replace(evidence.certificate(), encoder="lockgate-obligations 1")))

    assert found.outcome is Outcome.UNKNOWN
    assert "install" in next(each.detail for each in found.steps if each.name == "encoder")
    assert found.confirmed == 0


@pytest.mark.parametrize(("resources", "memory_mib"), [(1, 1024), (2_000_000, 1)])
def test_solver_without_means_confirms_nothing(resources: int, memory_mib: int, tmp_path: Path) -> None:
    """
    Out of its units, or of memory: the answer is that nothing is known, never a yes, and never a no.
    """
    files = evidence.written(tmp_path, evidence.signed())
    limits = ["--resources", str(resources), "--memory-mib", str(memory_mib)]

    code = main(["recheck", str(files.certificate), "--bundle", str(files.bundle), *limits])

    assert code == auditing.UNKNOWN


def nested(depth: int) -> bytes:
    """Brackets in brackets."""
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[1]",
        b"{}",
        b'{"a":1,"a":2}',
        b'{"lockgate_certificate":2}',
        nested(100_000),
        b"\0" * 99,
    ],
    ids=range(9),
)
@pytest.mark.parametrize("command", ["recheck", "settle", "robust", "certificate"])
def test_hostile_file_is_bad_input(
    command: str, raw: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    What is no certificate, packet or question ends in a sentence and exit code 3, never in a trace or a verdict.
    """
    files = evidence.written(tmp_path, evidence.signed())
    bad = tmp_path / "bad.json"
    bad.write_bytes(raw)

    if command == "certificate":
        code = verifier([command, str(bad), "--keys", str(files.keys)])
    else:
        code = main([command, str(bad), "--bundle", str(files.bundle)])

    assert code == auditing.BAD_INPUT
    assert capsys.readouterr().err.startswith("cannot ")


def test_hostile_bundle_is_bad_input(tmp_path: Path) -> None:
    """
    Rules nested past what the engine's parser survives, or that are no Cedar: refused before anything is proved.
    """
    deep = bundle(policies='@id("deep") permit (principal, action, resource) when { ' + "!" * 50_000 + "true };")
    certain = evidence.certificate()
    digests = {name: canonical.digest(deep.content[name].encode()) for name in ("policies", "invariants")}
    forged = evidence.signed(replace(certain, bundle=deep.digest, **digests))
    files = evidence.written(tmp_path, forged, deep)

    assert main(["recheck", str(files.certificate), "--bundle", str(files.bundle)]) == auditing.BAD_INPUT


def test_vacuity_cannot_be_hidden() -> None:
    """
    A certificate that calls a premise reachable that is not, is found out.
    """
    certain = evidence.certificate()
    hidden = next(each for each in certain.vacuity if each.premise is not certificates.Premise.REACHABLE)
    lie = replace(hidden, premise=certificates.Premise.REACHABLE)
    listed = tuple(lie if each is hidden else each for each in certain.vacuity)

    found = checked(evidence.signed(replace(certain, vacuity=listed)))

    assert [each.about.key for each in found.differences] == [hidden.key]


def test_verifier_checks_signature_digests_and_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    `python -m proofs certificate` needs neither solver nor engine, and says what it did not look at.
    """
    files = evidence.written(tmp_path, evidence.signed())
    asked = ["certificate", str(files.certificate), "--keys", str(files.keys)]
    other = tmp_path / "other.json"
    other.write_bytes(bundle(revision=2).raw)

    codes = [verifier(asked), verifier([*asked, "--bundle", str(files.bundle)])]
    said = capsys.readouterr().out
    differs = verifier([*asked, "--bundle", str(other)])

    assert (codes, differs) == ([0, 0], 1)
    assert "not compared: no --bundle was given" in said
    assert "another bundle" in capsys.readouterr().out


def test_verifier_refuses_a_certificate_that_proves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Signed, and of this very bundle, and yet not proved: bad.
    """
    certain = evidence.certificate()
    unknown = replace(certain.obligations[0], verdict=Verdict.UNKNOWN)
    files = evidence.written(
        tmp_path, evidence.signed(replace(certain, obligations=(unknown, *certain.obligations[1:])))
    )

    code = verifier(["certificate", str(files.certificate), "--keys", str(files.keys)])

    assert code == 1
    assert "not proved" in capsys.readouterr().out


def test_dead_rule_cannot_be_called_alive() -> None:
    """
    A rule that the certificate says some request satisfies is one that some request does satisfy.
    """
    certain = evidence.certificate()

    found = checked(evidence.signed(replace(certain, alive=(*certain.alive, "never-alive"))))

    assert step(found, "alive") is Outcome.DIFFERS


def test_premises_are_told_apart() -> None:
    """
    Nothing is permitted to anybody, or only not to this type of principal: the certificate says which.
    """
    premises = {(each.action, each.principal): each.premise for each in certifying.vacuity(evidence.report())}

    assert premises["issue_refund", "Agent"] is certificates.Premise.REACHABLE
    assert premises["publish_bundle", "Agent"] is certificates.Premise.UNREACHABLE
