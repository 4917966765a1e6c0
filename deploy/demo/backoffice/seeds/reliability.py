"""What keeps the service running: flags and who is behind them, throttled endpoints, queues, dashboards."""

from __future__ import annotations

from deploy.demo.backoffice.seeds.draft import Draft

# Key, description, value, percent.
FLAGS = (
    ("new_checkout", "One-page checkout", True, 20),
    ("dark_mode", "Dark colours in the app", True, 100),
    ("express_refunds", "Refunds without a return label", False, 0),
    ("creator_tips", "Tips below posts", True, 35),
    ("search_v3", "New ranking of search results", True, 10),
    ("gift_cards", "Gift cards in the shop", False, 0),
    ("video_reviews", "Reviews may carry a video", True, 50),
)

# Service, route, requests a second on an ordinary day, present limit.
ENDPOINTS = (
    ("checkout", "create_order", 120, 300),
    ("checkout", "quote_shipping", 340, 800),
    ("search", "query", 900, 2_000),
    ("search", "suggest", 1_500, 3_000),
    ("media", "upload", 40, 100),
    ("login", "password", 60, 150),
    ("login", "reset", 5, 20),
)
QUEUES = (
    ("moderation", "Reported content", 6, 34),
    ("refunds", "Refund requests", 3, 12),
    ("appeals", "Appeals against bans", 2, 8),
    ("payouts", "Payouts waiting for release", 1, 5),
    ("webhooks", "Outgoing notifications", 4, 61),
)
DASHBOARDS = (
    ("revenue", "Orders and refunds"),
    ("trust", "Trust and safety"),
    ("growth", "Advertising"),
    ("supply", "Stock, suppliers and cash"),
    ("reach", "Users behind each flag, orders behind each channel"),
)


def add(draft: Draft) -> None:
    """All of it, after the users."""
    for key, description, value, percent in FLAGS:
        draft.add(
            "flags",
            id=key,
            description=description,
            value=value,
            rollout_percent=percent,
            changed_at=draft.some_days_ago(45),
        )
    for flag in draft.rows("flags"):
        for user in draft.rows("users"):
            if draft.random.random() < 0.8:  # Not everybody has the version of the app that knows the flag.
                draft.add("flag_audience", flag_key=flag["id"], user_id=user["id"])
    for service, route, baseline, limit in ENDPOINTS:
        draft.add(
            "endpoints",
            service=service,
            route=route,
            baseline_per_second=baseline,
            limit_per_second=limit,
            changed_at=draft.some_days_ago(45),
        )
    for queue, title, workers, depth in QUEUES:
        draft.add("queues", id=queue, title=title, workers=workers)
        for _ in range(depth):
            _add_item(draft, queue)
    for dashboard, title in DASHBOARDS:
        draft.add("dashboards", id=dashboard, title=title)


def _add_item(draft: Draft, queue: str) -> None:
    sources = {"moderation": "content", "refunds": "orders", "appeals": "appeals", "payouts": "creators"}
    draft.add(
        "queue_items",
        id=draft.next_id("qit", "queue_items"),
        queue=queue,
        subject=draft.random.choice(draft.rows(sources.get(queue, "orders")))["id"],
        enqueued_at=draft.ago(days=1, minutes=draft.random.randrange(0, 2_880)),
        done_at=draft.ago(minutes=draft.random.randrange(0, 1_400)) if draft.random.random() < 0.4 else None,
    )
