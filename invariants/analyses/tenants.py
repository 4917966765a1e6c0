"""Are tenants kept apart? What rules can say of it, and what they cannot.

A resource has no attributes in the schema, so a rule cannot see whose it is. Only where the resource is the tenant
itself can the question be put to a solver. For all others the answer is `outside`: rows are kept apart by the
database's row-level security, calls by the tenant of the token, and what a connector reaches by the business itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from invariants.analyses.results import Analysis, Result, Verdict
from invariants.analyses.surveys import Survey
from invariants.meaning.values import Record, String
from invariants.solving.terms import Term, graph
from invariants.tool_requests import ToolRequests


def run(survey: Survey) -> Iterator[Result]:
    """`holds`, `fails` or `outside`; `rules` are those that look at the tenant."""
    for requests in survey.types:
        terms = requests.universe.terms
        tenant = _tenant(requests)
        other = terms.negation(terms.equal(requests.universe.resource().id, tenant))
        goals = survey.goals(requests, {("elsewhere", ""): terms.both(requests.permitted, other)})
        readers = tuple(
            rule.id for rule in requests.rules if tenant in graph((requests.satisfied(rule), requests.errs(rule)))
        )
        blank = replace(goals.blank(Analysis.TENANTS_ISOLATED), rules=readers)
        if requests.action.resource_type == "Tenant":
            yield goals.never(blank, ("elsewhere", ""), "permitted", survey.engine.raw_allow)
        else:
            yield replace(blank, verdict=Verdict.OUTSIDE, reason="resource_without_tenant")
    yield from survey.unknown(Analysis.TENANTS_ISOLATED)


def _tenant(requests: ToolRequests) -> Term:
    """The tenant of the token, as every question has it."""
    context = requests.universe.context()
    value = context.read("tenant").cases[0].value if isinstance(context, Record) else None
    if not isinstance(value, String):
        raise TypeError("a tenant expected in every context")
    return value.term
