"""How many persons does it take? Two questions about approvals, each a condition that no permitted request may meet.

The conditions are Cedar, as an invariant's is, over the same requests and assumptions. What stands behind a count is
not a matter of rules: the gateway counts approvals without the requester, the subject, delegates, editors and whoever
the contract excludes, and two accounts of one person as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from invariants.analyses.results import Analysis, Result
from invariants.analyses.surveys import Survey
from policies import cedar_syntax
from policies.questions import APPROVER_ROLES


def _one_role() -> str:
    """Where every approval there is was given in one and the same role."""
    others = (
        " + ".join(f"context.approvals.{other}" for other in APPROVER_ROLES if other != role) for role in APPROVER_ROLES
    )
    return " || ".join(f"{total} == 0" for total in others)


_APPROVED = {
    "nobody": """forbid (principal, action in Action::"irreversible", resource)
        when { context.risk >= 2 && context.approvals.persons < 1 };"""
}
_SEPARATED = {
    "requester_alone": """forbid (principal is Person, action in Action::"irreversible", resource)
        when { context.risk >= 2 && context.approvals.persons < 1 };""",
    "one_person": """forbid (principal, action in Action::"governance", resource)
        when { action in Action::"irreversible" && context.approvals.persons < 2 };""",
    "one_role": f"""forbid (principal, action in Action::"governance", resource)
        when {{ action in Action::"irreversible" && ({_one_role()}) }};""",
}


def irreversible_approved(survey: Survey) -> Iterator[Result]:
    """Whether every irreversible effect at R2 or above that is permitted has a person's approval."""
    return _run(survey, Analysis.IRREVERSIBLE_APPROVED, _APPROVED)


def duties_separated(survey: Survey) -> Iterator[Result]:
    """
    Whether nobody suffices alone, by what must not suffice.

    `requester_alone` for every irreversible effect at R2 or above that a person asks for; `one_person` and `one_role`,
    beside the requester, for what governs the gateway and is irreversible.
    """
    return _run(survey, Analysis.DUTIES_SEPARATED, _SEPARATED)


def _run(survey: Survey, analysis: Analysis, conditions: Mapping[str, str]) -> Iterator[Result]:
    policies = {name: cedar_syntax.parse(text)[0] for name, text in conditions.items()}
    for requests in survey.types:
        terms = requests.universe.terms
        violated = {name: requests.violated(policy, name) for name, policy in policies.items()}
        # Where a condition cannot be met by its scope alone it is not about these requests.
        claims = {
            (name, ""): terms.both(requests.permitted, term)
            for name, term in violated.items()
            if term is not terms.false
        }
        goals = survey.goals(requests, claims)
        for name, _ in claims:
            yield goals.never(goals.blank(analysis, name), (name, ""), "permitted", survey.engine.raw_allow)
    yield from survey.unknown(analysis, "irreversible")
