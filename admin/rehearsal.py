"""A bundle tried out without a gateway: form, validation, cases and proof, in that order.

What does not validate is not tried further; failing cases do not keep the proof from showing what would be allowed.
The tools are those of the catalogue, or of another folder. Signature and revision are the gateway's to judge: it knows
the keys and what is active.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admin import display
from invariants.errors import InvariantError
from invariants.reports import Finding, ProofReport
from invariants.supervisor import Prover
from policies import bundles, cases, review
from policies.bundles import Bundle
from policies.errors import PolicyFault
from policies.schema import CedarSchema, generate
from tool_registry.contracts import Contract
from tool_registry.registry import load_catalogue

PROGRESS_EVERY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing looked at."""

    name: str
    is_good: bool
    details: tuple[str, ...]
    """What was found, a sentence each."""
    counter_example: Mapping[str, Any] | None = None
    """The call that the bundle would allow."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found."""

    digest: str
    steps: tuple[Step, ...]

    @property
    def is_good(self) -> bool:
        """Whether a gateway with this catalogue would find nothing either."""
        return all(step.is_good for step in self.steps)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.is_good,
            "bundle": self.digest,
            "steps": [
                {"name": step.name, "ok": step.is_good, "details": list(step.details)}
                | ({"counter_example": dict(step.counter_example)} if step.counter_example else {})
                for step in self.steps
            ],
        }

    def rows(self) -> Iterator[tuple[str, str, Any]]:
        """For people."""
        for step in self.steps:
            status = "ok" if step.is_good else "bad"
            for number, detail in enumerate(step.details):
                yield ("", "", detail) if number else (step.name, status, detail)
            if step.counter_example is not None:
                yield "", "", dict(step.counter_example)


def rehearse(raw: bytes, tools: Path, *, is_proved: bool) -> Report:
    """
    Look at a bundle as a gateway would, as far as that can be done without its keys and its state.

    Raises `DeclarationError` and `SchemaError` for a folder that holds no usable tools.
    """
    try:
        bundle = bundles.parse(raw)
    except PolicyFault as fault:
        return Report("", (Step(name="form", is_good=False, details=(str(fault),)),))
    contracts = tuple(load_catalogue(tools).contracts.values())
    return Report(bundle.digest, tuple(_until_no(_steps(bundle, contracts, is_proved=is_proved))))


def _until_no(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if not step.is_good and step.name in {"form", "validation"}:
            return


def _steps(bundle: Bundle, contracts: tuple[Contract, ...], *, is_proved: bool) -> Iterator[Step]:
    manifest = bundle.manifest
    named = f"{bundle.digest}, revision {manifest.revision} for {manifest.tenant} in {manifest.environment}"
    yield Step(name="form", is_good=True, details=(named,))
    schema = generate(contracts)
    findings = tuple(str(finding) for finding in review.validate(bundle, schema))
    yield Step(name="validation", is_good=not findings, details=findings or ("well typed, named and cased",))
    display.progress(f"running {len(bundle.cases)} cases")
    yield _cases(bundle, contracts)
    if is_proved:
        display.progress("proving every invariant over every permitted question")
        yield from _proof(bundle, contracts, schema)


def _cases(bundle: Bundle, contracts: tuple[Contract, ...]) -> Step:
    try:
        report = cases.run_alone(bundle, contracts)
    except PolicyFault as fault:
        return Step(name="cases", is_good=False, details=(str(fault),))
    failed = [f"{failure.case}: {failure.explanation}" for failure in report.failures]
    failed += [f"rule `{rule}`: decided no case" for rule in report.uncovered]
    return Step(name="cases", is_good=report.is_good, details=tuple(failed) or (f"{report.passed} passed",))


def _proof(bundle: Bundle, contracts: tuple[Contract, ...], schema: CedarSchema) -> Iterator[Step]:
    try:
        report = asyncio.run(Prover().prove(bundle.files, schema, contracts, _tell))
    except (InvariantError, PolicyFault) as fault:
        yield Step(name="proof", is_good=False, details=(str(fault),))
        return
    for failure in report.failures:
        yield _failure(failure)
    yield Step(name="proof", is_good=report.is_proved, details=(_summary(report),))


def _failure(finding: Finding) -> Step:
    numbers = "" if finding.value is None else f" ({finding.value} against {finding.limit})"
    where = f" in {finding.where}" if finding.where else ""
    detail = f"{_subject(finding)}: {finding.verdict.value}, {finding.reason}"
    return Step(
        name="proof",
        is_good=False,
        details=(f"{detail}{where}{numbers}. {finding.sentence}".rstrip(),),
        counter_example=finding.counter_example,
    )


def _summary(report: ProofReport) -> str:
    proved = len(report.findings) - len(report.failures)
    return f"{proved} of {len(report.findings)} proved by {report.solver_names}"


def _tell(finding: Finding, place: int, total: int) -> None:
    if place % PROGRESS_EVERY == 0 or place == total:
        display.progress(f"{place} of {total}: {_subject(finding)}: {finding.verdict.value}")


def _subject(finding: Finding) -> str:
    return f"{finding.invariant or finding.kind} for {finding.action or 'no action'}"
