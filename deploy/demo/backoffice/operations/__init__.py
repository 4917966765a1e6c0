"""What the business can do, by the name of the tool: `POST /operations/{tool}`.

Each operation checks its arguments, locks the one row that decides, refuses what cannot be, and changes rows; it runs
inside the transaction that records the effect (see `effects`). None of them knows a policy: what may be done is decided
elsewhere, what cannot be done is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping

from deploy.demo.backoffice.effects import Operation
from deploy.demo.backoffice.operations.accounts import (
    apply_friction,
    ban_user,
    lift_friction,
    remove_content,
    resolve_appeal,
    revoke_push_tokens,
)
from deploy.demo.backoffice.operations.commerce import change_price, publish_listing, scale_ad_set, unpublish_listing
from deploy.demo.backoffice.operations.payments import issue_refund, pay_supplier, release_payout, reorder_stock
from deploy.demo.backoffice.operations.reliability import throttle_endpoint, toggle_feature_flag

OPERATIONS: Mapping[str, Operation] = {
    "apply_friction": apply_friction,
    "ban_user": ban_user,
    "change_price": change_price,
    "issue_refund": issue_refund,
    "lift_friction": lift_friction,
    "pay_supplier": pay_supplier,
    "publish_listing": publish_listing,
    "release_payout": release_payout,
    "remove_content": remove_content,
    "reorder_stock": reorder_stock,
    "resolve_appeal": resolve_appeal,
    "revoke_push_tokens": revoke_push_tokens,
    "scale_ad_set": scale_ad_set,
    "throttle_endpoint": throttle_endpoint,
    "toggle_feature_flag": toggle_feature_flag,
    "unpublish_listing": unpublish_listing,
}
