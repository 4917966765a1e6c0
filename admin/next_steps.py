"""What to do about a refusal: one sentence per reason. `docs/errors.md` says more about each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STEPS: Mapping[str, str] = {
    "approval_mismatch": "send the call that was approved, under its own --key; or have this one approved",
    "approval_stale": "tool or bundle changed since: present the call again under its --key, and have that approved",
    "approval_used": "this approval has been consumed: have the call approved again",
    "approval_void": "the approver no longer has the role: ask somebody who has",
    "approver_excluded": "whoever takes part in a call does not approve it: ask somebody else",
    "budget_exceeded": "wait for the next window, or ask for less; `lockgate explain {call}` shows the limit",
    "call_closed": "this call has ended; send a new one under a new --key",
    "fact_missing": "the source does not know this object; check the id",
    "fact_stale": "the source's data is too old; try again when it has caught up",
    "in_doubt": "the tool may have acted: `lockgate explain {call}` until it is settled; do not use a new key",
    "in_flight": "the same call is running: send it again with the same --key in a moment",
    "invariant_violated": "`lockgate explain {call}` shows value and limit of each check; ask for what fits",
    "key_missing": "send an Idempotency-Key (this command makes one unless --key is given)",
    "key_reused": "this --key belongs to another call: leave --key out to get a new one",
    "killed": "a kill switch is engaged; `lockgate kill release` takes two persons' approval",
    "no_bundle": "publish and activate a bundle: `lockgate bundle publish FILE`",
    "not_permitted": "no rule permits this; `lockgate tools` lists what this identity may ask for",
    "policy_denied": "a rule forbids this: `lockgate explain {call}` shows it with its hint",
    "policy_error": "a rule could not be evaluated: tell the bundle's author, `lockgate explain {call}` names it",
    "policy_expired": "the bundle has expired: publish and activate a new one",
    "token_expired": "get a fresh token; in development `make dev` mints them for a day",
    "role_missing": "act as somebody who has the role: --as role:<role>",
    "signature_invalid": "the signature names environment and tenant: check --environment and --tenant",
    "token_missing": "say --as or --token-file",
    "unknown_call": "check the id and the tenant (--tenant): another tenant's calls are not found either",
    "unknown_tenant": "say --tenant with a tenant that there is",
    "unknown_tool": "`lockgate tools` lists the tools there are",
}


def step(document: Mapping[str, Any], status: int) -> str:
    """The next step for a problem document; by status where the reason has no step of its own."""
    reason = str(document.get("reason", ""))
    sentence = STEPS.get(reason)
    if sentence is not None:
        return sentence.format(call=document.get("call", "call_…"))
    page = f"docs/errors.md explains `{reason}`" if reason else "docs/errors.md explains every reason"
    if status == 401:
        return "say --as or --token-file with a valid token; " + page
    if status == 422:
        return "`lockgate tools NAME` shows the arguments that fit; " + page
    if status in {429, 503}:
        return "nothing happened: try again shortly with the same --key; " + page
    return page
