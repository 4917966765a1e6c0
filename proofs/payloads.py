"""What stands beside an entry: that it is what the entry commits to, and that what is signed in it is signed.

Approvals lie in a payload as `{statement, signature, …}`: in the list `approvals` of an action packet, or as the
payload itself of an APPROVED or REJECTED entry. Certificates lie in one as `signed_certificate`; entries later in the
log that name such a certificate were decided under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proofs import approvals, certificates, commitments
from proofs.certificates import Certificate
from proofs.errors import EvidenceError, VerificationError
from proofs.export import Read
from proofs.findings import Report
from proofs.log_keys import LogKeys
from proofs.shapes import DIGEST

LATENESS_MS = 60_000  # An approval is checked when facts are gathered; the entry has the later time of its batch.
_VERDICTS = {"INTENT": "approve", "APPROVED": "approve", "REJECTED": "reject"}


class Payloads:
    """What the payloads so far hold."""

    def __init__(self, keys: LogKeys, *, tenant: str, environment: str) -> None:
        self._keys = keys
        self._tenant = tenant
        self._environment = environment
        self._consumed: dict[str, str] = {}
        """Signature of each approval that an INTENT has used -> its call."""
        self._certificates: dict[str, Certificate] = {}
        """By digest, those that stand in payloads so far."""
        self.opened = 0
        self.erased = 0
        self.approvals = 0
        self.certificates = 0

    def add(self, item: Read, report: Report) -> None:
        """Take the payload of the next entry and report what is wrong with it."""
        commitment = item.entry.get("payload")
        if commitment is not None and not (isinstance(commitment, str) and DIGEST.fullmatch(commitment)):
            report("member", "member `payload`: expected a commitment, or null")
            return
        self._check_named(item.entry, report)
        salt, body = item.record.salt, item.record.payload
        if item.payload is None or salt is None or body is None:
            self.erased += commitment is not None
            return
        if commitment is None or not commitments.opens(commitment, "payload", salt, body):
            report("payload_changed", "its payload is not the one that it commits to")
            return
        self.opened += 1
        for found in _approvals(item.payload):
            try:
                self._check_approval(item.entry, found, report)
            except EvidenceError as error:
                report("approval_misshapen", f"an approval in its payload: {error}")

        if "signed_certificate" in item.payload:
            try:
                self._check_certificate(item.entry, item.payload["signed_certificate"], report)
            except EvidenceError as error:
                report("certificate_misshapen", f"the certificate in its payload: {error}")

    def _check_certificate(self, entry: Mapping[str, Any], found: Any, report: Report) -> None:
        signed = certificates.parse(found)
        certificate = signed.certificate
        self.certificates += 1
        try:
            certificates.verify(signed, self._keys.ring)
        except VerificationError as error:
            reason = "certificate_untrusted" if error.reason == "key_untrusted" else "certificate_forged"
            report(reason, f"the certificate in its payload: {error}")
            return
        if (certificate.tenant, certificate.environment) != (self._tenant, self._environment):
            report("certificate_mismatch", "the certificate in its payload is for another tenant or environment")
        elif entry.get("certificate", certificate.digest) != certificate.digest:
            report("certificate_mismatch", "the certificate in its payload is not the one that it names")
        else:
            self._certificates[certificate.digest] = certificate

    def _check_named(self, entry: Mapping[str, Any], report: Report) -> None:
        """What an entry was decided under. A certificate of another chain, or of before the log, is not at hand."""
        named = entry.get("certificate")
        certificate = self._certificates.get(named) if isinstance(named, str) else None
        if certificate is None:
            return
        if entry.get("bundle", certificate.bundle) != certificate.bundle:
            report("certificate_mismatch", "names a certificate that is for another bundle")
        if entry.get("kind") != "INTENT":
            return
        if certificate.unproved:
            report("certificate_mismatch", "was let through under a certificate that does not prove everything")
        if certificate.tools.get(str(entry.get("tool"))) != entry.get("tool_digest"):
            report("certificate_mismatch", "was let through under a certificate for another contract of its tool")

    def _check_approval(self, entry: Mapping[str, Any], found: Mapping[str, Any], report: Report) -> None:
        statement, signature = approvals.parse(found["statement"]), found["signature"]
        at_ms = entry["at_ms"]
        sought = (statement.key, "approval", self._tenant, at_ms)
        ring = self._keys.ring
        trusted = ring.trusted(*sought)
        self.approvals += 1
        if trusted is None:
            report("approval_untrusted", f"an approval in its payload: {ring.why_not(*sought)}")
        elif trusted.person not in (None, statement.approver):
            report("approval_untrusted", f"an approval in its payload: key `{statement.key}` is another person's")
        elif not isinstance(signature, str) or not approvals.verify(
            statement, signature, trusted.public, environment=self._environment, tenant=self._tenant
        ):
            report("approval_forged", f"an approval in its payload is not signed so by `{statement.key}`")
        for cause in _mismatches(entry, statement):
            report("approval_mismatch", f"an approval in its payload {cause}")
        if entry["kind"] == "INTENT":
            self._consume(entry, statement, str(signature), report)

    def _consume(
        self, entry: Mapping[str, Any], statement: approvals.Statement, signature: str, report: Report
    ) -> None:
        call = str(entry.get("call"))
        if signature not in self._consumed:
            # Only the first use must be in time: a consumed approval stays valid for its call's own retries.
            self._consumed[signature] = call
            if entry["at_ms"] >= statement.not_after_ms + LATENESS_MS:
                report("approval_expired", "an approval in its payload had expired")
        elif self._consumed[signature] != call:
            report("approval_reused", "an approval in its payload was used by another call before")


def _approvals(payload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = payload.get("approvals")
    candidates = [payload, *(listed if isinstance(listed, list) else [])]
    return [each for each in candidates if isinstance(each, Mapping) and {"statement", "signature"} <= each.keys()]


def _mismatches(entry: Mapping[str, Any], statement: approvals.Statement) -> list[str]:
    """Where statement and entry speak of different things. Members that the entry lacks are not compared."""
    expected = _VERDICTS.get(entry["kind"])
    causes = []
    if expected is not None and statement.verdict != expected:
        causes.append(f"says `{statement.verdict.value}`, expected `{expected}`")
    if statement.approver == statement.requester:
        causes.append("is the requester's own")
    for member, stated in (
        ("call_digest", statement.call),
        ("tool_digest", statement.tool),
        ("bundle", statement.bundle),
    ):
        if entry.get(member, stated) != stated:
            causes.append(f"is for another `{member}`")
    return causes
