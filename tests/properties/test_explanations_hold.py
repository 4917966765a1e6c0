"""Whatever is refused: each suggestion passes on the real engines; where there is none, nothing that is tried does."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from invariants.explanations.alternatives import changed
from policies.case_form import question as of_case
from policies.questions import APPROVER_ROLES, Question
from tests.world.bundles import bundle, cedar_schema, contracts
from tests.world.refusals import (
    asks,
    explained,
    moved,
    permits,
    prepared,
    tried,
    ways,
)


def could_be_asked(question: Question) -> bool:
    """Whether the gateway could have built it; a case may set risk and approvals as it likes."""
    counts = question.context["approvals"]
    is_counted = counts["persons"] >= max(counts[role] for role in APPROVER_ROLES)
    return is_counted and question.context["risk"] == prepared(question.action).risk(question.context)


def test_every_refusal_of_the_base_cases_is_explained_truly() -> None:
    """
    For each case of the base bundle that Cedar refuses: what is shown passes on both engines, or Rego's rule is named.
    """
    under = bundle()
    cases = [of_case(case, cedar_schema().typed.actions[case.action], contracts()[case.action]) for case in under.cases]
    refused = [each for each in cases if not permits(each) and could_be_asked(each)]
    explanations = [explained(each) for each in refused]

    shown = tried(under, *((each, found.alternatives) for each, found in zip(refused, explanations, strict=True)))

    assert len(refused) > 40
    assert [found.unknown for found in explanations if found.unknown] == []
    assert all(bool(found.alternatives) is not bool(found.obstacles) for found in explanations)
    for found, passed in zip(explanations, shown, strict=True):
        assert passed.denials or len(passed.passing) == len(found.alternatives)
        assert passed.passing == found.alternatives[: len(passed.passing)]


CENTS = st.integers(min_value=1, max_value=120_000)
SMALL = st.integers(min_value=0, max_value=150_000)


@st.composite
def refusals(draw: st.DrawFn) -> Question:
    """A question about some tool that is not permitted."""
    tool, arguments, facts = draw(
        st.one_of(
            st.tuples(
                st.just("issue_refund"),
                st.fixed_dictionaries({"amount_cents": CENTS}),
                st.fixed_dictionaries(
                    {
                        "order": st.fixed_dictionaries({"paid_cents": SMALL, "in_flight_cents": SMALL}),
                        "agent": st.fixed_dictionaries({"routine_refunds_today_cents": SMALL}),
                    }
                ),
            ),
            st.tuples(
                st.just("change_price"),
                st.fixed_dictionaries({"price_cents": CENTS}),
                st.fixed_dictionaries(
                    {"product": st.fixed_dictionaries({"unit_cost_cents": SMALL, "price_cents": CENTS})}
                ),
            ),
            st.tuples(
                st.just("scale_ad_set"),
                st.fixed_dictionaries({"daily_budget_cents": CENTS}),
                st.fixed_dictionaries(
                    {
                        "ad_set": st.fixed_dictionaries(
                            {"margin_bp": st.integers(min_value=0, max_value=4000), "daily_budget_cents": SMALL}
                        ),
                        "spend": st.fixed_dictionaries({"today_cents": st.integers(0, 1_100_000)}),
                    }
                ),
            ),
        )
    )
    role = draw(st.sampled_from((*APPROVER_ROLES, "")))
    if role:
        question = asks("person/p", tool, (role,), arguments=arguments, facts=facts)
    else:
        level = draw(st.integers(min_value=0, max_value=4))
        question = asks(
            "agent/a", tool, arguments=arguments, facts=facts, autonomy=level, registered=draw(st.booleans())
        )
    assume(not permits(question))
    return question


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(question=refusals(), other=st.lists(CENTS, min_size=4, max_size=4))
def test_every_suggestion_passes_and_nothing_else_does_where_there_is_none(
    question: Question, other: list[int]
) -> None:
    """
    Whatever is refused: each suggestion and both ends of its range pass on the engine; with none, no attempt passes.
    """
    (name,) = (name for name in question.context["arguments"] if name.endswith("_cents"))
    risk = prepared(question.action).risk

    explanation = explained(question)

    assert not explanation.unknown
    for each in explanation.alternatives:
        ends = {(change.member, end) for change in each.changes for end in (change.low, change.high) if end is not None}
        for member, end in ends:
            at = tuple(replace(change, value=end) if change.member == member else change for change in each.changes)
            assert permits(changed(question, replace(each, changes=at), risk))
        assert permits(changed(question, each, risk))
        if len(each.changes) == 1 and each.approvals is None:
            now, value = question.context["arguments"][name], int(each.changes[0].value)
            nearer = {now + (value - now) * part // 16 for part in range(16)} | {value + (1 if value < now else -1)}
            assert not any(permits(moved(question, **{name: at})) for at in nearer if abs(at - now) < abs(value - now))
    if not explanation.alternatives:
        assert explanation.obstacles
        for cents in (1, *other, question.context["arguments"][name]):
            for way in ways(2):
                assert not permits(moved(question, approvals=way, **{name: cents}))
