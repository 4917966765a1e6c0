"""Figures of the dashboards, counted when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.demo.backoffice.connections import Cursor

# Each statement selects name, value and unit of its figures, for one tenant.
_STATEMENTS: Mapping[str, str] = {
    "revenue": """
        select 'orders_week' as name, count(*) as value, 'count' as unit from orders
            where tenant = %(tenant)s and placed_at > now() - interval '7 days'
        union all select 'paid_week', coalesce(sum(amount_cents), 0)::bigint, 'cents' from payments
            where tenant = %(tenant)s and paid_at > now() - interval '7 days'
        union all select 'refunds_week', count(*), 'count' from refunds
            where tenant = %(tenant)s and refunded_at > now() - interval '7 days'
        union all select 'refunded_week', coalesce(sum(amount_cents), 0)::bigint, 'cents' from refunds
            where tenant = %(tenant)s and refunded_at > now() - interval '7 days'
        """,
    "trust": """
        select 'users_banned' as name, count(*) as value, 'count' as unit from users
            where tenant = %(tenant)s and banned_until > now()
        union all select 'content_reported', count(*), 'count' from content
            where tenant = %(tenant)s and reports > 0 and removed_at is null
        union all select 'content_removed', count(*), 'count' from content
            where tenant = %(tenant)s and removed_at is not null
        union all select 'appeals_open', count(*), 'count' from appeals
            where tenant = %(tenant)s and resolution is null
        union all select 'frictions_active', count(*), 'count' from frictions
            where tenant = %(tenant)s and expires_at > now()
        """,
    "growth": """
        select 'spend_today' as name, coalesce(sum(cents), 0)::bigint as value, 'cents' as unit from spend
            where tenant = %(tenant)s and day = current_date
        union all select 'daily_budgets', coalesce(sum(daily_budget_cents), 0)::bigint, 'cents' from ad_sets
            where tenant = %(tenant)s
        union all select 'ad_sets_paused', count(*), 'count' from ad_sets
            where tenant = %(tenant)s and daily_budget_cents = 0
        union all select 'margin_lowest', coalesce(min(margin_bp), 0)::bigint, 'basis_points' from ad_sets
            where tenant = %(tenant)s and daily_budget_cents > 0
        """,
    "supply": """
        select 'cash' as name, balance_cents as value, 'cents' as unit from cash
            where tenant = %(tenant)s and id = 'main'
        union all select 'burn_daily', daily_burn_cents, 'cents' from cash where tenant = %(tenant)s and id = 'main'
        union all select 'invoices_open', coalesce(sum(amount_cents - paid_cents), 0)::bigint, 'cents' from invoices
            where tenant = %(tenant)s
        union all select 'articles_out_of_stock', count(*), 'count' from stock
            where tenant = %(tenant)s and on_hand = 0
        """,
    # How far a change would reach: users behind each flag now, orders that came through each channel.
    "reach": """
        select name, value, unit from (
            select 'flag_' || flags.id as name, 'count' as unit,
                case when value then count(user_id) * rollout_percent / 100 else 0 end as value
            from flags left join flag_audience on flag_audience.tenant = flags.tenant and flag_key = flags.id
            where flags.tenant = %(tenant)s group by flags.tenant, flags.id
            union all select 'channel_' || channel, 'count', sum(orders)::bigint from listings
            where tenant = %(tenant)s and is_published group by channel
        ) as reach order by name
        """,
}


async def figures_of(cursor: Cursor, *, tenant: str, dashboard: str) -> list[dict[str, Any]]:
    """Name, value and unit of each figure; none for a dashboard that has not been filled."""
    statement = _STATEMENTS.get(dashboard)
    if statement is None:
        return []
    await cursor.execute(statement.encode(), {"tenant": tenant})
    return await cursor.fetchall()
