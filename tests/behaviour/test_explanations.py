"""What would have passed: the nearest values, the fewest approvals, and what stands in the way, checked on the engines.

Smallest is shown by trying everything smaller on the real engine; that a suggestion passes, on both engines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations_with_replacement
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.activation import Active
from gateway.explained import View
from gateway.tools import PreparedTool, prepare
from gateway.trials import Trial, Tried
from invariants import checks
from invariants.errors import Busy
from invariants.explanations import search
from invariants.explanations.alternatives import (
    Alternative,
    Asked,
    Change,
    Explanation,
    Kind,
    Obstacle,
    changed,
)
from invariants.explanations.explainer import Explainer
from invariants.jobs import ProofLimits
from policies import bundles, cedar_syntax, footprint
from policies.bundles import Bundle
from policies.case_form import question as of_case
from policies.cedar import Engine
from policies.decider import Decider
from policies.questions import APPROVER_ROLES, Question, approval_counts
from policies.rego import RegoWorker
from tests.world.bundles import ask, bundle, cedar_schema, contracts, with_policies, with_worker
from tool_registry.contracts import Label
from tool_registry.registry import load_catalogue

AMOUNT = "arguments.amount_cents"
ORDER = {"order": {"paid_cents": 400, "refunded_cents": 90, "in_flight_cents": 10}}
LARGE = {"order": {"paid_cents": 200_000}}
PRODUCT = {"product": {"unit_cost_cents": 900, "price_cents": 1100}}
PAYOUT = {"creator": {"eligible_cents": 90}}
STOCK = {**PRODUCT, "cash": {"balance_cents": 1_000_000, "daily_burn_cents": 10_000}}


@cache
def prepared(tool: str) -> PreparedTool:
    return prepare(contracts()[tool], cedar_schema().typed)


@cache
def engines() -> tuple[Engine, checks.CompiledInvariants]:
    base = bundle()
    return Engine(base.policies, cedar_schema()), checks.compile(base.invariants, cedar_schema().typed)


def asks(principal: str, tool: str, roles: tuple[str, ...] = (), **context: Any) -> Question:
    """A question with the risk that the contract gives it."""
    question = ask(principal, tool, roles, **context)
    return replace(question, context={**question.context, "risk": prepared(tool).risk(question.context)})


def agent(tool: str, level: int = 2, **context: Any) -> Question:
    """A registered agent asks."""
    return asks("agent/a", tool, **{"registered": True, "autonomy": level, **context})


def refund(cents: int, level: int = 2, facts: Mapping[str, Any] = LARGE, **context: Any) -> Question:
    """A registered agent asks for a refund."""
    return agent("issue_refund", level, arguments={"amount_cents": cents}, facts=facts, **context)


def asked(question: Question, under: Bundle | None = None, **members: Any) -> Asked:
    """A question, to be explained under a bundle."""
    under = under or bundle()
    return Asked(
        question=question,
        policies=under.policies,
        invariants=under.invariants,
        schema=cedar_schema(),
        contract=contracts()[question.action],
        **members,
    )


def explained(question: Question, under: Bundle | None = None) -> Explanation:
    return search.explain(asked(question, under))


def permits(question: Question) -> bool:
    """Whether Cedar and the compiled checks of the base bundle permit a question."""
    engine, invariants = engines()
    return engine.decide(question).allowed and all(check.holds for check in invariants.evaluate(question))


def moved(question: Question, approvals: Mapping[str, int] | None = None, **arguments: Any) -> Question:
    """The question with other arguments or approvals."""
    changes = tuple(Change(member=f"arguments.{name}", value=value) for name, value in arguments.items())
    counts = None if approvals is None else approval_counts(approvals)
    return changed(question, Alternative(changes=changes, approvals=counts), prepared(question.action).risk)


def ways(persons_max: int) -> list[dict[str, int]]:
    """Every way to be approved by so many persons of one role each, fewest first."""
    found = []
    for count in range(persons_max + 1):
        for roles in combinations_with_replacement(APPROVER_ROLES, count):
            found.append({"persons": count, **{role: roles.count(role) for role in roles}})
    return found


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


def active(under: Bundle, decider: Decider) -> Active:
    """A bundle in force, as far as deciding goes."""
    return Active(
        tenant="acme",
        revision=1,
        bundle=under,
        certificate=None,
        certificate_digest="",
        decider=decider,
        invariants=checks.compile(under.invariants, cedar_schema().typed),
        registry=load_catalogue(),
        tools={},
        proven=frozenset(),
    )


def tried(under: Bundle, *wanted: tuple[Question, Sequence[Alternative]]) -> list[Tried]:
    """What both engines say of alternatives."""

    async def story(worker: RegoWorker) -> list[Tried]:
        decider = Decider(under, contracts().values(), worker)
        await decider.load()
        in_force = active(under, decider)
        return [
            await Trial(call="call_1", question=question, active=in_force, tool=prepared(question.action)).of(each)
            for question, each in wanted
        ]

    return with_worker(story)


def narrowed(condition: str) -> Bundle:
    """The base bundle with one more way to be on the deny list."""
    module = bundles.base()["rego"]
    return bundle(rego=f'{module}\ndeny contains "change-freeze" if {{\n\t{condition}\n}}\n')


def test_a_freeze_refuses_every_alternative() -> None:
    """
    Inside a freeze window nothing that Cedar would permit is shown; the rule of Rego is named.
    """
    data = bundles.base()["data"]
    frozen = bundle(data={**data, "freezes": [{"name": "now", "begins": 0, "ends": 2**40, "tools": ["issue_refund"]}]})
    question = refund(8_000)
    explanation = explained(question, frozen)

    (refused,) = tried(frozen, (question, (*explanation.alternatives, *explanation.detours)))

    assert refused.passing == ()
    assert [hit.id for hit in refused.denials] == ["change-freeze"]


def test_what_rego_refuses_gives_way_to_what_it_does_not() -> None:
    """
    Where Rego refuses a risk, approvals are not shown, and the change to a lower risk is.
    """
    under = narrowed("input.risk >= 2")
    question = agent("toggle_feature_flag", arguments={"rollout_percent": 80}, approvals={"persons": 1, "sre": 1})
    explanation = explained(question, under)

    as_it_stands, other = tried(under, (question, explanation.alternatives), (question, explanation.detours))

    assert [each.members for each in explanation.alternatives] == [frozenset()]
    assert as_it_stands.passing == ()
    assert [hit.id for hit in as_it_stands.denials] == ["change-freeze"]
    assert [[change.value for change in each.changes] for each in other.passing] == [[50]]


def test_a_range_ends_where_rego_says() -> None:
    """
    A far end that Rego refuses is not promised: only the nearest value is.
    """
    under = narrowed("input.arguments.amount_cents < 100")
    question = refund(8_000)

    (shown,) = tried(under, (question, explained(question, under).alternatives))

    assert [(each.value, each.low, each.high) for each in shown.passing[1].changes] == [(5_000, 5_000, 5_000)]


def test_what_the_engine_refuses_is_never_shown() -> None:
    """
    An alternative that the solver should not have found passes no trial.
    """
    wrong = Alternative(changes=(Change(member=AMOUNT, value=7_000),))

    (shown,) = tried(bundle(), (refund(8_000), (wrong,)))

    assert shown == Tried(passing=(), denials=())


def test_a_bound_is_told_only_to_whoever_may_see_the_fact() -> None:
    """
    What is left of an order is a fact: who may not see it learns the direction, and no number near it.
    """
    question = refund(350, facts=ORDER)
    (alternative,) = explained(question).alternatives
    contract = contracts()["issue_refund"]
    everything, public = frozenset(Label), frozenset({Label.PUBLIC})

    told = View(contract=contract, question=question, labels=everything, is_own=True).alternative(alternative)
    own = View(contract=contract, question=question, labels=public, is_own=True).alternative(alternative)
    other = View(contract=contract, question=question, labels=public, is_own=False).alternative(alternative)

    assert told["sentence"] == "It would pass with amount_cents 300 or less."
    assert own["sentence"] == (
        "It would pass with a smaller amount_cents, which follows from a fact that you may not see."
    )
    assert own["changes"] == [
        {"member": AMOUNT, "now": 350, "follows_from": "a fact that you may not see", "direction": "a smaller"}
    ]
    assert other["changes"] == [{"member": "an argument that you may not see"}]
    assert "300" not in str(own)
    assert "350" not in str(other)


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


def test_a_member_that_rules_may_read_is_known() -> None:
    """
    What the log hides makes a call unexplained only where a rule may look at it, by name or by the whole record.
    """
    named = footprint.of(cedar_syntax.parse("permit (principal, action, resource) when { context.arguments.a == 1 };"))
    whole = footprint.of(cedar_syntax.parse("permit (principal, action, resource) when { context.facts == {} };"))

    assert footprint.touches(named, ("arguments", "a"))
    assert not footprint.touches(named, ("arguments", "b"))
    assert not footprint.touches(named, ("facts", "user", "email"))
    assert footprint.touches(whole, ("facts", "user", "email"))
    assert footprint.touches(None, ("arguments", "b"))


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
