"""What would have passed: the nearest values, the fewest approvals, and what stands in the way.

Smallest is shown by trying everything smaller on the real engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from invariants.errors import Busy
from invariants.explanations import search
from invariants.explanations.alternatives import Change, Explanation, Kind, Obstacle
from invariants.explanations.explainer import Explainer
from invariants.jobs import ProofLimits
from policies import bundles
from policies.bundles import Bundle
from policies.cedar import Engine
from policies.questions import APPROVER_ROLES, Question
from tests.world.bundles import bundle, cedar_schema, contracts, with_policies
from tests.world.refusals import (
    AMOUNT,
    LARGE,
    ORDER,
    PAYOUT,
    PRODUCT,
    STOCK,
    agent,
    asked,
    asks,
    explained,
    moved,
    permits,
    refund,
    ways,
)


def signatures(counts: Mapping[str, int] | None) -> dict[str, int]:
    return {name: count for name, count in (counts or {}).items() if count}


def only(explanation: Explanation, member: str) -> Change:
    """The change of one member alone."""
    found = [each for each in explanation.alternatives if each.members == {member}]
    assert len(found) == 1, explanation
    return found[0].changes[0]


@pytest.mark.parametrize(
    ("question", "name", "domain"),
    [
        (refund(350, facts=ORDER), "amount_cents", range(1, 600)),
        (refund(8_000, facts=LARGE), "amount_cents", range(4_000, 9_000)),
        (agent("change_price", arguments={"price_cents": 1000}, facts=PRODUCT), "price_cents", range(900, 1400)),
        (agent("reorder_stock", arguments={"quantity": 1000}, facts=STOCK), "quantity", range(1, 1200)),
        (agent("toggle_feature_flag", arguments={"rollout_percent": 80}), "rollout_percent", range(101)),
        (agent("throttle_endpoint", arguments={"limit_per_second": 0}), "limit_per_second", range(500)),
    ],
    ids=["cap", "approval", "margin", "runway", "rollout", "throttle"],
)
def test_the_nearest_value_is_the_nearest(question: Question, name: str, domain: range) -> None:
    """
    Of all values around, the engine permits none nearer than the one shown, and exactly those of the range beyond it.
    """
    now = question.context["arguments"][name]

    change = only(explained(question), f"arguments.{name}")

    passing = {value for value in domain if permits(moved(question, **{name: value}))}
    assert min(passing, key=lambda value: abs(value - now)) == change.value
    assert change.low is not None
    assert change.high is not None
    shown = {value for value in domain if change.low <= value <= change.high}
    assert shown <= passing
    assert {change.low - 1, change.high + 1} & passing == set()


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (refund(8_000), {"persons": 1, "finance": 1}),
        (refund(3_000, level=1), {"persons": 1, "finance": 1}),
        (
            asks("person/p", "issue_refund", ("finance",), arguments={"amount_cents": 80_000}, facts=LARGE),
            {"persons": 1, "founder": 1},
        ),
        (asks("person/p", "ban_user", ("safety",), arguments={"duration_days": 90}), {"persons": 2, "safety": 2}),
        (asks("person/p", "engage_kill", ("growth",)), None),
        (asks("person/p", "release_kill", ("security",)), {"persons": 2, "security": 1, "founder": 1}),
    ],
    ids=["amount", "autonomy", "founder", "two of safety", "nobody", "two officers"],
)
def test_no_fewer_approvals_would_do(question: Question, expected: dict[str, int] | None) -> None:
    """
    The approvals shown are all those with which the engine permits the call that has the fewest persons.
    """
    explanation = explained(question)

    shown = [signatures(each.approvals) for each in explanation.alternatives if each.members == {"approvals"}]
    passing = [way for way in ways(3) if permits(moved(question, approvals=way))]
    fewest = [way for way in passing if way["persons"] == passing[0]["persons"]]
    assert shown == [signatures(way) for way in fewest]
    assert shown == ([] if expected is None else [expected])


def test_where_anybody_would_do_the_tools_own_role_is_named() -> None:
    """
    A rule that asks for some person is met by many roles: one way is shown, of the role that the contract names.
    """
    under = with_policies(
        """
        @id("somebody") @hint("a person") forbid (principal, action == Action::"lift_friction", resource)
        when { context.approvals.persons < 1 };
        """
    )

    explanation = explained(agent("lift_friction"), under)

    approver = contracts()["lift_friction"].approver
    assert [signatures(each.approvals) for each in explanation.alternatives] == [{"persons": 1, approver: 1}]


def test_approvals_come_first_and_a_smaller_amount_next() -> None:
    """
    Who was refused for want of approval is told of the approval, then of the nearest amount that needs none.
    """
    explanation = explained(refund(8_000))

    assert [each.members for each in explanation.alternatives] == [{"approvals"}, {AMOUNT}]
    assert only(explanation, AMOUNT).value == 5_000


def test_approvals_are_offered_against_a_smaller_move() -> None:
    """
    Where an agent must ask for less, it is told of what needs no approval, and of how much more one approval gives.
    """
    alone, traded = explained(refund(80_000)).alternatives

    assert [(each.value, each.low, each.high) for each in alone.changes] == [(5_000, 1, 5_000)]
    assert [(each.value, each.low, each.high) for each in traded.changes] == [(50_000, 1, 50_000)]
    assert signatures(traded.approvals) == {"persons": 1, "finance": 1}


def test_two_members_change_where_one_is_not_enough() -> None:
    """
    A supplier is paid what is open, and with approval: neither alone is shown.
    """
    facts = {"invoice": {"open_cents": 7_000}, "cash": {"balance_cents": 10_000_000, "daily_burn_cents": 100}}
    question = agent("pay_supplier", 3, arguments={"amount_cents": 9_000}, facts=facts)

    (alternative,) = explained(question).alternatives

    assert alternative.members == {AMOUNT, "approvals"}
    assert alternative.changes[0].value == 7_000
    assert not permits(moved(question, amount_cents=7_000))
    assert not any(permits(moved(question, approvals=way)) for way in ways(3))


def test_a_flag_and_a_number_change_together() -> None:
    """
    Where a flag has to turn and a number to fall, both are shown, the number at its nearest, by trying every pair.
    """
    under = with_policies(
        """
        @id("off-and-small") @hint("off, 10 or less")
        forbid (principal, action == Action::"toggle_feature_flag", resource)
        when { context.arguments.value || context.arguments.rollout_percent > 10 };
        """
    )
    question = agent("toggle_feature_flag", arguments={"value": True, "rollout_percent": 40})
    engine = Engine(under.policies, cedar_schema())

    (alternative,) = explained(question, under).alternatives

    pairs = [(value, percent) for value in (True, False) for percent in range(101)]
    passing = [pair for pair in pairs if engine.decide(moved(question, value=pair[0], rollout_percent=pair[1])).allowed]
    assert {change.member: change.value for change in alternative.changes} == {
        "arguments.value": False,
        "arguments.rollout_percent": 10,
    }
    assert passing == [(False, percent) for percent in range(11)]


@pytest.mark.parametrize(
    ("question", "obstacles", "askers"),
    [
        (agent("release_payout", 3, arguments={"amount_cents": 10}, facts=PAYOUT), ["r3-people-only"], ("founder",)),
        (refund(3_000, level=0), ["autonomy-observe"], ("finance",)),
        (refund(3_000, registered=False), [""], ("finance",)),
        (asks("person/p", "publish_listing", ("growth",)), ["", "listing-preflight"], ()),
        (asks("person/p", "get_order", ("auditor",), registered=False), None, ()),
    ],
    ids=["R3 by an agent", "autonomy", "not registered", "facts", "permitted"],
)
def test_what_stands_in_the_way_is_named(
    question: Question, obstacles: Sequence[str] | None, askers: tuple[str, ...]
) -> None:
    """
    Where nothing that changes would help, the rules that refuse alone are named, and who else could ask.
    """
    explanation = explained(question)

    if obstacles is None:
        assert permits(question)
        assert explanation.alternatives[0].members == frozenset()
        return
    assert explanation.alternatives == ()
    assert [each.id for each in explanation.obstacles] == list(obstacles)
    assert explanation.askers[: len(askers) or None] == askers
    for way in ways(3):
        assert not permits(moved(question, approvals=way))


def test_who_could_ask_can() -> None:
    """
    A person with a role that is named is permitted the same call, once approved; the others are not.
    """
    question = agent("release_payout", 3, arguments={"amount_cents": 10}, facts=PAYOUT)

    askers = explained(question).askers

    def could(role: str) -> bool:
        person = asks(
            "person/p", question.action, (role,), arguments={"amount_cents": 10}, facts=question.context["facts"]
        )
        return any(permits(moved(person, approvals=way)) for way in ways(3))

    assert {role for role in APPROVER_ROLES if could(role)} == set(askers) != set()


def test_rules_that_refuse_only_together_are_a_smallest_set() -> None:
    """
    Two rules of which each could be met, and not both, are named, and nothing else.
    """
    under = with_policies(
        """
        @id("at-least") @hint("100 or more") forbid (principal, action == Action::"issue_refund", resource)
        when { context.arguments.amount_cents < 100 };
        @id("at-most") @hint("99 or less") forbid (principal, action == Action::"issue_refund", resource)
        when { context.arguments.amount_cents > 99 };
        """
    )

    explanation = explained(refund(300), under)

    assert explanation.is_joint
    assert {(each.kind, each.id) for each in explanation.obstacles} == {(Kind.RULE, "at-least"), (Kind.RULE, "at-most")}


def test_an_identifier_changes_only_to_one_that_a_rule_names() -> None:
    """
    A rule that asks for one supplier is met by that supplier; where none is named, no identifier is made up.
    """
    named = with_policies(
        """
        @id("one-supplier") @hint("sup_1") forbid (principal, action == Action::"reorder_stock", resource)
        unless { context.arguments.supplier_id == "sup_1" };
        """
    )
    question = agent("reorder_stock", arguments={"quantity": 1, "supplier_id": "sup_2"}, facts=STOCK)
    too_much = agent("reorder_stock", arguments={"quantity": 100_000, "supplier_id": "sup_2"}, facts=STOCK)

    by_name, by_number = explained(question, named), explained(too_much)

    assert only(by_name, "arguments.supplier_id").value == "sup_1"
    assert {member for each in by_number.alternatives for member in each.members} == {"arguments.quantity", "approvals"}


def test_a_reason_may_change() -> None:
    """
    Where a rule reads the reason code, the codes with which the call passes are shown.
    """
    under = with_policies(
        """
        @id("reasons") @hint("damaged or late") forbid (principal, action == Action::"issue_refund", resource)
        unless { ["damaged_item", "late_delivery"].contains(context.reason_code) };
        """
    )

    explanation = explained(refund(300, reason_code="wrong_item"), under)

    assert only(explanation, "reason_code").value == "damaged_item"
    assert only(explanation, "reason_code").others == ("late_delivery",)


def test_a_limit_of_the_contract_is_kept() -> None:
    """
    No rule bounds what a day's refunds may come to; the contract does, and its reading of nothing yet counts.
    """
    question = asks(
        "person/p",
        "issue_refund",
        ("founder",),
        arguments={"amount_cents": 9_000_000},
        facts={"order": {"paid_cents": 20_000_000}},
    )

    explanation = explained(question)

    assert not any(each.members == {"approvals"} for each in explanation.alternatives)
    assert {change.value for each in explanation.alternatives for change in each.changes} <= {5_000, 5_000_000}


def test_a_rule_that_errs_refuses() -> None:
    """
    Beyond ten the product overflows and the rule errs: at run time that refuses, so ten is the nearest that passes.
    """
    under = with_policies(
        """
        @id("overflow") @hint("-") forbid (principal, action == Action::"toggle_feature_flag", resource)
        when { context.arguments.rollout_percent * 922337203685477580 < 0 };
        """
    )
    question = agent("toggle_feature_flag", arguments={"rollout_percent": 40})
    engine = Engine(under.policies, cedar_schema())

    change = only(explained(question, under), "arguments.rollout_percent")

    passing = [percent for percent in range(101) if engine.decide(moved(question, rollout_percent=percent)).allowed]
    assert passing == list(range(11))
    assert (change.value, change.low, change.high) == (10, 0, 10)


def test_an_invariant_that_no_rule_guards_is_kept() -> None:
    """
    At run time an invariant refuses by itself; what is shown fits it too, and it is named where it stands in the way.
    """

    def under(most: int) -> Bundle:
        added = f"""
        @id("small-refunds") @sentence("No refund is above a few cents.")
        forbid (principal, action == Action::"issue_refund", resource)
        unless {{ context.arguments.amount_cents <= {most} }};
        """
        return bundle(invariants=bundles.base()["invariants"] + added)

    bounded, impossible = explained(refund(300), under(70)), explained(refund(300), under(0))

    assert only(bounded, AMOUNT).value == 70
    assert impossible.obstacles == (Obstacle(kind=Kind.INVARIANT, id="small-refunds"),)


def test_what_has_no_exact_meaning_is_unknown() -> None:
    """
    A rule outside what can be proved, or a solver that gives up, ends in unknown and never in a guess.
    """
    under = with_policies(
        """
        @id("odd") @hint("-") forbid (principal, action == Action::"reorder_stock", resource)
        when { ip(context.arguments.supplier_id).isLoopback() };
        """
    )

    refused = explained(agent("reorder_stock", arguments={"quantity": 1000}, facts=STOCK), under)
    given_up = search.explain(asked(refund(8_000), resources=1))

    assert refused == Explanation(unknown="extension_of_unknown_text")
    assert given_up == Explanation(unknown="solver_limit")


def test_a_question_that_breaks_the_assumptions_is_unknown() -> None:
    """
    A fact outside its declared range, about which nothing is proved, is explained by nothing.
    """
    question = agent("change_price", arguments={"price_cents": 1000}, facts={"product": {"price_cents": 0}})

    assert explained(question) == Explanation(unknown="assumptions_contradict")


def test_a_solver_process_that_dies_is_unknown() -> None:
    """
    Out of time or out of memory, the answer is unknown; with no room to wait, it is `Busy`.
    """

    async def story() -> tuple[Explanation, Explanation, Explanation]:
        well = await Explainer().explain(asked(refund(8_000)))
        late = await Explainer(ProofLimits(seconds=0.01)).explain(asked(refund(8_000)))
        starved = await Explainer(ProofLimits(memory_bytes=2**25, seconds=20)).explain(asked(refund(8_000)))
        with pytest.raises(Busy):
            await Explainer(waiting_max=0).explain(asked(refund(8_000)))
        return well, late, starved

    well, late, starved = asyncio.run(story())

    assert well == explained(refund(8_000))
    assert late == Explanation(unknown="out_of_time")
    assert starved.unknown in {"out_of_memory", "worker_died"}
