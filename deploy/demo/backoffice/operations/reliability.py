"""Feature flags and endpoint limits."""

from __future__ import annotations

from typing import Any

from deploy.demo.backoffice.effects import Change, Refusal

PER_SECOND_MAX = 1_000_000


async def toggle_feature_flag(change: Change) -> dict[str, Any]:
    """Set a flag's value and the percentage of its audience that gets it."""
    flag_key, value, rollout_percent = change.take(flag_key=str, value=bool, rollout_percent=int)
    if not 0 <= rollout_percent <= 100:
        raise Refusal("percent_out_of_range", status=422)
    changed = await change.do(
        "update flags set value = %s, rollout_percent = %s, changed_at = %s where tenant = %s and id = %s",
        *(value, rollout_percent, change.at, change.tenant, flag_key),
    )
    if not changed:
        raise Refusal("unknown_flag", status=422)
    return {"flag_key": flag_key, "value": value, "rollout_percent": rollout_percent}


async def throttle_endpoint(change: Change) -> dict[str, Any]:
    """Set how many requests a second an endpoint serves; it cannot be none."""
    service, route, limit_per_second = change.take(service=str, route=str, limit_per_second=int)
    if not 1 <= limit_per_second <= PER_SECOND_MAX:
        raise Refusal("limit_out_of_range", status=422)
    changed = await change.do(
        "update endpoints set limit_per_second = %s, changed_at = %s where tenant = %s and service = %s and route = %s",
        *(limit_per_second, change.at, change.tenant, service, route),
    )
    if not changed:
        raise Refusal("unknown_endpoint", status=422)
    return {"service": service, "route": route, "limit_per_second": limit_per_second}
