"""What an explanation shows of a hidden fact: no value that follows from it, by whatever way it does."""

from __future__ import annotations

from dataclasses import replace

from invariants.explanations import search
from invariants.explanations.alternatives import Asked, Change
from policies.schema import generate
from tests.world.bundles import contracts
from tests.world.refusals import agent
from tool_registry.contracts import Field, Kind

REFUND = contracts()["issue_refund"]
FEE = Field(name="fee_cents", kind=Kind.INTEGER, minimum=0, maximum=1_000)
RULES = """
@id("anybody") permit (principal, action, resource);
@id("enough") forbid (principal, action, resource)
when { context.arguments.amount_cents + context.arguments.fee_cents < 100 };
@id("small") forbid (principal, action, resource) when { context.arguments.amount_cents > 90 };
@id("within") forbid (principal, action, resource)
when { context.arguments.fee_cents > context.facts.order.refunded_cents };
"""


def changes(refunded: int) -> tuple[Change, ...]:
    """What has to change so that amount and fee come to a hundred, where the fee is bounded by a fact."""
    contract = replace(REFUND, arguments=(*REFUND.arguments, FEE), limits=(), risk="1")
    facts = {"order": {"paid_cents": 20_000, "refunded_cents": refunded}}
    question = agent("issue_refund", arguments={"amount_cents": 1}, facts=facts)
    groups = {each.name: question.context["facts"][each.name] for each in contract.facts}
    order = {name: value for name, value in groups["order"].items() if name in ("paid_cents", "refunded_cents")}
    arguments = {**question.context["arguments"], "fee_cents": 0}
    context = {**question.context, "arguments": arguments, "facts": {**groups, "order": order}, "risk": 1}
    (alternative,) = search.explain(
        Asked(
            question=replace(question, context=context),
            policies=RULES,
            invariants="",
            schema=generate([contract]),
            contract=contract,
        )
    ).alternatives
    return alternative.changes


def test_a_value_that_follows_from_a_fact_through_another_value_says_so() -> None:
    """
    The fee goes as far as the fact lets it, and the amount makes up the rest: both follow from the fact, although no
    rule holds the amount against it.
    """
    first, second = changes(30), changes(40)

    assert [each.value for each in first] != [each.value for each in second]
    assert {each.reads for each in (*first, *second)} == {("order.refunded_cents",)}
