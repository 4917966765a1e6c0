"""Bundles broken by plausible mistakes: the prover refuses every one, with a question that the engine allows."""

from __future__ import annotations

import pytest

from invariants import checks
from invariants.reports import Verdict
from policies import cedar
from policies.cedar import Engine
from tests.attacks.broken_bundles import MISTAKES, Edit, broken
from tests.attacks.bundle_edits import (
    CONTRACTS,
    INVARIANTS,
    POLICIES,
    SCHEMA,
    about_invariants,
    proved,
    question,
    rule,
)
from tool_registry.contracts import Contract

# Where an invariant is about many tools, these stand for all: one at least for every group and role.
TOOLS = frozenset(
    {
        "apply_friction",
        "ban_user",
        "change_price",
        "get_order",
        "issue_refund",
        "pay_supplier",
        "release_payout",
        "scale_ad_set",
        "set_autonomy",
        "throttle_endpoint",
    }
)
CHECKS = checks.compile(INVARIANTS, SCHEMA.typed)
SOUND = Engine(POLICIES, SCHEMA)


@pytest.mark.parametrize(
    ("invariant", "edits"),
    [
        pytest.param(invariant, edits, id=f"{invariant}: {words}")
        for invariant, mistakes in MISTAKES.items()
        for words, edits in mistakes.items()
    ],
)
def test_broken_bundle_is_refused_with_a_question_that_the_engine_allows(
    invariant: str, edits: tuple[Edit, ...]
) -> None:
    """
    The edit is well typed, so a reviewer may take it for sense. The invariant it breaks is refuted; each
    counter-example is allowed by the real engine under the broken bundle, refused under the sound one, and fails the
    compiled check.
    """
    text = broken(edits)
    assert cedar.problems(text, SCHEMA) == ()

    findings = about_invariants(proved(text, rule(INVARIANTS, invariant), covered(invariant)))

    refuted = [finding for finding in findings if finding.verdict is Verdict.REFUTED]
    assert refuted
    assert {finding.verdict for finding in findings} <= {Verdict.REFUTED, Verdict.PROVED}
    engine = Engine(text, SCHEMA)
    for finding in refuted:
        assert finding.counter_example is not None
        shown = question(finding.counter_example)
        assert engine.raw_allow(shown)
        assert not SOUND.raw_allow(shown)
        assert [check.holds for check in CHECKS.evaluate(shown) if check.id == invariant] == [False]


def covered(invariant: str) -> list[Contract]:
    """The tools to prove it over: its own, or those that stand for all."""
    own = {name for name in SCHEMA.typed.actions if invariant in CHECKS.of(name)}
    return [contract for contract in CONTRACTS if contract.name in (own if len(own) == 1 else own & TOOLS)]


def test_every_invariant_is_broken_by_three_mistakes() -> None:
    """
    No invariant of the base bundle is one that a single guess could satisfy.
    """
    assert set(MISTAKES) == set(CHECKS.ids)
    assert min(map(len, MISTAKES.values())) >= 3
