"""Check a certificate again, offline: `python -m invariants recheck CERTIFICATE --bundle BUNDLE`.

Nothing that the certificate says is taken over. In order:

1. signature    a trusted key signed it, where keys are given
2. content      bundle, rules, invariants, tools and schema are those that it names, by digest
3. versions     engine and encoder are those that are installed: others would write other obligations
4. obligations  written anew from rules, invariants and tools; each is in the certificate, by digest, and no other is
5. answers      each is settled again by both solvers, with the verdict that the certificate says

Exit codes: 0 confirmed, 1 something differs or is refuted, 2 not known (another version, a solver's limit),
3 bad input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any

from invariants import certifying, obligations
from invariants.jobs import ProofLimits
from invariants.reports import Finding, ProofReport, Verdict
from invariants.solving import versions
from invariants.sources import Source
from invariants.supervisor import Progress, Prover
from policies import cedar_syntax
from policies.schema import CedarSchema, generate
from proofs import canonical, certificates
from proofs.certificates import Certificate, Key, Obligation, SignedCertificate, Vacuity
from proofs.errors import VerificationError
from proofs.keys import KeyRing
from tool_registry.contracts import Contract


@unique
class Outcome(StrEnum):
    """What a step, or all of them, come to."""

    CONFIRMED = "confirmed"
    DIFFERS = "differs"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was looked at."""

    name: str
    outcome: Outcome
    detail: str

    def document(self) -> dict[str, Any]:
        """As JSON members."""
        return {"step": self.name, "outcome": self.outcome.value, "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An obligation of which certificate and re-check do not say the same."""

    about: Obligation | Vacuity
    outcome: Outcome
    cause: str
    counter_example: Mapping[str, Any] | None = None
    """A call that the rules allow and that violates the invariant."""

    @property
    def name(self) -> str:
        """Of the obligation, for people."""
        kind, subject, action, principal = self.about.key
        return " ".join(each for each in (kind, subject, f"over {action} by {principal}") if each)

    def document(self) -> dict[str, Any]:
        """As JSON members."""
        kind, subject, action, principal = self.about.key
        return {
            "kind": kind,
            "subject": subject,
            "action": action,
            "principal": principal,
            "outcome": self.outcome.value,
            "cause": self.cause,
            "counter_example": None if self.counter_example is None else dict(self.counter_example),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """What became of every step, as far as they went."""

    certificate: Certificate
    steps: tuple[Step, ...]
    confirmed: int = 0
    """Obligations and premises that were written again, settled again, and are as the certificate says."""
    differences: tuple[Difference, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst of the steps."""
        found = {step.outcome for step in self.steps}
        return next((each for each in (Outcome.DIFFERS, Outcome.UNKNOWN) if each in found), Outcome.CONFIRMED)

    def document(self) -> dict[str, Any]:
        """As JSON members."""
        return {
            "certificate": self.certificate.digest,
            "outcome": self.outcome.value,
            "confirmed": self.confirmed,
            "steps": [step.document() for step in self.steps],
            "differences": [each.document() for each in self.differences],
        }


async def recheck(
    signed: SignedCertificate,
    source: Source,
    tools: tuple[Contract, ...],
    keys: KeyRing | None,
    progress: Progress | None = None,
    limits: ProofLimits | None = None,
) -> Recheck:
    """
    Take a certificate through all steps; 4 and 5 only where what they start from is what it names.

    Raises `InvariantError`, `PolicyFault` or `SchemaError` for rules, invariants or tools that cannot be read.
    """
    certificate, schema = signed.certificate, generate(tools)
    steps = (_signature(signed, keys), *_content(certificate, source, schema, tools), *_versions(certificate))
    if any(step.outcome in (Outcome.DIFFERS, Outcome.UNKNOWN) for step in steps[1:]):
        return Recheck(certificate=certificate, steps=steps)
    report = await Prover(limits).prove(source.files, schema, tools, progress)
    rewritten = tuple(_rewritten(certificate, report))
    settled = tuple(_settled(certificate, report))
    total = len(certificate.obligations) + len(certificate.vacuity)
    steps += (
        _step("obligations", rewritten, f"{len(_again(report))} written anew, each named by its digest"),
        _step("answers", settled, f"{total} settled again by {report.solver_names}"),
    )
    steps += tuple(_rules(certificate, report))
    if certificate.mutation is not None:
        detail = "not measured again: `lockgate bundle mutants` does so"
        steps += (Step(name="mutation", outcome=Outcome.SKIPPED, detail=detail),)
    differences = rewritten + settled
    confirmed = total - len({each.about.key for each in differences} & set(_named(certificate)))
    return Recheck(certificate=certificate, steps=steps, confirmed=confirmed, differences=differences)


def _signature(signed: SignedCertificate, keys: KeyRing | None) -> Step:
    if keys is None:
        return Step(name="signature", outcome=Outcome.SKIPPED, detail="not checked: no --keys were given")
    try:
        certificates.verify(signed, keys)
    except VerificationError as error:
        return Step(name="signature", outcome=Outcome.DIFFERS, detail=str(error))
    return Step(name="signature", outcome=Outcome.CONFIRMED, detail=f"signed by `{signed.key_id}`")


def _content(
    certificate: Certificate, source: Source, schema: CedarSchema, tools: tuple[Contract, ...]
) -> Iterator[Step]:
    if source.digest is None:
        yield Step(name="bundle", outcome=Outcome.SKIPPED, detail="not compared: a folder has no manifest")
    else:
        yield _same("bundle", source.digest, certificate.bundle)
    for name in ("policies", "invariants"):
        digest = canonical.digest(source.files[f"{name}.cedar"].encode())
        yield _same(name, digest, getattr(certificate, name))
    named = {contract.name: contract.digest for contract in tools}
    outcome = Outcome.CONFIRMED if named == certificate.tools else Outcome.DIFFERS
    yield Step(name="tools", outcome=outcome, detail=f"{len(named)} contracts")
    yield _same("schema", schema.digest, certificate.schema)
    is_same = certificate.assumptions == obligations.ASSUMPTIONS
    outcome = Outcome.CONFIRMED if is_same else Outcome.DIFFERS
    yield Step(name="assumptions", outcome=outcome, detail=f"{len(obligations.ASSUMPTIONS)} sentences")


def _same(name: str, found: str, stated: str) -> Step:
    if found == stated:
        return Step(name=name, outcome=Outcome.CONFIRMED, detail=found)
    return Step(name=name, outcome=Outcome.DIFFERS, detail=f"here {found}, the certificate names {stated}")


def _versions(certificate: Certificate) -> Iterator[Step]:
    for name, stated, installed in (
        ("engine", certificate.engine, cedar_syntax.ENGINE_VERSION),
        ("encoder", certificate.encoder, obligations.ENCODER_VERSION),
    ):
        if stated == installed:
            yield Step(name=name, outcome=Outcome.CONFIRMED, detail=stated)
        else:
            cause = f"made with `{stated}`, installed is `{installed}`: install the release that it was made with"
            yield Step(name=name, outcome=Outcome.UNKNOWN, detail=cause)
    used = {name: solver.version for name, solver in certificate.solvers.items()}
    listed = ", ".join(f"{name} {version}" for name, version in sorted(used.items()))
    if used == versions.installed():
        yield Step(name="solvers", outcome=Outcome.CONFIRMED, detail=f"{listed}, installed here too")
    else:
        # An answer is worth the same whichever version repeats it; that these gave it can be looked up nowhere.
        yield Step(name="solvers", outcome=Outcome.SKIPPED, detail=f"says {listed}; settled again by those installed")
    scope = f"tenant `{certificate.tenant}`, environment `{certificate.environment}`: the log that names it says so"
    yield Step(name="scope", outcome=Outcome.SKIPPED, detail=scope)


def _step(name: str, differences: tuple[Difference, ...], good: str) -> Step:
    outcomes = {each.outcome for each in differences}
    outcome = next((each for each in (Outcome.DIFFERS, Outcome.UNKNOWN) if each in outcomes), Outcome.CONFIRMED)
    if not differences:
        return Step(name=name, outcome=outcome, detail=good)
    more = f", and {len(differences) - 1} more" if len(differences) > 1 else ""
    return Step(name=name, outcome=outcome, detail=f"{differences[0].name}: {differences[0].cause}{more}")


def _rewritten(certificate: Certificate, report: ProofReport) -> Iterator[Difference]:
    """Step 4: both ways, so that nothing is left out of a certificate and nothing added to it."""
    stated, again = _named(certificate), _again(report)
    for key, about in stated.items():
        if key not in again:
            yield Difference(about=about, outcome=Outcome.DIFFERS, cause="the bundle has no such obligation")
        elif again[key].digest != about.digest and again[key].digest:
            yield Difference(about=about, outcome=Outcome.DIFFERS, cause="its text is another one")
        elif again[key].resource != about.resource:
            yield Difference(about=about, outcome=Outcome.DIFFERS, cause="its resource is of another type")
    for key, about in again.items():
        if key not in stated:
            yield Difference(about=about, outcome=Outcome.DIFFERS, cause="the certificate lacks it")


def _settled(certificate: Certificate, report: ProofReport) -> Iterator[Difference]:
    """Step 5, for what is in both."""
    again, findings = _again(report), {_asked(finding): finding for finding in report.findings}
    for key, about in _named(certificate).items():
        if key not in again:
            continue
        finding, here = findings[key], again[key]
        if finding.verdict is Verdict.UNKNOWN:
            yield Difference(about=about, outcome=Outcome.UNKNOWN, cause=f"not settled here: {finding.reason}")
        elif _verdict(about) != _verdict(here) or about.answers != here.answers:
            cause = f"the certificate says {_said(about)}, here it is {_said(here)}"
            yield Difference(about=about, outcome=Outcome.DIFFERS, cause=cause, counter_example=finding.counter_example)


def _rules(certificate: Certificate, report: ProofReport) -> Iterator[Step]:
    """Which rules can be satisfied; part of step 5."""
    unsettled = {each.rule for each in report.findings if each.verdict is Verdict.UNKNOWN}
    for name, stated, reason in (("alive", certificate.alive, "lives"), ("accepted", certificate.accepted, "accepted")):
        found = certifying.rules(report, reason)
        differing, detail, outcome = set(stated) ^ set(found), f"rules: {len(found)}", Outcome.CONFIRMED
        if differing:
            detail = f"not so here: {', '.join(sorted(differing))}"
            outcome = Outcome.UNKNOWN if differing <= unsettled else Outcome.DIFFERS
        yield Step(name=name, outcome=outcome, detail=detail)


def _named(certificate: Certificate) -> dict[Key, Obligation | Vacuity]:
    about: tuple[Obligation | Vacuity, ...] = (*certificate.obligations, *certificate.vacuity)
    return {each.key: each for each in about}


def _again(report: ProofReport) -> dict[Key, Obligation | Vacuity]:
    about: tuple[Obligation | Vacuity, ...] = (*certifying.obligations(report), *certifying.vacuity(report))
    return {each.key: each for each in about}


def _asked(finding: Finding) -> Key:
    return finding.kind, finding.invariant, finding.action, finding.principal


def _verdict(about: Obligation | Vacuity) -> str:
    return about.premise.value if isinstance(about, Vacuity) else about.verdict.value


def _said(about: Obligation | Vacuity) -> str:
    answers = ", ".join(f"{name} {answer}" for name, answer in sorted(about.answers.items()))
    return f"`{_verdict(about)}`" + (f" ({answers})" if answers else "")
