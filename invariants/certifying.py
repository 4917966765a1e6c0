"""From what a proof run found to the certificate that says so. Signing it is for whoever holds a key.

Whether some request is permitted at all is told apart from what is proved of those that are: the premises of a report
are the vacuity section of the certificate, rules that can be satisfied a list, everything else its obligations.
"""

from __future__ import annotations

from collections.abc import Iterable

from invariants.obligations import ENCODER_VERSION
from invariants.reports import Finding, ProofReport, Verdict
from invariants.solving import versions
from policies import cedar_syntax
from policies.bundles import Bundle
from policies.schema import CedarSchema
from proofs import canonical
from proofs.certificates import PREMISE, Answer, Certificate, Mutation, Obligation, Premise, Solver, Vacuity
from tool_registry.contracts import Contract

_LIVES = "lives"
UNMEASURED = "not measured at the upload: `lockgate bundle mutants` measures it"


def certificate(
    report: ProofReport,
    *,
    bundle: Bundle,
    tenant: str,
    environment: str,
    schema: CedarSchema,
    contracts: Iterable[Contract],
    at_ms: int,
    mutation: Mutation | None = None,
) -> Certificate:
    """What a report of this bundle over these tools comes to. Whether everything is proved is the caller's question."""
    return Certificate(
        tenant=tenant,
        environment=environment,
        bundle=bundle.digest,
        policies=canonical.digest(bundle.policies.encode()),
        invariants=canonical.digest(bundle.invariants.encode()),
        schema=schema.digest,
        tools={contract.name: contract.digest for contract in contracts},
        engine=report.engine,
        encoder=report.encoder,
        solvers={each.name: Solver(version=each.version, options=tuple(each.options)) for each in report.solvers},
        obligations=obligations(report),
        vacuity=vacuity(report),
        alive=rules(report, "lives"),
        accepted=rules(report, "accepted"),
        mutation=mutation,
        unmeasured="" if mutation else UNMEASURED,
        assumptions=report.assumptions,
        at_ms=at_ms,
    )


def is_of_this_release(certificate: Certificate) -> bool:
    """
    Whether it was made by the engine, encoder and solvers that run now; else it is void.

    Another engine or encoder may mean something else by the same rules. A proof does not become wrong because another
    solver is installed; but one is often installed because the former was, and proving again takes a second.
    """
    solvers = {name: solver.version for name, solver in certificate.solvers.items()}
    made_by = (certificate.engine, certificate.encoder, solvers)
    return made_by == (cedar_syntax.ENGINE_VERSION, ENCODER_VERSION, versions.installed())


def obligations(report: ProofReport) -> tuple[Obligation, ...]:
    """What was to be shown of the rules, with what came of it."""
    return tuple(_obligation(each) for each in report.findings if each.kind not in (PREMISE, _LIVES))


def vacuity(report: ProofReport) -> tuple[Vacuity, ...]:
    """For each type of request whether some request is permitted."""
    reachable = {each.action for each in report.findings if _is_reachable(each)}
    return tuple(_vacuity(each, reachable) for each in report.findings if each.kind == PREMISE)


def rules(report: ProofReport, reason: str) -> tuple[str, ...]:
    """The rules of which that was found out: `lives`, or `accepted` although nothing satisfies them."""
    found = (each for each in report.findings if (each.kind, each.verdict) == (_LIVES, Verdict.PROVED))
    return tuple(sorted(each.rule for each in found if each.reason == reason))


def _obligation(finding: Finding) -> Obligation:
    return Obligation(
        kind=finding.kind,
        subject=finding.invariant,
        action=finding.action,
        principal=finding.principal,
        resource=finding.resource,
        digest=finding.digest,
        verdict=finding.verdict,
        answers=_answers(finding),
    )


def _vacuity(finding: Finding, reachable: set[str]) -> Vacuity:
    if _is_reachable(finding):
        premise = Premise.REACHABLE
    else:
        premise = Premise.UNREACHABLE if finding.action in reachable else Premise.CLOSED
    return Vacuity(
        action=finding.action,
        principal=finding.principal,
        resource=finding.resource,
        premise=premise,
        digest=finding.digest,
        answers=_answers(finding),
    )


def _is_reachable(finding: Finding) -> bool:
    return (finding.kind, finding.verdict, finding.reason) == (PREMISE, Verdict.PROVED, "reachable")


def _answers(finding: Finding) -> dict[str, Answer]:
    return {name: Answer(answer) for name, answer in finding.answers.items()}
