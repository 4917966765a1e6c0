"""What changed between two bundles: not their texts, but what they permit."""

from __future__ import annotations

from dataclasses import replace

from invariants.analyses import difference
from invariants.analyses.results import Verdict
from invariants.jobs import Job, job
from policies.cedar import Engine
from policies.schema import generate
from tests.attacks.bundle_edits import CONTRACTS, POLICIES, mistyped, question, without
from tool_registry.contracts import Contract

TOOLS = {str(contract.name): contract for contract in CONTRACTS}


def bundle(policies: str = POLICIES, contracts: tuple[Contract, ...] = CONTRACTS) -> Job:
    """Rules over tools."""
    return job({"policies.cedar": policies, "invariants.cedar": ""}, generate(contracts), contracts)


def refunds(policies: str, contract: Contract = TOOLS["issue_refund"]) -> Job:
    """Rules over refunds alone."""
    return bundle(policies, (contract,))


def verdicts(old: Job, new: Job) -> dict[tuple[str, str], Verdict]:
    """By tool and type of principal, without what is equivalent."""
    found = {(each.action, each.principal): each.verdict for each in difference.run(old, new)}
    return {kind: verdict for kind, verdict in found.items() if verdict is not Verdict.EQUIVALENT}


def permit(condition: str) -> str:
    """A permit of anybody's refund."""
    return f'@id("one") permit (principal, action, resource) when {{ {condition} }};'


def test_texts_that_permit_the_same_are_equivalent() -> None:
    """
    Another order, other words, an idle rule more: nothing changed.
    """
    old = bundle()
    turned = mistyped(POLICIES, "refund-founder", "context.arguments.amount_cents > 50000", "context.risk >= 3")
    new = bundle(
        without(turned, "autonomy-founder") + '@id("more") permit (principal, action, resource) when { false };'
    )

    found = list(difference.run(old, new))

    assert {(each.verdict, each.reason, each.witnesses) for each in found} == {(Verdict.EQUIVALENT, "", ())}
    assert {each.action for each in found} == set(TOOLS)


def test_moved_threshold_is_more_permissive_by_exactly_what_it_lets_through() -> None:
    """
    The founder's approval from 60,000 cents on: security alone now suffices from 50,001 on, for people.
    """
    old = bundle()
    new = bundle(mistyped(POLICIES, "refund-founder", "50000", "60000"))

    (found,) = (each for each in difference.run(old, new) if each.verdict is not Verdict.EQUIVALENT)

    assert (found.action, found.principal, found.verdict) == ("issue_refund", "Person", Verdict.MORE_PERMISSIVE)
    (witness,) = found.witnesses
    shown = question(witness.question)
    assert witness.shows == "newly_permitted"
    assert 50_001 <= shown.context["arguments"]["amount_cents"] <= 60_000
    assert Engine(new.policies, new.schema).raw_allow(shown)
    assert not Engine(old.policies, new.schema).raw_allow(shown)


def test_stricter_bundle_is_less_permissive_and_looser_again_backwards() -> None:
    """
    The same two bundles, asked both ways.
    """
    loose = bundle()
    strict = bundle(mistyped(POLICIES, "ban-two-persons", "30", "20"))

    forwards, backwards = verdicts(loose, strict), verdicts(strict, loose)

    kinds = {("ban_user", "Agent"), ("ban_user", "Person")}
    assert forwards == dict.fromkeys(kinds, Verdict.LESS_PERMISSIVE)
    assert backwards == dict.fromkeys(kinds, Verdict.MORE_PERMISSIVE)


def test_change_in_both_directions_has_a_question_for_each() -> None:
    """
    A window that was moved lets new refunds through and stops others.
    """
    old, new = (refunds(permit(f"context.arguments.amount_cents {window}")) for window in ("< 100", "> 50"))

    found = next(difference.run(old, new))

    assert found.verdict is Verdict.INCOMPARABLE
    amounts = {each.shows: each.question["context"]["arguments"]["amount_cents"] for each in found.witnesses}
    assert amounts["newly_permitted"] >= 100
    assert amounts["newly_refused"] <= 50


def test_forbid_that_errs_permits_what_it_no_longer_stops() -> None:
    """
    A guard rewritten so that it overflows is dropped where it does: the difference shows the call, not the text.
    """
    allowed = '@id("all") permit (principal, action, resource); @id("cap") forbid (principal, action, resource) when '
    paid = "context.facts.order.paid_cents"
    old, new = (refunds(f"{allowed} {{ {condition} }};") for condition in (f"{paid} > 500", f"{paid} * 1000000000 > 5"))

    found = next(difference.run(old, new))

    newly = {each.shows: each.question["context"]["facts"]["order"]["paid_cents"] for each in found.witnesses}
    assert newly["newly_permitted"] * 1_000_000_000 > 2**63 - 1


def test_added_and_removed_tools_are_reported() -> None:
    """
    A tool that is new is said to be so, with a question that passes if there is one.
    """
    fewer = bundle(POLICIES, tuple(contract for contract in CONTRACTS if contract.name != "ban_user"))
    closed = bundle(POLICIES + '@id("no") forbid (principal is Agent, action == Action::"ban_user", resource);')

    added = {each.principal: each for each in difference.run(fewer, closed) if each.action == "ban_user"}
    removed = verdicts(closed, fewer)

    assert {(each.verdict, each.reason) for each in added.values()} == {
        (Verdict.ADDED, "permits_something"),
        (Verdict.ADDED, "permits_nothing"),
    }
    assert added["Agent"].witnesses == ()
    assert added["Person"].witnesses[0].question["context"]["approvals"]["safety"] == 1
    assert removed == dict.fromkeys({("ban_user", "Agent"), ("ban_user", "Person")}, Verdict.REMOVED)


def test_changed_contract_is_compared_over_the_new_one() -> None:
    """
    Rules that say something about both are compared over the new ranges, and the reader is told.
    """
    old = refunds(permit("context.arguments.amount_cents < 100"))
    wider = replace(TOOLS["issue_refund"], risk="2")
    new = refunds(permit("context.arguments.amount_cents < 101"), wider)

    found = list(difference.run(old, new))

    assert {(each.verdict, each.reason) for each in found} == {(Verdict.MORE_PERMISSIVE, "contract_changed")}
    assert found[0].witnesses[0].question["context"]["risk"] == 2


def test_old_rules_that_mean_nothing_over_the_new_contract_are_incomparable() -> None:
    """
    A rule over an argument that is gone would err on every question; that is no comparison.
    """
    contract = TOOLS["issue_refund"]
    renamed = replace(
        contract,
        arguments=tuple(
            replace(each, name="cents") if each.name == "amount_cents" else each for each in contract.arguments
        ),
        risk="1",
        limits=(),
    )
    old, new = refunds(permit("context.arguments.amount_cents < 100")), refunds(permit("true"), renamed)

    found = list(difference.run(old, new))

    assert {(each.verdict, each.reason, each.where) for each in found} == {
        (Verdict.INCOMPARABLE, "old_rules_do_not_fit", "rule `one`")
    }


def test_form_without_exact_meaning_is_unknown_on_either_side() -> None:
    """
    What cannot be written down is compared with nothing.
    """
    plain, strange = (refunds(permit(text)) for text in ("true", "ip(context.environment).isLoopback()"))

    for old, new in ((plain, strange), (strange, plain)):
        assert {(each.verdict, each.reason) for each in difference.run(old, new)} == {
            (Verdict.UNKNOWN, "extension_of_unknown_text")
        }
