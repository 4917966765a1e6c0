"""Facts: what the gateway may believe about a row, with the database's own time.

`at_ms` is the start of the transaction that read the fact, so it lies *before* the snapshot: whatever was committed
by then is inside the fact. A reader who counts as in flight all that settled later can count something twice, and never
misses anything.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.demo.backoffice.connections import Pool
from deploy.demo.backoffice.effects import Refusal

AT_MS = "floor(extract(epoch from now()) * 1000)::bigint as at_ms"  # A cast alone would round into the future.


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One group of facts."""

    parts: int
    """How many path segments name the row."""
    unknown: str
    """The refusal when there is none."""
    statement: str
    """Selects exactly the group's members; `%(tenant)s` and the segments `%(a)s`, `%(b)s`."""

    @property
    def timed(self) -> str:
        """The statement with the time beside it."""
        return f"select {AT_MS}, fact.* from ({self.statement}) as fact"  # noqa: S608 - both are constants of this file


_PHRASES = f"select {AT_MS}, array(select phrase from banned_claims where tenant = %s) as phrases"  # noqa: S608 - so is this

SOURCES: Mapping[str, Source] = {
    "order": Source(
        parts=1,
        unknown="unknown_order",
        statement="select paid_cents, refunded_cents from orders where tenant = %(tenant)s and id = %(a)s",
    ),
    "ad_set": Source(
        parts=1,
        unknown="unknown_ad_set",
        statement="select margin_bp, daily_budget_cents from ad_sets where tenant = %(tenant)s and id = %(a)s",
    ),
    # Of each ad set what it has spent today, or may still spend: a budget that was raised shows at once.
    "spend": Source(
        parts=1,
        unknown="unknown_day",
        statement=(
            "select sum(greatest(daily_budget_cents, coalesce(cents, 0)))::bigint as today_cents"
            " from ad_sets left join spend on spend.tenant = ad_sets.tenant and ad_set_id = id and day = current_date"
            " where ad_sets.tenant = %(tenant)s and %(a)s = 'today' having count(*) > 0"
        ),
    ),
    "cash": Source(
        parts=1,
        unknown="unknown_account",
        statement=(
            "select least(greatest(balance_cents, 0) / daily_burn_cents, 36500) as runway_days, balance_cents,"
            " daily_burn_cents from cash where tenant = %(tenant)s and id = %(a)s"
        ),
    ),
    "invoice": Source(
        parts=1,
        unknown="unknown_invoice",
        statement=(
            "select amount_cents - paid_cents as open_cents from invoices where tenant = %(tenant)s and id = %(a)s"
        ),
    ),
    "creator": Source(
        parts=1,
        unknown="unknown_creator",
        statement=(
            "select balance_cents - held_cents as eligible_cents from creators where tenant = %(tenant)s and id = %(a)s"
        ),
    ),
    "endpoint": Source(
        parts=2,
        unknown="unknown_endpoint",
        statement=(
            "select baseline_per_second, limit_per_second from endpoints"
            " where tenant = %(tenant)s and service = %(a)s and route = %(b)s"
        ),
    ),
    "flag": Source(
        parts=1,
        unknown="unknown_flag",
        statement="select value, rollout_percent from flags where tenant = %(tenant)s and id = %(a)s",
    ),
    # Of a product by its own id, or by that of the article that is in stock.
    "product": Source(
        parts=1,
        unknown="unknown_product",
        statement=(
            "select unit_cost_cents, price_cents, preflight_passed from products"
            " where tenant = %(tenant)s and %(a)s in (id, sku)"
        ),
    ),
    "appeal": Source(
        parts=1,
        unknown="unknown_appeal",
        statement="select first_decider from appeals where tenant = %(tenant)s and id = %(a)s",
    ),
}


async def read(pool: Pool, *, tenant: str, group: str, path: Sequence[str]) -> dict[str, Any]:
    """
    `{at_ms, facts}` of one row.

    Raises `Refusal` for a group or a row that does not exist.
    """
    source = SOURCES.get(group)
    if source is None or len(path) != source.parts:
        raise Refusal("unknown_fact", status=404)
    names = {"tenant": tenant, **dict(zip("ab", path, strict=False))}
    async with pool.transaction() as cursor:
        await cursor.execute(source.timed.encode(), names)
        row = await cursor.fetchone()
    if row is None:
        raise Refusal(source.unknown, status=404)
    return {"at_ms": row.pop("at_ms"), "facts": row}


async def read_copy(pool: Pool, *, tenant: str, title: str, body: str) -> dict[str, Any]:
    """`{at_ms, facts: {banned_claims}}`: how many of the tenant's banned claims a title and a body make."""
    async with pool.transaction() as cursor:
        await cursor.execute(_PHRASES.encode(), (tenant,))
        row = await cursor.fetchone()
    if row is None:
        raise Refusal("unknown_fact", status=404)
    return {"at_ms": row["at_ms"], "facts": {"banned_claims": count_claims(f"{title}\n{body}", row["phrases"])}}


def count_claims(copy: str, phrases: Sequence[str]) -> int:
    """
    How many of `phrases` occur in `copy` as whole words, however they are spaced, hyphenated or capitalised.

    Letters of other scripts that only look alike are not seen through.
    """
    folded = _fold(copy)
    return sum(1 for phrase in phrases if re.search(rf"(?<!\w){re.escape(_fold(phrase))}(?!\w)", folded))


def _fold(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold()
    visible = "".join(c for c in plain if unicodedata.category(c) not in ("Cf", "Mn"))
    return re.sub(r"[\s\-_\u2010-\u2015]+", " ", visible)
