"""Policies: who may ask, what needs whose approval, what every refusal says."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from policies import case_form, cases, review, schema
from policies.cedar import Engine, EngineAnswer, RuleHit
from policies.decider import Decider
from policies.decisions import Decision, Verdict, join
from policies.errors import EngineUnavailable
from policies.fitting import misfit
from policies.rego import RegoWorker
from policies.rego_answers import RegoAnswer
from policies.replay import read as read_question
from tests.world.bundles import (
    ask,
    bundle,
    cedar_schema,
    contracts,
    decide,
    ids,
    refund,
    with_policies,
    with_worker,
)
from tool_registry.contracts import Effect, ToolName

OFFICERS = {"security": 1, "founder": 1, "persons": 2}


def test_base_bundle_has_no_findings() -> None:
    """
    Every rule of the base bundle is well typed, named, hinted and expected by a case.
    """
    found = review.validate(bundle(), cedar_schema())

    assert found == ()


@pytest.mark.parametrize("reason", ["", "x" * 201])
def test_acceptance_of_an_idle_rule_needs_a_reason(reason: str) -> None:
    """
    A rule may be kept although it decides nothing, with a reason that a reviewer can read.
    """
    kept = f'@id("idle") @hint("Never.") @accepted("{reason}") forbid (principal, action, resource) when {{ false }};'

    found = [str(each) for each in review.validate(with_policies(kept), cedar_schema())]

    assert any("rule `idle`" in each and "`@accepted`" in each for each in found)


def test_every_case_of_the_base_bundle_is_decided_as_it_says() -> None:
    """
    All cases pass, and each rule has decided at least one of them.
    """
    report = cases.run_alone(bundle(), contracts().values())

    assert report.failures == ()
    assert report.uncovered == ()
    assert report.passed == len(bundle().cases)


@pytest.mark.parametrize("tool", sorted(contracts()))
def test_every_tool_can_be_asked_for_by_somebody(tool: str) -> None:
    """
    No tool is declared that nobody could ever use: some permit covers it.
    """
    engine = Engine(bundle().policies, cedar_schema())

    permits = [hit for hit in engine.rules_for(tool, "Person") if hit.effect == "permit"]

    assert permits


def test_refusal_names_every_rule_that_refuses_with_its_hint() -> None:
    """
    Both a Cedar forbid and a Rego deny are named, so that a caller repairs both at once.
    """
    question = ask(
        "person/ada",
        "apply_friction",
        ("operator",),
        now=1577836800,
        arguments={"target": "usr_1", "expires_at": 1577836800 + 90_000},
    )

    (decision,) = decide(bundle(), question)

    assert (decision.verdict, decision.reason) == (Verdict.DENY, "policy_denied")
    assert ids(decision) == ["change-freeze", "friction-one-day"]
    assert all(hit.hint for hit in decision.hints)


def test_nothing_that_permits_still_says_what_would() -> None:
    """
    When no rule grants, the answer names the grants that such a principal could meet.
    """
    (decision,) = decide(bundle(), refund(1250, principal="person/ada"))

    assert (decision.verdict, decision.reason, decision.rules) == (Verdict.DENY, "not_permitted", ())
    assert {hit.id for hit in decision.hints} == {"own-role-finance", "operator-asks", "founder-refunds"}


@pytest.mark.parametrize(
    ("question", "roles", "persons"),
    [
        (refund(1250, autonomy=1), {"finance": 1}, 1),
        (refund(5001, risk=2), {"finance": 1}, 1),
        (
            ask("agent/a", "ban_user", risk=2, arguments={"user_id": "usr_1", "duration_days": 31}),
            {"safety": 2},
            2,
        ),
        (ask("person/a", "release_kill", ("founder",), risk=3), {"security": 1, "founder": 1}, 2),
        (ask("agent/a", "apply_friction", autonomy=1, arguments={"expires_at": 1767225600}), {"operator": 1}, 1),
    ],
    ids=["suggested refund", "refund at R2", "long ban", "governance", "suggested friction"],
)
def test_needed_approvals_are_found_by_asking_again(question: object, roles: object, persons: int) -> None:
    """
    The smallest approvals that would turn the no into a yes are those of the table.
    """
    engine = Engine(bundle().policies, cedar_schema())

    async def story(worker: RegoWorker) -> object:
        return Decider(bundle(), contracts().values(), worker).needs(question)  # type: ignore[arg-type]

    found = with_worker(story)

    assert found is not None
    assert (found.roles, found.persons) == (roles, persons)  # type: ignore[attr-defined]
    assert engine.decide(question).allowed is False  # type: ignore[arg-type]


def test_no_approval_overrides_a_guard() -> None:
    """
    Where an invariant's guard refuses, no number of approvals is offered.
    """

    async def story(worker: RegoWorker) -> object:
        return Decider(bundle(), contracts().values(), worker).needs(refund(10_001, risk=2))

    assert with_worker(story) is None


def test_tool_registered_later_is_ruled_by_its_contract() -> None:
    """
    A tool that no rule names follows its effect and its approver: the groups of the schema say so.
    """
    added = replace(
        contracts()["remove_content"], name=ToolName("wipe_cache"), approver="sre", effect=Effect.REVERSIBLE
    )
    grown = schema.generate([*contracts().values(), added])
    engine = Engine(bundle().policies, grown)
    asked = replace(
        ask("agent/a", "remove_content", autonomy=1, arguments={"content_id": "cnt_1"}), action="wipe_cache"
    )

    refused = engine.decide(asked)
    granted = engine.decide(asked.with_approvals({"sre": 1, "persons": 1}))

    assert [hit.id for hit in refused.rules] == ["autonomy-sre"]
    assert granted.allowed


def test_governance_is_decided_without_rego() -> None:
    """
    A dead Rego engine locks nobody out of the acts that repair it.
    """

    async def story(_: RegoWorker) -> Decision:
        never_started = RegoWorker()
        decider = Decider(bundle(), contracts().values(), never_started)
        return await decider.decide(ask("person/ada", "release_kill", ("security",), risk=3, approvals=OFFICERS))

    assert with_worker(story).verdict is Verdict.PERMIT


def test_killed_worker_is_replaced_and_given_its_bundles_again() -> None:
    """
    After the worker dies, the next questions are answered by a new one.
    """

    async def story(worker: RegoWorker) -> Verdict:
        decider = Decider(bundle(), contracts().values(), worker)
        await decider.load()
        pid = worker.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        while worker.pid == pid:  # noqa: ASYNC110 - a death is what is waited for, and nobody announces it
            await asyncio.sleep(0.01)
        return (await decider.decide(refund(1250))).verdict

    assert with_worker(story) is Verdict.PERMIT


def test_question_on_its_way_to_a_worker_that_dies_is_unavailable() -> None:
    """
    C04: an engine that is gone is no answer: neither a permit nor a refusal.
    """

    async def story(worker: RegoWorker) -> None:
        decider = Decider(bundle(), contracts().values(), worker)
        await decider.load()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        asked = asyncio.ensure_future(decider.decide(refund(1250)))
        await asyncio.sleep(0.05)
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(EngineUnavailable):
            await asked

    with_worker(story)


def test_failing_case_is_explained() -> None:
    """
    A case that is decided otherwise says what was expected and which rules came too many or too few.
    """
    wrong = {
        "name": "an agent bans for a year alone",
        "question": {
            "principal": "agent/a",
            "action": "ban_user",
            "context": {"risk": 2, "arguments": {"user_id": "usr_1", "duration_days": 365}},
        },
        "expect": {"decision": "permit", "rules": ["agent-registered"]},
    }

    report = cases.run_alone(bundle(cases=[wrong]), contracts().values())

    assert not report.is_good
    assert "refund-within-paid" in report.uncovered
    assert report.failures[0].explanation == (
        "expected permit, decided deny; did not decide: `agent-registered`; "
        "decided and not expected: `approval-safety`, `ban-two-persons`, `irreversible-needs-human`"
    )


def test_counter_example_kept_as_a_case_never_passes_again() -> None:
    """
    A question once refuted asks the same when it is read back, and only its decision is expected.
    """
    known, typed, first = contracts(), cedar_schema().typed, bundle().cases[0]
    asked = case_form.question(first, typed.actions[first.action], known[first.action])
    document = case_form.kept("kept", asked.document(), "deny")

    (case,) = case_form.read_cases([document])

    assert case_form.question(case, typed.actions[case.action], known[case.action]) == asked
    for decision, failures in (("permit", 0), ("deny", 1)):
        document["expect"]["decision"] = decision
        assert len(cases.run_alone(bundle(cases=[document]), known.values()).failures) == failures


def test_case_outside_the_declared_ranges_fails() -> None:
    """
    A case cannot claim a question that could never be asked.
    """
    impossible = {
        "name": "a refund of nothing",
        "question": {
            "principal": "agent/a",
            "action": "issue_refund",
            "context": {"arguments": {"amount_cents": 0}},
        },
        "expect": {"decision": "permit", "rules": []},
    }

    report = cases.run_alone(bundle(cases=[impossible]), contracts().values())

    assert "context.arguments.amount_cents" in report.failures[0].explanation


def test_recorded_question_is_read_back_as_it_was() -> None:
    """
    A record, facts and roles included, gives the question that was asked.
    """
    asked = replace(refund(1250, principal="person/ada"), roles=("finance",))

    assert read_question(asked.document()) == asked


def test_schema_digest_covers_ranges_and_risk() -> None:
    """
    The order of contracts does not matter; a range or a risk expression does, though Cedar's syntax has neither.
    """
    listed = list(contracts().values())
    refunds = contracts()["issue_refund"]
    amount = replace(refunds.arguments[1], maximum=99)
    others = [each for each in listed if each is not refunds]

    digest = schema.generate(listed).digest

    assert schema.generate(reversed(listed)).digest == digest
    assert schema.generate([*others, replace(refunds, risk="1")]).digest != digest
    narrowed = replace(refunds, arguments=(refunds.arguments[0], amount))
    assert schema.generate([*others, narrowed]).digest != digest


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"arguments": {"order_id": "ord_1", "amount_cents": True}}, "context.arguments.amount_cents"),
        ({"arguments": {"order_id": "ord_1", "amount_cents": 0}}, "context.arguments.amount_cents"),
        ({"arguments": {"order_id": "ord_1", "amount_cents": 1, "extra": 1}}, "context.arguments"),
        ({"risk": 4}, "context.risk"),
        ({"registered": 1}, "context.registered"),
        ({"reason_code": "because"}, "context.reason_code"),
        ({"facts": {}}, "context.facts.agent"),
        ({"now": None}, "context.now"),
    ],
)
def test_question_outside_the_schema_does_not_fit(changed: dict[str, object], path: str) -> None:
    """
    A wrong type, a number outside its range, a member too many or too few: each is named by its path.
    """
    question = refund(1250)
    question = replace(question, context={**question.context, **changed})

    assert misfit(question, cedar_schema().typed) == path


def test_joined_verdict_follows_the_precedence_of_reasons() -> None:
    """
    An error outweighs a refusal, a refusal outweighs a grant, and nothing turns a no into a yes.
    """
    permit = RuleHit(engine="cedar", id="may", effect="permit")
    forbid = RuleHit(engine="cedar", id="may-not", effect="forbid")
    deny = RuleHit(engine="rego", id="frozen", effect="deny")
    allowed = EngineAnswer(allowed=True, rules=(permit,))
    nothing = EngineAnswer(allowed=False, rules=(), hints=(permit,))

    assert join(allowed, RegoAnswer()).reason is None
    assert join(allowed, RegoAnswer(deny=(deny,))).reason == "policy_denied"
    assert join(nothing, RegoAnswer()).reason == "not_permitted"
    assert join(nothing, RegoAnswer(deny=(deny,))).reason == "policy_denied"
    assert (
        join(EngineAnswer(allowed=False, rules=(forbid,)), RegoAnswer(errors=("undefined",))).reason == "policy_error"
    )
    assert (
        join(EngineAnswer(allowed=False, rules=(permit,), errors=("may-not",)), RegoAnswer()).reason == "policy_error"
    )
