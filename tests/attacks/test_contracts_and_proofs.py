"""Contracts written so that a proof would speak of other questions than the gateway asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from invariants.errors import Unsupported
from invariants.expressions import compile_long
from invariants.reports import Verdict
from policies.schema import generate
from tests.attacks.bundle_edits import POLICIES, REFUND, proved
from tool_registry.contracts import Contract, Field, Kind

UNREADABLE = [
    "if context.risk == 0 then 1 else 2",
    "if context has approvals.finance then 1 else 3",
    "context.autonomy",
]


def with_risk(risk: str) -> list[Contract]:
    return [replace(contract, risk=risk) for contract in REFUND]


@pytest.mark.parametrize("risk", [*UNREADABLE, "if context == {} then 1 else 2"])
def test_risk_reads_arguments_and_facts_alone(risk: str) -> None:
    """
    The gateway evaluates it before the question has approvals or a risk, so a proof over the whole question would
    assume another risk than the call has: with the first, always 2 where every call has 1.
    """
    findings = [each for each in proved(POLICIES, contracts=with_risk(risk)) if each.action]

    assert {(each.verdict, each.reason) for each in findings if each.verdict is not Verdict.VACUOUS} == {
        (Verdict.UNKNOWN, "risk_unreadable")
    }


@pytest.mark.parametrize("text", ["context.approvals.finance", "if context has approvals.finance then 1 else 0"])
def test_limits_read_no_approvals(text: str) -> None:
    """
    What a limit counts is known before approvals are counted: an amount that asked for them would find none.
    """
    with pytest.raises(Unsupported, match="outside_context"):
        compile_long(text, "issue_refund", generate(REFUND).typed)


def test_schema_digest_covers_the_argument_that_names_the_resource() -> None:
    """
    Obligations assume whose id the resource has. A certificate is good for a schema by its digest, so a contract that
    names the resource by another argument must be another schema: else it would lend its proof.
    """
    other = Field(name="other_id", kind=Kind.IDENTIFIER, prefix="ord")
    one = [replace(contract, arguments=(*contract.arguments, other)) for contract in REFUND]
    two = [replace(contract, resource_argument="other_id") for contract in one]

    assert generate(one).digest != generate(two).digest
