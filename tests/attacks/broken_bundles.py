"""Plausible mistakes in the base bundle, at least three for each invariant that they break.

Each is an edit that a hurried author makes and a hurried reviewer overlooks. Where two rules guard the same, one of
them alone keeps the promise and the prover says so; there the mistake is made in both, as copy and paste does it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.attacks.bundle_edits import POLICIES, mistyped, without


@dataclass(frozen=True)
class Change:
    """Some text of one rule became another."""

    rule: str
    old: str
    new: str


@dataclass(frozen=True)
class Lost:
    """A rule is gone."""

    rule: str


@dataclass(frozen=True)
class Added:
    """A rule came in."""

    text: str


Edit = Change | Lost | Added


def broken(edits: tuple[Edit, ...]) -> str:
    """The base bundle's policies with the edits made."""
    text = POLICIES
    for edit in edits:
        match edit:
            case Change(rule=rule, old=old, new=new):
                text = mistyped(text, rule, old, new)
            case Lost(rule=rule):
                text = without(text, rule)
            case Added(text=added):
                text += f"\n{added}\n"
    return text


_ANYBODY = "(principal,"
_AGENTS = "(principal is Agent,"
_PEOPLE = "(principal is Person,"
_IN_FLIGHT = " - context.facts.order.in_flight_cents"

MISTAKES: dict[str, dict[str, tuple[Edit, ...]]] = {
    "irreversible-approved": {
        "four eyes asked of agents only, and of the role's approval too": (
            Change("irreversible-needs-human", _ANYBODY, _AGENTS),
            Change("approval-safety", _ANYBODY, _AGENTS),
        ),
        "both thresholds moved from R2 to R3": (
            Change("irreversible-needs-human", ">= 2", ">= 3"),
            Change("approval-finance", "== 2", "== 3"),
        ),
        "no approval counts as one": (
            Change("irreversible-needs-human", "persons < 1", "persons < 0"),
            Change("approval-safety", "safety < 1", "safety < 0"),
        ),
        "the rule lost in a clean-up that also folded safety into operator": (
            Lost("irreversible-needs-human"),
            Change("approval-safety", '"safety-approves"', '"operator-approves"'),
        ),
    },
    "agents-observe": {
        "levels counted from nought": (Change("autonomy-observe", "autonomy < 1", "autonomy < 0"),),
        "observers held back from what is irreversible only": (
            Change("autonomy-observe", '"write"', '"irreversible"'),
        ),
        "the reserved level let in": (Change("autonomy-reserved", "> 3", "> 4"),),
        "the level compared with the risk": (
            Change("autonomy-observe", "autonomy < 1", "autonomy < context.risk - 1"),
        ),
    },
    "agents-suggest": {
        "a level off by one": (Change("autonomy-finance", "autonomy == 1", "autonomy == 0"),),
        "`&&` for `||` between the levels": (Change("autonomy-sre", "autonomy == 1 ||", "autonomy == 1 &&"),),
        "one role's rule copied and the group forgotten": (
            Change("autonomy-growth", '"growth-approves"', '"commerce-approves"'),
        ),
        "suggestions held back only where they are irreversible": (
            Change(
                "autonomy-operator",
                "context.approvals.operator < 1 &&",
                'context.approvals.operator < 1 && action in Action::"irreversible" &&',
            ),
        ),
        "written for people": (Change("autonomy-commerce", _AGENTS, _PEOPLE),),
    },
    "agents-registered": {
        "trusted agents need no registration": (
            Change("agent-registered", "context.registered", "context.registered || context.autonomy == 3"),
        ),
        "a permit for an agent of a new team": (
            Added('@id("growth-bot")\npermit (principal == Agent::"growth-bot", action in Action::"read", resource);'),
        ),
        "operators and whoever else asks": (Change("operator-asks", '(principal in Role::"operator",', _ANYBODY),),
        "reads for all": (
            Change("people-read", "(principal is Person,", _ANYBODY),
            Change("people-read", "when {", "when { principal is Agent ||"),
        ),
    },
    "r3-by-people": {
        "`>` for `>=`": (Change("r3-people-only", ">= 3", "> 3"),),
        "what is irreversible forgotten": (Change("r3-people-only", '"write"', '"reversible"'),),
        "an exception for L3": (
            Change("r3-people-only", "context.risk >= 3", "context.risk >= 3 && context.autonomy < 3"),
        ),
        "the rule lost": (Lost("r3-people-only"),),
    },
    "r3-officers": {
        "the rule lost, and a zero too many in the refund's own": (
            Lost("approval-r3"),
            Change("refund-founder", "50000", "500000"),
        ),
        "officers asked of agents only, who may not ask at all": (
            Change("approval-r3", _ANYBODY, _AGENTS),
            Change("refund-founder", _ANYBODY, _AGENTS),
        ),
        "`>` for `>=`, and the refund's officer any of finance": (
            Change("approval-r3", ">= 3", "> 3"),
            Change("refund-founder", "approvals.founder", "approvals.finance"),
        ),
    },
    "governance-officers": {
        "one person with two roles is enough": (Change("governance-two-persons", "persons < 2", "persons < 1"),),
        "the count of persons dropped": (Change("governance-two-persons", " || context.approvals.persons < 2", ""),),
        "`&&` for `||`": (Change("governance-two-persons", " || ", " && "),),
        "asked for what is reversible": (Change("governance-two-persons", '"irreversible"', '"reversible"'),),
    },
    "refund-cap": {
        "what is in flight forgotten": (Change("refund-within-paid", _IN_FLIGHT, ""),),
        "what is in flight added": (Change("refund-within-paid", _IN_FLIGHT, _IN_FLIGHT.replace("-", "+")),),
        "a product in basis points that overflows": (
            Change(
                "refund-within-paid", "context.arguments.amount_cents >", "context.arguments.amount_cents * 10000 >"
            ),
            Change("refund-within-paid", "context.facts.order.paid_cents -", "(context.facts.order.paid_cents -"),
            Change("refund-within-paid", "order.in_flight_cents\n", "order.in_flight_cents) * 10000\n"),
        ),
        "cents held against the paid sum as it was": (
            Change("refund-within-paid", " - context.facts.order.refunded_cents", ""),
        ),
        "for agents only": (Change("refund-within-paid", _ANYBODY, _AGENTS),),
    },
    "refund-approved": {
        "a zero too many": (Change("refund-founder", "50000", "500000"),),
        "finance's rule copied from growth's": (Change("approval-finance", "approvals.finance", "approvals.growth"),),
        "the risk moved to R3": (Change("approval-finance", "risk == 2", "risk == 3"),),
        "finance signs above 50,000 cents too": (Change("refund-founder", "approvals.founder", "approvals.finance"),),
    },
    "ban-approved": {
        "a month of 31 days": (Change("ban-two-persons", "> 30", "> 31"),),
        "weeks for days": (Change("ban-two-persons", "duration_days > 30", "duration_days > 30 * 7"),),
        "one of safety is enough": (Change("ban-two-persons", "safety < 2", "safety < 1"),),
        "two persons, whoever they are": (Change("ban-two-persons", "approvals.safety", "approvals.persons"),),
    },
    "ad-margin-floor": {
        "a constant off by one": (Change("ad-margin", "1500", "1499"),),
        "per cent for basis points": (Change("ad-margin", "1500", "15"),),
        "small budgets left out": (Change("ad-margin", "daily_budget_cents > 0", "daily_budget_cents > 100"),),
        "the margin compared with the budget": (
            Change("ad-margin", "< 1500", "< context.arguments.daily_budget_cents"),
        ),
    },
    "ad-spend-cap": {
        "a zero too many": (Change("ad-daily-cap", "1000000", "10000000"),),
        "what is in flight forgotten": (Change("ad-daily-cap", " + context.facts.spend.in_flight_cents", ""),),
        "the old budget taken off twice": (
            Change(
                "ad-daily-cap",
                "context.facts.spend.today_cents +",
                "context.facts.spend.today_cents - context.facts.ad_set.daily_budget_cents +",
            ),
        ),
        "`<` for `>`": (Change("ad-daily-cap", "daily_budget_cents > context", "daily_budget_cents < context"),),
    },
    "price-floor": {
        "a constant off by one": (Change("price-margin", "* 1500", "* 1499"),),
        "per mille for basis points": (Change("price-margin", "* 1500", "* 150"),),
        "the margin of the old price": (
            Change("price-margin", "context.arguments.price_cents -", "context.facts.product.price_cents -"),
        ),
        "brackets forgotten": (
            Change(
                "price-margin",
                "(context.arguments.price_cents - context.facts.product.unit_cost_cents) * 10000",
                "context.arguments.price_cents * 10000 - context.facts.product.unit_cost_cents",
            ),
        ),
    },
    "listing-clean": {
        "one claim passes": (Change("listing-claims", "> 0", "> 1"),),
        "the preflight of another tool": (Change("listing-preflight", "publish_listing", "change_price"),),
        "the preflight asked of agents only": (Change("listing-preflight", _ANYBODY, _AGENTS),),
        "claims forgiven after the preflight": (
            Change(
                "listing-claims", "banned_claims > 0", "banned_claims > 0 && !context.facts.product.preflight_passed"
            ),
        ),
    },
    "reorder-cash": {
        "a month and a half of 44 days": (Change("reorder-runway", "45 *", "44 *"),),
        "the price of one for all": (Change("reorder-runway", "context.arguments.quantity * ", ""),),
        "what is in flight forgotten": (Change("reorder-runway", " - context.facts.cash.in_flight_cents", ""),),
        "a product in millionths that overflows": (
            Change("reorder-runway", "context.facts.cash.balance_cents -", "(context.facts.cash.balance_cents -"),
            Change("reorder-runway", "unit_cost_cents <", "unit_cost_cents) * 1000000 <"),
            Change("reorder-runway", "daily_burn_cents", "daily_burn_cents * 1000000"),
        ),
        "the runway before the payment, as the fact has it": (
            Change(
                "reorder-runway",
                "context.facts.cash.balance_cents - context.facts.cash.in_flight_cents -\n"
                "  context.arguments.quantity * context.facts.product.unit_cost_cents < "
                "45 * context.facts.cash.daily_burn_cents",
                "context.facts.cash.runway_days < 45",
            ),
        ),
    },
    "payment-cash": {
        "the payment itself forgotten": (Change("payment-runway", " - context.arguments.amount_cents", ""),),
        "`>` for `<`": (Change("payment-runway", "amount_cents <", "amount_cents >"),),
        "a day's burn for 45": (Change("payment-runway", "45 * ", ""),),
        "what is in flight added": (
            Change("payment-runway", "balance_cents - context.facts.cash.in", "balance_cents + context.facts.cash.in"),
        ),
    },
    "payment-invoice": {
        "part payments let in": (Change("payment-open-invoice", "amount_cents ==", "amount_cents <="),),
        "what is being paid forgotten": (
            Change("payment-open-invoice", " - context.facts.invoice.in_flight_cents", ""),
        ),
        "for agents only": (Change("payment-open-invoice", _ANYBODY, _AGENTS),),
        "rounded to a whole unit": (
            Change(
                "payment-open-invoice",
                "amount_cents == context.facts.invoice.open_cents - context.facts.invoice.in_flight_cents",
                "amount_cents - context.facts.invoice.open_cents + context.facts.invoice.in_flight_cents < 100",
            ),
        ),
    },
    "payout-cap": {
        "a sign turned": (Change("payout-balance", "eligible_cents -", "eligible_cents +"),),
        "what is in flight forgotten": (Change("payout-balance", " - context.facts.creator.in_flight_cents", ""),),
        "small payouts left out": (
            Change(
                "payout-balance", "context.arguments", "context.arguments.amount_cents > 100000 && context.arguments"
            ),
        ),
        "a product in basis points that overflows": (
            Change("payout-balance", "context.arguments.amount_cents >", "context.arguments.amount_cents * 10000 >"),
            Change(
                "payout-balance", "context.facts.creator.eligible_cents -", "(context.facts.creator.eligible_cents -"
            ),
            Change("payout-balance", "creator.in_flight_cents\n", "creator.in_flight_cents) * 10000\n"),
        ),
    },
    "friction-limit": {
        "a zero too many": (Change("friction-one-day", "86400", "864000"),),
        "milliseconds for seconds": (Change("friction-one-day", "86400", "86400000"),),
        "a second too many": (Change("friction-one-day", "86400", "86401"),),
        "the day counted from the end": (
            Change(
                "friction-one-day",
                "context.arguments.expires_at > context.now",
                "context.now > context.arguments.expires_at",
            ),
        ),
    },
    "throttle-floor": {
        "`>=` for `>`": (Change("throttle-above-zero", "> 0", ">= 0"),),
        "`unless` became `when`": (Change("throttle-above-zero", "unless", "when"),),
        "for agents only": (Change("throttle-above-zero", _ANYBODY, _AGENTS),),
        "the limit of now for the one asked for": (
            Change("throttle-above-zero", "context.arguments.limit", "context.facts.endpoint.limit"),
        ),
    },
    "publish-gate": {
        "the same again": (Change("publish-newer", "revision >", "revision >="),),
        "the verdict lost": (Lost("publish-verdict"),),
        "a newer one needs no verdict": (
            Change("publish-verdict", "verdict_passed", "verdict_passed || context.facts.bundle.revision > 0"),
        ),
        "written for the other tool": (Change("publish-newer", '"publish_bundle"', '"activate_bundle"'),),
    },
    "activation-gate": {
        "the verdict of the other tool": (Change("activate-verdict", '"activate_bundle"', '"publish_bundle"'),),
        "a revision too low let in": (
            Change(
                "activate-newer",
                "> context.facts.bundle.current_revision",
                "> context.facts.bundle.current_revision - 2",
            ),
        ),
        "two rules made one with `||`": (
            Lost("activate-newer"),
            Change(
                "activate-verdict",
                "context.facts.bundle.verdict_passed",
                "context.facts.bundle.verdict_passed || "
                "context.facts.bundle.revision > context.facts.bundle.current_revision",
            ),
        ),
    },
    "registration-gate": {
        "the guard lost": (Lost("register-verdict"),),
        "asked of agents, who may not register": (Change("register-verdict", _ANYBODY, _AGENTS),),
        "waived when a founder approves": (
            Change("register-verdict", "verdict_passed", "verdict_passed || context.approvals.founder >= 1"),
        ),
    },
}
"""By invariant: what went wrong in words, and the edits."""
