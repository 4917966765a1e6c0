"""The catalogue says exactly what the table of tools says: classes, thresholds, approvers, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from invariants.expressions import compile_long
from policies.schema import generate
from tool_registry import declarations, reference
from tool_registry.contracts import Effect, Family, Limit
from tool_registry.registry import load_catalogue

REGISTRY = load_catalogue()
SCHEMA = generate(REGISTRY.contracts.values())

READS = (
    "get_user_360", "get_content_360", "get_queue_state", "get_dashboard_snapshot", "search_audit_logs",
    "trace_lookup", "get_order",
)  # fmt: skip
GOVERNANCE = (
    "publish_bundle", "activate_bundle", "register_tool", "register_key", "revoke_key", "set_autonomy", "release_kill",
    "settle_unknown", "erase_subject",
)  # fmt: skip

# tool: effect, arguments, approver, undo
WRITES: dict[str, tuple[str, str, str, str | None]] = {
    "apply_friction": ("reversible", "target friction_type expires_at", "operator", "lift_friction"),
    "lift_friction": ("reversible", "target", "operator", "apply_friction"),
    "toggle_feature_flag": ("reversible", "flag_key value rollout_percent", "sre", "toggle_feature_flag"),
    "throttle_endpoint": ("reversible", "service route limit_per_second", "sre", "throttle_endpoint"),
    "revoke_push_tokens": ("reversible", "user_id", "operator", None),
    "remove_content": ("irreversible", "content_id", "safety", None),
    "ban_user": ("irreversible", "user_id duration_days", "safety", None),
    "resolve_appeal": ("irreversible", "appeal_id resolution", "safety", None),
    "issue_refund": ("irreversible", "order_id amount_cents", "finance", None),
    "scale_ad_set": ("reversible", "ad_set_id daily_budget_cents", "growth", "scale_ad_set"),
    "change_price": ("reversible", "product_id price_cents", "commerce", "change_price"),
    "publish_listing": ("reversible", "product_id channel title body", "operator", "unpublish_listing"),
    "unpublish_listing": ("reversible", "product_id channel", "operator", "publish_listing"),
    "reorder_stock": ("irreversible", "sku quantity supplier_id", "finance", None),
    "pay_supplier": ("irreversible", "invoice_id amount_cents", "finance", None),
    "release_payout": ("irreversible", "creator_id amount_cents", "founder", None),
    "engage_kill": ("reversible", "scope target reason", "operator", "release_kill"),
}


def risk(tool: str, arguments: dict[str, Any], facts: dict[str, Any] | None = None) -> int:
    contract = REGISTRY.contracts[tool]
    evaluate = compile_long(contract.risk, tool, SCHEMA.typed)
    return evaluate({"arguments": arguments, "facts": facts or {}})


def limit(tool: str, name: str) -> Limit:
    return next(each for each in REGISTRY.contracts[tool].limits if each.name == name)


def test_the_catalogue_has_every_tool_and_no_other() -> None:
    """
    Every tool of the table is declared, each once.
    """
    assert set(REGISTRY.names) == {*READS, *GOVERNANCE, *WRITES}


@pytest.mark.parametrize("tool", READS)
def test_reads_change_nothing(tool: str) -> None:
    """
    The seven reads have risk 0, and neither undo nor limits.
    """
    contract = REGISTRY.contracts[tool]

    assert contract.effect is Effect.READ
    assert contract.risk == "0"
    assert (contract.undo, contract.limits, contract.status_path) == (None, (), None)


@pytest.mark.parametrize("tool", GOVERNANCE)
def test_governance_is_irreversible_and_r3(tool: str) -> None:
    """
    The gateway's own family acts through the ledger, at risk 3.
    """
    contract = REGISTRY.contracts[tool]

    assert (contract.family, contract.effect, contract.risk) == (Family.GOVERNANCE, Effect.IRREVERSIBLE, "3")
    assert (contract.connector.kind, contract.connector.act) == ("ledger", tool)


@pytest.mark.parametrize("tool", WRITES)
def test_writes_are_as_in_the_table(tool: str) -> None:
    """
    Class, arguments, approver and undo of every write.
    """
    effect, arguments, approver, undo = WRITES[tool]
    contract = REGISTRY.contracts[tool]

    assert contract.effect.value == effect
    assert tuple(each.name for each in contract.arguments) == tuple(arguments.split())
    assert contract.approver == approver
    assert (contract.undo.tool if contract.undo else None) == undo
    if contract.family is Family.BUSINESS:
        assert contract.status_path == "/operations/{effect_id}"
        assert contract.connector.path == f"/operations/{tool}"
        assert (contract.is_idempotent, contract.is_fenced) == (True, True)


@pytest.mark.parametrize(
    ("amount_cents", "routine_today", "expected"),
    [
        (1, 0, 1), (5_000, 0, 1), (5_001, 0, 2), (50_000, 0, 2), (50_001, 0, 3),
        (1, 19_999, 1), (2, 19_999, 2), (1, 20_000, 2), (5_000, 15_000, 1), (5_000, 15_001, 2), (50_001, 20_000, 3),
    ],
)  # fmt: skip
def test_risk_of_a_refund(amount_cents: int, routine_today: int, expected: int) -> None:
    """
    D05: R1 to 5,000, R2 to 50,000, R3 above; an agent's routine refunds beyond 20,000 a day in sum are R2.
    """
    facts = {
        "order": {"paid_cents": 1, "refunded_cents": 0, "in_flight_cents": 0},
        "agent": {"routine_refunds_today_cents": routine_today},
    }

    assert risk("issue_refund", {"order_id": "ord_1", "amount_cents": amount_cents}, facts) == expected


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 1), (51, 2), (100, 2)])
def test_risk_of_a_flag(percent: int, expected: int) -> None:
    """
    D05: R2 when the change puts more than half of all users behind the flag.
    """
    facts = {"flag": {"value": True, "rollout_percent": 80}}
    arguments = {"flag_key": "beta", "value": True, "rollout_percent": percent}

    assert risk("toggle_feature_flag", arguments, facts) == expected


@pytest.mark.parametrize(("limit_per_second", "expected"), [(100, 1), (99, 2), (1, 2), (5_000, 1)])
def test_risk_of_a_throttle(limit_per_second: int, expected: int) -> None:
    """
    D05: R2 below a tenth of the baseline.
    """
    facts = {"endpoint": {"baseline_per_second": 1_000, "limit_per_second": 1_000}}
    arguments = {"service": "checkout", "route": "pay", "limit_per_second": limit_per_second}

    assert risk("throttle_endpoint", arguments, facts) == expected


@pytest.mark.parametrize(("budget", "expected"), [(0, 1), (10_000, 1), (12_000, 1), (12_001, 2)])
def test_risk_of_an_ad_budget(budget: int, expected: int) -> None:
    """
    D05: R2 above +20 percent; lower and pause are routine.
    """
    facts = {"ad_set": {"margin_bp": 2_000, "daily_budget_cents": 10_000}, "spend": {"today_cents": 0}}

    assert risk("scale_ad_set", {"ad_set_id": "ads_1", "daily_budget_cents": budget}, facts) == expected


@pytest.mark.parametrize(("price", "expected"), [(899, 2), (900, 1), (1_000, 1), (1_100, 1), (1_101, 2)])
def test_risk_of_a_price(price: int, expected: int) -> None:
    """
    D05: R2 beyond 10 percent, up or down.
    """
    facts = {"product": {"unit_cost_cents": 500, "price_cents": 1_000, "preflight_passed": True}}

    assert risk("change_price", {"product_id": "prd_1", "price_cents": price}, facts) == expected


@pytest.mark.parametrize(("quantity", "expected"), [(1, 1), (100, 1), (101, 2)])
def test_risk_of_an_order_of_stock(quantity: int, expected: int) -> None:
    """
    D05: R1 to 100,000 cents, R2 above; the amount is quantity times unit cost.
    """
    facts = {"product": {"unit_cost_cents": 1_000, "price_cents": 2_000, "preflight_passed": True}}

    assert risk("reorder_stock", {"sku": "sku_1", "quantity": quantity, "supplier_id": "sup_1"}, facts) == expected


@pytest.mark.parametrize(
    ("tool", "expected"),
    [("remove_content", 2), ("ban_user", 2), ("resolve_appeal", 2), ("pay_supplier", 2), ("release_payout", 3),
     ("apply_friction", 1), ("lift_friction", 1), ("revoke_push_tokens", 1), ("publish_listing", 1),
     ("unpublish_listing", 1), ("engage_kill", 1)],
)  # fmt: skip
def test_fixed_risks(tool: str, expected: int) -> None:
    """
    Tools whose risk does not depend on the arguments.
    """
    assert REGISTRY.contracts[tool].risk == str(expected)


def test_no_expression_can_overflow() -> None:
    """
    The greatest values that fields and counters can take stay within a Cedar Long, in every expression of every tool.
    """
    for contract in REGISTRY.contracts.values():
        greatest = {each.name: each.maximum for each in contract.arguments}
        facts: dict[str, dict[str, int]] = {}
        for source in contract.facts:
            facts[source.name] = {each.name: each.maximum for each in source.fields}
        for each in contract.limits:
            if each.shows:
                group, member = each.shows.split(".")
                facts.setdefault(group, {})[member] = 2**53 - 1
        if contract.name == "toggle_feature_flag":
            facts["flag"]["value"] = True
        for text in (contract.risk, *(text for each in contract.limits for text in (each.amount, each.ceiling))):
            compile_long(text, contract.name, SCHEMA.typed)({"arguments": greatest, "facts": facts})


def test_limits_are_as_in_the_table() -> None:
    """
    The counters that a call reserves from, and the facts that they are in flight against.
    """
    in_flight = limit("issue_refund", "order_in_flight")
    routine = limit("issue_refund", "agent_routine_refunds")
    friction = limit("apply_friction", "friction_targets")

    assert (in_flight.key, in_flight.since, in_flight.shows) == ("order:{order_id}", "order", "order.in_flight_cents")
    assert (routine.ceiling, routine.soft, routine.agents_only, routine.window) == ("20000", True, True, "day")
    assert routine.shows == "agent.routine_refunds_today_cents"
    assert (friction.amount, friction.ceiling, friction.window, friction.agents_only) == ("1", "200", "hour", True)
    assert limit("pay_supplier", "cash_in_flight").key == limit("reorder_stock", "cash_in_flight").key
    assert limit("pay_supplier", "invoice_in_flight").since == "invoice"
    assert limit("release_payout", "creator_in_flight").since == "creator"
    assert limit("issue_refund", "tenant_daily_refunds").window == "day"


def test_facts_are_named_as_in_the_table() -> None:
    """
    The groups and members of facts, over all tools of the business.
    """
    members = {
        f"{source.name}.{each.name}"
        for contract in REGISTRY.contracts.values()
        for source in contract.facts
        if source.source == "http"
        for each in source.fields
    }

    assert members == {
        "order.paid_cents", "order.refunded_cents", "ad_set.margin_bp", "ad_set.daily_budget_cents",
        "spend.today_cents", "cash.runway_days", "cash.balance_cents", "cash.daily_burn_cents", "invoice.open_cents",
        "creator.eligible_cents", "endpoint.baseline_per_second", "endpoint.limit_per_second", "flag.value",
        "flag.rollout_percent", "product.unit_cost_cents", "product.price_cents", "product.preflight_passed",
        "copy.banned_claims", "appeal.first_decider",
    }  # fmt: skip


def test_who_decided_first_does_not_approve() -> None:
    """
    The contracts name who may not approve beyond the requester.
    """
    assert REGISTRY.contracts["resolve_appeal"].excluded == ("appeal.first_decider",)
    assert REGISTRY.contracts["register_key"].excluded == ("arguments.person",)


def test_the_digest_of_a_declaration_is_this_one() -> None:
    """
    One small document has exactly this digest: approvals of earlier releases stay bound to the same contract.
    """
    document = b"""
name: ping_queue
version: 1
title: Count a queue.
family: business
effect: read
resource_type: Queue
resource_argument: queue
arguments: {queue: {kind: identifier, prefix: que}}
result: {waiting: {kind: integer, minimum: 0, maximum: 10}}
reason_codes: [monitoring]
risk: "0"
approver: operator
visible_to: {internal: [agents]}
connector: {kind: http, origin: backoffice, method: GET, path: /views/ping_queue}
"""

    assert (
        declarations.parse(document).digest == "sha256:0b38ab817bec16ab122044884600cfd54c7fc2b6d06bb90efd22f3c6e1217a83"
    )


def test_the_page_of_tools_is_current() -> None:
    """
    The reference table in the docs is the one that the catalogue gives.
    """
    page = Path(__file__).parents[2] / "docs" / "tools.md"

    assert reference.table(REGISTRY) in page.read_text(encoding="utf-8")


def test_the_example_of_the_page_is_a_tool() -> None:
    """
    The declaration that the docs show can be registered as it stands.
    """
    page = (Path(__file__).parents[2] / "docs" / "tools.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]

    contract = declarations.parse_registered(example.encode())

    assert REGISTRY.with_tool(contract).get("issue_gift_card") == contract
