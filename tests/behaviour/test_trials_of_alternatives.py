"""What is shown of an explanation: nothing that either engine refuses, and nothing that the viewer may not see."""

from __future__ import annotations

from gateway.explained import View
from gateway.trials import Tried
from invariants.explanations.alternatives import Alternative, Change
from policies import bundles, cedar_syntax, footprint
from policies.bundles import Bundle
from tests.world.bundles import bundle, contracts
from tests.world.refusals import (
    AMOUNT,
    ORDER,
    agent,
    explained,
    refund,
    tried,
)
from tool_registry.contracts import Label


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
