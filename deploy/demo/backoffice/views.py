"""Views: what people and agents look at before they act. One statement each, so that it shows one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.demo.backoffice.connections import Pool, Row
from deploy.demo.backoffice.dashboards import figures_of
from deploy.demo.backoffice.effects import Refusal
from deploy.demo.backoffice.moments import plain

_USER = """
select users.id as user_id, name as display_name, email, phone, registered_at, payment_token,
    case when closed_at is not null then 'closed' when banned_until > now() then 'banned' else 'active' end as state,
    case when banned_until > now() then banned_until end as banned_until,
    friction_type, frictions.expires_at as friction_expires_at,
    (select count(*) from bans where bans.tenant = users.tenant and user_id = users.id and lifted_at is null)
        as strikes,
    (select count(*) from sessions where sessions.tenant = users.tenant and user_id = users.id and ended_at is null)
        as sessions_open,
    (select count(*) from push_tokens where push_tokens.tenant = users.tenant and user_id = users.id
        and revoked_at is null) as push_tokens,
    (select count(*) from orders where orders.tenant = users.tenant and user_id = users.id) as orders,
    (select coalesce(sum(paid_cents), 0)::bigint from orders where orders.tenant = users.tenant
        and user_id = users.id) as paid_cents
from users
left join frictions on frictions.tenant = users.tenant and target = users.id and frictions.expires_at > now()
where users.tenant = %(tenant)s and users.id = %(id)s
"""
_CONTENT = """
select content.id as content_id, author_id, case when removed_at is null then 'live' else 'removed' end as state,
    created_at, views, reports, body,
    (select min(id) from appeals where appeals.tenant = content.tenant and content_id = content.id) as appeal_id
from content where tenant = %(tenant)s and id = %(id)s
"""
_QUEUE = """
select queues.id as queue, count(queue_items.id) filter (where done_at is null) as waiting,
    coalesce(floor(extract(epoch from now() - min(enqueued_at) filter (where done_at is null))), 0)::bigint
        as oldest_seconds,
    count(*) filter (where done_at >= current_date) as done_today
from queues left join queue_items on queue_items.tenant = queues.tenant and queue_items.queue = queues.id
where queues.tenant = %(tenant)s and queues.id = %(id)s group by queues.id
"""
_ORDER = """
select orders.id as order_id, user_id,
    case when paid_cents > 0 and refunded_cents = paid_cents then 'refunded' else orders.status end as state,
    'EUR' as currency, paid_cents, refunded_cents, placed_at, name as recipient_name, ship_to as shipping_address,
    (select json_agg(json_build_object('sku', sku, 'title', title, 'quantity', quantity,
            'price_cents', order_lines.price_cents) order by line)
        from order_lines join products on products.tenant = order_lines.tenant and products.id = product_id
        where order_lines.tenant = orders.tenant and order_id = orders.id) as items
from orders join users on users.tenant = orders.tenant and users.id = user_id
where orders.tenant = %(tenant)s and orders.id = %(id)s
"""
_DASHBOARD = "select id as dashboard_id, now() as taken_at from dashboards where tenant = %(tenant)s and id = %(id)s"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One read tool: the argument that names the row, and the statement that selects the result."""

    argument: str
    unknown: str
    statement: str


VIEWS: Mapping[str, View] = {
    "get_user_360": View(argument="user_id", unknown="unknown_user", statement=_USER),
    "get_content_360": View(argument="content_id", unknown="unknown_content", statement=_CONTENT),
    "get_queue_state": View(argument="queue", unknown="unknown_queue", statement=_QUEUE),
    "get_dashboard_snapshot": View(argument="dashboard_id", unknown="unknown_dashboard", statement=_DASHBOARD),
    "get_order": View(argument="order_id", unknown="unknown_order", statement=_ORDER),
}


async def read(pool: Pool, *, tenant: str, tool: str, arguments: Mapping[str, str]) -> dict[str, Any]:
    """
    A read tool's result. Members without a value are left out.

    Raises `Refusal` for a tool or a row that does not exist, and for other arguments than the one.
    """
    view = VIEWS.get(tool)
    if view is None:
        raise Refusal("unknown_tool", status=404)
    if list(arguments) != [view.argument]:
        raise Refusal("malformed_arguments", status=422)
    names = {"tenant": tenant, "id": arguments[view.argument]}
    async with pool.transaction() as cursor:
        await cursor.execute(view.statement.encode(), names)
        row = await cursor.fetchone()
        if row is None:
            raise Refusal(view.unknown, status=404)
        if tool == "get_dashboard_snapshot":
            return {**_members(row), "figures": await figures_of(cursor, tenant=tenant, dashboard=row["dashboard_id"])}
    return _members(row)


def _members(row: Row) -> dict[str, Any]:
    return {name: plain(value) for name, value in row.items() if value is not None}
