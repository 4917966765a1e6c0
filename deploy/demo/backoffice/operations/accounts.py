"""What is done to people and to what they wrote: friction, bans, removals, appeals, push tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from deploy.demo.backoffice.effects import Change, Refusal
from deploy.demo.backoffice.moments import parse, stamp

FRICTION_TYPES = ("captcha", "cooldown", "rate_limit", "step_up_login")
RESOLUTIONS = ("uphold", "overturn")
BAN_DAYS_MAX = 3_650


async def apply_friction(change: Change) -> dict[str, Any]:
    """Slow an account down until a time. One friction at a time: a new one takes the place of the old."""
    target, friction_type, expires_text = change.take(target=str, friction_type=str, expires_at=str)
    if friction_type not in FRICTION_TYPES:
        raise Refusal("malformed_arguments", status=422)
    expires_at = parse(expires_text)
    if expires_at is None:
        raise Refusal("malformed_arguments", status=422)
    if expires_at <= change.at:
        raise Refusal("expiry_past")
    await _lock_user(change, target)
    await change.do(
        "insert into frictions (tenant, target, friction_type, expires_at, applied_at, effect_id)"
        " values (%s, %s, %s, %s, %s, %s) on conflict (tenant, target) do update set"
        " friction_type = excluded.friction_type, expires_at = excluded.expires_at,"
        " applied_at = excluded.applied_at, effect_id = excluded.effect_id",
        *(change.tenant, target, friction_type, expires_at, change.at, change.effect_id),
    )
    return {"target": target, "friction_type": friction_type, "expires_at": expires_text}


async def lift_friction(change: Change) -> dict[str, Any]:
    """Take away the friction that is in force, and say what it was."""
    (target,) = change.take(target=str)
    await _lock_user(change, target)
    lifted = await change.row(
        "delete from frictions where tenant = %s and target = %s and expires_at > %s"
        " returning friction_type, expires_at",
        *(change.tenant, target, change.at),
    )
    if lifted is None:
        raise Refusal("no_friction")
    return {"target": target, "friction_type": lifted["friction_type"], "expires_at": stamp(lifted["expires_at"])}


async def revoke_push_tokens(change: Change) -> dict[str, Any]:
    """Sign every device of a user out of push messages; none is fine too."""
    (user_id,) = change.take(user_id=str)
    await _lock_user(change, user_id)
    revoked = await change.do(
        "update push_tokens set revoked_at = %s where tenant = %s and user_id = %s and revoked_at is null",
        *(change.at, change.tenant, user_id),
    )
    return {"user_id": user_id, "tokens_revoked": revoked}


async def ban_user(change: Change) -> dict[str, Any]:
    """Shut a user out from now on, and end the sessions. A ban that already lasts longer stays as it is."""
    user_id, duration_days = change.take(user_id=str, duration_days=int)
    if not 1 <= duration_days <= BAN_DAYS_MAX:
        raise Refusal("malformed_arguments", status=422)
    user = await _lock_user(change, user_id)
    ends_at = change.at + timedelta(days=duration_days)
    banned_until: datetime = max(ends_at, user["banned_until"] or ends_at)
    await change.do(
        "insert into bans (tenant, id, user_id, duration_days, reason_code, starts_at, ends_at)"
        " values (%s, %s, %s, %s, %s, %s, %s)",
        *(change.tenant, change.new_id("ban"), user_id, duration_days, change.reason_code, change.at, ends_at),
    )
    await change.do(
        "update users set banned_until = %s where tenant = %s and id = %s",
        *(banned_until, change.tenant, user_id),
    )
    await change.do(
        "update sessions set ended_at = %s where tenant = %s and user_id = %s and ended_at is null",
        *(change.at, change.tenant, user_id),
    )
    return {"user_id": user_id, "banned_until": stamp(banned_until)}


async def remove_content(change: Change) -> dict[str, Any]:
    """Take content down, once."""
    (content_id,) = change.take(content_id=str)
    content = await change.row(
        "select removed_at from content where tenant = %s and id = %s for update", change.tenant, content_id
    )
    if content is None:
        raise Refusal("unknown_content", status=422)
    if content["removed_at"] is not None:
        raise Refusal("already_removed")
    await change.do(
        "update content set removed_at = %s, removed_reason = %s where tenant = %s and id = %s",
        *(change.at, change.reason_code, change.tenant, content_id),
    )
    return {"content_id": content_id, "state": "removed"}


async def resolve_appeal(change: Change) -> dict[str, Any]:
    """Decide an open appeal. Overturning lifts the ban, or shows the content again."""
    appeal_id, resolution = change.take(appeal_id=str, resolution=str)
    if resolution not in RESOLUTIONS:
        raise Refusal("malformed_arguments", status=422)
    appeal = await change.row(
        "select user_id, ban_id, content_id, resolution from appeals where tenant = %s and id = %s for update",
        *(change.tenant, appeal_id),
    )
    if appeal is None:
        raise Refusal("unknown_appeal", status=422)
    if appeal["resolution"] is not None:
        raise Refusal("already_resolved")
    await change.do(
        "update appeals set resolution = %s, resolved_at = %s where tenant = %s and id = %s",
        *(resolution, change.at, change.tenant, appeal_id),
    )
    if resolution == "overturn" and appeal["ban_id"] is not None:
        await _lift_ban(change, ban_id=appeal["ban_id"], user_id=appeal["user_id"])
    elif resolution == "overturn":
        await change.do(
            "update content set removed_at = null, removed_reason = null where tenant = %s and id = %s",
            *(change.tenant, appeal["content_id"]),
        )
    return {"appeal_id": appeal_id, "resolution": resolution}


async def _lift_ban(change: Change, *, ban_id: str, user_id: str) -> None:
    """The user stays out for as long as another ban lasts."""
    await _lock_user(change, user_id)
    await change.do(
        "update bans set lifted_at = %s where tenant = %s and id = %s and lifted_at is null",
        *(change.at, change.tenant, ban_id),
    )
    await change.do(
        "update users set banned_until = (select max(ends_at) from bans where bans.tenant = users.tenant"
        " and bans.user_id = users.id and lifted_at is null and ends_at > %s) where tenant = %s and id = %s",
        *(change.at, change.tenant, user_id),
    )


async def _lock_user(change: Change, user_id: str) -> dict[str, Any]:
    user = await change.row(
        "select banned_until from users where tenant = %s and id = %s for update", change.tenant, user_id
    )
    if user is None:
        raise Refusal("unknown_user", status=422)
    return user
