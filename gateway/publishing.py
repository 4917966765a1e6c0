"""Judge what is uploaded: a bundle, or a tool declaration, before anybody may publish or register it.

1. read       strict form, size, digest
2. verify     signed by a key that is trusted for bundles of this tenant now
3. review     strict validation, ids, hints, capabilities, a case per rule
4. cases      every case decided as expected, in an engine of its own and on the OPA server that there may be; the proof
              of a bundle that fails here is shown
5. proof      every invariant over every permitted question, in worker processes

Of a tool, before 3: its limits, and those of every other tool beside it, are kept by what calls do to the counters.

The verdict is stored with the bytes; publishing and activating are governed calls that take it as a fact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.clock import Clock
from gateway.errors import Unavailable
from gateway.tools import prepare
from invariants import certifying, jobs
from invariants.errors import Busy, InvariantError, Unsupported
from invariants.reports import Finding, ProofReport, Verdict
from invariants.state.proving import CounterProver
from invariants.strength import measuring, scores, trials
from invariants.supervisor import Prover
from policies import bundles, case_form, cases, review
from policies.bundles import Bundle
from policies.cedar_syntax import SyntaxRefused
from policies.errors import EngineUnavailable, PolicyFault
from policies.rego import RegoWorker
from policies.rego_answers import RegoEngine
from policies.schema import CedarSchema, SchemaError, generate
from proofs import certificates
from proofs.certificates import Certificate, SignedCertificate
from proofs.keys import KeyRing, PrivateKey
from tool_registry.contracts import Connector, Contract
from tool_registry.declarations import parse_registered
from tool_registry.documents import DeclarationError
from tool_registry.registry import Registry

Admits = Callable[[Connector], bool]
"""Whether the settings let a connector's origin be reached; asked again at every dispatch."""

RETRY_SECONDS = 10  # About what a proof takes.
FINDINGS_MAX = 50  # Enough to mend a bundle by.


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was found out about an upload."""

    stage: str
    """The stage that refused it, or `passed`."""
    findings: tuple[Mapping[str, Any], ...] = ()
    bundle: Bundle | None = None
    contract: Contract | None = None
    certificate: SignedCertificate | None = None
    proof: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return self.stage == "passed"

    def document(self) -> dict[str, Any]:
        """The verdict as stored and shown."""
        document: dict[str, Any] = {"passed": self.passed, "stage": self.stage, "findings": list(self.findings)}
        if self.bundle is not None:
            document |= {"digest": self.bundle.digest, "revision": self.bundle.manifest.revision}
        if self.contract is not None:
            document |= {"digest": self.contract.digest, "tool": self.contract.name}
        if self.certificate is not None:
            document["certificate"] = self.certificate.certificate.digest
        return {**document, **self.proof}


class Publishing:
    """Judges uploads. Wired with the key that signs certificates."""

    def __init__(
        self,
        *,
        prover: Prover,
        counters: CounterProver,
        signer: Callable[[], PrivateKey],
        bundle_keys: KeyRing,
        environment: str,
        clock: Clock,
        opa: RegoEngine | None = None,
    ) -> None:
        """`opa` is the server that decides in the place of a worker; bundles must pass their cases there too."""
        self._prover = prover
        self._counters = counters
        self._signer = signer
        self._bundle_keys = bundle_keys
        self._environment = environment
        self._clock = clock
        self._opa = opa

    async def judge_bundle(self, raw: bytes, tenant: str, registry: Registry) -> Judged:
        """
        Take a bundle through all five stages; the first that refuses it ends the way.

        Raises `Unavailable` when nothing could be found out.
        """
        try:
            bundle = bundles.parse(raw)
        except PolicyFault as fault:
            return Judged(stage="read", findings=(_said(fault),))
        try:
            bundles.verify(
                bundle, self._bundle_keys, tenant=tenant, environment=self._environment, at_ms=self._clock.now_ms()
            )
        except PolicyFault as fault:
            return Judged(stage="verify", findings=(_said(fault),), bundle=bundle)
        return await self.judge_content(bundle, tenant, registry.contracts.values())

    async def judge_content(self, bundle: Bundle, tenant: str, contracts: Iterable[Contract]) -> Judged:
        """Stages 3 to 5: whether the content is sound over these tools, whoever signed it."""
        listed = tuple(contracts)
        try:
            schema = generate(listed)
            # Beside the event loop: a megabyte of rules takes seconds, and calls are being decided meanwhile.
            found = await asyncio.to_thread(review.validate, bundle, schema)
            if found:
                findings = tuple({"file": each.file, "message": each.message} for each in found[:FINDINGS_MAX])
                return Judged(stage="review", findings=findings, bundle=bundle)
            report = await _run_cases(bundle, listed)
            if report.is_good and self._opa is not None:
                report = await _run_cases_again(bundle, listed, self._opa)
            if not report.is_good:
                # What the weakened rules would allow explains a failing case better than the case does.
                proof = await self._report(bundle, schema, listed)
                unproved = tuple(_unproved(finding) for finding in proof.failures[:FINDINGS_MAX])
                return Judged(stage="cases", findings=_case_findings(report) + unproved, bundle=bundle)
        except (SchemaError, PolicyFault, EngineUnavailable) as fault:
            return Judged(stage="review", findings=(_said(fault),), bundle=bundle)
        return await self._prove(bundle, tenant, schema, listed)

    async def judge_tool(self, raw: bytes, tenant: str, active: Bundle, registry: Registry, admits: Admits) -> Judged:
        """A declaration, and the active bundle proved over the tools that there would be with it."""
        try:
            contract = parse_registered(raw)
            grown = registry.with_tool(contract)
        except (DeclarationError, ValueError) as fault:
            return Judged(stage="read", findings=(_said(fault),))
        if registry.has_look_alike(contract.name):
            return Judged(stage="read", findings=({"message": "`name`: looks like that of another tool"},))
        if not admits(contract.connector):
            return Judged(stage="read", findings=({"message": "`connector.origin`: no setting names it"},))
        try:
            # As its registration will: a tool that cannot be made ready to run would keep its tenant's rules from it.
            prepare(contract, generate(grown.contracts.values()).typed)
        except (SchemaError, SyntaxRefused, Unsupported) as fault:
            return Judged(stage="review", findings=(_said(fault),), contract=contract)
        findings = await self._uncounted(grown.contracts.values())
        if findings:
            return Judged(stage="counters", findings=findings, contract=contract)
        judged = await self.judge_content(active, tenant, grown.contracts.values())
        return Judged(
            stage=judged.stage,
            findings=judged.findings,
            contract=contract,
            certificate=judged.certificate,
            proof=judged.proof,
        )

    async def measure(
        self, bundle: Bundle, certificate: Certificate, contracts: Iterable[Contract]
    ) -> SignedCertificate:
        """
        The same certificate with the mutation score of its bundle. It takes seconds, in a process that stands back.

        Raises `InvariantError` when it could not be measured.
        """
        listed = tuple(contracts)
        schema = generate(listed)
        asked = trials.asked(bundle, listed, schema.typed)
        score = await measuring.measure(jobs.job(bundle.files, schema, listed), asked, workers=1)
        mutation = scores.mutation(score)
        measured = replace(certificate, mutation=mutation, unmeasured="", at_ms=self._clock.now_ms())
        return certificates.sign(measured, self._signer())

    async def _prove(self, bundle: Bundle, tenant: str, schema: CedarSchema, contracts: tuple[Contract, ...]) -> Judged:
        try:
            report = await self._report(bundle, schema, contracts)
        except (InvariantError, PolicyFault) as fault:
            return Judged(stage="proof", findings=(_said(fault),), bundle=bundle)
        counts = {"obligations": len(report.findings), "solver": report.solver_names, "engine": report.engine}
        if not report.is_proved:
            findings = tuple(_unproved(finding) for finding in report.failures[:FINDINGS_MAX])
            return Judged(stage="proof", findings=findings, bundle=bundle, proof={"proof": counts})
        certificate = certifying.certificate(
            report,
            bundle=bundle,
            tenant=tenant,
            environment=self._environment,
            schema=schema,
            contracts=contracts,
            at_ms=self._clock.now_ms(),
        )
        signed = certificates.sign(certificate, self._signer())
        return Judged(stage="passed", bundle=bundle, certificate=signed, proof={"proof": counts})

    async def _uncounted(self, contracts: Iterable[Contract]) -> tuple[Mapping[str, Any], ...]:
        """Limits of which it is not proved that reserving, committing and releasing keep them."""
        try:
            report = await self._counters.prove(contracts)
        except Busy as busy:
            raise _overloaded() from busy
        except (InvariantError, SchemaError) as fault:
            return (_said(fault),)
        missing = ({"message": report.missing},) if report.missing else ()
        return (*({"message": each["reason"], **each} for each in report.failures[:FINDINGS_MAX]), *missing)

    async def _report(self, bundle: Bundle, schema: CedarSchema, contracts: tuple[Contract, ...]) -> ProofReport:
        try:
            return await self._prover.prove(bundle.files, schema, contracts)
        except Busy as busy:
            # Nothing was found out about the upload, so it is not refused either.
            raise _overloaded() from busy


async def _run_cases(bundle: Bundle, contracts: tuple[Contract, ...]) -> cases.CaseReport:
    # A worker of its own: a module under review may kill it, and must not take the gateway's with it.
    worker = RegoWorker()
    await worker.start()
    try:
        return await cases.run(bundle, contracts, worker)
    finally:
        await worker.close()


async def _run_cases_again(bundle: Bundle, contracts: tuple[Contract, ...], opa: RegoEngine) -> cases.CaseReport:
    """On the server that will decide, after a worker survived it. A bundle that nobody activates is retired there."""
    try:
        await opa.reach()
    except EngineUnavailable as error:
        # Nothing was found out about the upload, so it is not refused either.
        raise Unavailable("engine_unavailable", "the OPA server gave no answer") from error
    return await cases.run(bundle, contracts, opa)


def _case_findings(report: cases.CaseReport) -> tuple[Mapping[str, Any], ...]:
    failing = [{"case": each.case, "message": each.explanation} for each in report.failures]
    unseen = [{"rule": rule, "message": "no case brings it to decide"} for rule in report.uncovered]
    return tuple([*failing, *unseen][:FINDINGS_MAX])


def _unproved(finding: Finding) -> dict[str, Any]:
    document: dict[str, Any] = {
        "kind": finding.kind,
        "invariant": finding.invariant,
        "rule": finding.rule,
        "sentence": finding.sentence,
        "action": finding.action,
        "principal": finding.principal,
        "verdict": finding.verdict.value,
        "message": f"{finding.reason}: {finding.where}" if finding.where else finding.reason,
    }
    if finding.verdict is Verdict.REFUTED and not finding.invariant:
        document["errs_on"] = finding.counter_example
    elif finding.verdict is Verdict.REFUTED and finding.counter_example is not None:
        # The call that the bundle would have allowed, replayed on the real engine before anyone sees it. As a case it
        # belongs into the mended bundle: it must never pass again. Of an invariant that errs nobody knows that yet.
        document["would_allow"] = finding.counter_example
        if finding.reason == "violated":
            name = f"counter-example of {finding.invariant}: {finding.action} by {finding.principal}"
            document["case"] = case_form.kept(name, finding.counter_example, "deny")
        if finding.value is not None and finding.limit is not None:
            document |= {"value": finding.value, "limit": finding.limit}
    return document


def _overloaded() -> Unavailable:
    return Unavailable("overloaded", "too many proofs wait already", retry_after_seconds=RETRY_SECONDS)


def _said(fault: Exception) -> dict[str, Any]:
    return {"message": str(fault)}
