"""Money that goes out: advertising, invoices, creators, and the cash it comes from."""

from __future__ import annotations

from datetime import timedelta

from deploy.demo.backoffice.seeds import people
from deploy.demo.backoffice.seeds.draft import Draft

SPEND_DAYS = 30
CREATORS = 12

# Name, channel, daily budget in cents, contribution margin in basis points. 1,500 is the floor for raising a budget.
AD_SETS = (
    ("Spring clearance, search", "search", 20_000, 3_400),
    ("Brand, video", "video", 45_000, 1_900),
    ("Lookalike 2 %, social", "social", 30_000, 2_600),
    ("Retargeting, display", "display", 12_000, 1_500),
    ("Competitor names, search", "search", 18_000, 1_150),
    ("Newsletter sign-up, social", "social", 8_000, 640),
    ("Marketplace, sponsored", "marketplace", 25_000, 2_150),
    ("New arrivals, shopping", "shopping", 50_000, 2_850),
)

# Balance and daily burn in cents. The first lives well (100 days); the second is close to the floor of 45 days.
CASH = {"acme": (60_000_000, 600_000), "globex": (15_000_000, 300_000)}


def add(draft: Draft) -> None:
    """All of it, after the suppliers."""
    balance_cents, burn_cents = CASH[draft.tenant]
    draft.add("cash", id="main", balance_cents=balance_cents, daily_burn_cents=burn_cents)
    for name, channel, budget_cents, margin_bp in AD_SETS:
        ad_set = draft.add(
            "ad_sets",
            id=draft.next_id("ads", "ad_sets"),
            name=name,
            channel=channel,
            daily_budget_cents=budget_cents,
            margin_bp=margin_bp,
            changed_at=draft.some_days_ago(20),
        )
        for back in range(SPEND_DAYS):
            cents = budget_cents * draft.random.randrange(70, 101) // 100 // (2 if back == 0 else 1)
            draft.add(
                "spend",
                ad_set_id=ad_set["id"],
                day=draft.ago(days=back).date(),
                cents=cents,
                revenue_cents=cents * (10_000 + margin_bp) // 10_000 * 3,
            )
    _add_invoices(draft)
    for _ in range(CREATORS):
        _add_creator(draft)


def _add_invoices(draft: Draft) -> None:
    for supplier in draft.rows("suppliers"):
        for number in range(4):
            amount_cents = draft.random.randrange(400, 9_000) * 100
            draft.add(
                "invoices",
                id=draft.next_id("inv", "invoices"),
                supplier_id=supplier["id"],
                number=f"{supplier['name'][:3].upper()}-{draft.random.randrange(10_000, 99_999)}",
                amount_cents=amount_cents,
                paid_cents=amount_cents if number == 3 else 0,  # The last of each is settled already.
                due_on=(draft.now + timedelta(days=draft.random.randrange(-5, 40))).date(),
            )


def _add_creator(draft: Draft) -> None:
    users = draft.rows("users")
    user = users[len(draft.rows("creators"))]
    balance_cents = draft.random.randrange(50, 4_000) * 100
    draft.add(
        "creators",
        id=draft.next_id("crt", "creators"),
        user_id=user["id"],
        handle="@" + user["email"].split("@")[0].replace(".", "_"),
        balance_cents=balance_cents,
        # Part of it is younger than the return period, so it cannot be paid out yet.
        held_cents=balance_cents // draft.random.choice((3, 5, 10)),
        # A test account: country code and check digits that no bank has.
        payout_account=people.fill_digits(draft.random, "XX00 DEMO #### #### ####"),
    )
