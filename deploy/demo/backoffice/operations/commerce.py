"""Prices, listings and advertising budgets."""

from __future__ import annotations

from typing import Any

from deploy.demo.backoffice.effects import Change, Refusal

CHANNELS = ("web_shop", "marketplace", "social")
CENTS_MAX = 100_000_000


async def change_price(change: Change) -> dict[str, Any]:
    """Set a product's price."""
    product_id, price_cents = change.take(product_id=str, price_cents=int)
    if not 1 <= price_cents <= CENTS_MAX:
        raise Refusal("price_out_of_range", status=422)
    changed = await change.do(
        "update products set price_cents = %s where tenant = %s and id = %s",
        *(price_cents, change.tenant, product_id),
    )
    if not changed:
        raise Refusal("unknown_product", status=422)
    return {"product_id": product_id, "price_cents": price_cents}


async def publish_listing(change: Change) -> dict[str, Any]:
    """Put a product on sale in a channel; a listing that is on sale there gets the new words."""
    product_id, channel, title, body = change.take(product_id=str, channel=str, title=str, body=str)
    _expect_channel(channel)
    if not title.strip() or not body.strip():
        raise Refusal("listing_empty", status=422)
    await _lock_product(change, product_id)
    listing = await change.row(
        "insert into listings (tenant, id, product_id, channel, title, body, is_published, changed_at)"
        " values (%s, %s, %s, %s, %s, %s, true, %s) on conflict (tenant, product_id, channel) do update set"
        " title = excluded.title, body = excluded.body, is_published = true, changed_at = excluded.changed_at"
        " returning id",
        *(change.tenant, change.new_id("lst"), product_id, channel, title, body, change.at),
    )
    return {"listing_id": listing["id"] if listing else "", "product_id": product_id, "channel": channel}


async def unpublish_listing(change: Change) -> dict[str, Any]:
    """Take a product off sale in a channel, and say with which words it was on sale."""
    product_id, channel = change.take(product_id=str, channel=str)
    _expect_channel(channel)
    await _lock_product(change, product_id)
    listing = await change.row(
        "update listings set is_published = false, changed_at = %s"
        " where tenant = %s and product_id = %s and channel = %s and is_published returning title, body",
        *(change.at, change.tenant, product_id, channel),
    )
    if listing is None:
        raise Refusal("not_published")
    return {"product_id": product_id, "channel": channel, "title": listing["title"], "body": listing["body"]}


async def scale_ad_set(change: Change) -> dict[str, Any]:
    """Set an ad set's daily budget; 0 pauses it."""
    ad_set_id, daily_budget_cents = change.take(ad_set_id=str, daily_budget_cents=int)
    if not 0 <= daily_budget_cents <= CENTS_MAX:
        raise Refusal("budget_out_of_range", status=422)
    changed = await change.do(
        "update ad_sets set daily_budget_cents = %s, changed_at = %s where tenant = %s and id = %s",
        *(daily_budget_cents, change.at, change.tenant, ad_set_id),
    )
    if not changed:
        raise Refusal("unknown_ad_set", status=422)
    return {"ad_set_id": ad_set_id, "daily_budget_cents": daily_budget_cents}


async def _lock_product(change: Change, product_id: str) -> None:
    if not await change.row(
        "select 1 from products where tenant = %s and id = %s for update", change.tenant, product_id
    ):
        raise Refusal("unknown_product", status=422)


def _expect_channel(channel: str) -> None:
    if channel not in CHANNELS:
        raise Refusal("malformed_arguments", status=422)
