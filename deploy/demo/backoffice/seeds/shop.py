"""What is sold: products, stock, listings, suppliers and their offers, and what was ordered and paid."""

from __future__ import annotations

from datetime import timedelta

from deploy.demo.backoffice.seeds import people
from deploy.demo.backoffice.seeds.draft import Draft, Row

ORDERS = 240
CHANNELS = ("web_shop", "marketplace", "social")

# Title, unit cost and price in cents. Margins differ on purpose: some prices are close to their floor.
PRODUCTS = {
    "acme": (
        ("Ridgeline two-person tent", 14_200, 32_900),
        ("Down sleeping bag, 0 °C", 9_800, 21_900),
        ("Alpine down jacket", 11_900, 27_900),
        ("Carbon trekking poles", 4_150, 9_900),
        ("Titanium cook set", 3_900, 8_490),
        ("Gas stove, folding", 1_480, 3_990),
        ("Water filter, squeeze", 1_250, 3_490),
        ("Head torch, 400 lumen", 1_620, 3_900),
        ("Merino base layer", 2_780, 5_900),
        ("Waterproof shell", 7_350, 17_900),
        ("Day pack, 24 litres", 3_600, 8_900),
        ("Expedition pack, 75 litres", 9_400, 19_900),
        ("Sleeping mat, insulated", 5_100, 11_900),
        ("Climbing rope, 60 metres", 9_900, 16_900),
        ("Harness, adjustable", 3_150, 6_400),
        ("Wool socks, pair", 640, 1_490),
        ("Dry bag, 13 litres", 780, 1_890),
        ("Repair kit, tents", 410, 1_290),
        ("Satellite messenger", 24_800, 29_900),
        ("Inflatable kayak", 31_500, 64_900),
        ("Family tent, six persons", 28_900, 59_900),
        ("Enamel mug", 390, 1_250),
        ("Compass, sighting", 2_150, 4_999),
        ("Camp chair", 1_990, 4_490),
    ),
    "globex": (
        ("Espresso machine, dual boiler", 61_000, 129_900),
        ("Burr grinder", 15_900, 34_900),
        ("Cast iron pan, 28 cm", 2_100, 4_900),
        ("Enamelled casserole, 5 litres", 8_700, 18_900),
        ("Chef's knife, 20 cm", 4_600, 10_900),
        ("Paring knife", 980, 2_490),
        ("Cutting board, end grain", 3_300, 7_900),
        ("Stand mixer", 19_800, 42_900),
        ("Hand blender", 3_450, 6_990),
        ("Digital scale", 890, 2_290),
        ("Kettle, temperature control", 4_400, 8_900),
        ("Baking steel", 3_100, 6_900),
        ("Sous-vide stick", 6_900, 12_900),
        ("Induction plate", 5_300, 8_990),
        ("Copper saucepan", 9_900, 21_900),
        ("Storage jars, set of six", 1_320, 3_290),
        ("Linen apron", 1_150, 3_490),
        ("Tea towels, three", 480, 1_490),
        ("Pasta machine", 3_800, 7_490),
        ("Ice cream maker", 17_300, 31_900),
        ("Microplane grater", 720, 1_999),
        ("Mortar and pestle, granite", 1_640, 4_490),
        ("Pizza oven, gas", 22_700, 39_900),
        ("Vacuum sealer", 5_900, 11_490),
    ),
}
SUPPLIERS = {
    "acme": ("Northwind Textiles", "Sierra Frameworks", "Polar Down Works", "Harbour Hardware", "Tern & Sons"),
    "globex": ("Solingen Blades", "Fonderie du Rhône", "Bright Appliances", "Kiln & Clay", "Lowland Linen"),
}
BANNED_CLAIMS = (
    "cures",
    "clinically proven",
    "guaranteed results",
    "miracle",
    "100% safe",
    "risk-free",
    "doctor recommended",
    "never breaks",
)

# Paid amounts of the first orders are fixed: examples and tests need one on each side of every cap.
FIRST_ORDERS_CENTS = (4_999, 48_000, 129_900, 25_000, 61_500, 5_000, 50_000, 1_250)
FOURTH_ORDER_REFUNDED_CENTS = 10_000


def add(draft: Draft) -> None:
    """All of it, after the users."""
    _add_suppliers(draft)
    _add_products(draft)
    for phrase in BANNED_CLAIMS:
        draft.add("banned_claims", phrase=phrase)
    for number in range(ORDERS):
        _add_order(draft, FIRST_ORDERS_CENTS[number] if number < len(FIRST_ORDERS_CENTS) else None)
    _add_refunds(draft)


def _add_suppliers(draft: Draft) -> None:
    for name in SUPPLIERS[draft.tenant]:
        contact = people.invent(draft.random, number=900 + len(draft.rows("suppliers")))
        draft.add(
            "suppliers",
            id=draft.next_id("sup", "suppliers"),
            name=name,
            contact_name=contact.name,
            email=contact.email,
            phone=contact.phone,
            address=contact.address,
            lead_days=draft.random.choice((7, 14, 21, 45)),
        )


def _add_products(draft: Draft) -> None:
    for number, (title, cost_cents, price_cents) in enumerate(PRODUCTS[draft.tenant]):
        passed = number % 8 != 7  # One in eight still lacks something.
        sku = f"sku_{draft.first_number + number}"
        product = draft.add(
            "products",
            id=draft.next_id("prd", "products"),
            sku=sku,
            title=title,
            price_cents=price_cents,
            unit_cost_cents=cost_cents,
            preflight_passed=passed,
            preflight_findings="" if passed else "safety sheet missing",
        )
        draft.add("stock", sku=sku, on_hand=draft.random.randrange(0, 400), incoming=0)
        for offset in range(2):
            supplier = draft.rows("suppliers")[(number + offset) % len(draft.rows("suppliers"))]
            draft.add(
                "offers",
                sku=sku,
                supplier_id=supplier["id"],
                quantity_min=1 if offset == 0 else 25,
            )
        if passed and number % 3 != 2:
            _add_listing(draft, product)


def _add_listing(draft: Draft, product: Row) -> None:
    draft.add(
        "listings",
        id=draft.next_id("lst", "listings"),
        product_id=product["id"],
        channel=draft.random.choice(CHANNELS),
        title=product["title"],
        body=f"{product['title']}. Made to be repaired; spare parts are kept for ten years.",
        is_published=True,
        orders=draft.random.randrange(0, 90),
        changed_at=draft.some_days_ago(90),
    )


def _add_order(draft: Draft, paid_cents: int | None) -> None:
    user = draft.random.choice(draft.rows("users"))
    order_id = draft.next_id("ord", "orders")
    placed_at = draft.some_days_ago(120)
    lines = _lines(draft, paid_cents)
    total = sum(quantity * price for _, quantity, price in lines)
    is_paid = paid_cents is not None or draft.random.random() > 0.04  # A few were given up before they were paid.
    draft.add(
        "orders",
        id=order_id,
        user_id=user["id"],
        status=draft.random.choice(("paid", "shipped", "delivered", "delivered")) if is_paid else "cancelled",
        paid_cents=total if is_paid else 0,
        refunded_cents=0,
        placed_at=placed_at,
        ship_to=user["address"],
    )
    for line, (product, quantity, price_cents) in enumerate(lines, start=1):
        draft.add(
            "order_lines",
            order_id=order_id,
            line=line,
            product_id=product["id"],
            quantity=quantity,
            price_cents=price_cents,
        )
    if is_paid:
        draft.add(
            "payments",
            id=draft.next_id("pay", "payments"),
            order_id=order_id,
            amount_cents=total,
            method=draft.random.choice(("card", "card", "card", "transfer")),
            card_last4=people.fill_digits(draft.random, "####"),
            paid_at=placed_at + timedelta(minutes=draft.random.randrange(1, 20)),
        )


def _lines(draft: Draft, total_cents: int | None) -> list[tuple[Row, int, int]]:
    """Product, quantity and unit price. One order in nine is a firm's, with large quantities."""
    products = draft.rows("products")
    if total_cents is not None:
        return [(min(products, key=lambda product: abs(product["price_cents"] - total_cents)), 1, total_cents)]
    most = 14 if draft.random.random() < 1 / 9 else 2
    chosen = draft.random.sample(products, draft.random.randrange(1, 4))
    quantities = [draft.random.randrange(1, most + 1) for _ in chosen]
    return [(product, quantity, product["price_cents"]) for product, quantity in zip(chosen, quantities, strict=True)]


def _add_refunds(draft: Draft) -> None:
    orders = draft.rows("orders")
    chosen = [order for order in draft.random.sample(orders[8:], 30) if order["paid_cents"]]
    amounts = [(orders[3], FOURTH_ORDER_REFUNDED_CENTS)]
    amounts += [(order, order["paid_cents"] // draft.random.choice((1, 2, 4))) for order in chosen]
    for order, amount_cents in amounts:
        order["refunded_cents"] = amount_cents
        draft.add(
            "refunds",
            id=draft.next_id("ref", "refunds"),
            order_id=order["id"],
            amount_cents=amount_cents,
            reason_code=draft.random.choice(("damaged_item", "late_delivery", "wrong_item")),
            refunded_at=order["placed_at"] + timedelta(minutes=25),
            effect_id=None,
        )
