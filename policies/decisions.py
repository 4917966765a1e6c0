"""One verdict from all engines: Cedar grants, Rego narrows, a doubt of either denies.

The governance family is decided by Cedar alone, so that a dead Rego engine locks nobody out of repairing it. What is
proved about Cedar's grants therefore holds for the whole: nothing here ever turns a no into a yes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, unique

from msgspec import Struct

from policies.cedar import EngineAnswer, RuleHit
from policies.questions import APPROVALS_MAX, APPROVER_ROLES, Question
from policies.rego_answers import RegoAnswer


@unique
class Verdict(StrEnum):
    """What was decided. Only `permit` lets a call go on."""

    PERMIT = "permit"
    DENY = "deny"
    ERROR = "error"
    """A rule erred, or an answer was undefined or misshapen: a no that somebody has to repair."""


class Decision(Struct, frozen=True, kw_only=True):
    """What all engines answered to one question."""

    verdict: Verdict
    reason: str | None
    """None when permitted; else `policy_error`, `policy_denied` (a forbid or a Rego deny) or `not_permitted`."""
    rules: tuple[RuleHit, ...]
    """The rules that determined it: permits when permitted, else every forbid and deny. Empty when nothing permits."""
    hints: tuple[RuleHit, ...] = ()
    """What would pass: the rules that refused or, when nothing permits, the permits that could be met."""
    obligations: tuple[RuleHit, ...] = ()
    """Duties of a permitted call."""
    errors: tuple[str, ...] = ()
    """`engine:rule or cause`; set exactly when the verdict is `error`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The approvals with which a refused question would be permitted."""

    roles: Mapping[str, int]
    """Distinct persons by role; roles that are not needed are left out."""
    persons: int
    """Distinct persons in all."""


def join(cedar: EngineAnswer, rego: RegoAnswer | None) -> Decision:
    """Join the answers to one question. `rego` is None exactly for the governance family, which it does not decide."""
    narrowed = rego or RegoAnswer()
    forbids = tuple(hit for hit in cedar.rules if hit.effect == "forbid")
    refusing = forbids + narrowed.deny
    errors = tuple(f"cedar:{each}" for each in cedar.errors) + tuple(f"rego:{each}" for each in narrowed.errors)
    if errors:
        return Decision(verdict=Verdict.ERROR, reason="policy_error", rules=refusing, hints=refusing, errors=errors)
    if refusing:
        return Decision(verdict=Verdict.DENY, reason="policy_denied", rules=refusing, hints=refusing)
    if not cedar.allowed:
        return Decision(verdict=Verdict.DENY, reason="not_permitted", rules=(), hints=cedar.hints)
    return Decision(verdict=Verdict.PERMIT, reason=None, rules=cedar.rules, obligations=narrowed.obligations)


def needs(question: Question, permits: Callable[[Question], bool]) -> Needs | None:
    """
    Find the smallest approvals under which `permits` says yes, by asking it again. None when no approvals help.

    Starts from as many approvals as there can be and takes away what is not missed, role by role. More approvals never
    make a rule of the base bundle refuse; over rules for which that is not so, an answer may be found that is not the
    smallest, and none that `permits` did not confirm.
    """
    counts = {"persons": APPROVALS_MAX, **dict.fromkeys(APPROVER_ROLES, APPROVALS_MAX)}
    if not permits(question.with_approvals(counts)):
        return None
    for name in (*APPROVER_ROLES, "persons"):
        # One person may stand for several roles, so `persons` is bounded below by the largest role, not by their sum.
        least = max(counts[role] for role in APPROVER_ROLES) if name == "persons" else 0
        for fewer in range(least, counts[name]):
            if permits(question.with_approvals({**counts, name: fewer})):
                counts[name] = fewer
                break
    roles = {role: counts[role] for role in APPROVER_ROLES if counts[role]}
    return Needs(roles=roles, persons=counts["persons"]) if sum(roles.values()) <= APPROVALS_MAX else None
