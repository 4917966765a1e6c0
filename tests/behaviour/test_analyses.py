"""What a reviewer is told of a bundle: each question with a planted case, its negative, and what the base says."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

import pytest

from invariants.analyses import difference, inquiry, lockout
from invariants.analyses.asking import Inquiry, ask
from invariants.analyses.inquiry import QUESTIONS
from invariants.analyses.liveness import Liveness
from invariants.analyses.results import Analysis, Result, Verdict
from invariants.analyses.surveys import survey
from invariants.jobs import Job, ProofLimits, job
from invariants.solving.z3_backend import Solver
from policies.cedar import Engine
from policies.schema import generate
from proofs import canonical
from tests.attacks.bundle_edits import CONTRACTS, POLICIES, mistyped, question, without
from tool_registry.contracts import Contract

TOOLS = {str(contract.name): contract for contract in CONTRACTS}
ANYONE = '@id("anyone") permit (principal, action, resource);'
AGENTS = '@id("agents") permit (principal is Agent, action, resource);'


def bundle(policies: str, *contracts: Contract, limits: ProofLimits | None = None) -> Job:
    """Rules over some tools, by default refunds alone."""
    listed = contracts or (TOOLS["issue_refund"],)
    files = {"policies.cedar": policies, "invariants.cedar": ""}
    return job(files, generate(listed), listed, limits)


def base(policies: str = POLICIES) -> Job:
    """Rules over the whole catalogue."""
    return bundle(policies, *CONTRACTS)


@cache
def base_results() -> tuple[Result, ...]:
    """Every answer about the base bundle."""
    return tuple(inquiry.run(base()))


def asked(given: Job, analysis: Analysis) -> tuple[Result, ...]:
    """The answers to one question."""
    return tuple(inquiry.run(given, [analysis]))


def about(results: Iterable[Result], subject: str) -> Result:
    """The only answer about a rule."""
    (found,) = (result for result in results if result.subject == subject)
    return found


def rule(given: str, *policies: str) -> Result:
    """What is said of the decisiveness of a rule among others, over refunds."""
    return about(asked(bundle("\n".join(policies)), Analysis.DECISIVE), given)


def forbid(condition: str, identity: str = "one", scope: str = "principal, action, resource") -> str:
    """A forbid."""
    return f'@id("{identity}") forbid ({scope}) when {{ {condition} }};'


def permit(condition: str, identity: str = "one", scope: str = "principal, action, resource") -> str:
    """A permit."""
    return f'@id("{identity}") permit ({scope}) when {{ {condition} }};'


# --- never errs ------------------------------------------------------------------------------------------------------


def test_product_that_overflows_is_found_with_the_call_that_makes_it_overflow() -> None:
    """
    A guard whose product leaves 64 bits errs on a question that the engine reports the error of, and then allows.
    """
    given = bundle(ANYONE + forbid("context.facts.order.paid_cents * 1000000000 < 5"))

    results = [each for each in asked(given, Analysis.NEVER_ERRS) if each.subject == "one"]

    assert [each.verdict for each in results] == [Verdict.FAILS, Verdict.FAILS]
    for result in results:
        (witness,) = result.witnesses
        shown = question(witness.question)
        assert Engine(given.policies, given.schema).decide(shown).errors == ("one",)
        assert Engine(given.policies, given.schema).raw_allow(shown)


def test_product_that_stays_in_range_never_errs() -> None:
    """
    With a smaller factor the same guard errs on no question within the declared ranges.
    """
    given = bundle(ANYONE + forbid("context.facts.order.paid_cents * 10000000 < 5"))

    assert {each.verdict for each in asked(given, Analysis.NEVER_ERRS)} == {Verdict.HOLDS}


# --- is this rule ever decisive --------------------------------------------------------------------------------------


def test_rule_whose_condition_nothing_meets_is_dead() -> None:
    """
    Beyond the declared range of the argument there is no question; at its end there is one.
    """
    dead = rule("one", ANYONE, forbid("context.arguments.amount_cents > 100000000"))
    lives = rule("one", ANYONE, forbid("context.arguments.amount_cents >= 100000000"))

    assert (dead.verdict, dead.reason, dead.witnesses) == (Verdict.DEAD, "never_satisfied", ())
    assert lives.verdict is Verdict.DECISIVE
    assert lives.witnesses[0].question["context"]["arguments"]["amount_cents"] == 100_000_000


def test_rule_about_risk_is_held_against_the_contract() -> None:
    """
    Risk is what the contract computes: a rule about small refunds of R3 is dead, whatever their day brings.
    """
    assert rule("one", ANYONE, forbid("context.risk == 3 && context.arguments.amount_cents < 50000")).verdict is (
        Verdict.DEAD
    )


def test_rule_over_a_group_without_tools_is_dead() -> None:
    """
    No registered tool is growth's, so there is no request that the rule could be about.
    """
    found = rule("one", ANYONE, forbid("true", scope='principal, action in Action::"growth-approves", resource'))

    assert (found.verdict, found.reason) == (Verdict.DEAD, "covers_no_request")


def test_permit_under_a_forbid_is_shadowed_by_it() -> None:
    """
    A grant of what is always forbidden grants nothing, and the forbid is named.
    """
    found = rule("one", AGENTS, permit("context.risk >= 3"), forbid("context.risk >= 2", "no"), forbid("false", "off"))

    assert (found.verdict, found.reason, found.rules) == (Verdict.SHADOWED, "always_forbidden", ("no",))
    assert found.witnesses[0].shows == "satisfied"
    assert found.witnesses[0].question["context"]["risk"] == 3


def test_forbid_of_what_nothing_permits_is_shadowed() -> None:
    """
    A refusal of what nobody could ask for refuses nothing.
    """
    found = rule("one", AGENTS, forbid("context.risk >= 2", scope="principal is Person, action, resource"))

    assert (found.verdict, found.reason) == (Verdict.SHADOWED, "nothing_permits")


def test_redundant_rule_is_told_which_rules_imply_it() -> None:
    """
    A narrower permit beside a wider one is redundant, the wider one decides.
    """
    narrow, wide = (permit(f"context.arguments.amount_cents < {limit}", f"to-{limit}") for limit in (100, 200))

    found = rule("to-100", narrow, wide)

    assert (found.verdict, found.rules) == (Verdict.REDUNDANT, ("to-200",))
    assert found.witnesses[0].shows == "effective"
    assert rule("to-200", narrow, wide).verdict is Verdict.DECISIVE


def test_redundant_rule_may_be_implied_by_several_together() -> None:
    """
    Two halves imply the whole, and none of them does alone.
    """
    amount = "context.arguments.amount_cents"
    halves = forbid(f"{amount} <= 50", "low"), forbid(f"{amount} > 40", "high")

    found = rule("all", ANYONE, *halves, forbid("true", "all"))

    assert (found.verdict, found.rules) == (Verdict.REDUNDANT, ())


def test_removing_a_decisive_rule_changes_the_decision_shown() -> None:
    """
    The question shown for a decisive rule is decided otherwise by the engine without it.
    """
    kept = (ANYONE, forbid("context.risk >= 2", "risk"))
    limit = forbid("context.approvals.finance < 1 && context.arguments.amount_cents > 4000")

    found = rule("one", limit, *kept)

    given = bundle("\n".join(kept))
    shown = question(found.witnesses[0].question)
    assert found.verdict is Verdict.DECISIVE
    assert Engine(given.policies, given.schema).raw_allow(shown)
    assert not Engine(given.policies + limit, given.schema).raw_allow(shown)


def test_accepted_rule_is_dead_and_says_why() -> None:
    """
    Whoever keeps a dead rule says why; said of a rule that decides, it is pointed out.
    """
    dead = forbid("false").replace("forbid", '@accepted("Kept for the audit.") forbid')
    lives = dead.replace("false", "true")

    found, unneeded = rule("one", ANYONE, dead), rule("one", ANYONE, lives)

    assert (found.verdict, found.accepted) == (Verdict.DEAD, "Kept for the audit.")
    assert (unneeded.verdict, unneeded.reason) == (Verdict.DECISIVE, "acceptance_unneeded")
    assert rule("one", ANYONE, forbid("false")).accepted == ""


def test_every_idle_rule_of_the_base_bundle_is_accepted() -> None:
    """
    Each rule of the base bundle decides something over the catalogue, or says why it stays; none says so in vain.
    """
    found = [result for result in base_results() if result.analysis is Analysis.DECISIVE]

    idle = {each.subject for each in found if each.verdict is not Verdict.DECISIVE}
    assert {each.verdict for each in found} == {Verdict.DECISIVE, Verdict.REDUNDANT, Verdict.DEAD}
    assert idle == {each.subject for each in found if each.accepted}
    assert "approval-operator" in idle


def test_gate_sees_dead_rules_in_one_pass() -> None:
    """
    Fed one type of request after the other, the gate's form names the same dead rules as the analysis.
    """
    given = bundle(ANYONE + forbid("context.risk > 3", "dead") + forbid("context.risk == 3", "alive"))
    laid_open = survey(given)
    liveness = Liveness(laid_open.rules, given.schema.typed)

    for requests in laid_open.types:
        liveness.look(requests, Solver(requests.given(), given.limits.resources).check)

    assert [(each.subject, each.verdict) for each in liveness.results()] == [("dead", Verdict.DEAD)]


# --- always ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "agents", "people"),
    [
        (ANYONE, Verdict.ALWAYS_ALLOWS, Verdict.ALWAYS_ALLOWS),
        (AGENTS, Verdict.ALWAYS_ALLOWS, Verdict.ALWAYS_DENIES),
        (ANYONE + forbid("context.registered"), Verdict.DEPENDS, Verdict.ALWAYS_ALLOWS),
        (ANYONE + forbid("context.approvals.persons < 4"), Verdict.ALWAYS_DENIES, Verdict.ALWAYS_DENIES),
        ("", Verdict.ALWAYS_DENIES, Verdict.ALWAYS_DENIES),
    ],
    ids=["all", "agents", "unregistered", "four approvals", "nothing"],
)
def test_what_is_always_so_is_said_for_each_type_of_request(policies: str, agents: Verdict, people: Verdict) -> None:
    """
    Agents and people are answered for apart; a count that no question can have closes the door.
    """
    found = {each.principal: each for each in asked(bundle(policies), Analysis.ALWAYS)}

    assert (found["Agent"].verdict, found["Person"].verdict) == (agents, people)
    for each in found.values():
        assert [witness.shows for witness in each.witnesses] == {
            Verdict.ALWAYS_ALLOWS: ["permitted"],
            Verdict.ALWAYS_DENIES: [],
            Verdict.DEPENDS: ["permitted", "refused"],
        }[each.verdict]


def test_base_bundle_always_allows_nothing() -> None:
    """
    Only governance and what is R3 throughout is closed to agents; nothing is closed to people, nothing is unguarded.
    """
    found = [result for result in base_results() if result.analysis is Analysis.ALWAYS]

    assert Verdict.ALWAYS_ALLOWS not in {each.verdict for each in found}
    closed = {(each.action, each.principal) for each in found if each.verdict is Verdict.ALWAYS_DENIES}
    governance = {name for name, kind in base().schema.typed.actions.items() if "governance" in kind.groups}
    assert closed == {(name, "Agent") for name in {*governance, "release_payout"}}


# --- approvals -------------------------------------------------------------------------------------------------------


def test_irreversible_effect_without_a_person_is_found() -> None:
    """
    Where the rule for finance and the rule for anybody ask from the wrong risk on, an R2 refund passes unapproved.
    """
    text = mistyped(mistyped(POLICIES, "irreversible-needs-human", "2", "3"), "approval-finance", "== 2", "== 3")

    found = [each for each in asked(base(text), Analysis.IRREVERSIBLE_APPROVED) if each.verdict is Verdict.FAILS]

    assert {each.action for each in found} == {"issue_refund", "reorder_stock", "pay_supplier"}
    shown = found[0].witnesses[0].question["context"]
    assert (shown["risk"], shown["approvals"]["persons"]) == (2, 0)


@pytest.mark.parametrize(
    ("old", "new", "insufficient"),
    [
        ("context.approvals.persons < 2", "false", "one_person"),
        ("context.approvals.founder < 1", "context.approvals.security < 2", "one_role"),
    ],
)
def test_governance_by_one_person_or_in_one_role_is_found(old: str, new: str, insufficient: str) -> None:
    """
    Two persons, and not both for the same office.
    """
    text = mistyped(POLICIES, "governance-two-persons", old, new)

    found = [each for each in asked(base(text), Analysis.DUTIES_SEPARATED) if each.verdict is not Verdict.HOLDS]

    assert {(each.subject, each.verdict, each.principal) for each in found} == {(insufficient, Verdict.FAILS, "Person")}
    assert all("governance" in base().schema.typed.actions[each.action].groups for each in found)


def test_requester_never_suffices_alone_under_the_base_bundle() -> None:
    """
    Every claim about approvals holds, and each is about the requests that it should be about.
    """
    found = Counter(
        (each.analysis, each.subject, each.verdict)
        for each in base_results()
        if each.analysis in (Analysis.IRREVERSIBLE_APPROVED, Analysis.DUTIES_SEPARATED)
    )

    groups = [kind.groups for kind in base().schema.typed.actions.values()]
    irreversible = sum("irreversible" in each for each in groups)
    governing = sum({"irreversible", "governance"} <= set(each) for each in groups)
    assert found == {
        (Analysis.IRREVERSIBLE_APPROVED, "nobody", Verdict.HOLDS): 2 * irreversible,
        (Analysis.DUTIES_SEPARATED, "requester_alone", Verdict.HOLDS): irreversible,
        (Analysis.DUTIES_SEPARATED, "one_person", Verdict.HOLDS): 2 * governing,
        (Analysis.DUTIES_SEPARATED, "one_role", Verdict.HOLDS): 2 * governing,
    }


# --- tenants ---------------------------------------------------------------------------------------------------------


def test_what_rules_cannot_see_of_tenants_is_said_to_be_outside() -> None:
    """
    An order has no tenant in the schema, so nothing is claimed; rules that look at the tenant are named.
    """
    found = asked(bundle(ANYONE + forbid('context.tenant == "acme"')), Analysis.TENANTS_ISOLATED)

    assert {(each.verdict, each.reason, each.rules) for each in found} == {
        (Verdict.OUTSIDE, "resource_without_tenant", ("one",))
    }


@pytest.mark.parametrize(("argument", "verdict"), [(None, Verdict.HOLDS), ("order_id", Verdict.FAILS)])
def test_tool_that_lets_the_client_name_the_tenant_is_found(argument: str | None, verdict: Verdict) -> None:
    """
    Where the resource is a tenant, it is the token's, unless the contract takes it from an argument.
    """
    contract = replace(TOOLS["issue_refund"], resource_type="Tenant", resource_argument=argument)

    found = asked(bundle(ANYONE, contract), Analysis.TENANTS_ISOLATED)

    assert {each.verdict for each in found} == {verdict}
    for witness in found[0].witnesses:
        assert witness.question["resource"]["id"] != witness.question["context"]["tenant"]


# --- nobody is locked out --------------------------------------------------------------------------------------------


def locked_out(policies: str) -> Mapping[str, Result]:
    """Answers about governance by act."""
    return {each.action: each for each in asked(base(policies), Analysis.NOBODY_LOCKED_OUT)}


def test_base_bundle_locks_nobody_out() -> None:
    """
    Each act that governs the gateway has a question that passes; two officers approve all but the kill switch.
    """
    found = locked_out(POLICIES)

    tools = {name: each for name, each in found.items() if name not in lockout.ACTS}
    assert set(lockout.NEEDED) <= set(tools)
    assert {each.verdict for each in tools.values()} == {Verdict.HOLDS}
    persons = {name: each.witnesses[0].question["context"]["approvals"]["persons"] for name, each in tools.items()}
    assert persons.pop("engage_kill") == 0
    assert set(persons.values()) == {2}
    assert {(found[act].verdict, found[act].reason) for act in lockout.ACTS} == {(Verdict.OUTSIDE, "not_a_tool")}


@pytest.mark.parametrize(
    ("added", "closed"),
    [
        (
            forbid("context.approvals.persons < 4", scope='principal, action == Action::"publish_bundle", resource'),
            True,
        ),
        (
            forbid("context.approvals.persons < 3", scope='principal, action == Action::"publish_bundle", resource'),
            False,
        ),
        # Allowed by Cedar and denied at run time: a rule that always errs locks people out as well.
        (
            forbid(
                "context.risk * 9223372036854775807 > 0", scope='principal, action in Action::"governance", resource'
            ),
            True,
        ),
    ],
    ids=["four approvals", "three approvals", "always errs"],
)
def test_lock_out_is_found_before_it_happens(added: str, closed: bool) -> None:
    """
    A count that nobody can reach, or a rule that errs each time, closes the way to the next bundle.
    """
    found = locked_out(POLICIES + added)["publish_bundle"]

    assert found.verdict is (Verdict.FAILS if closed else Verdict.HOLDS)
    assert found.reason == ("never_permitted" if closed else "")


def test_needed_tool_that_is_not_registered_is_missed() -> None:
    """
    Without the tools of governance nothing can be mended.
    """
    found = {each.action: each for each in asked(bundle(ANYONE), Analysis.NOBODY_LOCKED_OUT)}

    assert {found[name].reason for name in lockout.NEEDED} == {"not_registered"}
    assert {found[name].verdict for name in lockout.NEEDED} == {Verdict.FAILS}


# --- all of them -----------------------------------------------------------------------------------------------------


def test_no_answer_speaks_against_the_base_bundle() -> None:
    """
    Every question is answered, none of the answers is no or unknown, and all are canonical JSON.
    """
    found = base_results()

    assert {each.verdict for each in found}.isdisjoint({Verdict.FAILS, Verdict.UNKNOWN, Verdict.ENCODING_BUG})
    assert [each for each in found if each.verdict is Verdict.DEAD and not each.accepted] == []
    assert {each.analysis for each in found} == set(QUESTIONS) == set(Analysis) - {Analysis.DIFFERENCE}
    documents = json.loads(json.dumps([each.document() for each in found]))
    assert canonical.parse(canonical.encode(documents), depth_max=16) == documents


def test_process_of_its_own_gives_the_same_answers() -> None:
    """
    Asked in a worker, a bundle and what went before it are answered as here, result by result.
    """
    new, old = base(), base(mistyped(POLICIES, "ban-two-persons", "30", "20"))
    heard: list[Result] = []

    answers = asyncio.run(ask(Inquiry(job=new, old=old), heard.append))

    assert answers.missing == ""
    assert answers.results == (*base_results(), *difference.run(old, new)) == tuple(heard)


def test_every_question_shown_is_one_that_the_gateway_could_ask() -> None:
    """
    Deleting a guard changes who decides; whatever is shown then is a whole question, and the engine does what is said.
    """
    given = base(without(POLICIES, "governance-people-only"))
    engine = Engine(given.policies, given.schema)

    shown = [witness for result in inquiry.run(given) for witness in result.witnesses]

    assert len(shown) > 100
    for witness in shown:
        if witness.shows in ("permitted", "refused"):
            assert engine.raw_allow(question(witness.question)) is (witness.shows == "permitted")
