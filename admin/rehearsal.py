"""A bundle tried out without a gateway: validation, cases, proof, and what reviewers ask, in that order.

What does not validate is not tried further; failing cases do not keep the proof from showing what would be allowed.
Signature and revision are the gateway's to judge: it knows the keys and what is active.
"""

from __future__ import annotations

from collections.abc import Iterator

from admin import display, proving, remarks
from admin.candidates import Candidate
from admin.errors import CommandError, Found
from admin.steps import Report, Status, Step
from invariants.reports import Finding, ProofReport, Verdict
from policies import cases, review
from policies.errors import PolicyFault


def rehearse(candidate: Candidate, *, is_proved: bool) -> Report:
    """Look at a bundle as a gateway would, as far as that can be done without its keys and its state."""
    return Report(candidate.bundle.digest, tuple(_steps(candidate, is_proved=is_proved)))


def _steps(candidate: Candidate, *, is_proved: bool) -> Iterator[Step]:
    bundle = candidate.bundle
    manifest = bundle.manifest
    named = f"{bundle.digest}, revision {manifest.revision} for {manifest.tenant} in {manifest.environment}"
    yield Step(name="form", status=Status.OK, details=(named,))
    findings = tuple(str(finding) for finding in review.validate(bundle, candidate.tools.schema))
    if findings:
        yield Step(name="validation", status=Status.UNFIT, details=findings)
        return
    lowering = [f"autonomy rule `{rule.id}`: {rule.sentence}" for rule in bundle.autonomy]
    yield Step(name="validation", status=Status.OK, details=("well typed, named and cased", *lowering))
    with display.working(f"running {len(bundle.cases)} cases"):
        tried = _cases(candidate)
    yield tried
    if is_proved:
        yield from _proof(candidate)
        yield from remarks.steps(candidate)


def _cases(candidate: Candidate) -> Step:
    try:
        report = cases.run_alone(candidate.bundle, candidate.tools.contracts)
    except PolicyFault as fault:
        return Step(name="cases", status=Status.BAD, details=(str(fault),))
    failed = [f"{failure.case}: {failure.explanation}" for failure in report.failures]
    failed += [f"rule `{rule}`: decided no case" for rule in report.uncovered]
    status = Status.OK if report.is_good else Status.BAD
    return Step(name="cases", status=status, details=tuple(failed) or (f"{report.passed} passed",))


def _proof(candidate: Candidate) -> Iterator[Step]:
    try:
        report = proving.proof(candidate)
    except CommandError as error:
        yield Step(name="proof", status=Status.UNFIT, details=(error.sentence,))
        return
    for failure in report.failures:
        yield _failure(failure)
    yield Step(name="proof", status=_STATUS[proving.verdict(report)], details=(_summary(report),))


_STATUS = {Found.YES: Status.OK, Found.NO: Status.BAD, Found.UNKNOWN: Status.UNKNOWN}


def _failure(finding: Finding) -> Step:
    numbers = "" if finding.value is None else f" ({finding.value} against {finding.limit})"
    where = f" in {finding.where}" if finding.where else ""
    detail = f"{proving.asked(finding)}: {finding.verdict.value}, {finding.reason}{where}{numbers}"
    return Step(
        name="proof",
        status=Status.UNKNOWN if finding.verdict is Verdict.UNKNOWN else Status.BAD,
        details=(f"{detail}. {finding.sentence}".rstrip(),),
        counter_example=finding.counter_example,
    )


def _summary(report: ProofReport) -> str:
    proved = len(report.findings) - len(report.failures)
    return f"{proved} of {len(report.findings)} proved by {report.solver_names}"
